"""The coupled model: order in time, ledger, rest, plasma, and infusions at any time, through `macro_step` itself.

The patient of these checks is wounded and inflamed and gets four weekly infusions, on a porto-central column, so that
every mechanism acts and a month is affordable. Step size and number of steps are arguments of one compiled program,
for compiling it costs more than running it. The ledger is also tested for being able to fail: three fluxes are
disturbed on their way between the parts of the model.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any
from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array

from hepatojax import coupling, macro_step
from hepatojax.assembly import TOLERANCE, build_lobule, resting_model
from hepatojax.body.biodistribution import PoolCourse
from hepatojax.body.circulation import arterial_share
from hepatojax.build import build_study
from hepatojax.checks.records import Check, Record, at_least, at_most, largest, relative_change, reported, smallest
from hepatojax.checks.verify.exact import observed_order
from hepatojax.checks.verify.states import ORDER_IN_TIME
from hepatojax.macro_step import LedgerTerms
from hepatojax.mechanism import pytree
from hepatojax.model import BODY_STATES, HGF_SECRETION, LICENSING, LiverModel, Numerics, evaluate
from hepatojax.onset import diseased, resected
from hepatojax.parameters.registry import load_parameters, registry_of
from hepatojax.scenario import ArmSpec, DiseaseSpec, GridSpec, InfusionSpec, LobuleSpec, RunSpec, Scenario
from hepatojax.state import LiverState, QuasiSteady
from hepatojax.therapy.schedule import DoseSchedule, schedule_of
from hepatojax.tissue.oxygen import content, mixed_inlet_mmHg
from hepatojax.tissue.perfusion import solve_perfusion
from hepatojax.units import SECONDS_PER_HOUR, SECONDS_PER_MINUTE, UM3_PER_LITRE

COLUMN = LobuleSpec(geometry="column")
WOUND = DiseaseSpec(activity=0.3, lesion_fraction=0.5, lesion_from_zone=0.4)
DAYS = 28
WEEKLY = tuple(InfusionSpec(start_h=5.3 + 168.0 * week, cells_per_kg=1e6, route="intravenous") for week in range(4))
CELLS = ("msc", "label")
KG_PER_LITRE = 1.0  # of liver, as liver_volume_l of the registry says


@lru_cache
def treated(
    lobule: LobuleSpec = COLUMN, cells: tuple[int, int, int] = (12, 1, 1)
) -> tuple[LiverModel, LiverState, DoseSchedule]:
    """A wounded, inflamed liver with four weekly infusions, as `build` makes it.

    Half of the hepatocytes from zone coordinate 0.4 on are dead, the cause has activity 0.3; 1e6 cells/kg each week.

    Args:
        lobule: geometry; a porto-central column by default.
        cells: (nx, ny, nz).

    Returns:
        Model in float64, state at hour 0 and schedule.
    """
    scenario = Scenario(
        lobule=lobule,
        grid=GridSpec(cells=cells),
        disease=WOUND,
        run=RunSpec(precision="float64"),
        arms=(ArmSpec("treated", WEEKLY),),
    )
    study = build_study(scenario)
    return study.model, study.state, study.schedules["treated"]


def with_numerics(model: LiverModel, **changes: Any) -> LiverModel:
    """The model with other numerics.

    Args:
        model: not changed itself.
        changes: fields of `Numerics` and their values.

    Returns:
        The same liver; it has another structure, so that a program is compiled for it anew.
    """
    return dataclasses.replace(model, numerics=dataclasses.replace(model.numerics, **changes))


@dataclasses.dataclass(frozen=True, eq=False)
class AnyStep(Numerics):
    """Numerics with a macro-step that may be traced, equal to itself alone, since a traced number has no equal.

    Attributes:
        macro_step_h: [h].
    """

    macro_step_h: ArrayLike = 6.0

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


def with_step(model: LiverModel, step_h: ArrayLike) -> LiverModel:
    """The model with a macro-step that is not compiled in, so that one program serves every step size.

    Args:
        model: not changed itself.
        step_h: macro-step, which may be traced [h].

    Returns:
        The same liver, meant for the inside of a compiled function.
    """
    settings = {f.name: getattr(model.numerics, f.name) for f in dataclasses.fields(Numerics)}
    return dataclasses.replace(model, numerics=AnyStep(**{**settings, "macro_step_h": step_h}))


@pytree
class Course:
    """Where a run of macro-steps ended.

    Attributes:
        state: at the end.
        gained: what entered, by quantity of the ledger, in the unit of the quantity.
        error: sum over the macro-steps of |entered - left - stored|, by quantity, in the same unit.
        status: the largest `Status` code of a macro-step; 0 if all went well.
        plugged: largest share of plugged sinusoids at any time [-].
    """

    state: LiverState
    gained: dict[str, Array]
    error: dict[str, Array]
    status: Array
    plugged: Array

    def relative(self, names: tuple[str, ...] | None = None) -> float:
        """Largest error of the ledger over what entered.

        Args:
            names: quantities of the ledger; all by default.

        Returns:
            The largest ratio [-].
        """
        return largest(self.error[n] / self.gained[n] for n in names or tuple(self.gained))


@jax.jit
def course(model: LiverModel, state: LiverState, schedule: DoseSchedule, step_h: ArrayLike, count: ArrayLike) -> Course:
    """Macro-steps of any length and number, see `with_step`.

    Args:
        model: a liver; its own macro-step is not used.
        state: where to start; its time is its step number times `step_h`.
        schedule: infusions.
        step_h: macro-step [h].
        count: number of macro-steps.

    Returns:
        State at the end, with the sums over the run.
    """
    timed = with_step(model, step_h)

    def advance(_: ArrayLike, before: Course) -> Course:
        state, report = macro_step.macro_step(timed, before.state, schedule)
        ledger = report.ledger
        return Course(
            state,
            jax.tree.map(jnp.add, before.gained, ledger.gained),
            jax.tree.map(lambda total, now: total + jnp.abs(now), before.error, ledger.imbalance),
            jnp.maximum(before.status, report.status),
            jnp.maximum(before.plugged, report.endpoints["blocked_peak"]),
        )

    empty: LedgerTerms = jax.eval_shape(lambda: macro_step.macro_step(timed, state, schedule)[1].ledger)
    gained, error = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), (empty.gained, empty.imbalance))
    none = Course(state, gained, error, jnp.zeros((), jnp.int32), jnp.zeros(()))
    return lax.fori_loop(0, count, advance, none)


def distance(model: LiverModel, a: LiverState, b: LiverState) -> float:
    """Relative L2 distance of two states of a liver, the root mean square over all states.

        d^2 = mean over states of (sum V (x_a - x_b)^2 / sum V x_b^2)

    A state that is empty in b has no size of its own: its difference counts over 1 in the unit of the state.

    Args:
        model: gives the cell volumes.
        a: the state that is judged.
        b: what it is compared with.

    Returns:
        d, over voxel states, states of the body and the liver volume [-].
    """
    volume = np.asarray(model.grid.volume)

    def off(x: Array, y: Array, weight: np.ndarray | float) -> float:
        found, wanted = np.asarray(x, float), np.asarray(y, float)
        size = wanted if np.any(wanted) else np.ones_like(wanted)
        return float(np.sum(weight * (found - wanted) ** 2) / np.sum(weight * size**2))

    squares = [off(a.voxel[name], b.voxel[name], volume) for name in a.voxel]
    squares += [off(a.body[name], b.body[name], 1.0) for name in (*BODY_STATES, "liver_volume")]
    return float(np.sqrt(np.mean(squares)))


def order_in_time() -> Iterator[Record]:
    """One day of repair during a slow infusion; the error of a step is its distance to half the step.

    With 8 to 128 macro-steps a day the order must be 1.9 or more without the motion of cells. With it the order is
    reported, for that motion is a backward Euler step.

    Yields:
        Both orders, and the error at eight steps a day [-].

    Reference: NUMERICS decision 7.
    """
    model, state, _ = treated()
    infusion = schedule_of((InfusionSpec(start_h=0.0, cells_per_kg=1e6, route="intravenous", duration_h=200.0),), 4)
    per_day, source = (8, 16, 32, 64, 128), "NUMERICS decision 7"
    for migration in (False, True):
        timed = with_numerics(model, migration=migration)
        begun = course(timed, state, infusion, 24.0 / 64, 128).state  # past the jump of the wound
        ends = []
        for n in per_day:
            start = begun.replace(step=jnp.asarray(2 * n, jnp.int32))
            ends.append(course(timed, start, infusion, 24.0 / n, n).state)
        errors = [distance(model, a, b) for a, b in itertools.pairwise(ends)]
        order = observed_order(per_day[:-1], errors)
        if migration:
            yield reported("coupling-order", "order in time, motion of cells on", order, "-", source)
        else:
            yield at_least("coupling-order", "order in time, motion of cells off", order, ORDER_IN_TIME, "-", source)
            yield reported("coupling-order", "error at 8 steps a day, all states", errors[0], "-", source)


def ledger() -> Iterator[Record]:
    """28 treated days at four steps a day: what entered has left or is there.

    The errors of all steps together may be 1e-9 of what entered in float64 and 1e-4 in float32, and no step may fail.

    Yields:
        Largest error of oxygen and signals, and of cells and label, over what entered [-]; the worst status.

    Reference: RELIABILITY 1, conservation with an explicit budget.
    """
    model, state, schedule = treated()
    double, single = (
        (model, state),
        (with_numerics(model, precision="float32", tolerance=TOLERANCE["float32"]), in_single_precision(state)),
    )
    for precision, bound, liver in (("float64", 1e-9, double), ("float32", 1e-4, single)):
        end = course(*liver, schedule, 6.0, 4 * DAYS)
        fields = tuple(name for name in end.gained if name not in CELLS)
        source = f"28 days, {precision}"
        yield at_most("ledger", f"oxygen and signals, {precision}", end.relative(fields), bound, "-", source)
        yield at_most("ledger", f"cells and label, {precision}", end.relative(CELLS), bound, "-", source)
        yield at_most("ledger", f"worst status, {precision}", float(end.status), 0.0, "-", source)


def in_single_precision(state: LiverState) -> LiverState:
    """The state as a float32 run holds it: fields in float32, pressure and body in float64.

    Args:
        state: in float64 throughout.
    """
    pressure = state.quasi_steady.circulation.pressure
    voxel, solved = jax.tree.map(
        lambda a: a.astype(jnp.float32) if a.ndim >= 3 else a, (state.voxel, state.quasi_steady)
    )
    circulation = dataclasses.replace(solved.circulation, pressure=pressure)
    return state.replace(voxel=voxel, quasi_steady=dataclasses.replace(solved, circulation=circulation))


def ledger_sensitivity() -> Iterator[Record]:
    """A flux that is disturbed by 1e-6 on its way shows in the ledger, far above its bound.

    Blood that leaves the lobule, oxygen that leaves with it and cells sent to the liver are each counted (1 + 1e-6)
    times. Undisturbed the ledger of a macro-step must close to 1e-9; disturbed, that of every quantity must miss by
    1e-8 or more.

    Yields:
        The largest relative error undisturbed and the smallest one disturbed [-].
    """
    model, state, _ = treated()
    schedule = schedule_of((InfusionSpec(start_h=1.3, cells_per_kg=1e6, route="portal"),), 4)

    def imbalances(disturbed: ArrayLike) -> dict[str, Array]:
        factor = 1.0 + 1e-6 * disturbed
        with (
            patch.object(coupling, "solve_perfusion", _with_outflow(coupling.solve_perfusion, factor)),
            patch.object(coupling, "solve_oxygen", _with(coupling.solve_oxygen, factor, "outflow")),
            patch.object(macro_step, "distribute", _with_arrivals(macro_step.distribute, factor)),
        ):
            found = macro_step.macro_step(model, state, schedule)[1].ledger
        return {name: jnp.abs(found.imbalance[name]) / found.gained[name] for name in found.gained}

    compiled = jax.jit(imbalances)
    calm, disturbed = compiled(0.0), compiled(1.0)
    weakest, worst = smallest(disturbed.values()), largest(calm.values())
    yield at_most("ledger-sensitivity", "ledger of one macro-step", worst, 1e-9, "-", "nothing disturbed")
    yield at_least("ledger-sensitivity", "least of all ledgers, disturbed", weakest, 1e-8, "-", "fluxes x (1 + 1e-6)")


def _with_outflow(solve: Callable, factor: ArrayLike) -> Callable:
    """A perfusion whose central vein takes another flow than the lobule sends."""

    def disturbed(*arguments: Any, **keywords: Any) -> Any:
        perfusion = solve(*arguments, **keywords)
        flow = dataclasses.replace(perfusion.flow, outflow=perfusion.flow.outflow * factor)
        return dataclasses.replace(perfusion, flow=flow)

    return disturbed


def _with(solve: Callable, factor: ArrayLike, *names: str) -> Callable:
    """A solve whose reported fluxes are other than those of its solution."""

    def disturbed(*arguments: Any, **keywords: Any) -> Any:
        solved = solve(*arguments, **keywords)
        return dataclasses.replace(solved, **{name: getattr(solved, name) * factor for name in names})

    return disturbed


def _with_arrivals(distribute: Callable, factor: ArrayLike) -> Callable:
    """A body that sends other cells to the liver than the liver receives."""

    def disturbed(*arguments: Any, **keywords: Any) -> Any:
        courses, trapped = distribute(*arguments, **keywords)

        def sent(course: PoolCourse) -> PoolCourse:
            return dataclasses.replace(course, liver=jax.tree.map(lambda part: part * factor, course.liver))

        return {kind: sent(course) for kind, course in courses.items()}, trapped

    return disturbed


def healthy_rest() -> Iterator[Record]:
    """A healthy lobule stands still for 28 days, cells moving.

    No state may drift by more than 1e-6 of its largest value; hazards, which add up in health too, are left out.

    Yields:
        The largest drift [-], and the worst status.

    Reference: BIOLOGY A11, rule 4.
    """
    scenario = Scenario(lobule=COLUMN, grid=GridSpec(cells=(12, 1, 1)), run=RunSpec(precision="float64"))
    parameters = registry_of(scenario)
    model, state = resting_model(scenario, parameters, build_lobule(scenario, parameters))
    end = course(model, state, schedule_of((), 4), 6.0, 4 * DAYS)
    integrals = [name for name in BODY_STATES if name.endswith(("hazard", "hazard_integral", "incidence"))]
    drifts = [relative_change(state.voxel[name], end.state.voxel[name]) for name in state.voxel]
    drifts += [relative_change(state.body[name], end.state.body[name]) for name in state.body if name not in integrals]
    yield at_most("rest", "largest drift of a state over 28 days", largest(drifts), 1e-6, "-", "BIOLOGY A11")
    yield at_most("rest", "worst status", float(end.status), 0.0, "-", "BIOLOGY A11")


def plasma_carries() -> Iterator[Record]:
    """What the lobule secretes leaves with plasma, (1 - haematocrit) of the blood; all lobules carry the liver's flow.

        (1 - haematocrit) Q (c_out - c_in) = secreted,   lobules x Q = flow of the liver

    After a resection the lobules that are left share the flow of the whole liver. HGF is secreted by the mechanism at
    the level of TNF that was solved, with MSC in the tissue for TNF to license. The first must hold to 1e-8, the second
    and the secretion of HGF to 1e-12.

    Yields:
        Relative errors, whole and with 70 % of the lobules resected [-].

    Reference: MODEL 2 and 4; BIOLOGY A4 and A6.
    """
    whole, state, _ = treated()
    state = _with_msc(state)
    compiled = jax.jit(lambda m, s: coupling.solve_quasi_steady(m, _fields(m, s), s.quasi_steady))
    perfused = jax.jit(solve_perfusion)
    for share in (0.0, 0.7):
        spec = dataclasses.replace(WOUND, resected_fraction=share)
        model = diseased(Scenario(disease=spec), whole)
        solved, fields, evidence = compiled(model, resected(spec, state))
        flow = perfused(model.lobule, fields.conductance_factor, model.parameters.perfusion).flow
        blood, plasma = _blood(model, solved, evidence), 1.0 - load_parameters().perfusion.haematocrit
        errors = []
        for name in ("tnf", "il6", "vegf"):
            leaving = plasma * blood * float(jnp.sum(flow.outflow * solved.excess[name][1]))
            errors.append(abs(leaving / float(evidence.terms[name]["secreted"]) - 1.0))
        litres = blood * float(model.domains) / UM3_PER_LITRE * SECONDS_PER_MINUTE
        off = abs(litres / _litres_per_minute(solved) - 1.0)
        case = f"{share:.0%} resected"
        signal = f"signal in leaving plasma over secreted - 1, {case}"
        carried = f"blood of all lobules over the liver's - 1, {case}"
        yield at_most("plasma-flow", signal, largest(errors), 1e-8, "-", "MODEL 4")
        yield at_most("plasma-flow", carried, off, 1e-12, "-", "registry; MODEL 2")
        made = evaluate((*LICENSING, *HGF_SECRETION), fields, model).secretion_hgf / SECONDS_PER_HOUR
        off = abs(_secreted(model, fields, made) / float(evidence.terms["hgf"]["secreted"]) - 1.0)
        licensed = f"HGF secreted over that at the solved TNF - 1, {case}"
        yield at_most("plasma-flow", licensed, off, 1e-12, "-", "BIOLOGY A4, A6")


def _with_msc(state: LiverState) -> LiverState:
    """A state with 100 MSC per mm3 everywhere."""
    return dataclasses.replace(
        state, voxel={**state.voxel, "msc_adherent": jnp.full_like(state.voxel["msc_adherent"], 100.0)}
    )


def _secreted(model: LiverModel, fields: Any, rate_nM_s: Array) -> float:
    """A rate integrated over the tissue as it has grown [nM um3/s]."""
    volume = model.grid.scaled(model.linear_scale(fields.liver_volume)).volume
    return float(jnp.sum(volume * rate_nM_s))


def _blood(model: LiverModel, solved: QuasiSteady, evidence: coupling.Evidence) -> float:
    """Blood flow of the domain [um3/s], from the oxygen that the solver saw entering and its content at the inlet."""
    p = model.parameters
    share = arterial_share(solved.circulation.relative, p.circulation)
    inlet = mixed_inlet_mmHg(p.portal_mmHg, p.arterial_mmHg, share, p.oxygen)
    return float(evidence.terms["oxygen"]["inflow"] / content(inlet, p.oxygen))


def _litres_per_minute(solved: QuasiSteady) -> float:
    """Blood flow of the whole liver as the registry has it [l/min], times the solved one over that at rest."""
    registry = load_parameters()
    at_rest = registry.perfusion.flow_at_rest_ml_min_g * KG_PER_LITRE * registry.patient.liver_volume_l
    return at_rest * float(solved.circulation.relative)


def _fields(model: LiverModel, state: LiverState) -> Any:
    """Slow states and inputs of a macro-step at hour 0 without infusions, as `macro_step` gathers them."""
    schedule = schedule_of((), 4)
    courses, _ = macro_step._distribute(model, state, schedule, jnp.zeros(()), state.voxel["debris"])
    given = macro_step._given(model, jnp.zeros(()), courses)
    return macro_step.Fields({**given, **state.voxel, **state.body})


def infusion_at_any_time() -> Iterator[Record]:
    """Cells in a liver after two days, and sinusoids that they plugged, at four and at sixty-four steps a day.

    An infusion of 0.71 h across the edge of a macro-step. Cells in the lungs, which are exact, must agree to 1e-11;
    cells in the liver and the peak of plugging, which follow the lobule, to 1e-2.

    Yields:
        The relative differences [-].

    Reference: NUMERICS decision 8; BIOLOGY A7.
    """
    model, state, _ = treated()
    infusion = InfusionSpec(start_h=5.83, cells_per_kg=1e6, route="portal", duration_h=0.71)
    schedule = schedule_of((infusion,), 4)
    courses = [course(model, state, schedule, 24.0 / n, 2 * n) for n in (4, 64)]
    ends = [each.state for each in courses]
    litres = [end.body["liver_volume"] for end in ends]
    cells = [float(v * model.grid.mean(end.voxel["msc_adherent"])) for v, end in zip(litres, ends, strict=True)]
    lung = [float(end.body["msc_lung"]) for end in ends]
    source = "NUMERICS decision 8"
    yield at_most(
        "infusion", "cells in the lungs, 6 h against 22.5 min", abs(lung[0] / lung[1] - 1), 1e-11, "-", source
    )
    yield at_most(
        "infusion", "cells in the liver, 6 h against 22.5 min", abs(cells[0] / cells[1] - 1), 1e-2, "-", source
    )
    peak = abs(float(courses[0].plugged / courses[1].plugged) - 1.0)
    yield at_most("infusion", "plugged sinusoids at their peak, 6 h against 22.5 min", peak, 1e-2, "-", "BIOLOGY A7")


CHECKS = (
    Check("coupling-order", "order in time of the coupled model", order_in_time),
    Check("ledger", "conservation over 28 days", ledger),
    Check("ledger-sensitivity", "a disturbed flux shows in the ledger", ledger_sensitivity),
    Check("rest", "a healthy lobule stays at rest", healthy_rest),
    Check("plasma-flow", "plasma carries signals, and the lobules the flow of the liver", plasma_carries),
    Check("infusion", "infusion at any time, whole model", infusion_at_any_time),
)
