"""Infusions in continuous time: when, how long, how many cells, by which routes.

Starts and lengths are not rounded to macro-steps. Each interval takes the part of an infusion that falls into it, so
that the parts add up to the dose whatever the intervals are, and a derivative by a start time holds across an edge.
The number of rows is part of the compiled program, their content is not: unused rows carry no cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from hepatojax.mechanism import pytree
from hepatojax.scenario import ROUTES, InfusionSpec


@pytree
class DoseSchedule:
    """Infusions at constant rate; every entry is differentiable, a row without cells does nothing.

    Attributes:
        start_h: start of each infusion [h], (d,).
        duration_h: its length [h], > 0, (d,).
        cells_per_kg: cells, dead ones included [cells/kg], (d,).
        route_mix: share of each route of `hepatojax.scenario.ROUTES` [-], (d, 5); rows sum to 1.
    """

    start_h: Float[Array, " d"]
    duration_h: Float[Array, " d"]
    cells_per_kg: Float[Array, " d"]
    route_mix: Float[Array, "d 5"]


@pytree
class Windows:
    """The part of each infusion that falls into one interval of time.

    Attributes:
        rate: of infusion within the window [cells/kg/h], (d,).
        begin_h: start of the window since the start of the interval [h], (d,).
        end_h: its end [h], (d,); equal to its start where nothing falls into the interval.
    """

    rate: Float[Array, " d"]
    begin_h: Float[Array, " d"]
    end_h: Float[Array, " d"]

    @property
    def cells_per_kg(self) -> Float[Array, " d"]:
        """Cells infused in the interval, rate x (end - begin) [cells/kg], (d,)."""
        return self.rate * (self.end_h - self.begin_h)


def schedule_of(infusions: Sequence[InfusionSpec], length: int | None = None) -> DoseSchedule:
    """The schedule of an arm, padded with rows without cells so that all arms share one compilation.

    Args:
        infusions: of the arm, each by one route [h, cells/kg].
        length: number of rows; that of the infusions by default, at least 1.

    Returns:
        The schedule, rows in the order of the infusions; padding has no cells and a positive duration.

    Raises:
        ValueError: more infusions than rows, an unknown route, or a duration that is not positive.
    """
    rows = max(len(infusions), 1) if length is None else length
    if len(infusions) > rows:
        raise ValueError(f"{len(infusions)} infusions do not fit a schedule of {rows} rows")
    for infusion in infusions:
        if infusion.route not in ROUTES:
            raise ValueError(f"route {infusion.route!r} is not one of {', '.join(ROUTES)}")
        if not infusion.duration_h > 0:
            raise ValueError(f"duration_h is {infusion.duration_h}; it must be positive")
    idle = [InfusionSpec(start_h=0.0, cells_per_kg=0.0, route=ROUTES[0])] * (rows - len(infusions))
    every = [*infusions, *idle]
    return DoseSchedule(
        start_h=jnp.asarray([float(i.start_h) for i in every]),
        duration_h=jnp.asarray([float(i.duration_h) for i in every]),
        cells_per_kg=jnp.asarray([float(i.cells_per_kg) for i in every]),
        route_mix=jnp.asarray([[float(i.route == route) for route in ROUTES] for i in every]),
    )


def windows(schedule: DoseSchedule, start_h: Float[Array, ""] | float, length_h: Float[Array, ""] | float) -> Windows:
    """The part of each infusion that falls into an interval.

        begin = min(max(s - t, 0), h),   end = min(max(s + T - t, 0), h)

    What one interval loses when an infusion moves over its edge, the next one gains, in value and derivative.

    Args:
        schedule: infusions.
        start_h: start t of the interval [h].
        length_h: its length h [h].

    Returns:
        Rates [cells/kg/h] and windows [h], relative to the start of the interval.

    Reference: NUMERICS decision 8.
    """
    end_h = schedule.start_h + schedule.duration_h
    return Windows(
        rate=schedule.cells_per_kg / schedule.duration_h,
        begin_h=passed_of(schedule.start_h, start_h, length_h),
        end_h=passed_of(end_h, start_h, length_h),
    )


def passed_of(
    time_h: Float[Array, "*n"] | float, start_h: Float[Array, ""] | float, length_h: Float[Array, ""] | float
) -> Float[Array, "*n"]:
    """How much of an interval has passed at a time [h], 0 before it and all of it behind.

    At an edge the derivative is that of the interval which begins there, so that it is counted once and a time at the
    very start of a run has one. Times within round-off of an edge may fall on either side.

    Args:
        time_h: a time, or several [h].
        start_h: start of the interval [h].
        length_h: its length [h].

    Returns:
        The time passed [h], 0 to `length_h`.
    """
    passed = jnp.asarray(time_h) - start_h
    return jnp.where(passed < 0, 0.0, jnp.where(passed < length_h, passed, length_h))
