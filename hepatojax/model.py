"""The model: its parts, the list of its mechanisms, and how they are evaluated at a given state.

Mechanisms stand in stages, in the order in which what they read becomes known: from the states alone, from oxygen, who
makes signals, who reads them, and the slow rates last. Each sees the fields that it declares and no others. Those of
the tissue work in the precision of the run, those of the body on scalars in float64. A new mechanism is one entry in a
list below; `check_model` refuses a list in which something is read that nobody provides.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hepatojax.biology import hepatocytes, immunity, injury, matrix, metabolism, secretion, stem_cells, vessels
from hepatojax.biology.parameters import BiologyParameters
from hepatojax.biology.secretion import SIGNALS
from hepatojax.body import biodistribution, growth, hazards, immune_memory, liver_tests
from hepatojax.body.biodistribution import BiodistributionParameters
from hepatojax.body.circulation import CirculationParameters, Patient
from hepatojax.body.growth import GrowthParameters
from hepatojax.body.hazards import HazardParameters
from hepatojax.body.immune_memory import ImmuneMemoryParameters
from hepatojax.body.liver_tests import LiverTestParameters
from hepatojax.body.plasma import BodySignal
from hepatojax.body.toxin import ToxinParameters, mean_toxin_response
from hepatojax.mechanism import MEAN, Fields, FieldSpec, Mechanism, Rates, check_composition, pytree, static
from hepatojax.numerics.fusion import computed_once
from hepatojax.numerics.grid import Grid
from hepatojax.parameters.registry import Scalar
from hepatojax.state import QuasiSteady
from hepatojax.therapy.product import CellProduct
from hepatojax.therapy.schedule import passed_of
from hepatojax.tissue.geometry import Lobule
from hepatojax.tissue.migration import MigrationParameters
from hepatojax.tissue.oxygen import OxygenParameters
from hepatojax.tissue.perfusion import PerfusionParameters
from hepatojax.tissue.signals import SignalParameters
from hepatojax.units import UM3_PER_LITRE


@dataclass(frozen=True)
class Rule:
    """A mechanism, where its parameters stand in `ModelParameters`, and whether it works on scalars of the body.

    Attributes:
        mechanism: with the names that it reads and writes.
        parameters: path in `ModelParameters`, as "biology.injury" or "growth".
        body: True where it works on scalars, in float64.
    """

    mechanism: Mechanism
    parameters: str
    body: bool


def _rules(parameters: str, *mechanisms: Mechanism) -> tuple[Rule, ...]:
    """Rules of mechanisms that share a set of parameters; those of biology work on the grid, all others in the body."""
    return tuple(Rule(mechanism, parameters, not parameters.startswith("biology.")) for mechanism in mechanisms)


# In the order of evaluation: from the states alone, from oxygen, who makes signals, who reads them.
CROWDING = (
    *_rules("biology.matrix", matrix.collagen_content),
    *_rules("biology.hepatocytes", hepatocytes.crowding),
)
STRUCTURE = (
    *CROWDING,
    *_rules("biology.stem_cells", stem_cells.sinusoid_blocking, stem_cells.msc_census),
    *_rules("biology.matrix", matrix.matrix_degradation),
    *_rules("biology.immunity", immunity.debris_sensing),
    *_rules("biology.injury", injury.harm_zonation, injury.debris_clearance),
    *_rules("biology.vessels", vessels.sinusoidal_conductance),
    *_rules("biology.metabolism", metabolism.respiration),
    *_rules("growth", growth.growth),
    *_rules("immune_memory", immune_memory.education_influx),
)
ENERGY = (
    *_rules("biology.metabolism", metabolism.energy_charge, metabolism.working_cells),
    *_rules("growth", growth.loads),
)
SECRETION = _rules("biology.secretion", secretion.secretion, secretion.hgf_uptake)
LICENSING = _rules("biology.stem_cells", stem_cells.msc_licensing)
HGF_SECRETION = _rules("biology.secretion", secretion.hgf_secretion)
RESPONSE = (
    *_rules("biology.injury", injury.tnf_sensing, injury.injury_rates),
    *_rules("biology.vessels", vessels.vegf_sensing),
    *_rules("biology.secretion", secretion.hgf_activation),
    *_rules("biology.stem_cells", stem_cells.msc_contact),
    *_rules("biology.hepatocytes", hepatocytes.regeneration_drives, hepatocytes.cycle_rates),
    *_rules("biology.immunity", immunity.macrophage_recruitment, immunity.macrophage_switch),
)
SLOW = (
    *_rules("biology.hepatocytes", hepatocytes.hepatocyte_turnover, hepatocytes.identity_turnover),
    *_rules("biology.metabolism", metabolism.zonation_relaxation),
    *_rules("biology.immunity", immunity.macrophage_turnover),
    *_rules("biology.matrix", matrix.stellate_turnover, matrix.myofibroblast_turnover, matrix.collagen_turnover),
    *_rules("biology.vessels", vessels.endothelial_turnover, vessels.capillarisation_turnover),
    *_rules("biology.stem_cells", stem_cells.msc_turnover, stem_cells.label_turnover, stem_cells.plug_release),
    *_rules(
        "immune_memory",
        immune_memory.effector_t_cells,
        immune_memory.regulatory_t_cells,
        immune_memory.monocyte_education,
        immune_memory.defence_suppression,
    ),
    *_rules("liver_tests", liver_tests.bilirubin, liver_tests.synthesis, liver_tests.transaminases),
    *_rules("hazards", hazards.accumulated_hazards, hazards.cancer_hazard),
)
CLINIC = (*_rules("liver_tests", liver_tests.clinical_chemistry), *_rules("hazards", hazards.hazard_rates))

_ROOMS = (
    *(hepatocytes, metabolism, injury, immunity, matrix, vessels, stem_cells, secretion),
    *(growth, immune_memory, biodistribution, liver_tests, hazards),
)
SPECIFICATIONS: tuple[FieldSpec, ...] = tuple(spec for room in _ROOMS for spec in room.FIELDS)
POOLS = tuple(spec.name for spec in biodistribution.FIELDS)
STEPPED = tuple(spec for spec in SPECIFICATIONS if spec.kind == "state" and spec.name not in (*POOLS, "liver_volume"))
VOXEL_STATES = tuple(spec.name for spec in STEPPED if spec.location == "voxel")
BODY_STATES = tuple(spec.name for spec in STEPPED if spec.location == "body")
DILUTED = tuple(spec.name for spec in STEPPED if spec.diluted)
INPUTS = (
    *("zone", "activity", "toxin_response", "liver_volume", "msc_deaths_liver", "msc_outside"),
    *("potency_hgf", "potency_vegf", "potency_education", "potency_contact", "licensed"),
    *("rest_apoptosis", "rest_m2_influx", "rest_stellate_activation", "rest_collagen_deposition"),
    *("rest_inflammation", "rest_tgf_response", "rest_vegf", "rest_mass", "rest_function"),
    *POOLS,
)
SOLVED = ("oxygen", "flow_relative", "portal_gradient_relative", *SIGNALS)


@dataclass(frozen=True)
class Numerics:
    """How the model is solved; part of the structure of the compiled program.

    Attributes:
        macro_step_h: length of a macro-step [h].
        precision: of fields, "float32" or "float64"; pressure, means and the body are in float64 in both.
        transport: of oxygen, "limited" (van Albada) or "upwind".
        drive: "flow" (from the body circuit) or "pressure" (a fixed drop over the lobule).
        pressure_drop_pa: portal vessels to central vein, for the pressure drive [Pa].
        tolerance: of field solves, relative to what enters each [-].
        pressure_tolerance: of the pressure, imbalance relative to the inflow [-].
        migration: False leaves cells where they are.

    Reference: NUMERICS decisions 4 (what a tolerance is relative to) and 5 (transport).
    """

    macro_step_h: float = 6.0
    precision: str = "float32"
    transport: str = "limited"
    drive: str = "flow"
    pressure_drop_pa: float = 0.0
    tolerance: float = 1e-6
    pressure_tolerance: float = 1e-10
    migration: bool = True

    @property
    def dtype(self) -> Any:
        """Data type of the fields."""
        return jnp.dtype(self.precision)


@pytree
class Disease:
    """Course of what harms the liver: a cause at constant activity with a flare, and one dose of a toxin.

    Attributes:
        activity: of the cause, 0 in health, 1 in decompensated cirrhosis [-].
        flare: activity added during the flare [-].
        flare_start_h: counted like the infusions from day 0, negative for one that has begun [h].
        flare_end_h: its end [h].
        toxin_mg_kg: dose, absorbed at once [mg/kg].
        toxin_h: when it is taken [h].
    """

    activity: Scalar
    flare: Scalar = 0.0
    flare_start_h: Scalar = 0.0
    flare_end_h: Scalar = 0.0
    toxin_mg_kg: Scalar = 0.0
    toxin_h: Scalar = 0.0

    def harm(self, start_h: Array, length_h: Array | float, toxin: ToxinParameters) -> dict[str, Float[Array, ""]]:
        """Mean activity and mean response to the toxin over an interval, as inputs of the mechanisms.

        Args:
            start_h: start of the interval [h].
            length_h: its length [h].
            toxin: kinetics of the toxin and the level of half the largest injury.

        Returns:
            "activity" and "toxin_response" [-], scalars.
        """
        response = mean_toxin_response(self.toxin_mg_kg, self.toxin_h, start_h, length_h, toxin)
        return {"activity": self.mean_activity(start_h, length_h), "toxin_response": response}

    def mean_activity(self, start_h: Array, length_h: Array | float) -> Float[Array, ""]:
        """Mean activity over an interval, so that a flare may begin at any time.

            ag = activity + flare x (share of the interval in the flare)

        Args:
            start_h: start of the interval [h].
            length_h: its length [h].

        Returns:
            ag [-], scalar.
        """
        begin, end = (passed_of(time, start_h, length_h) for time in (self.flare_start_h, self.flare_end_h))
        return self.activity + self.flare * (end - begin) / length_h


@pytree
class ModelParameters:
    """Every physiological number of the model, in canonical units; a gradient may touch any of them.

    Attributes:
        biology, growth, ..., oxygen, migration: one set per module of that name; units stand with its class.
        signals: name of the signal -> its transport in the lobule.
        body_signals: name of the signal -> clearance and production of the body.
        adhesion_per_transit: expected captures of one cell during one transit of the lobule [-].
        haematocrit: share of the blood flow that is not plasma [-].
        perfusion_at_rest: blood flow per tissue volume [1/s].
        portal_mmHg: partial pressure of oxygen in portal blood [mmHg].
        arterial_mmHg: partial pressure of oxygen in arterial blood [mmHg].
        sinusoids_per_litre: of healthy liver [1e6/l].
    """

    biology: BiologyParameters
    growth: GrowthParameters
    immune_memory: ImmuneMemoryParameters
    circulation: CirculationParameters
    biodistribution: BiodistributionParameters
    liver_tests: LiverTestParameters
    hazards: HazardParameters
    toxin: ToxinParameters
    perfusion: PerfusionParameters
    oxygen: OxygenParameters
    signals: dict[str, SignalParameters]
    body_signals: dict[str, BodySignal]
    migration: MigrationParameters
    adhesion_per_transit: Scalar
    haematocrit: Scalar
    perfusion_at_rest: Scalar
    portal_mmHg: Scalar
    arterial_mmHg: Scalar
    sinusoids_per_litre: Scalar


@pytree
class LiverModel:
    """A patient's liver, ready to be simulated.

    Attributes:
        lobule: geometry at rest.
        parameters: see `ModelParameters`.
        rest: constants that make health a rest, derived by `hepatojax.rest`: name -> (nz, ny, nx), of the whole liver
            scalar.
        rest_resistance: of the domain at rest [Pa s/um3].
        patient: body mass [kg], volume of the healthy liver [l], words for scores.
        product: the cells that infusions bring.
        disease: course of the cause and of a toxin.
        lobule_share: lobules left of those in health [-].
        numerics: part of the structure.
    """

    lobule: Lobule
    parameters: ModelParameters
    rest: dict[str, Array]
    rest_resistance: Float[Array, ""]
    patient: Patient
    product: CellProduct
    disease: Disease
    lobule_share: Scalar
    numerics: Numerics = static()

    @property
    def grid(self) -> Grid:
        """The grid at rest: volumes [um3] and face conductances [um], (nz, ny, nx)."""
        return self.lobule.grid

    @property
    def domains(self) -> Float[Array, ""]:
        """Number of domains like this one in the liver, by which the body is shared out.

            N = share x V_liver / V_domain

        Returns:
            N [-], fewer after a resection; growth enlarges lobules and leaves their number.
        """
        healthy = self.patient.liver_volume_l * UM3_PER_LITRE / self.grid.total_volume
        return healthy * self.lobule_share

    def linear_scale(self, liver_volume: Array) -> Array:
        """Growth of each lobule in length, s = (L / share)^(1/3).

        Args:
            liver_volume: L, volume of the liver over rest [-].

        Returns:
            s [-], 1 for a lobule at rest size, whatever number of them is left.
        """
        return (liver_volume / self.lobule_share) ** (1.0 / 3.0)


def evaluate(rules: tuple[Rule, ...], fields: Fields, model: LiverModel) -> Fields:
    """Add the algebraic fields that some rules write, in their order.

    Args:
        rules: of algebraic mechanisms.
        fields: what they read, but for means, which are taken here unless given.
        model: its parameters, the grid for means, and the precision.

    Returns:
        The fields with the derived ones, voxel fields in the precision of the run.
    """
    for rule in rules:
        fields = fields.with_(call(rule, fields, model))
    return fields


def call(rule: Rule, fields: Fields, model: LiverModel) -> Any:
    """Apply one rule to the fields that it declares to read, and to no others.

    A mechanism of the tissue gets everything in the precision of the fields, one of the body everything in float64.

    Args:
        rule: mechanism, path of its parameters, and whether it is one of the body.
        fields: states, inputs and what earlier rules wrote; a field x that is read as mean_x is averaged here.
        model: its parameters, grid and precision.

    Returns:
        What the mechanism returns: derived fields by name, or `Rates`.
    """
    read = {name: _read(name, fields, model.grid) for name in rule.mechanism.reads}
    parameters = operator.attrgetter(rule.parameters)(model.parameters)
    dtype = jnp.float64 if rule.body else model.numerics.dtype
    read, parameters = jax.tree.map(lambda leaf: _cast(leaf, dtype), (read, parameters))
    result = rule.mechanism(Fields(read), parameters)
    return result if rule.body else computed_once(result)


def slow_rates(rules: tuple[Rule, ...], fields: Fields, model: LiverModel) -> Rates:
    """Rates of all states that some slow rules write.

        dy/dt = P - D y + transfers

    Args:
        rules: of slow mechanisms; no two write one state, see `check_model`.
        fields: everything they read, see `respond`.
        model: its parameters, grid and precision.

    Returns:
        Production [unit/h], loss [1/h] and transfers [1/h] of all of them, voxel states (nz, ny, nx).

    Reference: BIOLOGY A1.
    """
    parts = [call(rule, fields, model) for rule in rules]
    return Rates(
        production={name: value for part in parts for name, value in part.production.items()},
        loss={name: value for part in parts for name, value in part.loss.items()},
        transfers=tuple(transfer for part in parts for transfer in part.transfers),
    )


def inputs(model: LiverModel, harm: dict[str, Array], outside: dict[str, Array], msc_outside: Array) -> dict[str, Any]:
    """What mechanisms read beside states and solved fields.

    Args:
        model: its zone map, product and constants of rest.
        harm: activity of the cause and response to the toxin, see `Disease.harm` [-].
        outside: viable cells lost per time in lung, spleen and other organs [1e6 cells/h].
        msc_outside: viable cells outside the liver [1e6 cells].

    Returns:
        name -> value: `zone` [-] and constants of rest (nz, ny, nx), potencies and what was given, scalars.
    """
    product = model.product
    return {
        "zone": model.lobule.zone,
        "msc_outside": msc_outside,
        "deaths_outside": outside,
        "licensed": product.licensed,
        **harm,
        **product.potencies(),
        **model.rest,
    }


def structure(model: LiverModel, fields: Fields) -> Fields:
    """What follows from the states alone, deaths of MSC in the whole liver included.

        msc_deaths_liver = V L <died> [1e6 cells/h]

    Args:
        model: its parameters, and the volume V of the healthy liver [l].
        fields: states, liver_volume L and inputs.

    Returns:
        The fields with those that `STRUCTURE` writes, and msc_deaths_liver.
    """
    fields = evaluate(STRUCTURE, fields, model)
    litres = model.patient.liver_volume_l * fields.liver_volume
    return fields.with_({"msc_deaths_liver": litres * model.grid.mean(fields.msc_death)})


def respond(model: LiverModel, fields: Fields, solved: QuasiSteady) -> Fields:
    """Everything that the slow mechanisms read, at given states and given quasi-steady fields.

    Args:
        model: its parameters, grid and precision.
        fields: states, liver_volume and inputs.
        solved: flow, oxygen and signals, of these states or of others nearby.

    Returns:
        The fields with all algebraic ones but secretion and uptake, which only the solve of signals reads.
    """
    fields = structure(model, fields.with_(solved_fields(solved)))
    return evaluate((*ENERGY, *LICENSING, *RESPONSE, *CLINIC), fields, model)


def solved_fields(solved: QuasiSteady) -> dict[str, Array]:
    """Quasi-steady fields by the names under which mechanisms read them.

    Args:
        solved: flow, oxygen and signals.

    Returns:
        oxygen [mmHg] and each signal in tissue [nM], (nz, ny, nx); flow_relative and portal_gradient_relative [-],
        scalars.
    """
    circulation = solved.circulation
    return {
        "oxygen": solved.oxygen,
        "flow_relative": circulation.relative,
        "portal_gradient_relative": circulation.gradient,
        **solved.tissue,
    }


def check_model() -> None:
    """Refuse a list of mechanisms that does not fit together.

    Raises:
        CompositionError: a field is read that nobody provides, or written twice.
    """
    stages = (STRUCTURE, ENERGY, SECRETION, LICENSING, HGF_SECRETION, RESPONSE, CLINIC, SLOW)
    mechanisms = tuple(rule.mechanism for stage in stages for rule in stage)
    check_composition(mechanisms, (*INPUTS, *SOLVED), (*VOXEL_STATES, *BODY_STATES))


def _read(name: str, fields: Fields, grid: Grid) -> Any:
    """A field, or for mean_x the volume mean of x, unless that mean is given."""
    if name in fields or not name.startswith(MEAN):
        return fields[name]
    return grid.mean(fields[name.removeprefix(MEAN)])


def _cast(leaf: Any, dtype: Any) -> Any:
    """A floating array in a precision; Python numbers follow the arrays that they meet and stay."""
    if isinstance(leaf, (float, int)):
        return leaf
    return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
