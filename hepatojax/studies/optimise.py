"""Find the dose: scipy's solvers from many starts on one compiled function, judged by the conditions of an optimum.

A search screens cheap forward runs, certifies the gradient at the first start, runs the solver from each start, judges
every end by itself and certifies the gradient again at the best of them. A solver never sees numbers of a failed
simulation: the start ends there, at the best place that it had seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.optimize import BFGS, Bounds, NonlinearConstraint, OptimizeResult, minimize
from scipy.stats import qmc

from hepatojax.status import SimulationError, Status
from hepatojax.studies.certificate import GradientCertificate, certify, failed_certificate
from hepatojax.studies.objective import StudyError
from hepatojax.studies.optimum import (
    FEASIBLE,
    STATIONARY,
    Conditions,
    DoseOptimum,
    Iterate,
    StartOutcome,
    Verdict,
    conditions_at,
    merit,
    within_reach,
)
from hepatojax.studies.problem import DoseProblem, program_of
from hepatojax.studies.program import Linearised, Outcome, Program

METHODS = ("SLSQP", "L-BFGS-B", "trust-constr")
SCREENED_PER_START = 4
TOLERANCE = 1e-8
CALLS = 100


class Record:
    """What an earlier search has computed, and where this one leaves what it computes; this one holds nothing.

    A method gives what it holds, or computes it, keeps it and gives it. The solver asks the same places in the same
    order, so a search that was cut off goes on where it was.
    """

    def screened(self, starts: int, seed: int, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """Places to start from, see `screened`.

        Args:
            starts: number of places.
            seed: of the Sobol points.
            compute: finds them by forward runs.

        Returns:
            Places in 0..1 [-], (starts, n).
        """
        return compute()

    def linearised(self, start: int, x: np.ndarray, compute: Callable[[], Linearised]) -> Linearised:
        """What is known at a place that a start asks for.

        Args:
            start: number of the start.
            x: in 0..1 [-], (n,).
            compute: simulates it.
        """
        return compute()

    def certificate(self, x: np.ndarray, seed: int, compute: Callable[[], GradientCertificate]) -> GradientCertificate:
        """The certificate of the gradient near a place.

        Args:
            x: in 0..1 [-], (n,).
            seed: of its direction.
            compute: takes its figures.
        """
        return compute()

    def beside(self, what: str, values: Float[np.ndarray, " k"]) -> Record:
        """The record of the same program with something more beside its inputs, see `Program.beside`.

        Args:
            what: the kind of it.
            values: its numbers, in any unit, (k,).

        Returns:
            A record whose places are its own.
        """
        return self


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
    the first start before any solver runs, and at the best place once all have ended.

    Args:
        problem: what is sought.
        method: of scipy, one of `METHODS`; "L-BFGS-B" keeps bounds and no limits.
        starts: number of starts.
        seed: of the points, and of the certificate.
        certificate: whether to certify.
        allow_failed_certificate: go on although it failed at the start, where the verdict says so all the same; what
            failed at the optimum leaves the verdict as it is.
        calls: places that a start may compute.
        on_iterate: called with every place that was computed or recalled.
        record: of an earlier search of the same problem, which is then not repeated; nothing by default.
        first: places in 0..1 [-] to start from, (s, n), instead of screened ones; `starts` is then their number.
        typical_gradient: what the conditions of an optimum are relative to, in the unit of the objective; by default
            the lower median of the gradients at the starts. A search from an optimum wants that of the one before it.

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
    typical = _typical_derivatives(begun)
    size = typical_gradient if typical_gradient is not None else float(typical[0]) if begun else 0.0
    refusal = _refusal(program, begun, size, proof, allow_failed_certificate)
    runs = [_run(memory, None if refusal else method, size) for memory in memories]
    best = _best(runs, size)
    proof_at_best = None
    if certificate and not refusal and best.conditions is not None:
        judged = record.beside("typical derivatives", typical)  # which decide what a certificate says
        proof_at_best = judged.certificate(best.x, seed, lambda: _certified(program, best.x, seed, typical))
    verdict = refusal or best.verdict
    if verdict == Verdict.CONVERGED and not _trusted(proof, proof_at_best, allow_failed_certificate):
        verdict = Verdict.FAILED_CERTIFICATE
    values = dict(zip(program.variables, best.x.tolist(), strict=True))
    iterates = tuple(iterate for memory in memories for iterate in memory.iterates)
    found = DoseOptimum(
        verdict, best, values, program.limits, tuple(runs), iterates, _idle(program, begun), proof, proof_at_best, size
    )
    return in_units(problem, found)


def in_units(problem: DoseProblem | Program, optimum: DoseOptimum) -> DoseOptimum:
    """An optimum of a program with the values, schedule and product of the problem that it belongs to.

    Args:
        problem: where it is a bare `Program`, nothing changes.
        optimum: of its program, or of one made from it.

    Returns:
        The same optimum, with each variable in its unit.
    """
    if not isinstance(problem, DoseProblem):
        return optimum
    values = {v.name: float(v.value(at)) for v, at in zip(problem.variables, jnp.asarray(optimum.x), strict=True)}
    schedule, product = problem.dosed(optimum.x)
    return replace(optimum, values=values, schedule=schedule, product=product)


def screened(program: Program, starts: int, seed: int) -> Float[np.ndarray, "s n"]:
    """Places to start from: the best of some scrambled Sobol points, those that keep the limits first.

    Four points or more for each start, a power of two of them in all, by forward runs; failed ones come last.

    Args:
        program: to be maximised.
        starts: number of places.
        seed: of the points.

    Returns:
        Places in 0..1 [-], (starts, n), the best first.
    """
    count = 2 ** int(np.ceil(np.log2(SCREENED_PER_START * starts)))
    points = qmc.Sobol(len(program.variables), rng=seed).random(count)
    outcome = program.evaluate_many(points)
    excess = outcome.limits.max(axis=1, initial=0.0)  # nan if one is
    failed = (outcome.status != Status.OK) | ~np.isfinite(outcome.objective) | ~np.isfinite(excess)
    order = np.lexsort((-outcome.objective, np.where(excess > FEASIBLE, excess, 0.0), failed))
    return points[order[:starts]]


class _Stopped(Exception):
    """A start ends early.

    Attributes:
        verdict: as what it ends, unless its best place says better; the text says why.
    """

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


def _typical_derivatives(begun: list[Linearised]) -> np.ndarray:
    """The lower median at the starts of the derivative of each output, in norm, (1 + c,).

    One steep start must not make the others look like optima.
    """
    return np.asarray([_lower_median(sizes) for sizes in zip(*map(_derivatives, begun), strict=True)])


def _derivatives(here: Linearised) -> np.ndarray:
    return np.linalg.norm(here.jacobian, axis=1)


def _lower_median(sizes: tuple[float, ...]) -> float:
    """Of those above zero; 0 if there are none."""
    moving = np.asarray([size for size in sizes if size > 0])
    return float(np.quantile(moving, 0.5, method="lower")) if len(moving) else 0.0


def _certified(program: Program, x: np.ndarray, seed: int, typical: np.ndarray) -> GradientCertificate:
    """The certificate at an optimum, which a failing run beside it must not cost."""
    try:
        return certify(program, x, seed, typical)
    except SimulationError as error:
        return failed_certificate(x, error)


def _trusted(at_start: GradientCertificate | None, at_best: GradientCertificate | None, allowed: bool) -> bool:
    """Whether an optimum may be called one; what failed at the start counts even if it was allowed to go on."""
    return (at_start is None or at_start.passed) and (at_best is None or at_best.passed or allowed)


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
