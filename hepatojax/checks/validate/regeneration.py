"""Regrowth after resection: rat (V25, V27) and human donors (V28).

A resection takes lobules and leaves the others as they are; what is compared is the volume of the liver over that
before, which grows as lobules enlarge. V27 is from memory and, with V25 and V28, was used to fit (docs/validation.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from hepatojax.build import build_study
from hepatojax.checks.records import Check, Record, at_least, within
from hepatojax.checks.validate.course import Course, column_case, course_of
from hepatojax.scenario import DiseaseSpec

RAT_RESIDUAL, HUMAN_RESIDUAL = 0.32, 0.42
RAT = {1: 0.45, 2: 0.60, 3: 0.72, 5: 0.86, 7: 0.93, 14: 1.0}
HUMAN = {7: 0.51, 14: 0.57, 30: 0.64, 91: 0.74, 182: 0.77, 365: 0.81}
RAT_SOURCE = "V25: Int J Surg 2013 11:903"
RAT_MASS_SOURCE = "V27: recalled; fitted"
HUMAN_SOURCE = "V28: Aoki 2011, J Gastrointest Surg 15:1594, right-lobe donors; fitted"


def resection(species: str, residual: float, days: float) -> Course:
    """The course after a share of the lobules is taken.

    Args:
        species: of the registry.
        residual: share of the liver that is left [-].
        days: at least this long [d].

    Returns:
        Endpoints from the operation on.

    Raises:
        SimulationError: the run failed.
    """
    study = build_study(column_case(species, DiseaseSpec(resected_fraction=1.0 - residual)))
    return course_of(study.model, study.state, study, days)


def regrowth(
    id: str, who: str, course: Course, measured: Mapping[int, float], spread: float, source: str
) -> Iterator[Record]:
    """Liver volume by day against the measured one.

    Args:
        id: of the target.
        who: for the record.
        course: of the model.
        measured: day -> volume over that before [-].
        spread: half width of the band [-].
        source: of the target.

    Yields:
        The volume over that before at each of these days [-].
    """
    for day, volume in measured.items():
        value = course.at("liver_volume", day)
        yield within(id, f"{who}, liver volume at day {day}", value, volume - spread, volume + spread, "-", source)


def rat() -> Iterator[Record]:
    """Seventy per cent of a rat's liver: mass by day, and when it grows fastest.

    The volume must lie within 0.08 of that of V27 at days 1, 2, 3, 5, 7 and 14 and be at least 0.85 at day 8, and its
    growth, over a day, be steepest between days 1 and 4 (V25).

    Yields:
        Liver volume over that before [-], and the day of the fastest growth [d].

    Reference: VALIDATION V25 and V27.
    """
    course = resection("rat", RAT_RESIDUAL, 14.0)
    yield from regrowth("V27", "rat", course, RAT, 0.08, RAT_MASS_SOURCE)
    yield at_least("V25", "rat, liver volume at day 8", course.at("liver_volume", 8.0), 0.85, "-", RAT_SOURCE)
    days = np.arange(0.5, 13.6, 0.5)
    growth = [course.at("liver_volume", day + 0.5) - course.at("liver_volume", day - 0.5) for day in days[1:-1]]
    steepest = days[1:-1][int(np.argmax(growth))]
    yield within("V25", "rat, day of the fastest growth", steepest, 1.0, 4.0, "d", RAT_SOURCE)


def donor() -> Iterator[Record]:
    """A human donor with 42 % of the liver left, over a year.

    The volume must lie within 0.07 of the measured one at 1 and 2 weeks and at 1, 3, 6 and 12 months.

    Yields:
        Liver volume over that before [-].

    Reference: VALIDATION V28 (Aoki 2011).
    """
    course = resection("human", HUMAN_RESIDUAL, 365.0)
    yield from regrowth("V28", "human donor", course, HUMAN, 0.07, HUMAN_SOURCE)


CHECKS = (
    Check("V25-V27", "Regrowth of a rat's liver after resection of 70 %", rat),
    Check("V28", "Regrowth of a human donor's liver", donor),
)
