"""A toxin in the body: one dose, eliminated at a constant rate, and how strongly it injures over a stretch of time.

The level falls within a macro-step, and its response is not linear, so a step takes the exact mean of the response and
not the response to a mean. A dose taken inside a step counts from then on, with a derivative by its time. Where in the
lobule the toxin acts is the zonation in `hepatojax.biology.injury`.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from hepatojax.mechanism import pytree
from hepatojax.numerics.safe_math import safe_power
from hepatojax.parameters.registry import Scalar


@pytree
class ToxinParameters:
    """Registry subject `toxin`."""

    molar_mass_kda: Scalar  # [kDa]
    distribution_volume_l_kg: Scalar  # [l/kg]
    elimination_rate: Scalar  # [1/h]
    half_saturation_mM: Scalar  # [mM]
    exponent: Scalar  # [-]


def mean_toxin_response(
    dose_mg_kg: Scalar,
    taken_h: Scalar,
    start_h: Float[Array, ""] | float,
    length_h: Float[Array, ""] | float,
    p: ToxinParameters,
) -> Float[Array, ""]:
    """Mean response to a toxin over an interval, exact for a dose taken at any time.

        c(t) = D / (V M) exp(-k t),   1/h int H(c, K, n) dt = [ln(1 + (c_a / K)^n) - ln(1 + (c_b / K)^n)] / (n k h)

    with t counted from the dose, c_a and c_b the levels at the ends of the part of the interval that lies behind it.

    Args:
        dose_mg_kg: D, absorbed at once [mg/kg].
        taken_h: when [h].
        start_h: start of the interval [h].
        length_h: its length h [h].
        p: molar mass M [kDa], volume V [l/kg], elimination k [1/h], half saturation K [mM], exponent n [-].

    Returns:
        The mean response, 0 before the dose and below 1 [-].

    Reference: MODEL 5 and 6; the integral is elementary.
    """
    first = dose_mg_kg / (p.distribution_volume_l_kg * p.molar_mass_kda * 1e3 * p.half_saturation_mM)

    def exposure(time_h: Array | float) -> Array:
        since_h = jnp.where(time_h > taken_h, time_h - taken_h, 0.0)
        return jnp.log1p(safe_power(first * jnp.exp(-p.elimination_rate * since_h), p.exponent))

    return (exposure(start_h) - exposure(start_h + length_h)) / (p.exponent * p.elimination_rate * length_h)
