"""One macro-step: predict the middle, solve the quasi-steady fields there, step the slow states across.

The fields are solved once, at the predicted middle, which is enough for second order; those of the step before serve
the prediction and start the solvers. The dose enters through exact kinetics of the body, done twice: before the middle
is known, and with the debris of the middle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from hepatojax.biology.stem_cells import plugging_within
from hepatojax.body.biodistribution import ORGANS, PoolCourse, Trapped, deaths_per_hour, distribute
from hepatojax.body.immune_memory import educated_outside
from hepatojax.coupling import Evidence, largest, solve_quasi_steady
from hepatojax.endpoints import Readings, endpoints_of
from hepatojax.failure import Failure, failure, first_failure, wrong_value
from hepatojax.mechanism import Arrival, Fields, Rates, pytree
from hepatojax.model import (
    BODY_STATES,
    CROWDING,
    DILUTED,
    POOLS,
    SLOW,
    VOXEL_STATES,
    LiverModel,
    evaluate,
    inputs,
    respond,
    slow_rates,
    structure,
)
from hepatojax.numerics.adjoint import one_by_one, scan_steps, unstacked
from hepatojax.numerics.grid import Grid
from hepatojax.numerics.positive_step import Budget, predict_middle, step_states
from hepatojax.numerics.safe_math import smooth_step
from hepatojax.state import LiverState, QuasiSteady
from hepatojax.status import Status
from hepatojax.therapy.schedule import DoseSchedule
from hepatojax.tissue.carried import Verified
from hepatojax.tissue.migration import (
    Motion,
    carried_label,
    chemotactic_potential,
    crowding_potential,
    migrate,
    relaxed_occupancy,
)
from hepatojax.units import SECONDS_PER_HOUR

ROUNDING = 1e-6  # of a macro-step, by which the end of an infusion may miss its edge [-]
CELL_KINDS = {"msc": ("msc_adherent", "msc_engrafted"), "label": ("msc_label",)}


@pytree
class LedgerTerms:
    """Integrals over one macro-step, of oxygen [mM um3], of signals [nM um3], of MSC and label [1e6 cells].

    Attributes:
        terms: quantity -> term -> integral, of a domain for what is solved and of the whole body for cells.
        gained: quantity -> what entered it.
        imbalance: quantity -> entered - left - stored.
    """

    terms: dict[str, dict[str, Float[Array, ""]]]
    gained: dict[str, Float[Array, ""]]
    imbalance: dict[str, Float[Array, ""]]


@pytree
class StepReport:
    """What one macro-step tells.

    Attributes:
        endpoints: at its end, see `hepatojax.endpoints`.
        ledger: integrals over it.
        statistics: iterations and relative residuals [-] of its solves.
        failure: the first one.
        peaks: endpoint -> readings within it, whose smooth maximum over a run is the peak of that endpoint.
    """

    endpoints: Fields
    ledger: LedgerTerms
    statistics: dict[str, Float[Array, "*t"]]
    failure: Failure
    peaks: dict[str, Readings] = field(default_factory=dict)

    @property
    def status(self) -> Int[Array, "*t"]:
        """`Status` code of the first failure."""
        return self.failure.status


def macro_step(model: LiverModel, state: LiverState, schedule: DoseSchedule) -> tuple[LiverState, StepReport]:
    """Advance a liver by one macro-step, second order in time but for the motion of cells.

    1. Slow states at the middle, by rates at the start; cells that arrive count from their true time of arrival.
    2. Quasi-steady fields at the middle.
    3. Slow states at the end, positive and conservative, with these fields; then the motion of cells.

    Args:
        model: the patient's liver.
        state: at the start of the step; its guesses have no derivative, see `QuasiSteady.apart`.
        schedule: infusions.

    Returns:
        The state at the end, and the report of the step.

    Reference: NUMERICS decisions 7 and 8.
    """
    step_h = model.numerics.macro_step_h
    start_h = state.step.astype(jnp.float64) * step_h
    states = {**state.voxel, **{name: state.body[name] for name in BODY_STATES}}
    courses, trapped = _distribute(model, state, schedule, start_h, state.voxel["debris"])
    given = _given(model, start_h, courses)
    arrivals = _arrivals(model, state, courses, trapped, state.quasi_steady)
    middle, volume = _predict(model, state, states, given, arrivals)

    courses, trapped = _distribute(model, state, schedule, start_h, middle["debris"])
    given = _given(model, start_h, courses)
    fields = Fields({**given, **middle, "liver_volume": volume})
    solved, fields, evidence = solve_quasi_steady(model, fields, state.quasi_steady)

    volume_end = state.body["liver_volume"] * jnp.exp(fields.growth_rate * step_h)
    end, budgets = step_states(
        states,
        _rates_at(model, given, volume, solved),
        step_h,
        diluted=DILUTED,
        volume_ratio_end=volume_end / state.body["liver_volume"],
        sources=_arrivals(model, state, courses, trapped, solved),
        tracked=("msc_adherent", "msc_engrafted", "msc_label"),
    )
    motion, unmoved = {}, first_failure()
    if model.numerics.migration:
        end, motion, unmoved = move_cells(model, end, solved, volume_end)
    following = _following(state, end, volume_end, courses, solved)
    final = respond(model, Fields({**given, **end, **following.body}), solved)
    plugged = _plugged_at_ends(model, state, schedule, trapped, solved, end["plugging"])
    highest = jnp.maximum(jnp.max(plugged.weights * plugged.values), model.grid.mean(final["blocked"]))
    report = StepReport(
        endpoints=endpoints_of(model, Fields({**final, "blocked_peak": highest}), solved, evidence),
        ledger=_ledger(model, state, following, courses, budgets, evidence),
        statistics={**evidence.statistics, **motion},
        failure=_failure(model, (evidence.failure, unmoved), following),
        peaks={"blocked_peak": plugged},
    )
    return following, report


def _distribute(
    model: LiverModel, state: LiverState, schedule: DoseSchedule, start_h: Array, debris: Array
) -> tuple[dict[str, PoolCourse], Trapped]:
    """Courses of MSC and label outside the liver over the step, at the mean of a field of debris [-]."""
    return distribute(
        {name: state.body[name] for name in POOLS},
        schedule,
        start_h,
        model.numerics.macro_step_h,
        model.patient.body_mass_kg,
        model.product.viability,
        model.product.homing,
        model.grid.mean(debris),
        model.parameters.biodistribution,
    )


def _given(model: LiverModel, start_h: Array, courses: dict[str, PoolCourse]) -> dict[str, Any]:
    """Inputs of the mechanisms over this step; cells outside the liver count with their mean."""
    step_h = model.numerics.macro_step_h
    outside = sum(courses["msc"].mean.values(), jnp.zeros(()))
    pools = {f"{kind}_{organ}": amount for kind in courses for organ, amount in courses[kind].mean.items()}
    harm = model.disease.harm(start_h, step_h, model.parameters.toxin)
    return {**inputs(model, harm, deaths_per_hour(courses["msc"], step_h), outside), **pools}


def _rates_at(
    model: LiverModel, given: dict[str, Any], volume: Array, solved: QuasiSteady
) -> Callable[[dict[str, Array]], Rates]:
    """Rates of the slow states as a function of them, everything else held."""
    return partial(_rates, model, given, volume, solved)


@jax.jit  # traced and differentiated once for its three uses
def _rates(
    model: LiverModel, given: dict[str, Any], volume: Array, solved: QuasiSteady, states: dict[str, Array]
) -> Rates:
    return slow_rates(SLOW, respond(model, Fields({**given, **states, "liver_volume": volume}), solved), model)


def _predict(
    model: LiverModel,
    state: LiverState,
    states: dict[str, Array],
    given: dict[str, Any],
    sources: dict[str, Arrival],
) -> tuple[dict[str, Array], Array]:
    """Slow states and liver volume at the middle of the step, with the quasi-steady fields of the step before."""
    step_h, start = model.numerics.macro_step_h, state.body["liver_volume"]
    growth = structure(model, Fields({**given, **states, "liver_volume": start})).growth_rate
    volume = start * jnp.exp(growth * 0.5 * step_h)
    middle = predict_middle(
        states,
        _rates_at(model, given, start, state.quasi_steady),
        step_h,
        diluted=DILUTED,
        volume_ratio_middle=volume / start,
        sources=sources,
    )
    return middle, volume


def _arrivals(
    model: LiverModel,
    state: LiverState,
    courses: dict[str, PoolCourse],
    trapped: Trapped,
    solved: QuasiSteady,
) -> dict[str, Arrival]:
    """Cells that reach the lobule in this step, where the flow carries them [cells/mm3, and per sinusoid].

    All count per volume at the start of the step, since growth dilutes them. With them comes what cells that die
    outside the liver bring about.
    """
    litres, blocking = _litres(model, state), _plugged_per_cell(model)

    def spread(arrival: Arrival, factor: Array | float) -> Arrival:
        return jax.tree.map(
            lambda cells: (cells * factor / litres).astype(solved.arrival.dtype) * solved.arrival, arrival
        )

    potency = model.product.potencies()["potency_education"]
    return {
        "msc_adherent": spread(courses["msc"].liver, 1.0),
        "msc_label": spread(courses["label"].liver, 1.0),
        "plugging": spread(trapped.arrival, blocking),
        **educated_outside(courses["msc"].deaths, potency, model.parameters.immune_memory),
    }


def _litres(model: LiverModel, state: LiverState) -> Array:
    """Volume of the liver at the start of the step [l]."""
    return model.patient.liver_volume_l * state.body["liver_volume"]


def _plugged_per_cell(model: LiverModel) -> Array:
    """Plugged sinusoids for each cell per litre of liver that the blood brings."""
    return model.product.plugging / model.parameters.sinusoids_per_litre


def _plugged_at_ends(
    model: LiverModel,
    state: LiverState,
    schedule: DoseSchedule,
    trapped: Trapped,
    solved: QuasiSteady,
    end: Float[Array, "nz ny nx"],
) -> Readings:
    """Share of plugged sinusoids at each end of an infusion in the step and at the `end` of the step [-], k = d + 1.

    At an end, w follows the infusions exactly; what else moves it (release from the lungs, growth) comes evenly over
    the step, so that an end which slides over an edge hands its reading on from one step to the next. As a function of
    that end, w at the end of the step has a kink there: so of the cells that an infusion brings in the step it counts
    none where the infusion ends with the step, and all where it ends a step before or later.
    """
    begin_h, until_h = ((state.step + n).astype(jnp.float64) * model.numerics.macro_step_h for n in (0, 1))
    stop_h, step_h = schedule.start_h + schedule.duration_h, until_h - begin_h
    edge_h = ROUNDING * step_h  # an infusion that ends with the run does so in its last step
    here = (stop_h > begin_h + edge_h) & (stop_h <= until_h + edge_h)
    when_h = jnp.where(here, stop_h - begin_h, trapped.end_h)
    start, rate = state.voxel["plugging"], jnp.asarray(model.parameters.biology.stem_cells.unplug_rate)
    caught = (_plugged_per_cell(model) / _litres(model, state)).astype(start.dtype) * solved.arrival

    def brought(inflow: Array, time_h: Array, end_h: Array) -> Array:
        return plugging_within(start, caught, inflow, trapped.begin_h, end_h, time_h, rate)

    other = end - brought(trapped.first_pass, step_h, trapped.end_h)

    def blocked(held: Array) -> Array:
        return model.grid.mean(-jnp.expm1(-held))

    def blocked_at(time_h: Array) -> Array:
        return blocked(brought(trapped.first_pass, time_h, when_h) + (time_h / step_h).astype(start.dtype) * other)

    at_ends = lax.map(blocked_at, when_h)  # one by one, for the memory of the fields
    settled = trapped.first_pass * smooth_step(jnp.abs(until_h - stop_h) / step_h)
    values = jnp.append(at_ends, blocked(brought(settled, step_h, trapped.end_h) + other))
    return Readings(values, jnp.append(here.astype(values.dtype), 1.0))


def _following(
    state: LiverState,
    end: dict[str, Array],
    volume: Array,
    courses: dict[str, PoolCourse],
    solved: QuasiSteady,
) -> LiverState:
    """The state at the end; the fields solved at the middle go with it and start the next step."""
    pools = {f"{kind}_{organ}": amount for kind in courses for organ, amount in courses[kind].pools.items()}
    body = {**{name: end[name] for name in BODY_STATES}, "liver_volume": volume, **pools}
    return LiverState({name: end[name] for name in VOXEL_STATES}, body, solved, state.step + 1)


def move_cells(
    model: LiverModel, states: dict[str, Array], solved: QuasiSteady, volume: Float[Array, ""]
) -> tuple[dict[str, Array], dict[str, Float[Array, ""]], Failure]:
    """Hepatocytes move down crowding, MSC spread and drift up CXCL12; one implicit, positive step, first order.

    Living MSC take their label along.

    Args:
        model: its migration parameters, grid at rest and step.
        states: slow states at the end of the step, voxel fields (nz, ny, nx).
        solved: quasi-steady fields of the step.
        volume: of the liver over that at rest [-].

    Returns:
        The states with moved cells, the amount of each unchanged; iterations and relative residual, the largest of
        all solves; and the first failure of them.

    Reference: BIOLOGY A5; MODEL 6.
    """
    step_h, dtype = model.numerics.macro_step_h, model.numerics.dtype
    p = jax.tree.map(lambda number: jnp.asarray(number, dtype), model.parameters.migration)
    grid, tolerance = model.grid.scaled(model.linear_scale(volume)).astype(dtype), model.numerics.tolerance
    crowding = evaluate(CROWDING, Fields(states), model).occupancy
    volume_primed = jnp.asarray(model.parameters.biology.hepatocytes.volume_primed, dtype)
    mobile = states["quiescent"] + volume_primed * states["primed"]
    eased = relaxed_occupancy(grid, crowding, mobile, p.crowding_diffusivity, step_h, tolerance=tolerance)
    away = crowding_potential(eased.value, p.crowding_diffusivity)
    towards = chemotactic_potential(solved.tissue["cxcl12"], p.msc_chemotactic_sensitivity, p.msc_drift_half_saturation)
    random = p.msc_motility * SECONDS_PER_HOUR
    paths = {"quiescent": (away, 0.0), "primed": (away, 0.0), "msc_adherent": (towards, random)}
    potentials, motilities = zip(*paths.values(), strict=True)
    moved = one_by_one(  # one program for all of them
        lambda path: migrate(grid, path[0], path[1], path[2], step_h, tolerance=tolerance),
        (jnp.stack([states[name] for name in paths]), jnp.stack(potentials), jnp.asarray(motilities)),
    )
    after = dict(zip(paths, unstacked(moved.density), strict=True))
    label = carried_label(states["msc_label"], states["msc_adherent"], after["msc_adherent"])
    return {**states, **after, "msc_label": label}, *_evidence_of_motion(grid, eased, moved, tuple(paths))


def _evidence_of_motion(
    grid: Grid, eased: Verified, moved: Motion, names: tuple[str, ...]
) -> tuple[dict[str, Array], Failure]:
    """Largest iteration count and residual of the solves, and the first failure; those of `moved` have it leading."""
    of_all = {name: largest((getattr(eased, name), getattr(moved, name))) for name in ("iterations", "residual")}
    status = Status.MOTION_NOT_CONVERGED
    each = [(moved.converged[i], failure(status, name, moved.worst_cell[i], grid)) for i, name in enumerate(names)]
    first = first_failure((eased.converged, failure(status, "occupancy", eased.worst_cell, grid)), *each)
    return {f"motion_{name}": value for name, value in of_all.items()}, first


def _ledger(
    model: LiverModel,
    before: LiverState,
    after: LiverState,
    courses: dict[str, PoolCourse],
    budgets: dict[str, Budget],
    evidence: Evidence,
) -> LedgerTerms:
    """Integrals of the solved quantities by the midpoint rule, and of the cells as the stepper integrated them."""
    seconds = model.numerics.macro_step_h * SECONDS_PER_HOUR
    terms, gained, imbalance = jax.tree.map(
        lambda rate: rate * seconds, (evidence.terms, evidence.gained, evidence.imbalance)
    )
    litres = _litres(model, before)
    for kind, states in CELL_KINDS.items():
        course = courses[kind]
        in_liver = sum((budgets[name].lost.astype(jnp.float64) for name in states), jnp.zeros(()))
        leaving = budgets[states[-1]].left.astype(jnp.float64)
        lost = {f"lost_{organ}": amount for organ, amount in course.lost.items()}
        lost["lost_liver"] = litres * model.grid.mean(in_liver + leaving)
        stored = _cells(model, after, kind) - _cells(model, before, kind)
        terms[kind] = {"infused": course.infused, **lost, "stored": stored}
        gained[kind] = course.infused
        imbalance[kind] = course.infused - sum(lost.values(), jnp.zeros(())) - stored
    return LedgerTerms(terms, gained, imbalance)


def _cells(model: LiverModel, state: LiverState, kind: str) -> Array:
    """Cells of a kind in the whole body [1e6 cells]."""
    litres = model.patient.liver_volume_l * state.body["liver_volume"]
    liver = sum((model.grid.mean(state.voxel[name]) for name in CELL_KINDS[kind]), jnp.zeros(()))
    return litres * liver + sum((state.body[f"{kind}_{organ}"] for organ in ORGANS), jnp.zeros(()))


def _failure(model: LiverModel, found: tuple[Failure, ...], state: LiverState) -> Failure:
    """First failure: one found on the way, a wrong value at the end, or a liver too dead for its numbers to count."""
    living = state.body["liver_volume"] * model.grid.mean(state.voxel["quiescent"] + state.voxel["primed"])
    alive = living >= model.parameters.growth.dead_liver
    every = ((each.status == Status.OK, each) for each in (*found, wrong_value(model.grid, state)))
    return first_failure(*every, (alive, failure(Status.DEAD_LIVER)))


def advance(
    model: LiverModel,
    state: LiverState,
    schedule: DoseSchedule,
    count: int,
    every: int,
    fields: tuple[str, ...],
    adjoint: str,
    checkpoints: int | None = None,
) -> tuple[LiverState, tuple[StepReport, dict[str, Array]]]:
    """Do `count` macro-steps in one scan of scans, and keep `fields` after every `every` of them.

    Args:
        model, state, schedule: see `macro_step`.
        count: number of macro-steps, a multiple of `every`.
        every: macro-steps between two kept fields.
        fields: names of those to keep, see `named_field`.
        adjoint, checkpoints: see `scan_steps`, within each `every` steps.

    Returns:
        The last state, the report of every macro-step (t, ...), and the kept fields (s, nz, ny, nx).
    """

    def one(state: LiverState) -> tuple[LiverState, StepReport]:
        return macro_step(model, state, schedule)

    state = _apart(state)
    unsound = wrong_value(model.grid, state, lowest=-jnp.inf)  # it would spoil every solve; later ones end a step
    if every == count and not fields:  # a scan of one costs two more differentiations of its body
        state, reports = scan_steps(one, state, count, adjoint, checkpoints)
        return _apart(state), (_told_first(unsound, reports), {})

    def interval(state: LiverState, _: None) -> tuple[LiverState, tuple[StepReport, dict[str, Array]]]:
        state, reports = scan_steps(one, state, every, adjoint, checkpoints)
        return state, (reports, {name: named_field(model, state, name) for name in fields})

    state, (reports, kept) = lax.scan(interval, state, None, length=count // every)
    reports = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), reports)
    return _apart(state), (_told_first(unsound, reports), kept)


def _apart(state: LiverState) -> LiverState:
    """A state whose guesses hand on nothing, at either end of the scan."""
    return state.replace(quasi_steady=state.quasi_steady.apart())


def _told_first(unsound: Failure, reports: StepReport) -> StepReport:
    """Reports (t, ...) whose first failure is that of the start state, if it has one."""

    def told(of_start: Array, of_steps: Array) -> Array:
        return of_steps.at[0].set(jnp.where(unsound.status == Status.OK, of_steps[0], of_start))

    return replace(reports, failure=jax.tree.map(told, unsound, reports.failure))


advance_jitted = partial(jax.jit, static_argnums=(3, 4, 5, 6))(advance)


def named_field(model: LiverModel, state: LiverState, name: str) -> Array:
    """A voxel field of a state by its name: a slow state, oxygen, pressure or a signal; zero outside the tissue.

    Args:
        model: whose grid says where the tissue is.
        state: holds the field, or what it is made of.
        name: of a voxel state or signal, or oxygen [mmHg], pressure [-], flow_speed [um/s], hepatocytes [-].

    Returns:
        The field, (nz, ny, nx).

    Raises:
        KeyError: no such field.
    """
    solved = state.quasi_steady
    pressure = solved.circulation.pressure.astype(model.numerics.dtype)
    hepatocytes = state.voxel["quiescent"] + state.voxel["primed"] + state.voxel["injured"]
    flow = {"pressure": pressure, "flow_speed": solved.circulation.speed}
    derived = {"oxygen": solved.oxygen, **flow, "hepatocytes": hepatocytes}
    fields = {**state.voxel, **solved.tissue, **derived}
    if name not in fields:
        raise KeyError(f"no field {name!r}; there are {', '.join(sorted(fields))}")
    return jnp.where(model.grid.active, fields[name], 0)
