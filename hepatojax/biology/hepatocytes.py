"""Hepatocytes: crowding, the drives of regeneration, the cycle of the cells, and their identity.

Densities are relative to healthy tissue. A quiescent cell is primed by IL-6 and TNF, and a primed one divides under
active HGF against TGF-beta; both need energy and room. Cells that are missing nearby raise both drives beside the
signals, and inflammation brakes priming and that local drive. A resection leaves every lobule as full as before: it
acts through the load of the whole liver, see `hepatojax.body.growth`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array

from hepatojax.mechanism import Fields, FieldSpec, Rates, Transfer, algebraic, pytree, slow
from hepatojax.numerics.safe_math import hill, positive_part
from hepatojax.parameters.registry import Scalar


@pytree
class HepatocyteParameters:
    """Registry subject `hepatocytes`; rates are per hour inside."""

    volume_primed: Scalar  # [-]
    volume_debris: Scalar  # [-]
    room_occupancy: Scalar  # [-]
    room_width: Scalar  # [-]
    priming_rate: Scalar  # [1/h]
    division_rate: Scalar  # [1/h]
    quiescence_rate: Scalar  # [1/h]
    priming_half_saturation: Scalar  # [nM]
    priming_tnf_weight: Scalar  # [-]
    brake_strength: Scalar  # [-]
    free_space_gain: Scalar  # [-]
    free_space_half_saturation: Scalar  # [-]
    free_space_exponent: Scalar  # [-]
    free_space_smoothing: Scalar  # [-]
    growth_half_saturation: Scalar  # [nM]
    growth_exponent: Scalar  # [-]
    growth_tgf_half_inhibition: Scalar  # [nM]
    identity_gain_rate: Scalar  # [1/h]
    identity_loss_rate: Scalar  # [1/h]


FIELDS = (
    FieldSpec("quiescent", "-", "voxel", "state", "quiescent hepatocytes", diluted=True),
    FieldSpec("primed", "-", "voxel", "state", "primed and dividing hepatocytes", diluted=True),
    FieldSpec("injured", "-", "voxel", "state", "reversibly injured hepatocytes", diluted=True),
    FieldSpec("debris", "-", "voxel", "state", "dead hepatocytes not yet cleared", diluted=True),
    FieldSpec("identity", "-", "voxel", "state", "hepatocyte identity (HNF4a programme)", high=1.0),
    FieldSpec("occupancy", "-", "voxel", "algebraic", "volume taken by cells and matrix, 1 at rest", low=None),
    FieldSpec("room", "-", "voxel", "algebraic", "room left for division", high=1.0),
    FieldSpec("free_space_drive", "-", "voxel", "algebraic", "drive of regeneration by missing neighbours", high=1.0),
    FieldSpec("priming_drive", "-", "voxel", "algebraic", "drive of priming", high=1.0),
    FieldSpec("growth_drive", "-", "voxel", "algebraic", "drive of division", high=1.0),
    FieldSpec("priming_rate", "1/h", "voxel", "algebraic", "rate of priming"),
    FieldSpec("division_rate", "1/h", "voxel", "algebraic", "rate of division of primed cells"),
    FieldSpec("division", "1/h", "voxel", "algebraic", "divisions per time, relative to healthy density"),
)


@algebraic(
    reads=("quiescent", "primed", "injured", "msc_derived", "debris", "collagen_excess"), writes=("occupancy", "room")
)
def crowding(fields: Fields, p: HepatocyteParameters) -> dict[str, Array]:
    """Occupied volume, and the room that it leaves for division.

        occ = q + v_p p + i + x + v_d d + (c - c_rest),   room = sigmoid((occ_max - occ) / w)

    Args:
        fields: quiescent, primed, injured, msc_derived, debris, collagen_excess [-], each (nz, ny, nx).
        p: volumes v, occ_max and w [-].

    Returns:
        occupancy and room [-].

    Reference: BIOLOGY A2, A5.
    """
    occupancy = fields.quiescent + p.volume_primed * fields.primed + fields.injured + fields.msc_derived
    occupancy = occupancy + p.volume_debris * fields.debris + fields.collagen_excess
    return {"occupancy": occupancy, "room": jax.nn.sigmoid((p.room_occupancy - occupancy) / p.room_width)}


@algebraic(
    reads=("il6", "tnf", "tgf_beta", "hgf_active", "inflammation", "occupancy", "atp"),
    writes=("free_space_drive", "priming_drive", "growth_drive"),
)
def regeneration_drives(fields: Fields, p: HepatocyteParameters) -> dict[str, Array]:
    """Drives of regeneration: by signals, and by contact inhibition that is released where cells are missing.

        B = 1 / (1 + k J),   loc = a H(P(1 - occ), K_l, n_l) B
        prime0 = H(IL6 + w TNF, K_p) B,            prime = prime0 + (1 - prime0) loc
        G0 = H(h, K_h, n_h) / (1 + TGF / K_T),     G = G0 + (1 - G0) loc atp

    Args:
        fields: il6, tnf, tgf_beta, hgf_active h [nM], inflammation J, occupancy, atp [-], each (nz, ny, nx).
        p: half saturations [nM or -], exponents, gains and smoothing of P [-].

    Returns:
        free_space_drive loc, priming_drive, growth_drive [-].

    Reference: BIOLOGY A5.
    """
    brake = 1.0 / (1.0 + p.brake_strength * fields.inflammation)
    gap = positive_part(1.0 - fields.occupancy, p.free_space_smoothing)
    local = p.free_space_gain * hill(gap, p.free_space_half_saturation, p.free_space_exponent) * brake
    priming = hill(fields.il6 + p.priming_tnf_weight * fields.tnf, p.priming_half_saturation) * brake
    growth = hill(fields.hgf_active, p.growth_half_saturation, p.growth_exponent)
    growth = growth / (1.0 + fields.tgf_beta / p.growth_tgf_half_inhibition)
    return {
        "free_space_drive": local,
        "priming_drive": priming + (1.0 - priming) * local,
        "growth_drive": growth + (1.0 - growth) * local * fields.atp,
    }


@algebraic(
    reads=("priming_drive", "growth_drive", "atp", "room", "primed"),
    writes=("priming_rate", "division_rate", "division"),
)
def cycle_rates(fields: Fields, p: HepatocyteParameters) -> dict[str, Array]:
    """Rates of priming a = k_pr prime atp room and of division b = k_div G atp room.

    Args:
        fields: priming_drive, growth_drive G, atp, room, primed p [-], each (nz, ny, nx).
        p: rates [1/h].

    Returns:
        priming_rate a, division_rate b and division b p [1/h].

    Reference: BIOLOGY A5.
    """
    able = fields.atp * fields.room
    division_rate = p.division_rate * fields.growth_drive * able
    return {
        "priming_rate": p.priming_rate * fields.priming_drive * able,
        "division_rate": division_rate,
        "division": division_rate * fields.primed,
    }


@slow(
    reads=(
        "quiescent",
        "primed",
        "injured",
        "debris",
        "priming_rate",
        "division_rate",
        "growth_drive",
        "injury_rate",
        "repair_rate",
        "necrosis_rate",
        "debris_clearance",
        "rest_apoptosis",
    ),
    writes=("quiescent", "primed", "injured", "debris"),
)
def hepatocyte_turnover(fields: Fields, p: HepatocyteParameters) -> Rates:
    """The cycle of hepatocytes: priming, division, return to rest, injury, repair, death and clearance.

        dq/dt = 2 b p + r p + k_rep i - (a + k_inj + kap) q,     r = k_req (1 - G)
        dp/dt = a q - (b + r + k_inj) p
        di/dt = k_inj (q + p) - (k_rep + k_nec) i
        dd/dt = k_nec i - k_clear d

    Args:
        fields: quiescent q, primed p, injured i, debris d, growth_drive G [-]; priming_rate a, division_rate b,
            injury_rate, repair_rate, necrosis_rate, debris_clearance, rest_apoptosis kap [1/h]; each (nz, ny, nx).
        p: quiescence_rate k_req [1/h].

    Returns:
        Transfers between the four states, and the losses by apoptosis and clearance [1/h].

    Reference: BIOLOGY A5.
    """
    q, p_, i, d = "quiescent", "primed", "injured", "debris"
    return Rates(
        loss={q: jnp.broadcast_to(fields.rest_apoptosis, fields.quiescent.shape), d: fields.debris_clearance},
        transfers=(
            Transfer(q, p_, fields.priming_rate),
            Transfer(p_, q, fields.division_rate, gain=2.0),
            Transfer(p_, q, p.quiescence_rate * (1.0 - fields.growth_drive)),
            Transfer(q, i, fields.injury_rate),
            Transfer(p_, i, fields.injury_rate),
            Transfer(i, q, fields.repair_rate),
            Transfer(i, d, fields.necrosis_rate),
        ),
    )


@slow(reads=("identity", "inflammation"), writes=("identity",))
def identity_turnover(fields: Fields, p: HepatocyteParameters) -> Rates:
    """Identity is lost under inflammation and comes back in weeks, did/dt = k_u - (k_u + k_d J) id.

    Args:
        fields: identity id and inflammation J [-], each (nz, ny, nx).
        p: rates k [1/h].

    Returns:
        Production and loss of identity [1/h].

    Reference: BIOLOGY A5; HNF4a loss drives liver failure (PMID 31311938).
    """
    gain = jnp.full_like(fields.identity, p.identity_gain_rate)
    return Rates(production={"identity": gain}, loss={"identity": gain + p.identity_loss_rate * fields.inflammation})
