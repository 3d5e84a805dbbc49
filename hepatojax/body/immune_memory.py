"""Immune cells of the body: effector and regulatory T cells, educated monocytes, suppression of defence.

The regulatory pool is the slow memory of a treatment; its clinical readout is the relative share of regulatory T cells.
It is fed by every MSC that dies, in whatever organ, and fades in months; effector T cells, which need the cause and
inflamed tissue, are restrained by it. Deaths in the liver come as a rate from the grid, those elsewhere as arrivals at
their own times (`educated_outside`), so that an infusion at any time of a step counts from then on.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
from jaxtyping import Array

from hepatojax.mechanism import Arrival, Fields, FieldSpec, Rates, Transfer, algebraic, pytree, slow
from hepatojax.numerics.safe_math import hill, positive_part, safe_power
from hepatojax.parameters.registry import Scalar

FIELDS = (
    FieldSpec("effector_t", "-", "body", "state", "effector T cells against the cause"),
    FieldSpec("regulatory_t", "-", "body", "state", "regulatory T cells over rest"),
    FieldSpec("treg_precursors", "-", "body", "state", "regulatory T cells in the making, over the resting pool"),
    FieldSpec("educated_monocytes", "1e6 cells", "body", "state", "monocytes educated by dying MSC, on their way"),
    FieldSpec("immune_suppression", "-", "body", "state", "suppression of the defence against infection", high=1.0),
    FieldSpec(
        "education_influx", "1/h", "body", "algebraic", "educated monocytes entering the liver over resting density"
    ),
)


@pytree
class ImmuneMemoryParameters:
    """Registry subjects `immune_memory`, `amplification`, `patient` and `cells`.

    Attributes:
        effector_rate: k, at which effector T cells follow their drive [1/h].
        cause_half_saturation: K_ag, activity of the cause at half of the drive [-].
        costimulation_at_rest: te0, co-stimulation without M1 macrophages [-].
        costimulation_half_saturation: K_co, mean M1 at half of the co-stimulation [-].
        regulation_half_effect: K_tr, regulatory T cells that halve the drive [-].
        maturation_rate: k_mat, of induced regulatory T cells [1/h].
        treg_turnover_rate: of regulatory T cells [1/h].
        treg_maximum: m, regulatory T cells at which their loss doubles [-].
        treg_crowding_exponent: n, steepness of their loss in their number [-].
        treg_pool: N_tr, regulatory T cells of the body at rest [1e6 cells].
        monocyte_homing_rate: k_home, passage of educated monocytes to the liver [1/h].
        other_organ_share: w_o, weight of deaths in other organs relative to the lungs [-].
        dead_liver_volume: L0, added to the relative liver volume where it divides [-].
        suppression_rate: at which suppression of defence follows regulation [1/h].
        suppression_half_saturation: K_I, excess of regulatory T cells at half of the suppression [-].
        suppression_exponent: n, its Hill exponent [-].
        suppression_smoothing: e, of the excess [-].
        phagocytes_per_msc: n_phago, hosts educated by one dying MSC [cells].
        tregs_per_phagocyte: n_treg, regulatory T cells induced by one of them [cells].
        lung_homing: w, share of phagocytes educated in lung and spleen that home to the liver [-].
        liver_volume_l: V0, of the healthy liver [l].
        macrophage_density: n0, of the healthy liver [cells/mm3 = 1e6 cells/l].
    """

    effector_rate: Scalar
    cause_half_saturation: Scalar
    costimulation_at_rest: Scalar
    costimulation_half_saturation: Scalar
    regulation_half_effect: Scalar
    maturation_rate: Scalar
    treg_turnover_rate: Scalar
    treg_maximum: Scalar
    treg_crowding_exponent: Scalar
    treg_pool: Scalar
    monocyte_homing_rate: Scalar
    other_organ_share: Scalar
    dead_liver_volume: Scalar
    suppression_rate: Scalar
    suppression_half_saturation: Scalar
    suppression_exponent: Scalar
    suppression_smoothing: Scalar
    phagocytes_per_msc: Scalar
    tregs_per_phagocyte: Scalar
    lung_homing: Scalar
    liver_volume_l: Scalar
    macrophage_density: Scalar


def educated_outside(deaths: Mapping[str, Arrival], potency: Scalar, p: ImmuneMemoryParameters) -> dict[str, Arrival]:
    """What MSC that die outside the liver bring about: all of them induce regulation, some educate monocytes for it.

        ti += n_treg n_phago f (lung + spleen + other) / N_tr,   edu += n_phago f w (lung + spleen + w_o other)

    Args:
        deaths: in "lung", "spleen" and "other" over a step [1e6 cells].
        potency: of education, f [-].
        p: w (`lung_homing`) and w_o (`other_organ_share`) [-], cells n that each death brings about [cells], and the
            resting pool N_tr [1e6 cells].

    Returns:
        What enters treg_precursors [-] and educated_monocytes [1e6 cells], at the times of the deaths.

    Reference: BIOLOGY A6, A8.
    """
    induced = _tregs_per_msc(potency, p)
    homing = p.phagocytes_per_msc * potency * p.lung_homing
    per_death = {
        "treg_precursors": {"lung": induced, "spleen": induced, "other": induced},
        "educated_monocytes": {"lung": homing, "spleen": homing, "other": homing * p.other_organ_share},
    }

    def made(factors: Mapping[str, Scalar]) -> Arrival:
        parts = (jax.tree.map(lambda dead, f=f: f * dead, deaths[organ]) for organ, f in factors.items())
        return jax.tree.map(lambda *of_organs: sum(of_organs), *parts)

    return {name: made(factors) for name, factors in per_death.items()}


def _tregs_per_msc(potency: Scalar, p: ImmuneMemoryParameters) -> Scalar:
    """Regulatory T cells in the making for each MSC that dies, over the resting pool [1/(1e6 cells)]."""
    return p.tregs_per_phagocyte * p.phagocytes_per_msc * potency / p.treg_pool


@algebraic(reads=("educated_monocytes", "liver_volume"), writes=("education_influx",))
def education_influx(fields: Fields, p: ImmuneMemoryParameters) -> dict[str, Array]:
    """Educated monocytes entering the liver, as a rate of the relative macrophage density.

        u = k_home edu / (V0 (L + L0) n0)

    with V0 the volume and n0 the macrophage density of the healthy liver, L0 a guard for a dead liver.

    Args:
        fields: educated_monocytes edu [1e6 cells], liver_volume L [-], scalars.
        p: k_home [1/h], V0 [l], n0 [1e6 cells/l], L0 [-].

    Returns:
        education_influx u [1/h], scalar.

    Reference: BIOLOGY A8.
    """
    resting = p.liver_volume_l * p.macrophage_density * (fields.liver_volume + p.dead_liver_volume)
    return {"education_influx": p.monocyte_homing_rate * fields.educated_monocytes / resting}


@slow(
    reads=("effector_t", "regulatory_t", "activity", "mean_macrophage_m1"),
    writes=("effector_t",),
)
def effector_t_cells(fields: Fields, p: ImmuneMemoryParameters) -> Rates:
    """Effector T cells need the cause and co-stimulation, and are restrained by regulation.

        dte/dt = k { H(ag, K_ag) [te0 + H(<m1>, K_co)] (1 + 1/K_tr) / (1 + tr/K_tr) - te }

    Args:
        fields: effector_t te, regulatory_t tr, activity ag, mean_macrophage_m1 <m1> [-], scalars.
        p: rate k [1/h], half saturations K and co-stimulation at rest te0 [-].

    Returns:
        Production and loss of effector_t [1/h].

    Reference: BIOLOGY A6.
    """
    drive = _call(fields, p) * _restraint(fields.regulatory_t, p)
    return Rates(production={"effector_t": p.effector_rate * drive}, loss={"effector_t": p.effector_rate})


def _call(fields: Fields, p: ImmuneMemoryParameters) -> Array:
    """Call for effector T cells by the cause, with co-stimulation, under regulation at rest [-]."""
    costimulation = p.costimulation_at_rest + hill(fields.mean_macrophage_m1, p.costimulation_half_saturation)
    return hill(fields.activity, p.cause_half_saturation) * costimulation


def _restraint(regulatory_t: Array, p: ImmuneMemoryParameters) -> Array:
    """Share of the call that regulation leaves over that which it leaves at rest [-]."""
    return (1.0 + 1.0 / p.regulation_half_effect) / (1.0 + regulatory_t / p.regulation_half_effect)


RESTRAINT_ORIGINS = ("resting_regulation", "regulatory_memory")


def restraint_by_origin(fields: Fields, p: ImmuneMemoryParameters) -> dict[str, Array]:
    """Effector T cells that regulation keeps from being made, by the resting pool and by the memory beyond it.

        rest: k c / K_tr,   memory: k c [1 - (1 + 1/K_tr) / (1 + tr/K_tr)],   c = H(ag, K_ag) [te0 + H(<m1>, K_co)]

    With those that are made they add up to what would be made without regulatory T cells, k c (1 + 1/K_tr).

    Args:
        fields: regulatory_t tr, activity ag, mean_macrophage_m1 [-].
        p: rate k [1/h], half effect K_tr and half saturations [-].

    Returns:
        origin of `RESTRAINT_ORIGINS` -> effector T cells held back [1/h].

    Reference: BIOLOGY A6.
    """
    called = p.effector_rate * _call(fields, p)
    return {
        "resting_regulation": called / p.regulation_half_effect,
        "regulatory_memory": called * (1.0 - _restraint(fields.regulatory_t, p)),
    }


@slow(
    reads=("treg_precursors", "regulatory_t", "msc_deaths_liver", "potency_education"),
    writes=("treg_precursors", "regulatory_t"),
)
def regulatory_t_cells(fields: Fields, p: ImmuneMemoryParameters) -> Rates:
    """Regulatory T cells, induced by phagocytes that ate MSC; they fade in months.

        dti/dt = n_treg n_phago f deaths / N_tr - k_mat ti
        dtr/dt = k (1 + m^-n) + k_mat ti - k (1 + (tr/m)^n) tr

    These are the deaths in the liver; for those elsewhere see `educated_outside`.

    Args:
        fields: treg_precursors ti, regulatory_t tr [-], msc_deaths_liver [1e6 cells/h], potency_education f [-],
            scalars.
        p: rates k and k_mat [1/h], maximum m and exponent n [-], cells n_phago and n_treg [cells], pool N_tr
            [1e6 cells].

    Returns:
        Production and loss of both [1/h]; maturation is a transfer. Without MSC tr = 1 stands still.

    Reference: BIOLOGY A6; half-life of human memory CD4 cells, PMC2329696.
    """
    crowding = safe_power(fields.regulatory_t / p.treg_maximum, p.treg_crowding_exponent)
    return Rates(
        production={
            "treg_precursors": _tregs_per_msc(fields.potency_education, p) * fields.msc_deaths_liver,
            "regulatory_t": p.treg_turnover_rate * (1.0 + p.treg_maximum**-p.treg_crowding_exponent),
        },
        loss={"regulatory_t": p.treg_turnover_rate * (1.0 + crowding)},
        transfers=(Transfer("treg_precursors", "regulatory_t", p.maturation_rate),),
    )


@slow(
    reads=("educated_monocytes", "msc_deaths_liver", "potency_education"),
    writes=("educated_monocytes",),
)
def monocyte_education(fields: Fields, p: ImmuneMemoryParameters) -> Rates:
    """Monocytes educated by dying MSC, until they reach the liver.

        dedu/dt = n_phago f deaths - k_home edu

    These are the deaths in the liver; for those elsewhere see `educated_outside`.

    Args:
        fields: educated_monocytes edu [1e6 cells], msc_deaths_liver [1e6 cells/h], potency_education f [-], scalars.
        p: n_phago [cells], k_home [1/h].

    Returns:
        Production [1e6 cells/h] and loss [1/h] of educated_monocytes.

    Reference: BIOLOGY A8.
    """
    made = p.phagocytes_per_msc * fields.potency_education * fields.msc_deaths_liver
    return Rates(production={"educated_monocytes": made}, loss={"educated_monocytes": p.monocyte_homing_rate})


@slow(reads=("immune_suppression", "regulatory_t"), writes=("immune_suppression",))
def defence_suppression(fields: Fields, p: ImmuneMemoryParameters) -> Rates:
    """Suppression of the defence against infection by an excess of regulation.

        dI/dt = k (H(P(tr - 1, e), K_I, n) - I)

    Args:
        fields: immune_suppression I, regulatory_t tr [-], scalars.
        p: rate k [1/h], smoothing e, half saturation K_I, exponent n [-].

    Returns:
        Production and loss of immune_suppression [1/h].

    Reference: BIOLOGY A9.
    """
    excess = positive_part(fields.regulatory_t - 1.0, p.suppression_smoothing)
    drive = hill(excess, p.suppression_half_saturation, p.suppression_exponent)
    return Rates(
        production={"immune_suppression": p.suppression_rate * drive},
        loss={"immune_suppression": p.suppression_rate},
    )


MECHANISMS = (education_influx, effector_t_cells, regulatory_t_cells, monocyte_education, defence_suppression)
