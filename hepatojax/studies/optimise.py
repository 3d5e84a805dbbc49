"""Find the dose: scipy's solvers from many starts on one compiled function, judged by the conditions of an optimum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.optimize import BFGS, Bounds, NonlinearConstraint, OptimizeResult, linprog, minimize, nnls
from scipy.stats import qmc

from hepatojax.status import Status
from hepatojax.studies.certificate import GradientCertificate, certify
from hepatojax.studies.objective import StudyError
from hepatojax.studies.problem import DoseProblem, Linearised, Outcome, Program, program_of
from hepatojax.therapy.product import CellProduct
from hepatojax.therapy.schedule import DoseSchedule

METHODS = ("SLSQP", "L-BFGS-B", "trust-constr")
SCREENED_PER_START = 4
STATIONARY = 1e-3
FEASIBLE = 1e-6
ACTIVE = 1e-3
TOLERANCE = 1e-8
CALLS = 100


class Verdict(StrEnum):
    """How an optimisation ended; only one of these words means that there is an optimum."""

    CONVERGED = "converged"
    INFEASIBLE = "infeasible"
    INSENSITIVE = "insensitive"
    FAILED_CERTIFICATE = "failed certificate"
    FAILED_SIMULATION = "failed simulation"
    ITERATION_LIMIT = "iteration limit"
    STALLED = "stalled"


_MEANING = {
    Verdict.CONVERGED: "the conditions of an optimum hold",
    Verdict.INFEASIBLE: "no place near any start keeps every limit; loosen one, or widen the bounds of a variable",
    Verdict.INSENSITIVE: "the objective does not depend on the variables; choose other aims or other variables",
    Verdict.FAILED_CERTIFICATE: "the gradient is not proven right, see the certificate",
    Verdict.FAILED_SIMULATION: "no start could be simulated; see the status of the runs",
    Verdict.ITERATION_LIMIT: "the solver ran out of calls before the conditions of an optimum held",
    Verdict.STALLED: "the solver ended where the conditions of an optimum do not hold; see its message",
}


class Conditions(NamedTuple):
    """The conditions of Karush, Kuhn and Tucker at a place.

    stationarity: size of the gradient that no multiplier explains, over the typical gradient at a start [-].
    feasibility: largest excess of a limit, 0 if all are kept [-].
    complementarity: largest product of a multiplier and the slack of its limit, over the same gradient [-].
    multipliers: rate at which the objective rises when the bound of a limit gives way by its own size (c,).
    bounds: derivative of the objective by each x that a bound holds (n,).
    """

    stationarity: float
    feasibility: float
    complementarity: float
    multipliers: Float[np.ndarray, " c"]
    bounds: Float[np.ndarray, " n"]

    @property
    def feasible(self) -> bool:
        """Whether every limit is kept."""
        return self.feasibility <= FEASIBLE

    @property
    def hold(self) -> bool:
        """Whether the place is an optimum, as far as first derivatives tell."""
        return self.feasible and self.stationarity <= STATIONARY and self.complementarity <= STATIONARY


class Iterate(NamedTuple):
    """One place that a solver asked for. start: number of its start. x: in 0..1 (n,). jacobian: see `Linearised`."""

    start: int
    x: Float[np.ndarray, " n"]
    objective: float
    limits: Float[np.ndarray, " c"]
    status: int
    jacobian: Float[np.ndarray, "m n"]


class Record:
    """What an earlier search has computed, and where this one leaves what it computes; this one holds nothing.

    A method gives what it holds, or computes it, keeps it and gives it. The solver asks the same places in the same
    order, so a search that was cut off goes on where it was.
    """

    def screened(self, starts: int, seed: int, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """Places to start from (starts, n), see `screened`."""
        return compute()

    def linearised(self, start: int, x: np.ndarray, compute: Callable[[], Linearised]) -> Linearised:
        """What is known at a place (n,) that a start asks for."""
        return compute()

    def certificate(self, x: np.ndarray, seed: int, compute: Callable[[], GradientCertificate]) -> GradientCertificate:
        """The certificate of the gradient near a place (n,)."""
        return compute()


@dataclass(frozen=True)
class StartOutcome:
    """What came of one start.

    first, x: places in 0..1 (n,). limits: excess of each (c,). conditions: at x; None if it could not be simulated.
    jacobian_calls: places computed, each with its Jacobian. message: of the solver, or what ended it early; x is then
        the best place that it had seen.
    """

    first: Float[np.ndarray, " n"]
    x: Float[np.ndarray, " n"]
    objective: float
    limits: Float[np.ndarray, " c"]
    conditions: Conditions | None
    verdict: Verdict
    jacobian_calls: int
    message: str


@dataclass(frozen=True)
class DoseOptimum:
    """The best dose that was found, and how far it may be believed.

    verdict: how the optimisation ended. best: the start that came out best. values: name -> value of each variable, in
    its unit; x itself where the problem is a bare `Program`. limit_names: of each limit. starts: every one, the most
    promising first. iterates: every place. idle: variables that move neither the objective nor a limit at any start.
    typical_gradient: what the conditions are relative to. schedule, product: at the best place; None for a bare
    `Program`.
    """

    verdict: Verdict
    best: StartOutcome
    values: dict[str, float]
    limit_names: tuple[str, ...]
    starts: tuple[StartOutcome, ...]
    iterates: tuple[Iterate, ...]
    idle: tuple[str, ...]
    certificate: GradientCertificate | None
    typical_gradient: float
    schedule: DoseSchedule | None = None
    product: CellProduct | None = None

    @property
    def x(self) -> Float[np.ndarray, " n"]:
        """The best place, in 0..1."""
        return self.best.x

    @property
    def objective(self) -> float:
        """The objective at the best place; nan if it could not be simulated."""
        return self.best.objective

    @property
    def limits(self) -> dict[str, float]:
        """Excess of each limit by its name, <= 0 where it is kept [-]."""
        return dict(zip(self.limit_names, self.best.limits.tolist(), strict=True))

    @property
    def multipliers(self) -> dict[str, float]:
        """Multiplier of each limit by its name, see `Conditions`; empty if the place could not be simulated."""
        conditions = self.best.conditions
        return {} if conditions is None else dict(zip(self.limit_names, conditions.multipliers.tolist(), strict=True))

    @property
    def jacobian_calls(self) -> int:
        """Places computed with their Jacobian, over all starts."""
        return len(self.iterates)

    @property
    def message(self) -> str:
        """One sentence on how it ended."""
        return f"{self.verdict}: {_MEANING[self.verdict]}"


def optimise_dose(
    problem: DoseProblem | Program,
    method: str = "SLSQP",
    starts: int = 8,
    seed: int = 0,
    *,
    certificate: bool = True,
    allow_failed_certificate: bool = False,
    calls: int = CALLS,
    on_iterate: Callable[[Iterate], None] | None = None,
    record: Record | None = None,
    first: Float[np.ndarray, "s n"] | None = None,
    typical_gradient: float | None = None,
) -> DoseOptimum:
    """Maximise the objective of a problem under its limits, from several starts.

    Scrambled Sobol points are screened by forward runs; the best of them start the solver. The gradient is certified at
    the first start before any solver runs.

    Args:
        problem: what is sought. method: of scipy, one of `METHODS`; "L-BFGS-B" keeps bounds and no limits.
        starts: number of starts. seed: of the points, and of the certificate. certificate: whether to certify.
        allow_failed_certificate: go on although it failed; the verdict says so all the same.
        calls: places that a start may compute. on_iterate: called with every place that was computed or recalled.
        record: of an earlier search of the same problem, which is then not repeated; nothing by default.
        first: places in 0..1 to start from, instead of screened ones; `starts` is then their number.
        typical_gradient: what the conditions of an optimum are relative to, the lower median of the gradients at the
            starts by default; a search that starts from an optimum wants that of the search before it.

    Returns:
        The best place; look at its `verdict`. Of two starts that differ by less than moving x by 1e-3 changes the
        objective, the one that converged is the better.

    Raises:
        StudyError: an unknown method, limits with "L-BFGS-B", or fewer than one start.
    """
    program = program_of(problem)
    starts = starts if first is None else len(first)
    _check(program, method, starts)
    record = Record() if record is None else record
    places = record.screened(starts, seed, lambda: screened(program, starts, seed)) if first is None else first
    memories = [_Memory(program, number, calls, on_iterate, record) for number in range(starts)]
    begun = [here for here in map(_Memory.look, memories, places) if here.ok]
    proof = None
    if certificate and begun:
        at = next(m.x for m in memories if m.here.ok)
        proof = record.certificate(at, seed, lambda: certify(program, at, seed))
    size = _typical_gradient(begun) if typical_gradient is None else typical_gradient
    refusal = _refusal(program, begun, size, proof, allow_failed_certificate)
    runs = [_run(memory, None if refusal else method, size) for memory in memories]
    best = _best(runs, size)
    verdict = refusal or best.verdict
    if verdict == Verdict.CONVERGED and proof is not None and not proof.passed:
        verdict = Verdict.FAILED_CERTIFICATE
    values = dict(zip(program.variables, best.x.tolist(), strict=True))
    iterates = tuple(iterate for memory in memories for iterate in memory.iterates)
    found = DoseOptimum(
        verdict, best, values, program.limits, tuple(runs), iterates, _idle(program, begun), proof, size
    )
    return in_units(problem, found)


def in_units(problem: DoseProblem | Program, optimum: DoseOptimum) -> DoseOptimum:
    """An optimum of a program with the values, schedule and product of the problem that it belongs to.

    Args:
        problem: where it is a bare `Program`, nothing changes. optimum: of its program, or of one made from it.
    """
    if not isinstance(problem, DoseProblem):
        return optimum
    values = {v.name: float(v.value(at)) for v, at in zip(problem.variables, jnp.asarray(optimum.x), strict=True)}
    schedule, product = problem.dosed(optimum.x)
    return replace(optimum, values=values, schedule=schedule, product=product)


def screened(program: Program, starts: int, seed: int) -> Float[np.ndarray, "s n"]:
    """Places to start from: the best of some scrambled Sobol points, those that keep the limits first.

    Args:
        program: to be maximised. starts: number of places. seed: of the points.
    """
    count = 2 ** int(np.ceil(np.log2(SCREENED_PER_START * starts)))
    points = qmc.Sobol(len(program.variables), rng=seed).random(count)
    outcome = program.evaluate_many(points)
    excess = outcome.limits.max(axis=1, initial=0.0)  # nan if one is
    failed = (outcome.status != Status.OK) | ~np.isfinite(outcome.objective) | ~np.isfinite(excess)
    order = np.lexsort((-outcome.objective, np.where(excess > FEASIBLE, excess, 0.0), failed))
    return points[order[:starts]]


def merit(objective: float, limits: Float[np.ndarray, " c"]) -> tuple[int, float]:
    """Order of places: those that keep the limits by their objective, then the others by their excess.

    Args:
        objective: there. limits: excess of each [-].
    """
    excess = float(limits.max(initial=0.0))
    return (2, objective) if excess <= FEASIBLE else (1, -excess)


def conditions_at(here: Linearised, x: Float[np.ndarray, " n"], size: float) -> Conditions:
    """How well the conditions of an optimum hold, with the multipliers that explain the gradient best.

        grad f = sum of l_i grad g_i over active limits + m_j e_j over active bounds, l >= 0, m outward

    by non-negative least squares.

    Args:
        here: at the place. x: in 0..1. size: typical gradient of the objective, what the residuals are relative to.
    """
    gradient, slopes, excess = here.jacobian[0], here.jacobian[1:], here.outcome.limits
    active, upper, lower = excess > -ACTIVE, x > 1.0 - ACTIVE, x < ACTIVE
    unit = np.eye(len(x))
    normals = np.concatenate([slopes[active], unit[upper], -unit[lower]])
    found, residual = nnls(normals.T, gradient) if len(normals) else (np.zeros(0), np.linalg.norm(gradient))
    multipliers, bounds = np.zeros(len(excess)), np.zeros(len(x))
    counts = np.cumsum([active.sum(), upper.sum()])
    multipliers[active], high, low = np.split(found, counts)
    bounds[upper] += high
    bounds[lower] -= low
    scale = size if size > 0 else 1.0
    return Conditions(
        stationarity=float(residual / scale),
        feasibility=float(np.fmax(excess.max(initial=0.0), 0.0)),
        complementarity=float(np.abs(multipliers * excess).max(initial=0.0) / scale),
        multipliers=multipliers,
        bounds=bounds,
    )


def within_reach(here: Linearised, x: Float[np.ndarray, " n"]) -> bool:
    """Whether the limits, made linear at a place, can all be kept somewhere within the bounds.

        min t   with   g_i + grad g_i . d <= t,   0 <= x + d <= 1

    Where they cannot, and they are convex, no dose keeps them. A linear program that is not solved proves nothing.
    """
    excess, slopes = here.outcome.limits, here.jacobian[1:]
    if not len(excess):
        return True
    rows = np.column_stack([slopes, -np.ones(len(excess))])
    sizes = np.abs(rows).max(axis=1)  # at least 1; without them a steep limit is beyond what the solver takes
    bounds = [*zip(-x, 1.0 - x, strict=True), (None, None)]
    least = linprog(np.append(np.zeros(len(x)), 1.0), rows / sizes[:, None], -excess / sizes, bounds=bounds)
    return not least.success or bool(least.fun <= FEASIBLE)


class _Stopped(Exception):
    """A start ends early. verdict: as what, unless its best place says better; the text says why."""

    def __init__(self, verdict: Verdict, message: str):
        super().__init__(message)
        self.verdict = verdict


class _Memory:
    """The last place of a start, so that its value, gradient and limits are computed once; the best, and all."""

    def __init__(
        self, program: Program, start: int, calls: int, on_iterate: Callable[[Iterate], None] | None, record: Record
    ):
        self.program, self.start, self.calls, self.on_iterate, self.record = program, start, calls, on_iterate, record
        self.iterates: list[Iterate] = []
        self.x, self.here = np.zeros(0), Linearised(Outcome(*[np.zeros(0)] * 3), np.zeros((0, 0)))
        self.best, self.best_merit = (self.x, self.here), (0, 0.0)

    def look(self, x: np.ndarray) -> Linearised:
        """What is known at a place."""
        if not np.array_equal(x, self.x):
            self.here = self.record.linearised(self.start, x, lambda: self.program.linearise(x))
            self.x, outcome, status = np.array(x, float), self.here.outcome, int(self.here.status)
            iterate = Iterate(self.start, self.x, float(outcome.objective), outcome.limits, status, self.here.jacobian)
            reached = merit(iterate.objective, iterate.limits)
            if not self.iterates or (self.here.ok and reached > self.best_merit):
                self.best, self.best_merit = (self.x, self.here), reached
            self.iterates.append(iterate)
            if self.on_iterate is not None:
                self.on_iterate(iterate)
        return self.here

    def at(self, x: np.ndarray) -> Linearised:
        """The same for a solver, which must never see the numbers of a failed simulation."""
        if len(self.iterates) >= self.calls and not np.array_equal(x, self.x):
            raise _Stopped(Verdict.ITERATION_LIMIT, f"no more than {self.calls} places")
        if not self.look(x).ok:
            raise _Stopped(Verdict.STALLED, f"a place on its way failed: {self.here.status.statement}")
        return self.here


def _check(program: Program, method: str, starts: int) -> None:
    if method not in METHODS:
        raise StudyError(f"method is {method!r}; allowed: {', '.join(METHODS)}")
    if method == "L-BFGS-B" and program.limits:
        raise StudyError('method "L-BFGS-B" keeps bounds and no limits; use "SLSQP" or "trust-constr"')
    if starts < 1:
        raise StudyError(f"starts is {starts}; wants at least one")


def _typical_gradient(begun: list[Linearised]) -> float:
    """The lower median of the gradients at the starts; one steep start must not make the others look like optima."""
    sizes = np.asarray([np.linalg.norm(here.jacobian[0]) for here in begun])
    return float(np.quantile(sizes[sizes > 0], 0.5, method="lower")) if (sizes > 0).any() else 0.0


def _refusal(
    program: Program, begun: list[Linearised], size: float, proof: GradientCertificate | None, allowed: bool
) -> Verdict | None:
    """Why no solver should start, if there is a reason."""
    if not begun:
        return Verdict.FAILED_SIMULATION
    if proof is not None and not proof.passed and not allowed:
        return Verdict.FAILED_CERTIFICATE
    largest = max(abs(float(here.outcome.objective)) for here in begun)
    steepest = max(size, *(float(np.linalg.norm(here.jacobian[0])) for here in begun))
    return Verdict.INSENSITIVE if steepest <= program.round_off * largest else None


def _run(memory: _Memory, method: str | None, size: float) -> StartOutcome:
    """One start from the place that its memory holds; without a method nothing but that place is judged."""
    first, here = memory.x, memory.here
    if not here.ok:
        never, status = float("nan"), here.status.statement
        return StartOutcome(first, first, never, here.outcome.limits, None, Verdict.FAILED_SIMULATION, 1, status)
    early, message = None, "no solver was started"
    try:
        if method is not None:
            found = _solved(memory, method, size)
            x, message = np.asarray(found.x), str(found.message)
            early = Verdict.ITERATION_LIMIT if found.nit >= memory.calls else None
            ended = x, memory.at(x)
            if conditions_at(ended[1], x, size).feasible:
                memory.best = ended
    except _Stopped as stop:
        early, message = stop.verdict, str(stop)
    x, here = memory.best
    conditions = conditions_at(here, x, size)
    verdict = _verdict(conditions, early, within_reach(here, x))
    value, limits = float(here.outcome.objective), here.outcome.limits
    return StartOutcome(first, x, value, limits, conditions, verdict, len(memory.iterates), message)


def _solved(memory: _Memory, method: str, size: float) -> OptimizeResult:
    """Where a solver of scipy stops, and what it says.

    The objective is divided by its typical gradient, so that the tolerances of the solver mean the same in any unit.
    """

    def cost(x: np.ndarray) -> tuple[float, np.ndarray]:
        here = memory.at(x)
        return -float(here.outcome.objective) / size, -here.jacobian[0] / size

    def excess(x: np.ndarray) -> np.ndarray:
        return memory.at(x).outcome.limits

    def slopes(x: np.ndarray) -> np.ndarray:
        return memory.at(x).jacobian[1:]

    constraints, options = (), {"maxiter": memory.calls}
    if method == "trust-constr":
        options |= {"gtol": TOLERANCE, "xtol": TOLERANCE}  # it decides how close the barrier comes to a bound
        constraints = NonlinearConstraint(excess, -np.inf, 0.0, jac=slopes, hess=BFGS())
    elif method == "SLSQP":
        options |= {"ftol": TOLERANCE}
        constraints = {"type": "ineq", "fun": lambda x: -excess(x), "jac": lambda x: -slopes(x)}
    else:
        options |= {"ftol": TOLERANCE, "gtol": 0.1 * STATIONARY}
    bounds = Bounds(0.0, 1.0, keep_feasible=True)  # type: ignore[arg-type]
    limited = constraints if memory.program.limits else ()
    curved: dict[str, Any] = {"hess": BFGS()} if method == "trust-constr" else {}
    return minimize(
        cost, memory.x, jac=True, method=method, bounds=bounds, constraints=limited, options=options, **curved
    )


def _verdict(conditions: Conditions, early: Verdict | None, reachable: bool) -> Verdict:
    """How a start ended; a solver that is merely far from the limits does not say that they cannot be kept."""
    if conditions.hold:
        return Verdict.CONVERGED
    if not conditions.feasible and not reachable:
        return Verdict.INFEASIBLE
    return early or Verdict.STALLED


def _best(runs: list[StartOutcome], size: float) -> StartOutcome:
    """The best start; a converged one counts as no worse than one that did not, within what the conditions resolve."""
    best = max(runs, key=_order)
    close = [r for r in runs if r.verdict == Verdict.CONVERGED and best.objective - r.objective <= STATIONARY * size]
    return max(close, key=_order, default=best)


def _order(run: StartOutcome) -> tuple[int, float]:
    """Order of starts: those that could be simulated by their places."""
    return (0, 0.0) if run.conditions is None else merit(run.objective, run.limits)


def _idle(program: Program, begun: list[Linearised]) -> tuple[str, ...]:
    """Variables whose column of the Jacobian vanishes at every start, each output seen by its own largest slope."""
    if not begun:
        return ()
    slopes = np.max([np.abs(here.jacobian) for here in begun], axis=0)
    largest = slopes.max(axis=1, keepdims=True)
    columns = (slopes / np.where(largest > 0, largest, 1.0)).max(axis=0)
    return tuple(n for n, c in zip(program.variables, columns, strict=True) if c <= program.round_off)
