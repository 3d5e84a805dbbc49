"""The window about a best schedule: how much more or less of the whole of it the limits allow, and what that brings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from hepatojax.status import Status
from hepatojax.studies.optimum import FEASIBLE
from hepatojax.studies.program import Outcome

FACTORS = tuple(k / 8 for k in range(16))  # of the cells of every infusion [-]: two vectorised calls of eight runs
RANGE, FAILED = "end of the range", "failed simulation"


class Multiples(NamedTuple):
    """A schedule with the cells of every infusion times a factor.

    Attributes:
        factors: rising [-], (m,).
        objective: in its unit, nan where the simulation failed, (m,).
        limits: excess of each [-], nan where it failed, (m, c).
        status: `Status` code, (m,).
        names: of the limits, (c,).
    """

    factors: Float[np.ndarray, " m"]
    objective: Float[np.ndarray, " m"]
    limits: Float[np.ndarray, "m c"]
    status: Int[np.ndarray, " m"]
    names: tuple[str, ...]

    @property
    def allowed(self) -> tuple[tuple[float, str], tuple[float, str]] | None:
        """Factors about 1 at which every limit is kept, each end with what ends it there.

        Between two factors excesses are taken as straight lines; beyond a failed simulation nothing is known.

        Returns:
            (lowest factor [-], name), (highest factor [-], name); None where the schedule breaks a limit or fails.
        """
        worst = self.limits.max(axis=1, initial=-np.inf)
        at = int(np.argmin(np.abs(self.factors - 1.0)))
        if self.status[at] != Status.OK or not worst[at] <= FEASIBLE:
            return None
        return self._end(at, -1), self._end(at, 1)

    def _end(self, at: int, way: int) -> tuple[float, str]:
        """From one factor that is allowed to the last one that is, downward or upward."""
        while 0 <= at + way < len(self.factors):
            here, beyond = self.limits[at], self.limits[at + way]
            if self.status[at + way] != Status.OK:
                return float(self.factors[at]), FAILED
            broken = np.flatnonzero(beyond > FEASIBLE)
            if len(broken):
                kept = np.fmin(here[broken], 0.0)
                shares = kept / (kept - beyond[broken])
                first = int(np.argmin(shares))
                step = self.factors[at + way] - self.factors[at]
                return float(self.factors[at] + shares[first] * step), self.names[broken[first]]
            at += way
        return float(self.factors[at]), RANGE


def multiples_of(outcome: Outcome, factors: Sequence[float], names: tuple[str, ...]) -> Multiples:
    """The window about a schedule out of what its multiples brought.

    Args:
        outcome: of `DoseProblem.multiples`, (m,).
        factors: on the cells of every infusion, rising, 1 among them [-], (m,).
        names: of the limits, (c,).

    Returns:
        The same, with nan where a number is not known.
    """
    limits = np.asarray(outcome.limits)
    finite = np.isfinite(outcome.objective) & np.isfinite(limits).all(axis=1)
    known = (outcome.status == Status.OK) & finite
    status = np.where((outcome.status == Status.OK) & ~finite, int(Status.NOT_FINITE), outcome.status)
    objective = np.where(known, outcome.objective, np.nan)
    return Multiples(np.asarray(factors, float), objective, np.where(known[:, None], limits, np.nan), status, names)
