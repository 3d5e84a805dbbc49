"""Records of checks: what passes, and that a NaN never does."""

import ast
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax import checks
from hepatojax.checks.records import at_least, at_most, largest, relative_change, smallest, within, write_json

NAN = float("nan")
SOURCES = sorted(Path(checks.__file__).parent.rglob("*.py"))
BOUNDS = {
    "at most": lambda value: at_most("id", "quantity", value, 1.0, "-", "source"),
    "at least": lambda value: at_least("id", "quantity", value, -1.0, "-", "source"),
    "within": lambda value: within("id", "quantity", value, -1.0, 1.0, "-", "source"),
}


@pytest.mark.parametrize("bound", BOUNDS.values(), ids=BOUNDS)
def test_a_nan_never_passes(bound):
    assert bound(0.5).passed
    assert not bound(NAN).passed


def test_records_are_json_and_what_is_not_finite_is_null(tmp_path):
    path = tmp_path / "records.json"
    write_json([BOUNDS["at most"](value) for value in (0.5, NAN, float("inf"))], path)
    records = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert [(record["value"], record["passed"]) for record in records] == [(0.5, True), (None, False), (None, False)]


@pytest.mark.parametrize("values", [(NAN, 0.0), (0.0, NAN), (0.0, NAN, 1.0)])
@pytest.mark.parametrize("worst", [largest, smallest])
def test_the_worst_of_some_values_is_nan_if_one_is(worst, values):
    for bound in BOUNDS.values():
        assert not bound(worst(values)).passed
        assert not bound(worst([jnp.asarray(values), 0.5])).passed


def test_the_worst_of_numbers_and_arrays():
    values = (0.2, np.array([[-3.0, 1.0]]), jnp.asarray(4, jnp.int32))
    assert (smallest(values), largest(values)) == (-3.0, 4.0)


@pytest.mark.parametrize("worst", [largest, smallest])
def test_nothing_measured_has_no_worst(worst):
    with pytest.raises(ValueError, match="zero-size"):
        worst([])


def test_relative_change():
    assert relative_change([2.0, -4.0], [2.0, -3.0]) == 0.25
    assert relative_change([0.0, 0.0], [0.0, 0.5]) == 0.5
    assert np.isnan(relative_change([NAN, 1.0], [0.0, 1.0]))
    assert np.isnan(relative_change([0.0, 0.0], [0.0, NAN]))


def test_no_check_takes_the_built_in_max_or_min():
    """`max(0.0, nan)` is 0.0 and `min(x, nan)` is x: a failed measurement would pass."""
    found = [
        f"{path}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Name) and node.id in ("max", "min")
    ]
    assert SOURCES
    assert not found, "\n".join(found)
