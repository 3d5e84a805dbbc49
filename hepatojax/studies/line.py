"""One variable, one line: places looked at once, where a reading changes its sign, its highest point between two.

A reading comes with its derivative, so that each search needs a few simulations; every step stays in a bracket, so that
it cannot leave for a place that the scan has not seen. A place that could not be simulated ends a search.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from hepatojax.status import Status
from hepatojax.studies.program import Linearised, Outcome, Program

STEPS = 60
TOLERANCE = 1e-4  # in x, which is 0..1 between the bounds of the variable


class Reading(NamedTuple):
    """A number at a place and its derivative.

    Attributes:
        value: in any unit.
        slope: by x, in the same unit, for x has none.
    """

    value: float
    slope: float


class FailedPlace(Exception):
    """A place that could not be simulated; no number of it is ever used.

    Attributes:
        status: how its simulation ended.
    """

    def __init__(self, status: Status):
        super().__init__(status.statement)
        self.status = status


class Line:
    """A program of one variable, with what is known of it.

    Attributes:
        program: of that variable.
        forward: places simulated without the derivative so far.
        seen: place -> outcome and Jacobian there.
    """

    def __init__(self, program: Program):
        self.program, self.forward, self.seen = program, 0, dict[float, Linearised]()

    @property
    def jacobians(self) -> int:
        """Places computed with their derivative."""
        return len(self.seen)

    def scan(self, places: Sequence[float]) -> Outcome:
        """Outcomes at some places.

        Args:
            places: in 0..1 [-], or -inf, which is no dose on a logarithmic scale; (m,).

        Returns:
            Objective (m,), excess of each limit (m, c) and status (m,).
        """
        self.forward += len(places)
        return self.program.evaluate_many(np.asarray(places, float)[:, None])

    def at(self, x: float) -> Linearised:
        """What is known at a place, with the derivative; computed once.

        Args:
            x: in 0..1 [-].

        Returns:
            The outcome and its Jacobian (1 + c, 1).

        Raises:
            FailedPlace: it could not be simulated.
        """
        if x not in self.seen:
            self.seen[x] = self.program.linearise(np.asarray([x]))
        here = self.seen[x]
        if not here.ok:
            raise FailedPlace(here.status)
        return here


def crossing(
    read: Callable[[float], Reading], inside: float, outside: float, start: float, tolerance: float = TOLERANCE
) -> tuple[float, bool]:
    """Where a reading becomes negative between two places, by Newton's method, or by bisection where that leaves them.

        x <- x - f / f'   within the bracket and less than half as far as before, else its middle

    Args:
        read: f and f' at a place.
        inside: where f >= 0.
        outside: where f < 0.
        start: between them.
        tolerance: on x [-].

    Returns:
        The place [-], and whether it is known to the tolerance.

    Reference: Press, Teukolsky, Vetterling and Flannery 2007, Numerical Recipes 9.4.
    """
    x, last = start, 2.0 * abs(outside - inside)
    for _ in range(STEPS):
        here = read(x)
        inside, outside = (x, outside) if here.value >= 0 else (inside, x)
        low, high = min(inside, outside), max(inside, outside)
        ahead = x - here.value / here.slope if here.slope != 0 else np.nan
        if not (low <= ahead <= high and abs(ahead - x) < 0.5 * last):
            ahead = 0.5 * (low + high)
        last = abs(ahead - x)
        if last <= tolerance:
            return ahead, True
        x = ahead
    return inside, False


def highest(
    read: Callable[[float], Reading], rising: float, other: float, tolerance: float = TOLERANCE
) -> tuple[float, bool]:
    """The place of the highest reading between two, by secants of the derivative, or the middle every third time.

    Args:
        read: f and f' at a place.
        rising: from where f rises towards the other place.
        other: where f is lower, or from where it rises back.
        tolerance: on x [-].

    Returns:
        The place [-], and whether it is known to the tolerance.
    """
    way = 1.0 if other > rising else -1.0
    here, there = read(rising), read(other)
    for step in range(STEPS):
        gap = abs(other - rising)
        if gap <= tolerance:
            return (rising if here.value >= there.value else other), True
        up, down = way * here.slope, -way * there.slope
        share = up / (up + down) if up > 0 and down > 0 and step % 3 < 2 else 0.5
        least = 0.5 * tolerance / gap
        x = rising + way * gap * min(max(share, least), 1.0 - least)
        new = read(x)
        if new.value < here.value or way * new.slope <= 0:
            other, there = x, new
        else:
            rising, here = x, new
    return (rising if here.value >= there.value else other), False
