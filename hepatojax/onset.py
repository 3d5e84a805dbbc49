"""The liver at day 0: healthy, resected, wounded, or chronically ill for years with a flare on top.

Years on a grid would cost hours. So they run on a column of a few cells from portal tract to central vein, with two
macro-steps a day; its states are laid on the grid by the zone coordinate, relaxed there for a week, and led through the
part of the flare before day 0. Resection and lesion come last, at day 0 itself, and hazards are counted from there.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from hepatojax.assembly import build_lobule, resting_model
from hepatojax.failure import sentence
from hepatojax.macro_step import StepReport, advance_jitted
from hepatojax.model import BODY_STATES, POOLS, VOXEL_STATES, Disease, LiverModel
from hepatojax.parameters.registry import Parameters
from hepatojax.presets import Presets, digest, kept
from hepatojax.scenario import DiseaseSpec, GridSpec, LobuleSpec, RunSpec, Scenario
from hepatojax.state import LiverState
from hepatojax.status import SimulationError, Status
from hepatojax.therapy.schedule import schedule_of
from hepatojax.tissue.geometry import Lobule
from hepatojax.tissue.heterogeneity import fibrotic_septa
from hepatojax.units import HOURS_PER_DAY

COLUMN_CELLS = 12
CHRONIC_STEPS_PER_DAY = 2
RELAXATION_H = 168.0
INTEGRALS = (
    "mortality_hazard",
    "infection_incidence",
    "infection_hazard_integral",
    "device_hazard",
    "hcc_hazard",
)


def diseased(scenario: Scenario, model: LiverModel) -> LiverModel:
    """The model of a healthy liver with the course of the disease, a toxin and the septa that it has left.

    The flare begins at `flare_start_h - flare_lead_h`, counted from day 0. The constants of rest stay those of the
    lobule without septa.

    Args:
        scenario: its disease, and the septa of its lobule.
        model: healthy, at rest.

    Returns:
        The model with the course of activity and toxin [h from day 0], with scars, and with the lobules left.
    """
    spec = scenario.disease
    start = spec.flare_start_h - spec.flare_lead_h
    flare = (spec.flare, start, start + spec.flare_duration_h)
    disease = Disease(spec.activity, *flare, spec.toxin_mg_kg, spec.toxin_h)
    share, lobule = 1.0 - spec.resected_fraction, scarred(scenario.lobule, model.lobule)
    return dataclasses.replace(model, lobule=lobule, disease=disease, lobule_share=share)


def scarred(spec: LobuleSpec, lobule: Lobule) -> Lobule:
    """The lobule with its fibrotic septa, which lower the permeability and leave all else.

    Args:
        spec: number of septa, contrast [-], thickness [um], open share [-], seed.
        lobule: without septa.

    Returns:
        The lobule with the permeability of its septa [-], (nz, ny, nx).

    Raises:
        ValueError: more septa than pairs of neighbouring vessels.
    """
    if spec.fibrotic_septa == 0:
        return lobule
    septa = (spec.fibrotic_septa, spec.fibrotic_contrast, spec.fibrotic_thickness_um, spec.seed)
    return jax.tree.map(jnp.asarray, fibrotic_septa(lobule, *septa, gap_fraction=spec.fibrotic_gap_fraction))


class Column(NamedTuple):
    """A liver on a porto-central column.

    Attributes:
        zone: coordinate of its cells, rising [-], (1, 1, n).
        voxel: states of its cells in their units, (1, 1, n).
        body: states of the body in their units, scalars.
    """

    zone: Array
    voxel: dict[str, Array]
    body: dict[str, Array]


def onset_state(
    scenario: Scenario, parameters: Parameters, model: LiverModel, healthy: LiverState, presets: Presets | None = None
) -> LiverState:
    """The state at day 0.

    A chronic start is computed on a porto-central column, lifted to the grid by the zone coordinate, relaxed on the
    grid for a week and led through the flare.

    Args:
        scenario: checked.
        parameters: of its species.
        model: healthy, at rest.
        healthy: its state.
        presets: where chronic states are kept; without it they are computed anew.

    Returns:
        The state with step 0 at day 0, after resection and lesion.

    Raises:
        SimulationError: the chronic course failed.
    """
    spec = scenario.disease
    state = chronic_state(scenario, parameters, model, healthy, presets) if spec.start == "chronic" else healthy
    return wounded(spec, model, resected(spec, state))


def chronic_state(
    scenario: Scenario, parameters: Parameters, model: LiverModel, healthy: LiverState, presets: Presets | None
) -> LiverState:
    """The chronically ill liver at day 0, from the presets or computed and kept there.

    The key holds all that the state depends on, and neither the length of the run nor what it saves.

    Args:
        scenario: its disease, run and species.
        parameters: of its species.
        model: healthy, at rest, on the grid.
        healthy: its state.
        presets: where it is kept; None computes it.

    Returns:
        The state with all lobules, since a resection comes after.

    Raises:
        SimulationError: the course failed.
    """
    ill = diseased(scenario, model)

    def compute() -> LiverState:
        whole = dataclasses.replace(ill, lobule_share=1.0)  # a resection follows at day 0
        return relaxed(scenario, whole, lifted(model, healthy, chronic_column(scenario, parameters, presets)))

    numerics = dataclasses.replace(scenario.run, end_h=0.0, save_every_h=0.0, fields=())
    course = (scenario.species, scenario.disease)
    key = repr(("chronic", digest(ill.lobule), *course, numerics, parameters.hash))
    return kept(presets, key, healthy, compute)


def chronic_column(scenario: Scenario, parameters: Parameters, presets: Presets | None = None) -> Column:
    """Years at constant activity on a porto-central column, which depends on the patient but not on the grid.

    Transport and drive are those of the run; two macro-steps a day are enough for states that change in weeks.

    Args:
        scenario: activity, days of illness, and how the run is solved.
        parameters: of its species.
        presets: where columns are kept; None computes it.

    Returns:
        States after `chronic_days` at constant activity, in float64.

    Raises:
        SimulationError: the course failed.
    """
    spec = scenario.disease
    how = {name: getattr(scenario.run, name) for name in ("transport", "drive", "pressure_drop_pa")}
    run = RunSpec(steps_per_day=CHRONIC_STEPS_PER_DAY, precision="float64", **how)
    reduced = dataclasses.replace(
        scenario,
        lobule=LobuleSpec(geometry="column"),
        grid=GridSpec(cells=(COLUMN_CELLS, 1, 1)),
        run=run,
    )
    cause = (spec.activity, spec.chronic_days)
    key = repr(("column", scenario.species, run, *cause, parameters.hash))

    def compute() -> Column:
        model, state = resting_model(reduced, parameters, build_lobule(reduced, parameters))
        model = dataclasses.replace(model, disease=Disease(spec.activity))
        count = round(spec.chronic_days * CHRONIC_STEPS_PER_DAY)
        state, (reports, _) = advance_jitted(model, state, schedule_of(()), count, count, (), "none")
        require_success(model, state, reports, "column of the chronic illness")
        return Column(model.lobule.zone, state.voxel, state.body)

    none = jnp.zeros(())
    body = (*BODY_STATES, *POOLS, "liver_volume")
    names = Column(none, dict.fromkeys(VOXEL_STATES, none), dict.fromkeys(body, none))
    return kept(presets, key, names, compute)


def lifted(model: LiverModel, healthy: LiverState, column: Column) -> LiverState:
    """A column's states on the grid, by linear interpolation in the zone coordinate; the body is the same.

    Args:
        model: of the grid.
        healthy: state of the grid, whose fields start the solvers.
        column: the states to lift.

    Returns:
        The state on the grid, in the precision of the run; cells beyond the ends of the column take its end values.
    """
    dtype, places = model.numerics.dtype, np.asarray(model.lobule.zone)

    def lift(values: Array) -> Array:
        return jnp.asarray(np.interp(places, np.ravel(column.zone), np.ravel(values)), dtype)

    return healthy.replace(voxel={name: lift(values) for name, values in column.voxel.items()}, body=column.body)


def relaxed(scenario: Scenario, model: LiverModel, state: LiverState) -> LiverState:
    """The lifted state after a week at constant activity and the time of the flare before day 0, with step 0 there.

    It goes in intervals of the run's own length, which are compiled already, and one for what is left.

    Args:
        scenario: interval of saves [h], saved fields, and the time of flare before day 0 [h].
        model: diseased, with all lobules.
        state: lifted from the column.

    Returns:
        The state at day 0, with the integrals of all hazards at zero.

    Raises:
        SimulationError: the course failed.
    """
    run, step_h = scenario.run, model.numerics.macro_step_h
    steps = round(np.ceil((RELAXATION_H + scenario.disease.flare_lead_h) / step_h - 1e-9))
    every = round(run.save_every_h / step_h)
    counts = [every] * (steps // every) + [steps % every] * (steps % every > 0)
    state = state.replace(step=jnp.asarray(-steps, jnp.int32))
    rows = max((len(arm.infusions) for arm in scenario.arms), default=1)
    untreated = schedule_of((), max(rows, 1))
    for count in counts:
        state, (reports, _) = advance_jitted(model, state, untreated, count, count, run.fields, "none")
        require_success(model, state, reports, "lobule on the grid")
    return state.replace(body={**state.body, **dict.fromkeys(INTEGRALS, jnp.zeros(()))})


def require_success(model: LiverModel, state: LiverState, reports: StepReport, course: str) -> None:
    """Stop at the first failure of a course before day 0.

    Args:
        model: its macro-step [h].
        state: after the last of the macro-steps, whose count gives the days.
        reports: of every macro-step, (t, ...).
        course: what was computed.

    Raises:
        SimulationError: what failed, in which course and on which day of it, in which field and at which voxel.
    """
    failed = np.flatnonzero(np.asarray(reports.status))
    if failed.size:
        first = failed[0]
        found, statistics = jax.tree.map(lambda leaf: leaf[first], (reports.failure, reports.statistics))
        steps = int(state.step) - len(reports.status) + 1 + first
        where = f"before day 0, {course}, day {steps * model.numerics.macro_step_h / HOURS_PER_DAY:.6g}"
        raise SimulationError(Status(int(found.status)), f"{where}: {sentence(found, statistics)}")


def resected(spec: DiseaseSpec, state: LiverState) -> LiverState:
    """The liver after resection: fewer lobules, each as it was.

    Args:
        spec: its resected share r [-].
        state: before.

    Returns:
        The state with the liver volume L (1 - r) [-].

    Reference: BIOLOGY A2.
    """
    volume = state.body["liver_volume"] * (1.0 - spec.resected_fraction)
    return state.replace(body={**state.body, "liver_volume": volume})


def wounded(spec: DiseaseSpec, model: LiverModel, state: LiverState) -> LiverState:
    """The liver with a lesion: a share of the hepatocytes of the zones from `lesion_from_zone` on is dead.

        y -> (1 - f) y for quiescent, primed and injured cells,   debris -> debris + f sum y

    Args:
        spec: share f [-] and the zone coordinate where the lesion begins [-].
        model: its zone map (nz, ny, nx).
        state: before.

    Returns:
        The state with these cells as debris, at the same sum.
    """
    if spec.lesion_fraction == 0.0:
        return state
    inside = jnp.asarray(model.lobule.zone >= spec.lesion_from_zone, model.numerics.dtype)
    dead = spec.lesion_fraction * inside
    voxel = dict(state.voxel)
    killed = dead * sum(voxel[name] for name in ("quiescent", "primed", "injured"))
    for name in ("quiescent", "primed", "injured"):
        voxel[name] = voxel[name] * (1.0 - dead)
    return state.replace(voxel={**voxel, "debris": voxel["debris"] + killed})
