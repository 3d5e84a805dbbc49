"""The model against published experiments: what needs no course runs by default, whole courses run with -m slow."""

import pytest

from hepatojax.checks.records import Check
from hepatojax.checks.validate import CHECKS

QUICK = ("V18-V19", "V24")
MISSED = {"V31": "the dead area of a mouse has closed at day 1.9, not 3 to 7: docs/validation.md"}


def marks_of(check: Check) -> list[pytest.MarkDecorator]:
    slow = [] if check.id in QUICK else [pytest.mark.slow]
    known = [pytest.mark.xfail(reason=MISSED[check.id], strict=True)] if check.id in MISSED else []
    return slow + known


def test_names_of_checks_are_unique_and_known():
    ids = [check.id for check in CHECKS]
    assert len(set(ids)) == len(ids)
    assert set(ids) >= {*QUICK, *MISSED}


@pytest.mark.parametrize("check", [pytest.param(check, id=check.id, marks=marks_of(check)) for check in CHECKS])
def test_the_model_meets_its_target(check: Check):
    records = list(check.function())
    assert records
    missed = [record for record in records if not record.passed]
    assert not missed, "\n".join(f"{r.quantity}: {r.value:.4g} {r.unit}, accepted {r.accept}" for r in missed)
