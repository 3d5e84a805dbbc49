"""The words of a bound say what its verdict says; records keep their numbers, units and order."""

import ast
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepatojax import checks
from hepatojax.checks.records import (
    Check,
    Record,
    at_least,
    at_most,
    largest,
    relative_change,
    reported,
    run_checks,
    smallest,
    within,
    write_json,
)
from hepatojax.units import UNITS

measured = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([0.0, -0.0, 1.0, 1e-300, 5.0]))
bounds = st.sampled_from([-1e-3, 0.0, 1e-12, 0.05, 1.0, 250.0])  # numbers that six digits write exactly


def holds(accept, value):
    """The verdict, read from the words alone."""
    if accept == "reported":
        return True
    if accept.startswith("<= "):
        return value <= float(accept[3:])
    if accept.startswith(">= "):
        return value >= float(accept[3:])
    low, high = map(float, accept.split(".."))
    return low <= value <= high


@settings(max_examples=25, deadline=None)
@given(measured, bounds, bounds)
def test_the_accept_string_says_what_the_verdict_says(value, one, other):
    low, high = sorted((one, other))
    for record in (
        at_most("V", "q", value, one, "-", "exact"),
        at_least("V", "q", value, one, "-", "exact"),
        within("V", "q", value, low, high, "-", "exact"),
    ):
        assert record.passed is holds(record.accept, value)
        assert record.value == value or math.isnan(value)
        if math.isnan(value):
            assert not record.passed


@settings(max_examples=25, deadline=None)
@given(st.floats(-1e6, 1e6), bounds, bounds)
def test_within_is_both_bounds_at_once_and_they_are_closed(value, one, other):
    low, high = sorted((one, other))
    both = at_least("V", "q", value, low, "-", "s").passed and at_most("V", "q", value, high, "-", "s").passed
    assert within("V", "q", value, low, high, "-", "s").passed == both
    assert all(within("V", "q", end, low, high, "-", "s").passed for end in (low, high))
    assert at_most("V", "q", low, low, "-", "s").passed and at_least("V", "q", low, low, "-", "s").passed
    assert not at_most("V", "q", np.nextafter(low, np.inf), low, "-", "s").passed
    assert not at_least("V", "q", np.nextafter(low, -np.inf), low, "-", "s").passed


@pytest.mark.parametrize("value", [0.5, np.float64(0.5), 1])
@pytest.mark.parametrize("bound", [at_most, at_least])
def test_numbers_of_python_and_numpy_become_plain_numbers(bound, value):
    record = bound("V", "q", value, value, "mmHg", "exact")
    assert type(record.value) is float and type(record.passed) is bool
    assert record.passed
    assert record.unit == "mmHg"


def test_what_is_only_reported_has_no_verdict_to_fail():
    record = reported("five-spot", "share", float("nan"), "-", "comparison")
    assert record.passed and record.accept == "reported" and math.isnan(record.value)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=6), st.integers(0, 6))
def test_the_largest_is_minus_the_smallest_of_the_negatives_and_one_nan_takes_both(values, place):
    assert largest(values) == -smallest([-v for v in values]) == max(values)
    spoilt = [*values[:place], float("nan"), *values[place:]]
    assert math.isnan(largest(spoilt)) and math.isnan(smallest(spoilt))


def test_infinity_is_the_worst_of_finite_values_and_fails_every_upper_bound():
    assert largest([1.0, np.inf]) == np.inf
    assert not at_most("V", "q", np.inf, 1e300, "-", "s").passed
    assert not within("V", "q", -np.inf, -1e300, 0.0, "-", "s").passed


def test_relative_change_knows_no_unit_but_has_a_size():
    before, after = np.asarray([1.0, -8.0, 3.0]), np.asarray([2.0, -8.0, 3.0])
    assert relative_change(before, after) == 0.125
    assert relative_change(1e9 * before, 1e9 * after) == 0.125
    assert relative_change(before, before) == 0.0
    assert relative_change(after, before) == 0.125


def test_checks_run_in_order_and_their_records_share_the_time():
    def first():
        yield at_most("A", "one", 0.0, 1.0, "-", "s")
        yield at_most("A", "two", 2.0, 1.0, "-", "s")

    records = list(
        run_checks([Check("A", "first", first), Check("B", "second", lambda: [reported("B", "x", 1, "-", "s")])])
    )
    assert [r.quantity for r in records] == ["one", "two", "x"]
    assert [r.passed for r in records] == [True, False, True]
    assert records[0].seconds == records[1].seconds >= 0.0
    assert records[0].id == "A" and records[2].id == "B"


def test_checks_are_run_one_at_a_time_as_their_records_are_asked_for():
    ran = []
    records = run_checks(
        Check(name, name, lambda n=name: ran.append(n) or [reported(n, "x", 1, "-", "s")]) for name in "AB"
    )
    assert not ran
    next(records)
    assert ran == ["A"]


def test_a_check_that_breaks_is_not_passed_over():
    def broken():
        yield at_most("A", "one", 0.0, 1.0, "-", "s")
        raise FloatingPointError("no root")

    with pytest.raises(FloatingPointError, match="no root"):
        list(run_checks([Check("A", "broken", broken)]))


def test_records_come_back_from_their_file(tmp_path):
    written = [
        at_most("V01", "flow at 10 um, μ", 2.2e-3, 1e-2, "um", "V01, exact"),
        within("V02", "q", float("nan"), 0.0, 1.0, "-", "s"),
    ]
    write_json(written, tmp_path / "records.json")
    rows = json.loads((tmp_path / "records.json").read_text(encoding="utf-8"))
    assert Record(**rows[0]) == written[0]
    assert rows[1]["value"] is None and not rows[1]["passed"]


def test_every_unit_of_exact_mathematics_is_a_unit_of_the_package():
    """Units that the sources of `verify` write as constants; published experiments keep the units of their papers."""
    where = {"at_most": 4, "at_least": 4, "within": 5, "reported": 3}
    found = {
        (path.name, node.lineno): ast.literal_eval(node.args[where[node.func.id]])
        for path in sorted((Path(checks.__file__).parent / "verify").glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in where
        if len(node.args) > where[node.func.id] and isinstance(node.args[where[node.func.id]], ast.Constant)
    }
    assert len(found) > 50
    assert not {place: unit for place, unit in found.items() if unit not in UNITS}
