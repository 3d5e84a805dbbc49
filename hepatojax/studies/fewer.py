"""Fewer infusions: the amount of one after the other goes to zero by continuation, the rest re-optimised on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hepatojax.status import Status
from hepatojax.studies.objective import StudyError
from hepatojax.studies.optimise import CALLS, Record, in_units, optimise_dose
from hepatojax.studies.optimum import DoseOptimum, Verdict, merit
from hepatojax.studies.problem import DoseProblem, program_of
from hepatojax.studies.program import Outcome, Program
from hepatojax.studies.quantities import AMOUNT

SHARES = (0.5, 0.2, 0.0)  # of the amount that is to go, one after the other


@dataclass(frozen=True)
class FewerInfusions:
    """The best schedule of some infusions.

    Attributes:
        kept: variables that are the amount of an infusion that is left.
        dropped: variable of the one that went last; empty at first.
        optimum: with all others at exactly zero.
    """

    kept: tuple[str, ...]
    dropped: str
    optimum: DoseOptimum

    @property
    def converged(self) -> bool:
        """Whether it is an optimum."""
        return self.optimum.verdict == Verdict.CONVERGED


def fewer_infusions(
    problem: DoseProblem | Program,
    optimum: DoseOptimum,
    *,
    keep: int = 1,
    method: str = "SLSQP",
    calls: int = CALLS,
    on_stage: Callable[[FewerInfusions], None] | None = None,
    record: Record | None = None,
) -> tuple[FewerInfusions, ...]:
    """The best schedules of ever fewer infusions, down to `keep`, starting from an optimum of all of them.

    The infusion that is missed least, by forward runs without each, goes first. Its amount is held below a half, a
    fifth and nothing of what it was, and everything else is optimised again at each of these, from where it was: so the
    doses and the times of the others take over by and by. One compiled program serves all. It is a descent and no
    search over all subsets: another subset may be better.

    An infusion that went keeps its place among the others where a limit on `spacing_h` counts them.

    Args:
        problem: with two or more variables cells_per_kg[i] on a linear scale from zero.
        optimum: of it, converged.
        keep: how many infusions to leave.
        method: of scipy, see `optimise_dose`.
        calls: places that each optimisation may compute.
        on_stage: called with every schedule but the first.
        record: of an earlier search of the same problem, see `optimise_dose`; it holds every place but the forward runs
            without each infusion.

    Returns:
        The optimum of all infusions, then one of one infusion less, and so on; look at `converged` of each.

    Raises:
        StudyError: an optimum that is none, or amounts that cannot go to zero.
    """
    program, record = program_of(problem), record or Record()
    amounts = _amounts(problem, optimum, keep)
    shrinking, caps = _shrinking(program), np.ones(len(program.variables))
    stages = [FewerInfusions(tuple(program.variables[i] for i in amounts), "", optimum)]
    while len(amounts) > keep:
        x = stages[-1].optimum.x
        going = _missed_least(program, x, amounts)
        amounts.remove(going)
        found = stages[-1].optimum
        for share in SHARES:
            caps[going] = share * x[going]
            here = shrinking.with_inputs((program.inputs, jnp.asarray(caps)))
            start = np.divide(np.minimum(found.x, caps), caps, out=np.zeros(len(x)), where=caps > 0)
            typical = optimum.typical_gradient  # where the others are at their best, the gradient itself says nothing
            how: dict[str, Any] = {"calls": calls, "typical_gradient": typical, "record": record.beside("caps", caps)}
            bounded = optimise_dose(here, method, first=start[None], certificate=False, **how)
            found = _unscaled(problem, bounded, caps)
        kept = tuple(program.variables[i] for i in amounts)
        stages.append(FewerInfusions(kept, program.variables[going], found))
        if on_stage is not None:
            on_stage(stages[-1])
    return tuple(stages)


def _amounts(problem: DoseProblem | Program, optimum: DoseOptimum, keep: int) -> list[int]:
    """Which variables are amounts; refuses what cannot be reduced."""
    program = program_of(problem)
    amounts = [i for i, name in enumerate(program.variables) if name.startswith(AMOUNT)]
    if not 1 <= keep < len(amounts):
        raise StudyError(
            f"keep is {keep}; wants at least 1 and fewer than the {len(amounts)} amounts that are variables"
        )
    if optimum.verdict != Verdict.CONVERGED:
        raise StudyError(f"optimum: its verdict is {optimum.verdict}; only from an optimum can infusions be left out")
    for variable in problem.variables if isinstance(problem, DoseProblem) else ():
        if variable.name.startswith(AMOUNT) and (variable.low, variable.scale) != (0.0, "linear"):
            raise StudyError(f'variable {variable.name}: wants low = 0 and the scale "linear" to go to zero')
    return amounts


def _missed_least(program: Program, x: Float[np.ndarray, " n"], amounts: list[int]) -> int:
    """The amount without which the schedule is best."""
    without = np.tile(x, (len(amounts), 1))
    without[np.arange(len(amounts)), amounts] = 0.0
    outcome = program.evaluate_many(without)
    order = [
        merit(float(value), excess) if status == Status.OK and np.isfinite([value, *excess]).all() else (0, 0.0)
        for value, excess, status in zip(*outcome, strict=True)
    ]
    return amounts[max(range(len(amounts)), key=order.__getitem__)]


def _shrinking(program: Program) -> Program:
    """The program whose inputs have upper bounds c of x beside them: it reads c x, and has no limit more."""
    function, closed = program.function, program.closed

    def shrunk(x: Array, inputs: tuple[Any, Array]) -> Outcome:
        return function(inputs[1] * x, inputs[0])

    def shrunk_closed(x: Array, inputs: tuple[Any, Array]) -> Array:
        assert closed is not None
        return closed(inputs[1] * x, inputs[0])

    return program.beside(shrunk, shrunk_closed, jnp.ones(len(program.variables)))


def _unscaled(problem: DoseProblem | Program, optimum: DoseOptimum, caps: Float[np.ndarray, " n"]) -> DoseOptimum:
    """An optimum of the shrunk program as one of the problem; its iterates stay as the solver saw them."""
    best = replace(optimum.best, first=caps * optimum.best.first, x=caps * optimum.best.x)
    return in_units(problem, replace(optimum, best=best))
