"""One intravenous dose in decompensated cirrhosis: V37, what the cells do alone, and what each amplification adds.

The patient has lived with the cause at activity 1 for 2400 days (BIOLOGY A11) and gets 1e6 cells/kg at day 0. Every
change is treated less standard care of the same liver. MELD at 2, 4 and 24 weeks was fitted, so that its agreement is a
fit; the changes of albumin and collagen stand beside those of trials and are not scored. Courses are kept, for the
three checks share them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from hepatojax.build import Study, build_study
from hepatojax.checks.records import Check, Record, at_most, reported, within
from hepatojax.checks.validate.course import CONTROL, TREATED, Course, changed, column_case, course_of
from hepatojax.model import LiverModel
from hepatojax.scenario import DiseaseSpec, InfusionSpec

DOSE = InfusionSpec(0.0, 1e6, "intravenous")
DISEASE = DiseaseSpec(start="chronic", activity=1.0, chronic_days=2400.0)
MELD = {2: (-2.45, -0.01), 4: (-3.16, -0.58), 24: (-3.35, -0.68)}
ALBUMIN = {8: -0.28, 16: 2.60, 24: 5.28, 48: 4.39}
SHARE_AFTER = (4, 24)
TOO_SMALL = 1e-3
FACTORS = {
    "phagocytes_per_msc": "immune_memory",
    "tregs_per_phagocyte": "immune_memory",
    "lung_homing": "immune_memory",
    "relay_rate": "biology.immunity",
    "contact_rate": "biology.immunity",
    "licensing": "biology.stem_cells",
}
SOURCE = "V37: Pan 2014, WJG 20:14051; MELD at 2, 4 and 24 weeks fitted"
COLLAGEN_SOURCE = "Suk 2016: 5e7 cells into the hepatic artery"
RULE = "BIOLOGY A8: direct effects alone are expected below 10 % of the benefit"


@cache
def patient(direct_only: bool = False) -> Study:
    """A patient after 2400 days at activity 1, and the two arms.

    Args:
        direct_only: whether every amplification of the cells by the host is off.

    Returns:
        Model, state at the dose and the schedules "standard_care" and "treated".
    """
    return build_study(column_case("human", DISEASE, DOSE, direct_only=direct_only))


@cache
def arm(name: str, weeks: int, direct_only: bool = False) -> Course:
    """The course of one arm.

    Args:
        name: "standard_care" or "treated".
        weeks: length of the course [weeks].
        direct_only: see `patient`.

    Returns:
        Endpoints of the arm, from the dose on.

    Raises:
        SimulationError: the run failed.
    """
    study = patient(direct_only)
    return course_of(study.model, study.state, study, 7.0 * weeks, name)


def benefit(name: str, week: float, direct_only: bool = False) -> float:
    """Treated minus standard care, of an endpoint.

    Args:
        name: of the endpoint.
        week: time since the dose [weeks], up to 48, or to 24 without amplification.
        direct_only: see `patient`.

    Returns:
        The difference, in the unit of the endpoint.
    """
    treated, control = (arm(each, 48 if not direct_only else 24, direct_only) for each in (TREATED, CONTROL))
    return treated.at(name, 7.0 * week) - control.at(name, 7.0 * week)


def clinical_course() -> Iterator[Record]:
    """MELD and albumin against standard care.

    The change of MELD must lie in the pooled interval of five studies: -2.45..-0.01 at week 2, -3.16..-0.58 at week 4
    and -3.35..-0.68 at week 24.

    Yields:
        The patient at the dose, the scored changes of MELD [-]; reported beside the trials: the change of albumin at 8,
        16, 24 and 48 weeks [g/l], of collagen at 24 weeks [%], and the regulatory T cells of the treated over rest [-].

    Reference: VALIDATION V37 (Pan 2014), and the extra facts below its table (Suk 2016).
    """
    control = arm(CONTROL, 48)
    for name, unit in (("meld", "-"), ("albumin_g_l", "g/l"), ("collagen", "-"), ("functional_mass", "-")):
        yield reported("V37", f"{name} at the dose", control.at(name, 0.0), unit, SOURCE)
    for week, (low, high) in MELD.items():
        change = benefit("meld", week)
        yield within("V37", f"change of MELD, week {week}", change, low, high, "-", SOURCE)
    for week, measured in ALBUMIN.items():
        quantity = f"change of albumin, week {week} (trials: {measured:+.2f})"
        yield reported("V37", quantity, benefit("albumin_g_l", week), "g/l", SOURCE)
    collagen = 100.0 * benefit("collagen", 24) / arm(CONTROL, 48).at("collagen", 168.0)
    yield reported("V37", "change of collagen, week 24 (a trial of one dose: -25)", collagen, "%", COLLAGEN_SOURCE)
    for week in SHARE_AFTER:
        yield reported(
            "V37", f"regulatory T cells, week {week}", arm(TREATED, 48).at("regulatory_t", 7 * week), "-", RULE
        )


def direct_only() -> Iterator[Record]:
    """What the cells do without any amplification by the host, beside the full change in functional mass.

    They may do a tenth of the full change at weeks 4 and 24; where that is below 1e-3 there is no share to take.

    Yields:
        Both changes of functional mass [-], and the direct one over the full one [-].

    Reference: BIOLOGY A8, and Part B, "direct only".
    """
    for week in SHARE_AFTER:
        full, direct = (benefit("functional_mass", week, off) for off in (False, True))
        yield reported("direct-only", f"change of functional mass, week {week}, full", full, "-", RULE)
        yield reported("direct-only", f"change of functional mass, week {week}, direct only", direct, "-", RULE)
        if not abs(full) < TOO_SMALL:  # a NaN is not too small
            quantity = f"direct share of that change, week {week}"
            yield at_most("direct-only", quantity, abs(direct / full), 0.1, "-", RULE)


def shares() -> Iterator[Record]:
    """How much of the change in functional mass goes with each amplification; they overlap and need not sum to 1.

        share = 1 - (change without the factor) / (change with all of them)

    Yields:
        The share of each of the six named factors at weeks 4 and 24 [%], reported.

    Reference: BIOLOGY A8, named amplification.
    """
    for factor, subject in FACTORS.items():
        model = changed(patient().model, subject, factor, 0.0)
        for week, without in zip(SHARE_AFTER, changes_without(model), strict=True):
            lost = 1.0 - without / benefit("functional_mass", week)
            quantity = f"change of functional mass that goes with {factor}, week {week}"
            yield reported("amplification", quantity, 100.0 * lost, "%", "BIOLOGY A8")


def changes_without(model: LiverModel) -> list[float]:
    """Change of functional mass by the dose in a model without one factor; without cells the factor does nothing.

    Args:
        model: the patient's, with the factor at zero; standard care is that of the full model.

    Returns:
        The change at weeks 4 and 24 [-].

    Raises:
        SimulationError: the treated run failed.
    """
    treated = course_of(model, patient().state, patient(), 7.0 * SHARE_AFTER[-1], TREATED)
    control = arm(CONTROL, 48)
    return [treated.at("functional_mass", 7 * w) - control.at("functional_mass", 7 * w) for w in SHARE_AFTER]


CHECKS = (
    Check("V37", "One intravenous dose in decompensated cirrhosis", clinical_course),
    Check("direct-only", "The same dose without amplification by the host", direct_only),
    Check("amplification", "Share of each amplification in the benefit", shares),
)
