"""The model against published experiments; all but one are slow."""

import pytest

from hepatojax.checks.records import Check
from hepatojax.checks.validate import CHECKS

QUICK = ("V18-V19",)


def test_ids_of_checks_are_unique():
    ids = [check.id for check in CHECKS]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    "check",
    [pytest.param(check, id=check.id, marks=() if check.id in QUICK else pytest.mark.slow) for check in CHECKS],
)
def test_the_model_meets_its_target(check: Check):
    missed = [record for record in check.function() if not record.passed]
    assert not missed, "\n".join(f"{r.quantity}: {r.value:.4g} {r.unit}, accepted {r.accept}" for r in missed)
