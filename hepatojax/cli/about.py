"""What stands about an optimum: the window of its schedule, ever fewer infusions, and the front of one harm.

The window is always found; the others where a study has the section for them and the optimum converged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from hepatojax.io.study.journal import Journal
from hepatojax.io.study.parts import StudyParts
from hepatojax.io.study.result import fewer_record, multiples_record, named_limits, pareto_record
from hepatojax.io.study.specification import ParetoSpec, Study
from hepatojax.studies.fewer import FewerInfusions, fewer_infusions
from hepatojax.studies.multiples import FACTORS, Multiples, multiples_of
from hepatojax.studies.objective import CELLS_UNIT, Limit
from hepatojax.studies.optimum import DoseOptimum, Verdict
from hepatojax.studies.pareto import ParetoFront, ParetoPoint, pareto_front
from hepatojax.studies.problem import DoseProblem


class Found(NamedTuple):
    """What a search has found.

    Attributes:
        optimum: the best place.
        window: multiples of its schedule; None where it could not be simulated.
        stages: of ever fewer infusions; None where nobody asked, or without an optimum.
        front: for a series of bounds on one harm; None likewise.
    """

    optimum: DoseOptimum
    window: Multiples | None = None
    stages: tuple[FewerInfusions, ...] | None = None
    front: ParetoFront | None = None

    def record(self, study: Study, parts: StudyParts) -> dict[str, Any]:
        """What `optimum.json` says of what stands about the optimum; null where it is not known.

        Args:
            study: that was asked.
            parts: of it.

        Returns:
            "window", and "fewer" and "pareto" of the sections that the study has.
        """
        said: dict[str, Any] = {"window": None}
        if self.window is not None and self.optimum.schedule is not None:
            total = float(np.sum(self.optimum.schedule.cells_per_kg)) / CELLS_UNIT
            said["window"] = multiples_record(self.window, total)
        if study.fewer is not None:
            said["fewer"] = None if self.stages is None else fewer_record(parts, self.stages)
        if study.pareto is not None:
            said["pareto"] = None if self.front is None else pareto_record(parts, study.pareto, self.front)
        return said


def found_about(
    study: Study, parts: StudyParts, problem: DoseProblem, optimum: DoseOptimum, journal: Journal, *, quiet: bool
) -> Found:
    """Fewer infusions and a front where the study asks for them, each line printed as it is known, and the window.

    Args:
        study: checked.
        parts: of it.
        problem: of it.
        optimum: of the problem.
        journal: holds what an earlier search has computed.
        quiet: True says nothing.

    Returns:
        The optimum with all of it.
    """
    if optimum.best.conditions is None:
        return Found(optimum)

    def tell(line: str) -> None:
        if not quiet:
            print(line, flush=True)

    stages = front = None
    how: dict[str, Any] = {"method": study.optimise.method, "calls": study.optimise.calls, "record": journal}
    if study.fewer is not None and optimum.verdict == Verdict.CONVERGED:
        keep = study.fewer.keep
        stages = fewer_infusions(problem, optimum, keep=keep, on_stage=lambda stage: tell(stage_line(stage)), **how)
    if study.pareto is not None and optimum.verdict == Verdict.CONVERGED:
        harm, limit = next(each for each in named_limits(parts) if each[1].quantity == study.pareto.limit)
        how |= {"starts": study.optimise.starts, "seed": study.optimise.seed, "certificate": False, "optimum": optimum}
        epsilons = epsilons_of(limit, study.pareto).tolist()
        front = pareto_front(problem, harm, epsilons, on_point=lambda point: tell(point_line(limit, point)), **how)
    window = multiples_of(problem.multiples(optimum.x, FACTORS), FACTORS, optimum.limit_names)
    return Found(optimum, window, stages, front)


def epsilons_of(limit: Limit, asked: ParetoSpec) -> np.ndarray:
    """How far each bound that is asked for lies beyond that of the limit, relative to its size.

        (bound - most) / |most|   or   (least - bound) / |least|

    Args:
        limit: of the study.
        asked: bounds, in its unit.

    Returns:
        Epsilons [-], (p,): rising, or falling for a least bound.
    """
    return limit.excess_at(np.linspace(asked.low, asked.high, asked.points))


def stage_line(stage: FewerInfusions) -> str:
    """How many infusions are left, and what they bring.

    Args:
        stage: after one more went.
    """
    left = f"{len(stage.kept)} infusion{'s' if len(stage.kept) > 1 else ''}, without {stage.dropped}"
    return f"{left}: objective {stage.optimum.objective:.6g}, {stage.optimum.verdict}"


def point_line(limit: Limit, point: ParetoPoint) -> str:
    """A point of the front.

    Args:
        limit: whose bound is moved.
        point: with the epsilon of that bound.
    """
    bound = f"{limit.quantity} at {limit.kind} {limit.reading_at(point.epsilon):.6g}"
    return f"{bound}: objective {point.optimum.objective:.6g}, {point.optimum.verdict}"


def window_line(said: Mapping[str, Any]) -> str:
    """The range of all cells of the best schedule in which its limits are kept.

    Args:
        said: of `multiples_record`.
    """
    if said["allowed"] is None:
        return "window: none, for the schedule itself oversteps a limit"
    low, high = (f"{end['total']:.4g} ({end['ended_by']})" for end in said["allowed"])
    return f"window: limits are kept from {low} to {high} [{said['unit']}] in all, {said['total']:.4g} is the best"
