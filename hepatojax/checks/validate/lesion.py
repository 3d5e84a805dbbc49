"""A pericentral lesion of a mouse, as after carbon tetrachloride: V31. The lesion itself is set by hand."""

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

SAVE = SaveAt(12.0, ("quiescent", "primed"))
KILLED, FROM_ZONE = 0.9, 0.47
DEAD_BELOW = 0.5  # a place counts as lesion while its quiescent hepatocytes are fewer than this
CLOSED_BELOW, RESTORED_FROM = 0.05, 0.95
SOURCE = "V31: Hoehme 2010 (course over 16 days read, numbers recalled); area 0.3..0.4 +- 0.1, times +- 1 d"


class Healing(NamedTuple):
    """days: of the saved fields [d]. area: of the lesion, share of the tissue. density: mean of living hepatocytes."""

    days: np.ndarray
    area: np.ndarray
    density: np.ndarray

    def closed(self) -> float:
        """First day on which hardly any lesion is left; NaN if that never comes."""
        return _first(self.days, self.area < CLOSED_BELOW)

    def restored(self) -> float:
        """First day on which the cells are back; NaN if that never comes."""
        return _first(self.days, self.density >= RESTORED_FROM)


def _first(days: np.ndarray, true: np.ndarray) -> float:
    return float(days[np.argmax(true)]) if true.any() else float("nan")


@cache
def wounded_mouse() -> Study:
    """A mouse whose pericentral half of the radius has lost most hepatocytes at day 0."""
    return build_study(column_case("mouse", DiseaseSpec(lesion_fraction=KILLED, lesion_from_zone=FROM_ZONE)))


def healing(model: LiverModel) -> Healing:
    """The course of the lesion."""
    study = wounded_mouse()
    solution = course_of(model, study.state, study, 20.0, save=SAVE).solution
    share = np.ravel(model.grid.volume) / float(model.grid.total_volume)
    quiescent, primed = (np.asarray(solution.saved[name]).reshape(-1, share.size) for name in SAVE.fields)
    days = np.asarray(solution.saved_times_h) / DAY_H
    return Healing(days, (quiescent < DEAD_BELOW) @ share, (quiescent + primed) @ share)


def slow_motion(model: LiverModel) -> LiverModel:
    """The model with the slowest motion of hepatocytes inside its range."""
    row = next(row for row in load_parameters("mouse").table() if row.name == "migration.crowding_diffusivity")
    slowest = model.parameters.migration.crowding_diffusivity * row.low / row.value
    return changed(model, "migration", "crowding_diffusivity", slowest)


def wound() -> Iterator[Record]:
    """Area of the lesion, the day on which it has closed, and the day on which cell density is back."""
    course = healing(wounded_mouse().model)
    largest = float(np.max(course.area[(course.days >= 0.5) & (course.days <= 2.0)]))
    yield within("V31", "mouse, largest lesion of days 0.5 to 2, share of the tissue", largest, 0.2, 0.5, "-", SOURCE)
    yield within("V31", "mouse, day on which the lesion has closed", course.closed(), 3.0, 7.0, "d", SOURCE)
    yield within("V31", "mouse, day on which 95 % of the cells are back", course.restored(), 7.0, 17.0, "d", SOURCE)
    for day in (6.0, 16.0):
        density = float(np.interp(day, course.days, course.density))
        yield reported("V31", f"mouse, density of hepatocytes at day {day:g}", density, "-", SOURCE)
    slow = healing(slow_motion(wounded_mouse().model))
    quantity = "mouse, day of closing with the slowest motion of hepatocytes in its range"
    yield reported("V31", quantity, slow.closed(), "d", "PARAMETERS, migration.crowding_diffusivity")


CHECKS = (Check("V31", "A pericentral lesion closes", wound),)
