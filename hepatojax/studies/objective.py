"""What a dose is judged by: aims with weights, and limits; the peak of an endpoint enters through a smooth maximum.

Benefit and harm are numbers with a derivative: a score with floors or classes is refused, and a smooth one is named.
The objective is maximised. A limit is an excess over its bound, relative to its size, so that limits in any unit are
met to one tolerance; those that the schedule alone decides take no simulation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hepatojax.endpoints import ENDPOINTS, Readings
from hepatojax.numerics.safe_math import smooth_peak
from hepatojax.parameters.registry import suggestion
from hepatojax.scenario import ROUTES
from hepatojax.status import HepatojaxError
from hepatojax.studies.quantities import OF_SCHEDULE, SPACING, TOTAL, TOTALS
from hepatojax.therapy.schedule import DoseSchedule

TIMES = ("end", "mean", "peak", "trough")
SHARPNESS = 100.0
CELLS_UNIT = 1e6
SMOOTH_INSTEAD = {
    "meld": "meld_smooth",
    "meld_3": "meld_smooth",
    "child_pugh": "albi",
    "oxygen_min": "oxygen_mean",
    "hypoxic_fraction": "oxygen_mean",
}


class StudyError(HepatojaxError, ValueError):
    """A study that cannot be done as it is asked for; one line."""


class Course(NamedTuple):
    """What aims and limits read.

    Attributes:
        endpoints: name -> value at the end of each macro-step, (t,), in the unit of `hepatojax.endpoints`.
        schedule: the doses.
        rows: those that hold an infusion; they are to come in this order.
        peaks: endpoint -> readings within each macro-step, which its peak takes in place of the endpoint.
    """

    endpoints: Mapping[str, Float[Array, " t"]]
    schedule: DoseSchedule
    rows: tuple[int, ...]
    peaks: Mapping[str, Readings] = MappingProxyType({})


@dataclass(frozen=True)
class Aim:
    """A part of the objective, weight x reading, which is to be MAXIMISED: benefit positive, harm and cost negative.

    Attributes:
        quantity: an endpoint, or a quantity of the schedule in `TOTALS` [1e6 cells/kg].
        at: "end", "mean", "peak" or "trough" over the ends of macro-steps; what rises and falls again within one is not
            seen, but for the peak of `blocked_peak`, which looks within.
        weight: per unit of the quantity.
        scale: typical change of the quantity, in its unit, for `smooth_peak`.
        sharpness: of a peak or trough, whose width is scale / sharpness [-].

    Raises:
        StudyError: a quantity that does not exist or has no derivative, an unknown time, or a number that does not fit.
    """

    quantity: str
    at: str = "end"
    weight: float = 1.0
    scale: float = 1.0
    sharpness: float = SHARPNESS

    def __post_init__(self) -> None:
        _check(f"aim {self.quantity}", self.quantity, self.at, (*TOTALS,))
        _check_finite(f"aim {self.quantity}", weight=self.weight)
        _check_positive(f"aim {self.quantity}", scale=self.scale, sharpness=self.sharpness)

    def reading(self, course: Course) -> Float[Array, ""]:
        """The quantity at its time, in its unit.

        Args:
            course: of the run, or of the schedule alone for a quantity of `TOTALS`.

        Returns:
            One number, in the unit of the quantity, without the weight.
        """
        return _reading(self.quantity, self.at, self.scale / self.sharpness, course)[0]


@dataclass(frozen=True)
class Limit:
    """A bound on a quantity: at most, or at least.

    Attributes:
        quantity: an endpoint, or one of `OF_SCHEDULE`: total_cells and total_ROUTE over all infusions, each_ROUTE of
            every infusion [1e6 cells/kg], spacing_h from the end of each infusion to the start of the next [h].
        at: as in `Aim`.
        most: upper bound, in the unit of the quantity; either this or `least`.
        least: lower bound, in the unit of the quantity.
        sharpness: of a peak or trough, whose width is |bound| / sharpness [-].

    Raises:
        StudyError: as `Aim`, or both bounds or neither.
    """

    quantity: str
    at: str = "end"
    most: float | None = None
    least: float | None = None
    sharpness: float = SHARPNESS

    def __post_init__(self) -> None:
        _check(f"limit {self.quantity}", self.quantity, self.at, OF_SCHEDULE)
        if (self.most is None) == (self.least is None):
            raise StudyError(f"limit {self.quantity}: give either most or least")
        _check_finite(f"limit {self.quantity}", **{self.kind: self.bound})
        _check_positive(f"limit {self.quantity}", sharpness=self.sharpness)

    @property
    def simulated(self) -> bool:
        """Whether it takes a simulation to know."""
        return self.quantity not in OF_SCHEDULE

    @property
    def bound(self) -> float:
        """The bound, in the unit of the quantity."""
        return float(self.least if self.most is None else self.most)  # type: ignore[arg-type]

    @property
    def kind(self) -> str:
        """Which bound it is, "most" or "least"."""
        return "least" if self.most is None else "most"

    @property
    def sign(self) -> float:
        """1 where a larger reading oversteps it, -1 where a smaller one does."""
        return -1.0 if self.most is None else 1.0

    @property
    def scale(self) -> float:
        """What an excess is relative to: the size of the bound, 1 in the unit of the quantity where it is zero."""
        return abs(self.bound) or 1.0

    def names(self, rows: tuple[int, ...]) -> tuple[str, ...]:
        """A name for each of its excesses.

        Args:
            rows: of the schedule that hold an infusion.

        Returns:
            One name, or one for each infusion, or for each pause between two; (k,) as `excess`.
        """
        name = f"{self.quantity} {self.kind}"
        if self.simulated:
            return (f"{self.quantity} {self.at} {self.kind}",)
        if self.quantity in TOTALS:
            return (name,)
        which = rows[1:] if self.quantity == SPACING else rows
        return tuple(f"{name} [{row}]" for row in which)

    def excess(self, course: Course) -> Float[Array, " k"]:
        """How far it is overstepped; <= 0 is allowed.

            (reading - most) / |most|   or   (least - reading) / |least|,   over 1 in its unit where the bound is zero

        Args:
            course: of the run, or of the schedule alone where it takes no simulation.

        Returns:
            Excess of each of `names` [-], (k,).
        """
        return self.excess_at(_reading(self.quantity, self.at, self.scale / self.sharpness, course))

    def excess_at(self, reading: ArrayLike) -> Any:
        """How far a reading, or another bound, oversteps the bound, see `excess`.

        Args:
            reading: in the unit of the quantity, any shape.

        Returns:
            Excess [-], same shape.
        """
        return self.sign * (reading - self.bound) / self.scale

    def reading_at(self, excess: float) -> float:
        """The reading that oversteps the bound so far, the inverse of `excess_at`.

            most + excess |most|   or   least - excess |least|

        Args:
            excess: how far it is overstepped [-], below zero where it is kept.

        Returns:
            The reading, in the unit of the quantity.
        """
        return self.bound + self.sign * excess * self.scale


def cells_by_route(schedule: DoseSchedule) -> Float[Array, "d 5"]:
    """Cells of each infusion by each route.

    Args:
        schedule: of d infusions.

    Returns:
        Cells [1e6 cells/kg], (d, 5), in the order of `hepatojax.scenario.ROUTES`.
    """
    return schedule.cells_per_kg[:, None] * schedule.route_mix / CELLS_UNIT


def _reading(quantity: str, at: str, width: float, course: Course) -> Float[Array, " k"]:
    """The value of an endpoint at its time, or of a quantity of the schedule, (k,); `width` as for `smooth_peak`."""
    if quantity in OF_SCHEDULE:
        return _of_schedule(quantity, course)
    series = course.endpoints[quantity]
    if at == "peak" and ENDPOINTS[quantity].smooth_peak:
        within = course.peaks[quantity]
        return smooth_peak(within.values.ravel(), width, within.weights.ravel())[None]
    if at == "peak":
        return smooth_peak(series, width)[None]
    if at == "trough":
        return -smooth_peak(-series, width)[None]
    return jnp.mean(series)[None] if at == "mean" else series[-1:]


def _of_schedule(quantity: str, course: Course) -> Float[Array, " k"]:
    """Pauses between infusions [h], or cells of one infusion each or in all [1e6 cells/kg]; takes no simulation."""
    rows = jnp.asarray(course.rows, jnp.int32)
    if quantity == SPACING:
        starts = course.schedule.start_h[rows]
        return starts[1:] - (starts + course.schedule.duration_h[rows])[:-1]
    if quantity == TOTAL:
        return jnp.sum(course.schedule.cells_per_kg / CELLS_UNIT)[None]
    kind, _, route = quantity.partition("_")
    cells = cells_by_route(course.schedule)[:, ROUTES.index(route)]
    return jnp.sum(cells)[None] if kind == "total" else cells[rows]


def _check(who: str, quantity: str, at: str, of_schedule: tuple[str, ...]) -> None:
    """Refuse a quantity that does not exist or has no derivative, and a time that does not exist."""
    if at not in TIMES:
        raise StudyError(f"{who}: at is {at!r}; allowed: {', '.join(TIMES)}")
    if quantity in of_schedule:
        if at != "end":
            raise StudyError(f"{who}: it belongs to the schedule and not to a time; leave `at` out")
        return
    if quantity not in ENDPOINTS:
        near = suggestion(quantity, dict.fromkeys((*ENDPOINTS, *of_schedule)))
        raise StudyError(f"{who}: neither an endpoint nor a quantity of the schedule that may stand here{near}")
    if ENDPOINTS[quantity].smooth_peak:
        if at != "peak":
            raise StudyError(f'{who}: only its peak has a derivative; give at = "peak"')
    elif not ENDPOINTS[quantity].smooth:
        instead = SMOOTH_INSTEAD.get(quantity)
        advice = f"; use {instead}" if instead else ""
        raise StudyError(f"{who}: it has no derivative ({ENDPOINTS[quantity].meaning}){advice}")


def _check_finite(who: str, **numbers: float) -> None:
    for name, number in numbers.items():
        if not math.isfinite(number):
            raise StudyError(f"{who}: {name} is {number}; wants a finite number")


def _check_positive(who: str, **numbers: float) -> None:
    for name, number in numbers.items():
        if not 0.0 < number < math.inf:
            raise StudyError(f"{who}: {name} is {number}; wants a finite number above zero")
