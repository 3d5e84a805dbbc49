"""A pericentral lesion of a mouse, as after carbon tetrachloride: V31. The lesion itself is set by hand."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hepatojax.build import build_study
from hepatojax.checks.records import Check, Record, reported, within
from hepatojax.checks.validate.course import DAY_H, column_case, course_of
from hepatojax.scenario import DiseaseSpec
from hepatojax.simulate import SaveAt

SAVE = SaveAt(12.0, ("quiescent", "primed"))
KILLED, FROM_ZONE = 0.9, 0.47
DEAD_BELOW = 0.5  # a place counts as lesion while its quiescent hepatocytes are fewer than this
CLOSED_BELOW, RESTORED_FROM = 0.05, 0.95
SOURCE = "V31: Hoehme 2010 (course over 16 days read, numbers recalled); area 0.3..0.4 +- 0.1, times +- 1 d"


def wound() -> Iterator[Record]:
    """Area of the lesion, the day on which it has closed, and the day on which cell density is back."""
    disease = DiseaseSpec(lesion_fraction=KILLED, lesion_from_zone=FROM_ZONE)
    study = build_study(column_case("mouse", disease))
    course = course_of(study.model, study.state, study, 20.0, save=SAVE)
    solution = course.solution
    days = np.asarray(solution.saved_times_h) / DAY_H
    share = np.ravel(study.model.grid.volume) / float(study.model.grid.total_volume)
    quiescent, primed = (np.asarray(solution.saved[name]).reshape(len(days), -1) for name in SAVE.fields)
    area = (quiescent < DEAD_BELOW) @ share
    density = (quiescent + primed) @ share
    largest = float(np.max(area[(days >= 0.5) & (days <= 2.0)]))
    yield within("V31", "mouse, largest lesion of days 0.5 to 2, share of the tissue", largest, 0.2, 0.5, "-", SOURCE)
    closed = days[np.argmax(area < CLOSED_BELOW)]
    yield within("V31", "mouse, day on which the lesion has closed", closed, 3.0, 7.0, "d", SOURCE)
    restored = days[np.argmax(density >= RESTORED_FROM)] if density.max() >= RESTORED_FROM else np.nan
    yield within("V31", "mouse, day on which 95 % of the cell density is back", restored, 7.0, 17.0, "d", SOURCE)
    for day in (1.0, 3.0, 4.0, 5.0, 6.0):
        yield reported("V31", f"mouse, lesion at day {day:g}", float(np.interp(day, days, area)), "-", SOURCE)
    for day in (6.0, 16.0):
        yield reported("V31", f"mouse, density at day {day:g}", float(np.interp(day, days, density)), "-", SOURCE)


CHECKS = (Check("V31", "A pericentral lesion closes", wound),)
