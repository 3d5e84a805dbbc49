"""Oxygen use, energy and zonation of the tissue, and what its cells count for as mass and as function.

The demand is that at full supply; the solve of oxygen makes it saturate. Energy follows oxygen at once, the phenotype
in days. Mass and function are kept apart: mass drives regeneration and overload, function the clinic. When identity
and capillarisation also drove regeneration, a chronically inflamed liver grew to 1.5 times its size (BIOLOGY A2).
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array

from hepatojax.mechanism import Fields, FieldSpec, Rates, algebraic, pytree, slow
from hepatojax.numerics.safe_math import hill
from hepatojax.parameters.registry import Scalar


@pytree
class MetabolismParameters:
    """Registry subject `metabolism`; times in hours inside."""

    uptake_at_rest: Scalar  # [mM/s]
    uptake_zonation: Scalar  # [-]
    uptake_primed: Scalar  # [-]
    uptake_injured: Scalar  # [-]
    uptake_msc_derived: Scalar  # [-]
    uptake_macrophage: Scalar  # [-]
    atp_half_saturation: Scalar  # [mmHg]
    atp_exponent: Scalar  # [-]
    hypoxia_half_saturation: Scalar  # [mmHg]
    hypoxia_exponent: Scalar  # [-]
    zonation_half_saturation: Scalar  # [mmHg]
    zonation_exponent: Scalar  # [-]
    zonation_time: Scalar  # [h]
    mass_primed: Scalar  # [-]
    mass_injured: Scalar  # [-]
    mass_msc_derived: Scalar  # [-]
    capillarisation_effect: Scalar  # [-]


FIELDS = (
    FieldSpec("zonation", "-", "voxel", "state", "periportal phenotype", high=1.0),
    FieldSpec("oxygen_demand", "mM/s", "voxel", "algebraic", "maximal oxygen uptake"),
    FieldSpec("atp", "-", "voxel", "algebraic", "energy charge over its value at full oxygen", high=1.0),
    FieldSpec("hypoxia", "-", "voxel", "algebraic", "hypoxic response", high=1.0),
    FieldSpec("mass_local", "-", "voxel", "algebraic", "working mass of cells"),
    FieldSpec("function_local", "-", "voxel", "algebraic", "function of cells"),
)

_CELLS = ("quiescent", "primed", "injured", "msc_derived")


@algebraic(reads=(*_CELLS, "macrophage_m1", "macrophage_m2", "zone"), writes=("oxygen_demand",))
def respiration(fields: Fields, p: MetabolismParameters) -> dict[str, Array]:
    """Maximal oxygen uptake of the cells.

        V = V0 (1 + a (1 - 2 xi)) (q + u_p p + u_i i + u_x x + u_m (m1 + m2))

    Args:
        fields: quiescent, primed, injured, msc_derived, macrophage_m1, macrophage_m2, zone xi [-], (nz, ny, nx).
        p: V0 [mM/s], zonation a and uptakes u relative to a quiescent hepatocyte [-].

    Returns:
        oxygen_demand [mM/s] per tissue volume.

    Reference: BIOLOGY A3.
    """
    cells = fields.quiescent + p.uptake_primed * fields.primed + p.uptake_injured * fields.injured
    cells = cells + p.uptake_msc_derived * fields.msc_derived
    cells = cells + p.uptake_macrophage * (fields.macrophage_m1 + fields.macrophage_m2)
    return {"oxygen_demand": p.uptake_at_rest * (1.0 + p.uptake_zonation * (1.0 - 2.0 * fields.zone)) * cells}


@algebraic(reads=("oxygen",), writes=("atp", "hypoxia"))
def energy_charge(fields: Fields, p: MetabolismParameters) -> dict[str, Array]:
    """Energy charge and hypoxic response, a = H(p, K_a, n_a) and h = 1 - H(p, K_h, n_h).

    Args:
        fields: oxygen p [mmHg], (nz, ny, nx).
        p: half saturations K [mmHg], exponents n [-].

    Returns:
        atp a and hypoxia h [-].

    Reference: BIOLOGY A3.
    """
    return {
        "atp": hill(fields.oxygen, p.atp_half_saturation, p.atp_exponent),
        "hypoxia": 1.0 - hill(fields.oxygen, p.hypoxia_half_saturation, p.hypoxia_exponent),
    }


@algebraic(reads=(*_CELLS, "atp", "identity", "capillarisation"), writes=("mass_local", "function_local"))
def working_cells(fields: Fields, p: MetabolismParameters) -> dict[str, Array]:
    """What the cells of a place count for: as mass (regeneration) and as function (clinic).

        f_m = (q + w_p p + w_i i + w_x x) a,   f = f_m id (1 - e cap)

    Args:
        fields: quiescent, primed, injured, msc_derived, atp a, identity id, capillarisation cap [-], (nz, ny, nx).
        p: weights w and effect e of capillarisation [-].

    Returns:
        mass_local f_m and function_local f [-].

    Reference: BIOLOGY A2.
    """
    cells = fields.quiescent + p.mass_primed * fields.primed + p.mass_injured * fields.injured
    mass = (cells + p.mass_msc_derived * fields.msc_derived) * fields.atp
    function = mass * fields.identity * (1.0 - p.capillarisation_effect * fields.capillarisation)
    return {"mass_local": mass, "function_local": function}


@slow(reads=("zonation", "oxygen"), writes=("zonation",))
def zonation_relaxation(fields: Fields, p: MetabolismParameters) -> Rates:
    """The periportal phenotype follows the oxygen, dz/dt = (H(p, K, n) - z) / tau.

    Args:
        fields: zonation z [-] and oxygen p [mmHg], each (nz, ny, nx).
        p: half saturation K [mmHg], exponent n [-], time tau [h].

    Returns:
        Production and loss of zonation [1/h].

    Reference: BIOLOGY A3.
    """
    target = hill(fields.oxygen, p.zonation_half_saturation, p.zonation_exponent)
    loss = jnp.full_like(fields.zonation, 1.0 / p.zonation_time)
    return Rates(production={"zonation": target / p.zonation_time}, loss={"zonation": loss})
