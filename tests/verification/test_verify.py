"""Every check of `hepatojax verify` passes; those of the coupled model run with -m slow."""

import json

import pytest

from hepatojax.checks.records import run_checks, write_json
from hepatojax.checks.verify import CHECKS

FAST = (
    *("V01", "V02", "V03", "V04", "V05", "V06", "V09", "arrival", "motion"),
    *("body-closure", "stepper", "budget", "body-kinetics", "infusion-time", "body-tests"),
)
# The others are slow because they compile: four grids of oxygen, signals or pressure (8 to 20 s each on two shared
# cores), the derivative of every solve, the whole model (30 to 100 s), or its gradient (V10, two to four minutes).
KEYS = {"id", "quantity", "value", "unit", "accept", "passed", "source", "seconds"}

pytestmark = pytest.mark.verification


def _marked(check):
    return pytest.param(check, id=check.id, marks=() if check.id in FAST else pytest.mark.slow)


@pytest.mark.parametrize("check", [_marked(check) for check in CHECKS])
def test_check_passes(check):
    records = list(run_checks([check]))
    assert records
    failed = [f"{r.quantity}: {r.value:.3g} {r.unit} ({r.accept})" for r in records if not r.passed]
    assert not failed, "; ".join(failed)


def test_ids_are_unique_and_enough():
    ids = [check.id for check in CHECKS]
    assert len(set(ids)) == len(ids) >= 18
    assert set(ids) >= set(FAST)


def test_records_are_a_json_list(tmp_path):
    chosen = [check for check in CHECKS if check.id == "body-tests"]
    write_json(run_checks(chosen), tmp_path / "records.json")
    records = json.loads((tmp_path / "records.json").read_text())
    assert records
    assert all(set(record) == KEYS for record in records)
