"""An optimum of a dose problem: the conditions that it must fulfil, and the verdict on a search for it.

What a solver says of itself is not trusted: the place where it stopped is judged anew by its gradient and multipliers,
relative to the typical gradient at the starts, so that the verdict does not depend on the unit of the objective.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import linprog, nnls

from hepatojax.studies.certificate import GradientCertificate
from hepatojax.studies.program import Linearised
from hepatojax.therapy.product import CellProduct
from hepatojax.therapy.schedule import DoseSchedule

STATIONARY = 1e-3
FEASIBLE = 1e-6
ACTIVE = 1e-3


class Verdict(StrEnum):
    """How an optimisation ended; only "converged" means that there is an optimum."""

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

    Attributes:
        stationarity: size of the gradient that no multiplier explains, over the typical gradient at a start [-].
        feasibility: largest excess of a limit, 0 if all are kept [-].
        complementarity: largest product of a multiplier and the slack of its limit, over the same gradient [-].
        multipliers: rate at which the objective rises when the bound of a limit gives way by its own size, in the
            unit of the objective, (c,).
        bounds: derivative of the objective by each x that a bound holds, in the unit of the objective, (n,).
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
    """One place that a solver asked for.

    Attributes:
        start: number of its start.
        x: in 0..1 [-], (n,).
        objective: there; nan or without meaning where the status is not OK.
        limits: excess of each [-], (c,).
        status: `Status` code.
        jacobian: see `Linearised`, (1 + c, n).
    """

    start: int
    x: Float[np.ndarray, " n"]
    objective: float
    limits: Float[np.ndarray, " c"]
    status: int
    jacobian: Float[np.ndarray, "m n"]


@dataclass(frozen=True)
class StartOutcome:
    """What came of one start.

    Attributes:
        first: where it began, in 0..1 [-], (n,).
        x: where it ended, in 0..1 [-], (n,).
        objective: at x; nan if it could not be simulated.
        limits: excess of each [-], (c,).
        conditions: at x; None if it could not be simulated.
        verdict: how it ended.
        jacobian_calls: places computed, each with its Jacobian.
        message: of the solver, or what ended it early; x is then the best place that it had seen.
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

    Attributes:
        verdict: how the optimisation ended.
        best: the start that came out best.
        values: name -> value of each variable, in its unit; x itself where the problem is a bare `Program`.
        limit_names: of each limit, (c,).
        starts: every one, the most promising first.
        iterates: every place.
        idle: variables that move neither the objective nor a limit at any start.
        certificate: of the gradient near the first start that could be simulated; None if nobody asked for it.
        certificate_at_optimum: of the gradient near the best place; None if nobody asked for it or no solver ran.
        typical_gradient: what the conditions are relative to, in the unit of the objective.
        schedule: at the best place; None for a bare `Program`.
        product: at the best place; None for a bare `Program`.
    """

    verdict: Verdict
    best: StartOutcome
    values: dict[str, float]
    limit_names: tuple[str, ...]
    starts: tuple[StartOutcome, ...]
    iterates: tuple[Iterate, ...]
    idle: tuple[str, ...]
    certificate: GradientCertificate | None
    certificate_at_optimum: GradientCertificate | None
    typical_gradient: float
    schedule: DoseSchedule | None = None
    product: CellProduct | None = None

    @property
    def x(self) -> Float[np.ndarray, " n"]:
        """The best place, in 0..1 [-], (n,)."""
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
        """Multiplier of each limit by its name, see `Conditions`; empty if the place could not be simulated.

        In the unit of the objective: what it gains where the bound gives way by its own size.
        """
        conditions = self.best.conditions
        return {} if conditions is None else dict(zip(self.limit_names, conditions.multipliers.tolist(), strict=True))

    @property
    def proven(self) -> bool:
        """Whether the gradient is certified at the start and at the optimum."""
        return all(proof is not None and proof.passed for proof in (self.certificate, self.certificate_at_optimum))

    @property
    def jacobian_calls(self) -> int:
        """Places computed with their Jacobian, over all starts."""
        return len(self.iterates)

    @property
    def message(self) -> str:
        """One sentence on how it ended."""
        return f"{self.verdict}: {_MEANING[self.verdict]}"


def merit(objective: float, limits: Float[np.ndarray, " c"]) -> tuple[int, float]:
    """Order of places: those that keep the limits by their objective, then the others by their excess.

    Args:
        objective: there.
        limits: excess of each [-], (c,).

    Returns:
        A pair that is larger for a better place.
    """
    excess = float(limits.max(initial=0.0))
    return (2, objective) if excess <= FEASIBLE else (1, -excess)


def conditions_at(here: Linearised, x: Float[np.ndarray, " n"], size: float) -> Conditions:
    """How well the conditions of an optimum hold, with the multipliers that explain the gradient best.

        grad f = sum of l_i grad g_i over active limits + m_j e_j over active bounds, l >= 0, m outward

    by non-negative least squares. A limit is active from an excess of -1e-3 on, a bound within 1e-3 of x.

    Args:
        here: at the place.
        x: in 0..1 [-], (n,).
        size: typical gradient of the objective, what the residuals are relative to, in its unit.

    Returns:
        Residuals and multipliers; look at `hold`.
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

    Args:
        here: excess of each limit g and its slopes.
        x: the place, in 0..1 [-], (n,).

    Returns:
        False where the least t is above 1e-6; True without limits.
    """
    excess, slopes = here.outcome.limits, here.jacobian[1:]
    if not len(excess):
        return True
    rows = np.column_stack([slopes, -np.ones(len(excess))])
    sizes = np.abs(rows).max(axis=1)  # at least 1; without them a steep limit is beyond what the solver takes
    bounds = [*zip(-x, 1.0 - x, strict=True), (None, None)]
    least = linprog(np.append(np.zeros(len(x)), 1.0), rows / sizes[:, None], -excess / sizes, bounds=bounds)
    return not least.success or bool(least.fun <= FEASIBLE)
