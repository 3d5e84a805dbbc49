"""Where viable cells are after an intravenous infusion: V35.

Label is not viability: most cells stop in the lungs and die there within days. Only living cells are counted here.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hepatojax.build import build_study
from hepatojax.checks.records import Check, Record, at_most, reported
from hepatojax.checks.validate.course import TREATED, column_case, course_of
from hepatojax.parameters.registry import load_parameters
from hepatojax.scenario import InfusionSpec

CELLS = 5e5
DAYS = 3.0
SOURCE = "V35: Eggenhofer 2012"


def infused_mouse() -> Iterator[Record]:
    """Half a million cells in the tail vein of a mouse: viable cells in lung and liver.

    At 72 h the lungs and the liver may hold 2 % of the dose each, and the liver no more at any time.

    Yields:
        Viable cells of each organ, and those of the lungs at 24 h, reported [% of the dose].

    Reference: VALIDATION V35 (Eggenhofer 2012).
    """
    mass = load_parameters("mouse").patient.body_mass_kg
    study = build_study(column_case("mouse", dose=InfusionSpec(0.0, CELLS / mass, "intravenous")))
    course = course_of(study.model, study.state, study, DAYS, TREATED)
    lung, liver = (100e6 / CELLS * course.endpoints[f"msc_{organ}"] for organ in ("lung", "liver"))
    last = np.searchsorted(course.days, DAYS)
    yield at_most("V35", "viable cells in the lung at 72 h", lung[last], 2.0, "% of the dose", SOURCE)
    yield at_most("V35", "viable cells in the liver at 72 h", liver[last], 2.0, "% of the dose", SOURCE)
    yield at_most("V35", "viable cells in the liver, largest", np.max(liver), 2.0, "% of the dose", SOURCE)
    day = np.searchsorted(course.days, 1.0)
    yield reported("V35", "viable cells in the lung at 24 h", lung[day], "% of the dose", SOURCE)


CHECKS = (Check("V35", "Viable cells after an intravenous infusion", infused_mouse),)
