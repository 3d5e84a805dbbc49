"""A pericentral lesion of a mouse, as after carbon tetrachloride: V31. The lesion itself is set by hand.

At day 0 nine tenths of the hepatocytes are dead where the zone coordinate is 0.47 or more. From then on the model runs
without a toxin: debris is cleared, cells divide and move into the free space. What is measured is what a section
shows, the area without living hepatocytes; its largest size follows from the lesion, the times of closing do not. The
time of closing hangs on the motion of hepatocytes, so that it is also reported at the slow end of that range.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from hepatojax.build import Study, build_study
from hepatojax.checks.records import Check, Record, reported, within
from hepatojax.checks.validate.course import DAY_H, changed, column_case, course_of
from hepatojax.model import LiverModel
from hepatojax.parameters.registry import load_parameters
from hepatojax.scenario import DiseaseSpec
from hepatojax.simulate import SaveAt

SAVE = SaveAt(6.0, ("quiescent", "primed", "injured"))
DAYS = 20.0
KILLED, FROM_ZONE = 0.9, 0.47
DEAD_BELOW = 0.5  # a place is dead while fewer living hepatocytes than this are there, cleared of debris or not
CLOSED_BELOW, RESTORED_FROM = 0.05, 0.95
SOURCE = "V31: Hoehme 2010 (course over 16 days read, numbers recalled); area 0.3..0.4 +- 0.1, times +- 1 d"
RANGE = "range of migration.crowding_diffusivity"


class Healing(NamedTuple):
    """The course of the lesion.

    Attributes:
        days: of the saved fields [d], (t,).
        dead: area without living hepatocytes, share of the tissue [-], (t,).
        not_at_rest: area without hepatocytes at rest, share of the tissue [-], (t,).
        density: mean of hepatocytes at rest and in the cycle over the healthy one [-], (t,).
    """

    days: np.ndarray
    dead: np.ndarray
    not_at_rest: np.ndarray
    density: np.ndarray

    def largest(self) -> float:
        """Largest dead area of days 0.5 to 2, share of the tissue [-]."""
        return float(np.max(self.dead[(self.days >= 0.5) & (self.days <= 2.0)]))

    def closed(self) -> float:
        """Day on which the dead area falls below 5 % of the tissue [d]; NaN if that never comes."""
        return first_below(self.days, self.dead, CLOSED_BELOW)

    def all_at_rest(self) -> float:
        """Day on which hepatocytes at rest are back but for 5 % of the tissue [d]; NaN if that never comes."""
        return first_below(self.days, self.not_at_rest, CLOSED_BELOW)

    def restored(self) -> float:
        """Day on which 95 % of the healthy density of hepatocytes is back [d]; NaN if that never comes."""
        return first_below(self.days, -self.density, -RESTORED_FROM)


def first_below(days: np.ndarray, values: np.ndarray, bound: float) -> float:
    """First day on which a course falls below a bound, linear between its points; NaN if it never does.

    Args:
        days: rising [d], (t,).
        values: the course in any unit, (t,).
        bound: in the unit of the course.

    Returns:
        The day [d]; the first one if the course begins below the bound.
    """
    below = np.flatnonzero(values < bound)
    if not below.size or below[0] == 0:
        return float(days[0]) if below.size else float("nan")
    last = slice(below[0] - 1, below[0] + 1)
    return float(np.interp(-bound, -values[last], days[last]))


@cache
def wounded_mouse() -> Study:
    """A mouse whose pericentral half of the radius has lost most hepatocytes at day 0.

    Returns:
        Model and state on the column, 90 % of the hepatocytes dead from zone coordinate 0.47 on.
    """
    return build_study(column_case("mouse", DiseaseSpec(lesion_fraction=KILLED, lesion_from_zone=FROM_ZONE)))


def healing(model: LiverModel) -> Healing:
    """The course of the lesion in a model.

    A place is dead while its hepatocytes at rest, in the cycle and injured together stay below half of the healthy
    density.

    Args:
        model: that of `wounded_mouse`, or one with other numbers.

    Returns:
        Areas and density every 6 h over 20 days.

    Raises:
        SimulationError: the run failed.
    """
    study = wounded_mouse()
    solution = course_of(model, study.state, study, DAYS, save=SAVE).solution
    share = np.ravel(model.grid.volume) / float(model.grid.total_volume)
    quiescent, primed, injured = (np.asarray(solution.saved[name]).reshape(-1, share.size) for name in SAVE.fields)
    living = quiescent + primed + injured
    return Healing(
        days=np.asarray(solution.saved_times_h) / DAY_H,
        dead=(living < DEAD_BELOW) @ share,
        not_at_rest=(quiescent < DEAD_BELOW) @ share,
        density=(quiescent + primed) @ share,
    )


def slowest_motion(model: LiverModel) -> LiverModel:
    """The model with the slowest motion of hepatocytes inside its range.

    Args:
        model: of a mouse.

    Returns:
        The model with the low end of `migration.crowding_diffusivity` of the mouse.
    """
    name = "migration.crowding_diffusivity"
    low = next(row.low for row in load_parameters("mouse").table() if row.name == name)
    slowest = load_parameters("mouse", {name: low}).migration.crowding_diffusivity
    return changed(model, "migration", "crowding_diffusivity", slowest)


def wound() -> Iterator[Record]:
    """Dead area, the day on which it has closed, and the day on which cell density is back.

    The dead area must reach 0.2..0.5 of the tissue (0.3..0.4 widened by 0.1) and close on days 3..7 (4..6 widened by a
    day), and the density be back on days 7..17 (8..16 widened by a day).

    Yields:
        These three; reported: the day of rest [d], the density at days 6 and 16 [-], the day of closing at the slowest
        motion [d].

    Reference: VALIDATION V31 (Hoehme 2010; its numbers are recalled, not read).
    """
    model = wounded_mouse().model
    course = healing(model)
    area = "mouse, largest dead area of days 0.5 to 2, share of the tissue"
    yield within("V31", area, course.largest(), 0.2, 0.5, "-", SOURCE)
    yield within("V31", "mouse, day on which the dead area has closed", course.closed(), 3.0, 7.0, "d", SOURCE)
    yield within("V31", "mouse, day on which 95 % of the cells are back", course.restored(), 7.0, 17.0, "d", SOURCE)
    at_rest = "mouse, day on which hepatocytes at rest are back nearly everywhere"
    yield reported("V31", at_rest, course.all_at_rest(), "d", SOURCE)
    for day in (6.0, 16.0):
        density = float(np.interp(day, course.days, course.density))
        yield reported("V31", f"mouse, density of hepatocytes at day {day:g}", density, "-", SOURCE)
    slow = "mouse, day of closing with the slowest motion of hepatocytes in its range"
    yield reported("V31", slow, healing(slowest_motion(model)).closed(), "d", RANGE)


CHECKS = (Check("V31", "A pericentral lesion closes", wound),)
