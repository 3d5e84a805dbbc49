"""A study: a scenario, what its doses are judged by, what may be chosen, and how to search. No JAX here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hepatojax.scenario import ROUTES, Scenario
from hepatojax.studies.quantities import OF_SCHEDULE

METHODS = ("SLSQP", "L-BFGS-B", "trust-constr")
ADJOINTS = ("saved", "two-level")  # those that have a derivative of bounded memory


@dataclass(frozen=True)
class OptimiseSpec:
    """How to search, see `hepatojax.optimise_dose` and `hepatojax.DoseProblem`.

    Attributes:
        method: of scipy.
        starts: number of starts.
        seed: of the starts and of the certificate.
        calls: places that a start may compute.
        adjoint: how macro-steps are kept for the derivative.
        checkpoints: segments of "two-level"; None leaves them to `hepatojax.numerics.segments.segments_of`.
        allow_failed_certificate: True goes on with a gradient that is not proven; of one that failed at the start the
            verdict says so.
    """

    method: str = "SLSQP"
    starts: int = 8
    seed: int = 0
    calls: int = 100
    adjoint: str = "saved"
    checkpoints: int | None = None
    allow_failed_certificate: bool = False


@dataclass(frozen=True)
class FewerSpec:
    """Ever fewer infusions from the optimum on, see `hepatojax.studies.fewer`.

    Attributes:
        keep: how many infusions to leave.
    """

    keep: int = 1


@dataclass(frozen=True)
class ParetoSpec:
    """The best objective for a series of bounds on one harm, see `hepatojax.studies.pareto`.

    Attributes:
        limit: quantity of the limit whose bound is moved.
        low: lowest bound, in its unit.
        high: highest bound, in its unit.
        points: number of bounds, evenly spread.
    """

    limit: str
    low: float
    high: float
    points: int = 5


@dataclass(frozen=True)
class WindowSpec:
    """What a therapeutic window is asked for.

    Attributes:
        routes: to compare.
        least_gain: smallest gain worth having, in the unit of the objective.
        share: of the best gain that may be lost in its flat range [-].
        factors: uncertain parameters of the subject amplification, by name.
        doses: number of doses on a route.
    """

    routes: tuple[str, ...] = ROUTES
    least_gain: float = 0.01
    share: float = 0.05
    factors: tuple[str, ...] = ()
    doses: int = 15


@dataclass(frozen=True)
class Study:
    """What a study file says, with the scenario that it resolves to.

    Attributes:
        title: one line.
        source: name of the file, for messages.
        scenario: checked, settings included.
        arm: whose infusions the variables address.
        aims: the keys that the file gives of each `Aim` of `hepatojax.studies.objective`.
        variables: the same of each `hepatojax.studies.variables.Variable`.
        limits: the same of each `Limit` of `hepatojax.studies.objective`; `hepatojax.io.study.parts` makes and checks
            all.
        optimise: how to search.
        window: what a therapeutic window is asked for.
        fewer: how far to reduce the infusions of the optimum; None leaves them.
        pareto: which front to seek; None seeks none.
    """

    title: str
    source: str
    scenario: Scenario
    arm: str
    aims: tuple[Mapping[str, Any], ...]
    variables: tuple[Mapping[str, Any], ...]
    limits: tuple[Mapping[str, Any], ...] = ()
    optimise: OptimiseSpec = OptimiseSpec()
    window: WindowSpec = WindowSpec()
    fewer: FewerSpec | None = None
    pareto: ParetoSpec | None = None

    @property
    def cotangents(self) -> int:
        """Outputs that one reverse pass differentiates, as `hepatojax.studies.program.Program` does it.

        All that take a simulation, the objective and some limits; one where there are fewer variables than those.
        """
        outputs = 1 + sum(limit.get("quantity") not in OF_SCHEDULE for limit in self.limits)
        return outputs if len(self.variables) >= outputs else 1
