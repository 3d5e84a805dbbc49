"""A healthy liver stays as it is.

The constants of rest are derived from the solved rest state on load (BIOLOGY A11), so that any drift is an error of the
solvers or a term that the derivation has missed.
"""

from __future__ import annotations

from collections.abc import Iterator

from hepatojax.checks.records import Check, Record, at_most, within
from hepatojax.checks.validate.course import course_of, healthy, largest_change

DAYS = 28.0
STATES = ("quiescent", "primed", "injured", "debris", "macrophage_m1", "macrophage_m2", "stellate", "identity")
SOURCE = "BIOLOGY A11.4"


def standstill() -> Iterator[Record]:
    """Twenty-eight days without a cause: states and liver volume stand still.

    No state may change by more than 1e-6 of its largest value, nor functional mass differ from 1 by more than 1e-6.

    Yields:
        The largest relative change [-] and functional mass at day 28 over rest [-].

    Reference: BIOLOGY A11, rule 4.
    """
    study = healthy("human")
    course = course_of(study.model, study.state, study, DAYS)
    drift = largest_change(study.state, course.solution.state, STATES)
    yield at_most("rest", "largest relative change of a state in 28 d", drift, 1e-6, "-", SOURCE)
    function = course.at("functional_mass", DAYS)
    yield within("rest", "functional mass at day 28", function, 1.0 - 1e-6, 1.0 + 1e-6, "-", SOURCE)


CHECKS = (Check("rest", "A healthy liver stays at rest for 28 days", standstill),)
