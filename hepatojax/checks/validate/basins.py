"""Two basins: a liver that lost some cells at once recovers, one that lost more fails. On a 3D lobule.

The same share of the hepatocytes of every place dies at once and stays as debris; nothing else harms this liver. The
edge between the basins depends on how the loss is set: the prototype of BIOLOGY Part B, in which a part of the lost
cells was injured and not dead, still recovered from 0.85 (docs/validation.md).
"""

from __future__ import annotations

from collections.abc import Iterator

from hepatojax.checks.records import Check, Record, at_least, at_most
from hepatojax.checks.validate.course import Course, course_of, healthy_lobule
from hepatojax.onset import wounded
from hepatojax.scenario import DiseaseSpec

RECOVERS, FAILS = 0.65, 0.8
DAYS = 28.0
SOURCE = "BIOLOGY Part B, two basins; failure: functional mass below 0.25 and falling at day 28"


def acute_loss(share: float) -> Course:
    """The course after a share of all hepatocytes died at once, everywhere.

    Args:
        share: of the hepatocytes of every place that are dead at day 0 [-].

    Returns:
        Endpoints over 28 days.

    Raises:
        SimulationError: the run failed.
    """
    study = healthy_lobule()
    state = wounded(DiseaseSpec(lesion_fraction=share), study.model, study.state)
    return course_of(study.model, state, study, DAYS)


def basins() -> Iterator[Record]:
    """Functional mass at day 28 and its last course, on both sides of the edge.

    A loss of 0.65 must leave at least 0.5 of it, which does not fall; a loss of 0.8 at most 0.25, which does not rise.

    Yields:
        Functional mass over rest [-] and its change over day 28 [1/d], after each loss.

    Reference: BIOLOGY Part B, two basins.
    """
    for share, bound in ((RECOVERS, at_least), (FAILS, at_most)):
        course = acute_loss(share)
        end = course.at("functional_mass", DAYS)
        slope = end - course.at("functional_mass", DAYS - 1.0)
        limit = 0.5 if bound is at_least else 0.25
        yield bound("basins", f"functional mass at day 28 after loss of {share:g}", end, limit, "-", SOURCE)
        yield bound("basins", f"its slope at day 28 after loss of {share:g}", slope, 0.0, "1/d", SOURCE)


CHECKS = (Check("basins", "Recovery and failure after acute loss", basins),)
