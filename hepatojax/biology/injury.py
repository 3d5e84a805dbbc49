"""What harms hepatocytes and what repairs them: TNF, the cause, a toxin, anoxia, overload; inflammation, necrosis.

Injury is reversible at first: the five causes add up to one rate, an injured cell recovers if it has energy, or dies
and leaves debris. TNF is read twice: T kills, J depresses function and regeneration. J is the more sensitive one and
counts from its value at rest, so that it vanishes in health.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from hepatojax.mechanism import Fields, FieldSpec, algebraic, pytree
from hepatojax.numerics.safe_math import hill, positive_part
from hepatojax.parameters.registry import Scalar


@pytree
class InjuryParameters:
    """Registry subject `injury`; rates are per hour inside."""

    direct_rate: Scalar  # [1/h]
    immune_rate: Scalar  # [1/h]
    cause_zonation: Scalar  # [-]
    toxin_rate: Scalar  # [1/h]
    toxin_zonation: Scalar  # [-]
    killing_rate: Scalar  # [1/h]
    killing_half_saturation: Scalar  # [nM]
    killing_exponent: Scalar  # [-]
    anoxia_rate: Scalar  # [1/h]
    overload_rate: Scalar  # [1/h]
    overload_half_saturation: Scalar  # [-]
    overload_exponent: Scalar  # [-]
    repair_rate: Scalar  # [1/h]
    repair_tnf_inhibition: Scalar  # [-]
    necrosis_rate: Scalar  # [1/h]
    necrosis_tnf_gain: Scalar  # [-]
    necrosis_energy_gain: Scalar  # [-]
    debris_clearance_rate: Scalar  # [1/h]
    debris_clearance_m2: Scalar  # [-]
    inflammation_half_saturation: Scalar  # [nM]
    inflammation_smoothing: Scalar  # [-]


FIELDS = (
    FieldSpec("cause_weight", "-", "voxel", "algebraic", "zonation of the cause, not normalised"),
    FieldSpec("toxin_weight", "-", "voxel", "algebraic", "zonation of the activation of a toxin, not normalised"),
    FieldSpec("tnf_toxicity", "-", "voxel", "algebraic", "killing response to tissue TNF", high=1.0),
    FieldSpec("inflammation", "-", "voxel", "algebraic", "inflammation index, 0 in health", high=1.0),
    FieldSpec("injury_rate", "1/h", "voxel", "algebraic", "rate at which hepatocytes are injured"),
    FieldSpec("repair_rate", "1/h", "voxel", "algebraic", "rate at which injured hepatocytes recover"),
    FieldSpec("necrosis_rate", "1/h", "voxel", "algebraic", "rate at which injured hepatocytes die"),
    FieldSpec("necrosis", "1/h", "voxel", "algebraic", "hepatocytes that die per time"),
    FieldSpec("debris_clearance", "1/h", "voxel", "algebraic", "rate at which debris is cleared"),
)


@algebraic(reads=("zone",), writes=("cause_weight", "toxin_weight"))
def harm_zonation(fields: Fields, p: InjuryParameters) -> dict[str, Array]:
    """Where the cause and a toxin act, w = exp(b (xi - 1/2)); `injury_rates` divides each by its mean.

    Args:
        fields: zone xi [-], (nz, ny, nx).
        p: log ratios b, central vein over portal tract [-].

    Returns:
        cause_weight and toxin_weight [-].

    Reference: BIOLOGY A5; MODEL 5 (a toxin is activated by pericentral CYP).
    """
    place = fields.zone - 0.5
    return {"cause_weight": jnp.exp(p.cause_zonation * place), "toxin_weight": jnp.exp(p.toxin_zonation * place)}


@algebraic(reads=("tnf", "rest_inflammation"), writes=("tnf_toxicity", "inflammation"))
def tnf_sensing(fields: Fields, p: InjuryParameters) -> dict[str, Array]:
    """Killing response T to tissue TNF, and the more sensitive inflammation J that depresses function.

        T = H(c, K, n),   J = P((H(c, K_J) - J0) / (1 - J0))

    Args:
        fields: tnf c [nM] and rest_inflammation J0 [-], (nz, ny, nx) or scalar.
        p: half saturations [nM], exponent and smoothing of P [-].

    Returns:
        tnf_toxicity T and inflammation J [-].

    Reference: BIOLOGY A1, A5.
    """
    rest = fields.rest_inflammation
    excess = (inflammation_response(fields.tnf, p) - rest) / (1.0 - rest)
    return {
        "tnf_toxicity": hill(fields.tnf, p.killing_half_saturation, p.killing_exponent),
        "inflammation": positive_part(excess, p.inflammation_smoothing),
    }


def inflammation_response(tnf: Float[Array, "*shape"], p: InjuryParameters) -> Float[Array, "*shape"]:
    """Sensitive response to tissue TNF, H(c, K_J); its rest value is `rest_inflammation`.

    Args:
        tnf: tissue level c [nM], any shape.
        p: half saturation K_J [nM].

    Returns:
        The response [-].

    Reference: BIOLOGY A5.
    """
    return hill(tnf, p.inflammation_half_saturation)


@algebraic(
    reads=(
        "activity",
        "effector_t",
        "cause_weight",
        "mean_cause_weight",
        "toxin_response",
        "toxin_weight",
        "mean_toxin_weight",
        "tnf_toxicity",
        "atp",
        "load_excess",
        "injured",
    ),
    writes=("injury_rate", "repair_rate", "necrosis_rate", "necrosis"),
)
def injury_rates(fields: Fields, p: InjuryParameters) -> dict[str, Array]:
    """Rates of injury, repair and necrosis.

        k_inj = ag (k_dir + k_imm te) w / <w> + k_tox X v / <v> + k_tnf T + k_an (1 - a)^2 + k_od H(x, K_od, n_od)
        k_rep = k_r a / (1 + g_r T),   k_nec = k_n (1 + g_T T + g_a (1 - a))

    Args:
        fields: cause_weight w, toxin_weight v, tnf_toxicity T, atp a, injured [-], each (nz, ny, nx); scalars activity
            ag, effector_t te, toxin_response X, load_excess x, and the means <w>, <v> [-].
        p: rates k [1/h], gains g [-].

    Returns:
        injury_rate, repair_rate, necrosis_rate [1/h] and necrosis = k_nec i [1/h].

    Reference: BIOLOGY A5.
    """
    toxicity, failure = fields.tnf_toxicity, 1.0 - fields.atp
    cause = fields.activity * (p.direct_rate + p.immune_rate * fields.effector_t)
    overload = p.overload_rate * hill(fields.load_excess, p.overload_half_saturation, p.overload_exponent)
    poison = p.toxin_rate * fields.toxin_response * fields.toxin_weight / fields.mean_toxin_weight
    injury = cause * fields.cause_weight / fields.mean_cause_weight + poison + overload
    injury = injury + p.killing_rate * toxicity + p.anoxia_rate * failure**2
    necrosis = p.necrosis_rate * (1.0 + p.necrosis_tnf_gain * toxicity + p.necrosis_energy_gain * failure)
    return {
        "injury_rate": injury,
        "repair_rate": p.repair_rate * fields.atp / (1.0 + p.repair_tnf_inhibition * toxicity),
        "necrosis_rate": necrosis,
        "necrosis": necrosis * fields.injured,
    }


@algebraic(reads=("macrophage_m1", "macrophage_m2"), writes=("debris_clearance",))
def debris_clearance(fields: Fields, p: InjuryParameters) -> dict[str, Array]:
    """Clearance of debris by macrophages, k (m1 + w m2) / 2.

    Args:
        fields: macrophage_m1 and macrophage_m2 [-], each (nz, ny, nx).
        p: rate k [1/h], weight w [-].

    Returns:
        debris_clearance [1/h].

    Reference: BIOLOGY A5.
    """
    eaters = fields.macrophage_m1 + p.debris_clearance_m2 * fields.macrophage_m2
    return {"debris_clearance": 0.5 * p.debris_clearance_rate * eaters}
