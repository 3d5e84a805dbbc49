"""The model against published experiments: what needs no course runs by default, whole courses run with -m slow."""

from collections.abc import Iterator

import jax
import pytest

from hepatojax.checks.records import Check
from hepatojax.checks.validate import CHECKS

QUICK = ("V18-V19", "V24")
MISSED: dict[str, str] = {}


@pytest.fixture(autouse=True)
def promotion_as_for_a_user() -> Iterator[None]:
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


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
