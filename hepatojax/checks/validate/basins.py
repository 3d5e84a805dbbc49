"""Two basins: a liver that lost some cells at once recovers, one that lost more fails. On a 3D lobule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from hepatojax.build import Study, build_study
from hepatojax.checks.records import Check, Record, at_least, at_most
from hepatojax.checks.validate.course import WEEK_H, Course, column_case, course_of
from hepatojax.onset import wounded
from hepatojax.scenario import DiseaseSpec, GridSpec, LobuleSpec, RunSpec

CELLS = (12, 14, 4)
RECOVERS, FAILS = 0.65, 0.8
DAYS = 28.0
SOURCE = "BIOLOGY Part B, two basins; failure: functional mass below 0.25 and falling at day 28"


@cache
def lobule() -> Study:
    """A healthy hexagonal lobule in single precision, as users run it."""
    run = RunSpec(steps_per_day=4, save_every_h=WEEK_H, fields=(), precision="float32")
    return build_study(replace(column_case(), lobule=LobuleSpec(), grid=GridSpec(cells=CELLS), run=run))


def acute_loss(share: float) -> Course:
    """The course after a share of all hepatocytes died at once, everywhere."""
    study = lobule()
    state = wounded(DiseaseSpec(lesion_fraction=share), study.model, study.state)
    return course_of(study.model, state, study, DAYS)


def basins() -> Iterator[Record]:
    """Functional mass at day 28 and its last course, on both sides."""
    for share, bound in ((RECOVERS, at_least), (FAILS, at_most)):
        course = acute_loss(share)
        end = course.at("functional_mass", DAYS)
        slope = end - course.at("functional_mass", DAYS - 1.0)
        limit = 0.5 if bound is at_least else 0.25
        yield bound("basins", f"functional mass at day 28 after loss of {share:g}", end, limit, "-", SOURCE)
        yield bound("basins", f"its slope at day 28 after loss of {share:g}", slope, 0.0, "1/d", SOURCE)


CHECKS = (Check("basins", "Recovery and failure after acute loss", basins),)
