"""The size of the liver, and the two loads: missing mass drives regeneration, missing function drives the clinic.

A lobule is not a liver: a resection removes lobules and leaves the others full, so the body carries the liver volume L
beside the densities of the lobule. New cells crowd the lobule, a crowded lobule grows within hours and dilutes its
cells, and so the number of cells ends up in L. The load that calls for them is that of the whole liver.
"""

from __future__ import annotations

from jaxtyping import Array

from hepatojax.mechanism import Fields, FieldSpec, algebraic, pytree
from hepatojax.numerics.safe_math import hill, positive_part, ramp
from hepatojax.parameters.registry import Scalar

_DEAD = 1e-6  # guard of 1/F - 1 in a liver without function: the load then saturates at 1e6

FIELDS = (
    FieldSpec("liver_volume", "-", "body", "state", "liver volume over rest"),
    FieldSpec("growth_rate", "1/h", "body", "algebraic", "relative growth of the liver volume", low=None),
    FieldSpec("mass", "-", "body", "algebraic", "functioning liver mass over rest"),
    FieldSpec("function", "-", "body", "algebraic", "liver function over rest"),
    FieldSpec("load_excess", "-", "body", "algebraic", "mass load beyond the tolerated one"),
    FieldSpec("load_response", "-", "body", "algebraic", "drive of regeneration by mass load", high=1.0),
    FieldSpec("functional_excess", "-", "body", "algebraic", "functional load beyond the tolerated one"),
)


@pytree
class GrowthParameters:
    """Registry subject `growth`.

    Attributes:
        shrink_rate: lo, collapse of empty lobules [1/h].
        expansion_rate: hi, growth of crowded lobules [1/h].
        steepness: b, of the passage from one to the other in occupancy [-].
        tolerated_load: x0, load that the body does not answer [-].
        load_smoothing: e, of the load beyond it [-].
        load_half_saturation: K_load, mass load at half of the response [-].
        load_exponent: n, Hill exponent of the response [-].
        dead_liver: living hepatocytes over rest below which later numbers mean nothing [-].
    """

    shrink_rate: Scalar
    expansion_rate: Scalar
    steepness: Scalar
    tolerated_load: Scalar
    load_smoothing: Scalar
    load_half_saturation: Scalar
    load_exponent: Scalar
    dead_liver: Scalar


@algebraic(reads=("mean_occupancy",), writes=("growth_rate",))
def growth(fields: Fields, p: GrowthParameters) -> dict[str, Array]:
    """Lobules grow fast when they are crowded and shrink slowly when they are empty.

        dL/dt = g L,   g = R(<occ> - 1),   R(y) = y (lo + (hi - lo) sigmoid(b y))

    Args:
        fields: mean_occupancy <occ> [-], scalar.
        p: rates lo and hi [1/h], steepness b [-].

    Returns:
        growth_rate g [1/h], scalar; zero at <occ> = 1.

    Reference: BIOLOGY A2.
    """
    crowding = fields.mean_occupancy - 1.0
    return {"growth_rate": ramp(crowding, p.shrink_rate, p.expansion_rate, p.steepness)}


@algebraic(
    reads=("liver_volume", "mean_mass_local", "mean_function_local", "rest_mass", "rest_function"),
    writes=("mass", "function", "load_excess", "load_response", "functional_excess"),
)
def loads(fields: Fields, p: GrowthParameters) -> dict[str, Array]:
    """Mass and function of the whole liver, and how far each falls short.

        Fm = L <fm>/Fm0,  F = L <f>/F0,  x = P(1/F - 1 - x0, e),  Hx = H(x_load, K_load, n)

    Args:
        fields: liver_volume L, volume means of local mass <fm> and function <f>, and their values at rest [-], scalars.
        p: tolerated load x0, smoothing e, half saturation K_load, exponent n [-].

    Returns:
        mass Fm, function F, load_excess x_load, load_response Hx, functional_excess x_f [-], scalars.

    Reference: BIOLOGY A2.
    """
    mass = fields.liver_volume * fields.mean_mass_local / fields.rest_mass
    function = fields.liver_volume * fields.mean_function_local / fields.rest_function
    excess = shortfall(mass, p)
    return {
        "mass": mass,
        "function": function,
        "load_excess": excess,
        "load_response": hill(excess, p.load_half_saturation, p.load_exponent),
        "functional_excess": shortfall(function, p),
    }


def shortfall(fraction: Array, p: GrowthParameters) -> Array:
    """Load beyond the tolerated one, P(1/F - 1 - x0, e), finite in a liver without function.

    Args:
        fraction: mass or function F over rest [-], >= 0.
        p: tolerated load x0, smoothing e of P [-].

    Returns:
        The excess load [-], positive.

    Reference: BIOLOGY A2.
    """
    return positive_part((1.0 - fraction) / (fraction + _DEAD) - p.tolerated_load, p.load_smoothing)


MECHANISMS = (loads, growth)
