"""What a harm buys: the best objective for each bound on one limit, every optimum starting from the one before.

This is the epsilon constraint method: one objective, one harm as a limit whose bound is moved. Its multiplier is the
slope of the front, so that each point also says what the next bit of harm would bring.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hepatojax.studies.objective import StudyError
from hepatojax.studies.optimise import CALLS, Record, in_units, optimise_dose
from hepatojax.studies.optimum import DoseOptimum, Verdict
from hepatojax.studies.problem import DoseProblem, program_of
from hepatojax.studies.program import Outcome, Program


@dataclass(frozen=True)
class ParetoPoint:
    """The best that one bound on the harm allows.

    Attributes:
        epsilon: how far the harm may overstep the bound of its limit, relative to it [-].
        optimum: under that.
    """

    epsilon: float
    optimum: DoseOptimum

    @property
    def converged(self) -> bool:
        """Whether it is an optimum; a point that is not must not be shown as one of the front."""
        return self.optimum.verdict == Verdict.CONVERGED


@dataclass(frozen=True)
class ParetoFront:
    """Objective against one harm.

    Attributes:
        harm: name of the limit.
        points: in the order in which they were sought.
    """

    harm: str
    points: tuple[ParetoPoint, ...]

    @property
    def slopes(self) -> Float[np.ndarray, " p"]:
        """What the objective gains by epsilon at each point: the multiplier of the harm, nan without an optimum.

        In the unit of the objective, for epsilon has none, (p,).
        """
        return np.asarray([p.optimum.multipliers[self.harm] if p.converged else np.nan for p in self.points], float)


def pareto_front(
    problem: DoseProblem | Program,
    harm: str,
    epsilons: Sequence[float],
    *,
    method: str = "SLSQP",
    starts: int = 4,
    seed: int = 0,
    certificate: bool = True,
    calls: int = CALLS,
    on_point: Callable[[ParetoPoint], None] | None = None,
    record: Record | None = None,
    optimum: DoseOptimum | None = None,
) -> ParetoFront:
    """Maximise the objective under harm <= epsilon for a series of epsilons, by continuation.

    The first optimum is sought from several starts and its gradient certified, until both certificates pass; each
    later one starts from the optimum before it, and from several starts anew only where that does not converge. One
    compiled program serves all.

    Args:
        problem: with limits.
        harm: name of one of them, as `Program.limits` has it.
        epsilons: rising or falling; how far the harm may overstep its bound, relative to its size [-], (p,).
        method: of scipy, see `optimise_dose`.
        starts: of a point that has no optimum before it.
        seed: of the starts, and of the certificate.
        certificate: whether to certify.
        calls: places that a start may compute.
        on_point: called with every point.
        record: of an earlier search of the same problem, see `optimise_dose`.
        optimum: of the problem, converged, from which the first point then starts; by default from several starts.

    Returns:
        The front; look at `converged` of each point.

    Raises:
        StudyError: no such limit, or epsilons that neither rise nor fall.
    """
    program, record, before = program_of(problem), record or Record(), optimum
    given = np.asarray(epsilons, float)
    _check(program, harm, given)
    shifting = _shifting(program, harm)
    options: dict[str, Any] = {"method": method, "seed": seed, "calls": calls}
    points: list[ParetoPoint] = []
    proven = not certificate
    for epsilon in given:
        here = shifting.with_inputs((program.inputs, jnp.asarray(epsilon)))
        found, own = None, record.beside(f"epsilon of {harm}", np.asarray([epsilon]))
        if before is not None and before.verdict == Verdict.CONVERGED:
            how = {"typical_gradient": before.typical_gradient, "record": own, **options}
            found = optimise_dose(here, first=before.x[None], certificate=False, **how)
        if found is None or found.verdict != Verdict.CONVERGED:
            found = optimise_dose(here, starts=starts, certificate=not proven, record=own, **options)
            proven = proven or found.proven
        before = found
        points.append(ParetoPoint(float(epsilon), in_units(problem, found)))
        if on_point is not None:
            on_point(points[-1])
    return ParetoFront(harm, tuple(points))


def _check(program: Program, harm: str, epsilons: Float[np.ndarray, " p"]) -> None:
    if harm not in program.limits:
        raise StudyError(f"harm {harm}: not among the limits {', '.join(program.limits) or '(there are none)'}")
    steps = np.diff(epsilons)
    if not len(epsilons) or not np.isfinite(epsilons).all() or not ((steps > 0).all() or (steps < 0).all()):
        raise StudyError("epsilons: wants finite numbers that rise, or that fall")


def _shifting(program: Program, harm: str) -> Program:
    """The program whose inputs have an epsilon beside them, by which the excess of the harm is less."""
    at, simulated = program.limits.index(harm), program.simulated - 1
    function, closed = program.function, program.closed

    def shifted(x: Array, inputs: tuple[Any, Array]) -> Outcome:
        outcome = function(x, inputs[0])
        if at >= simulated:
            return outcome
        return outcome._replace(limits=jnp.asarray(outcome.limits).at[at].add(-inputs[1]))

    def shifted_closed(x: Array, inputs: tuple[Any, Array]) -> Array:
        assert closed is not None
        excess = closed(x, inputs[0])
        return excess if at < simulated else excess.at[at - simulated].add(-inputs[1])

    return program.beside(shifted, shifted_closed, jnp.zeros(()))
