"""Sinusoids: endothelial integrity, capillarisation, and the conductance that is left for blood.

Damaged endothelium, scar and plugs multiply, since each narrows the same sinusoid. A collateral path beside them keeps
the conductance above zero, so that blood and the pressure solve find a way through dead or plugged tissue. Loss of
fenestrae takes months and leaves the flow alone; it lowers function, see `hepatojax.biology.metabolism`.
"""

from __future__ import annotations

from jaxtyping import Array, Float

from hepatojax.mechanism import Fields, FieldSpec, Rates, algebraic, pytree, slow
from hepatojax.numerics.safe_math import positive_part
from hepatojax.parameters.registry import Scalar


@pytree
class VesselParameters:
    """Registry subject `vessels`; rates are per hour inside."""

    repair_rate: Scalar  # [1/h]
    damage_rate: Scalar  # [1/h]
    capillarisation_rate: Scalar  # [1/h]
    decapillarisation_rate: Scalar  # [1/h]
    capillarisation_threshold: Scalar  # [-]
    capillarisation_smoothing: Scalar  # [-]
    m2_smoothing: Scalar  # [-]
    collagen_at_closure: Scalar  # [-]
    collagen_exponent: Scalar  # [-]
    collagen_smoothing: Scalar  # [-]
    collateral_share: Scalar  # [-]
    rest_collagen: Scalar  # [-], subject `matrix`


FIELDS = (
    FieldSpec("vascular_integrity", "-", "voxel", "state", "intact share of the sinusoidal endothelium", high=1.0),
    FieldSpec("capillarisation", "-", "voxel", "state", "share of sinusoids without fenestrae", high=1.0),
    FieldSpec("vegf_drive", "-", "voxel", "algebraic", "tissue VEGF over its rest value"),
    FieldSpec("conductance_factor", "-", "voxel", "algebraic", "permeability over its rest value", high=1.0),
)


@algebraic(reads=("vascular_integrity", "collagen", "blocked"), writes=("conductance_factor",))
def sinusoidal_conductance(fields: Fields, p: VesselParameters) -> dict[str, Array]:
    """Permeability that integrity, collagen and plugs leave, beside a collateral path.

        k = k_c + (1 - k_c) v (o(c) / o(c_rest))^n (1 - blocked),   o(c) = P(1 - c / c_max)

    Args:
        fields: vascular_integrity v, collagen c, blocked [-], each (nz, ny, nx).
        p: collateral share k_c, closure c_max, exponent n, smoothing of P, c_rest [-].

    Returns:
        conductance_factor [-]: 1 at rest, never below k_c.

    Reference: BIOLOGY A3 and A11.8; PARAMETERS P13.
    """
    openness = matrix_openness(fields.collagen, p) / matrix_openness(p.rest_collagen, p)
    lobular = fields.vascular_integrity * openness**p.collagen_exponent * (1.0 - fields.blocked)
    return {"conductance_factor": p.collateral_share + (1.0 - p.collateral_share) * lobular}


def matrix_openness(collagen: Float[Array, "*shape"] | Scalar, p: VesselParameters) -> Float[Array, "*shape"]:
    """Share of the sinusoidal width that collagen leaves open, P(1 - c / c_max).

    Args:
        collagen: volume fraction c [-], any shape.
        p: closure c_max and smoothing of P [-].

    Returns:
        The open share [-], positive.

    Reference: BIOLOGY A3.
    """
    return positive_part(1.0 - collagen / p.collagen_at_closure, p.collagen_smoothing)


@algebraic(reads=("vegf", "rest_vegf"), writes=("vegf_drive",))
def vegf_sensing(fields: Fields, p: VesselParameters) -> dict[str, Array]:
    """VEGF as the endothelium feels it, g = c / c_rest.

    Args:
        fields: vegf and rest_vegf [nM], each (nz, ny, nx).
        p: not used.

    Returns:
        vegf_drive [-], 1 at rest.

    Reference: BIOLOGY A4.
    """
    return {"vegf_drive": fields.vegf / fields.rest_vegf}


def vegf_response(drive: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Saturating gain of repair by VEGF, (g - 1) / (1 + g), in (-1, 1).

    Args:
        drive: g, VEGF over its rest value [-], any shape.

    Returns:
        The gain [-], 0 at rest.

    Reference: BIOLOGY A7.
    """
    return (drive - 1.0) / (1.0 + drive)


@slow(reads=("vascular_integrity", "tnf_toxicity", "vegf_drive", "atp"), writes=("vascular_integrity",))
def endothelial_turnover(fields: Fields, p: VesselParameters) -> Rates:
    """Repair and loss of the sinusoidal endothelium.

        dv/dt = k_rep (1 + s(g)) (1 - v) - k_dam (T + 1 - a) v,   s(g) = (g - 1) / (1 + g)

    with g the VEGF drive, T the killing response to TNF, a the energy charge.

    Args:
        fields: vascular_integrity, tnf_toxicity, vegf_drive, atp [-], each (nz, ny, nx).
        p: rates [1/h].

    Returns:
        Production and loss of vascular_integrity [1/h].

    Reference: BIOLOGY A7.
    """
    repair = p.repair_rate * (1.0 + vegf_response(fields.vegf_drive))
    damage = p.damage_rate * (fields.tnf_toxicity + 1.0 - fields.atp)
    return Rates(production={"vascular_integrity": repair}, loss={"vascular_integrity": repair + damage})


@slow(reads=("capillarisation", "stellate", "macrophage_m2", "vegf_drive"), writes=("capillarisation",))
def capillarisation_turnover(fields: Fields, p: VesselParameters) -> Rates:
    """Loss of fenestrae next to activated stellate cells, over months, and its return.

        dcap/dt = k_c S (1 - cap) - k_u [1 + P(m2 - 1) / (1 + m2) + s(g)] cap,   S = P(s - s0) / (1 - s0)

    Args:
        fields: capillarisation, stellate s, macrophage_m2, vegf_drive g [-], each (nz, ny, nx).
        p: rates [1/h], threshold s0 and smoothings of P [-].

    Returns:
        Production and loss of capillarisation [1/h].

    Reference: BIOLOGY A7.
    """
    m2 = fields.macrophage_m2
    excess = positive_part(fields.stellate - p.capillarisation_threshold, p.capillarisation_smoothing)
    gain = p.capillarisation_rate * excess / (1.0 - p.capillarisation_threshold)
    m2_help = positive_part(m2 - 1.0, p.m2_smoothing) / (1.0 + m2)
    loss = p.decapillarisation_rate * (1.0 + m2_help + vegf_response(fields.vegf_drive))
    return Rates(production={"capillarisation": gain}, loss={"capillarisation": gain + loss})
