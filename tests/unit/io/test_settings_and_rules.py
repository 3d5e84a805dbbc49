"""Settings beside a file, rules between keys at their very edges, the size estimate, and TOML that is none."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepatojax.io.scenario import ScenarioError, load_scenario, scenario_from_table
from hepatojax.io.scenario.overrides import ACCEPTED_UNITS, parse_setting, with_settings
from hepatojax.io.scenario.rules import neighbours_of_tiling
from hepatojax.io.scenario.size import (
    GIB,
    GRADIENT_COMPILER_BYTES,
    PREPARATION_SECONDS,
    RUNTIME_BYTES,
    SEARCH_COMPILER_BYTES,
    gradient_memory_gib,
    memory_gib,
    scenario_size,
    search_memory_gib,
)
from hepatojax.parameters.registry import load_parameters
from hepatojax.scenario import GridSpec, Scenario, grid_cells
from hepatojax.studies.batch import RUNS_AT_ONCE

DOSE = {"start_h": 1.0, "cells_per_kg": 1e6, "route": "portal"}


def refused(table: dict[str, Any], **how: Any) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        scenario_from_table(table, **how)
    return [problem.key for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("run.end_h=48", "run.end_h", 48),
        (" run.end_h = 48.0 ", "run.end_h", 48.0),
        ("run.end_h=1_000", "run.end_h", 1000),
        ("title=a = b", "title", "a = b"),
        ("title='a # b'", "title", "a # b"),
        ("title=", "title", ""),
        ("title=Größe", "title", "Größe"),
        ("title=48 h", "title", "48 h"),
        ("direct_only=True", "direct_only", "True"),
        ("run.fields=[]", "run.fields", []),
        ("run.fields=oxygen,hgf", "run.fields", "oxygen,hgf"),
        (
            'parameters.oxygen.p50_mmHg={value=3.5, unit="kPa"}',
            "parameters.oxygen.p50_mmHg",
            dict(value=3.5, unit="kPa"),
        ),
    ],
)
def test_a_setting_is_toml_and_what_is_no_toml_is_a_word(text: str, key: str, value: Any):
    found = parse_setting(text)
    assert found == (key, value) and type(found[1]) is type(value)


def test_settings_leave_the_table_that_they_are_made_on_as_it_is():
    table = {
        "grid": {"spacing_um": 40.0},
        "arm": [{"name": "a", "infusion": [dict(DOSE)]}],
        "parameters": {"x": {"y": 1}},
    }
    before = copy.deepcopy(table)
    cells = [26, 30, 8]
    changes = {"grid.cells": cells, "arm.a.infusion.1.start_h": 2.0, "parameters.x.y": 3, "run.end_h": 48}
    changed, problems = with_settings(table, changes)
    assert problems == [] and table == before
    assert changed["grid"] == {"cells": [26, 30, 8]}  # the spacing has given way
    assert changed["parameters"] == {"x.y": 3}
    changed["grid"]["cells"].append(1)
    changed["arm"][0]["infusion"][0]["route"] = "direct"
    assert cells == [26, 30, 8] and table == before


def test_a_setting_of_all_parameters_replaces_them():
    table = {"parameters": {"oxygen": {"p50_mmHg": 26.5}}}
    assert scenario_from_table(table, overrides={"parameters": {}}).parameters == {}
    assert scenario_from_table({}, overrides={"parameters": table["parameters"]}).parameters == {
        "oxygen.p50_mmHg": 26.5
    }
    assert refused({}, overrides={"parameters": 3}) == ["parameters"]
    assert refused({}, overrides={"parameters.": 3}) == ["parameters."]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("arm", [1], "arm.1: must be a section [[arm]] (got 1)"),
        ("arm.cells.infusion", [2], "arm.cells.infusion.1: must be a section [[arm.infusion]] (got 2)"),
        ("grid", 3, "grid: must be a section [grid] (got 3)"),
    ],
)
def test_a_section_is_named_with_the_brackets_that_it_is_written_with(key: str, value: Any, said: str):
    with pytest.raises(ScenarioError) as caught:
        scenario_from_table({"arm": [{"name": "cells"}]}, overrides={key: value})
    assert [str(problem) for problem in caught.value.problems] == [said]


def test_the_last_of_cells_and_spacing_that_is_set_holds():
    both = {"grid.cells": [26, 30, 8], "grid.spacing_um": 40.0}
    assert scenario_from_table({}, overrides=both).grid == GridSpec(spacing_um=40.0)
    assert scenario_from_table({}, overrides=dict(reversed(both.items()))).grid == GridSpec(cells=(26, 30, 8))
    assert refused({"grid": {"cells": [26, 30, 8], "spacing_um": 40.0}}) == ["grid.spacing_um"]


def test_an_arm_is_picked_by_its_name_before_its_number():
    table = {"arm": [{"name": "2"}, {"name": "1"}, {"name": "third"}]}
    names = lambda key: [arm.name for arm in scenario_from_table(table, overrides={key: "new"}).arms]  # noqa: E731
    assert names("arm.2.name") == ["new", "1", "third"]
    assert names("arm.3.name") == ["2", "1", "new"]
    for nobody in ("0", "4", "-1", "1.0", "²", "Third"):
        assert refused(table, overrides={f"arm.{nobody}.name": "new"})[0].startswith("arm.")


def test_a_value_in_another_unit_that_fits_is_the_same_value():
    """Every parameter in every unit of its dimension, against its value in the registry's own."""
    rows = [row for row in load_parameters().table() if row.allows(float(row.value))]
    seen = 0
    for unit, (canonical, factor) in ACCEPTED_UNITS.items():
        fitting = [row for row in rows if ACCEPTED_UNITS[row.unit][0] == canonical and row.low < row.value < row.high]
        if all(row.unit == unit for row in fitting):
            continue
        written = {r.name: {"value": r.value * ACCEPTED_UNITS[r.unit][1] / factor, "unit": unit} for r in fitting}
        found = scenario_from_table({"parameters": written}).parameters
        assert found == pytest.approx({row.name: float(row.value) for row in fitting}, rel=1e-12)
        seen += sum(row.unit != unit for row in fitting)
    assert seen > 100


def cells_run(**keys: Any) -> dict[str, Any]:
    """A run of 48 hours with one infusion."""
    return {"run": {"end_h": 48.0}, "arm": [{"name": "a", "infusion": [{**DOSE, **keys}]}]}


EDGES: dict[str, tuple[dict[str, Any], str | None]] = {
    "an infusion that ends with the run": (cells_run(start_h=47.5, duration_h=0.5), None),
    "one that ends a minute later": (cells_run(start_h=47.5, duration_h=0.52), "arm.a.infusion.1.duration_h"),
    "one that begins with the end": (cells_run(start_h=48.0), "arm.a.infusion.1.start_h"),
    "one that begins just before it": (cells_run(start_h=math.nextafter(48.0, 0.0), duration_h=1e-9), None),
    "one over the whole run": (cells_run(start_h=0.0, duration_h=48.0), None),
    "saves that are the run": ({"run": {"end_h": 48.0, "save_every_h": 48.0}}, None),
    "saves beyond the run": ({"run": {"end_h": 24.0, "save_every_h": 48.0}}, "run.save_every_h"),
    "thirds of a day": ({"run": {"end_h": 16.0, "save_every_h": 8.0, "steps_per_day": 3}}, None),
    "steps of 7 minutes that no float holds": (
        {"run": {"end_h": 0.7, "save_every_h": 0.1, "steps_per_day": 240}},
        None,
    ),
    "a run of one step": ({"run": {"end_h": 6.0, "save_every_h": 6.0}}, None),
    "the smallest lobule of its species": ({"species": "rat", "lobule": {"radius_um": 350.0}}, None),
    "a smaller one": ({"species": "rat", "lobule": {"radius_um": 349.0}}, "lobule.radius_um"),
    "one cell over z": ({"grid": {"cells": [52, 60, 1]}}, None),
    "a tiling of one": ({"lobule": {"geometry": "tiling", "tiling": [1, 1]}}, None),
    "a tiling that is written and is the default": ({"lobule": {"tiling": [1, 1]}}, None),
    "every septum of a tiling": ({"lobule": {"geometry": "tiling", "tiling": [2, 2], "fibrotic_septa": 43}}, None),
    "the one cell of a mixed lobule": ({"lobule": {"geometry": "well_mixed"}, "grid": {"cells": [1, 1, 1]}}, None),
    "two cells of it": ({"lobule": {"geometry": "well_mixed"}, "grid": {"cells": [2, 1, 1]}}, "grid.cells"),
    "a lead of no hours for the healthy": ({"disease": {"flare": 1.0, "flare_lead_h": 0.0}}, None),
    "names that differ by more than case": ({"arm": [{"name": "a"}, {"name": "a1"}]}, None),
    "an arm named like a folder of the program": ({"arm": [{"name": "Figures"}]}, "arm.Figures.name"),
    "the longest name": ({"arm": [{"name": "a" * 64}]}, None),
    "a name of one letter more": ({"arm": [{"name": "a" * 65}]}, "arm.1.name"),
}


@pytest.mark.parametrize("case", EDGES)
def test_a_rule_holds_to_its_very_edge(case: str):
    table, key = EDGES[case]
    if key is None:
        scenario_from_table(table)
    else:
        assert refused(table) == [key]


@pytest.mark.parametrize("across", [1, 2, 3, 5])
@pytest.mark.parametrize("along", [1, 2, 3, 4])
def test_septa_of_a_tiling_are_counted_as_by_drawing_it(across: int, along: int):
    """Hexagons of side 2 in half units: every edge between two corners once, and six spokes to each centre."""
    corners = ((0, 2), (1, 1), (1, -1), (0, -2), (-1, -1), (-1, 1))  # x in half widths, y in halves of the side
    lines = set()
    for i in range(across):
        for j in range(along):
            x, y = 2 * i + j % 2, 3 * j
            around = [(x + dx, y + dy) for dx, dy in corners]
            lines |= {frozenset(pair) for pair in zip(around, around[1:] + around[:1], strict=True)}
            lines |= {frozenset(((x, y), corner)) for corner in around}
    assert neighbours_of_tiling(across, along) == len(lines)


@settings(max_examples=25, deadline=None)
@given(spacing=st.floats(0.5, 1000.0), edges=st.tuples(*[st.floats(10.0, 5000.0)] * 3))
def test_the_fewest_cells_are_taken_whose_spacing_is_at_most_the_one_asked_for(spacing: float, edges: tuple):
    for cells, edge in zip(grid_cells(GridSpec(spacing_um=spacing), "hexagon", edges), edges, strict=True):
        assert edge / cells <= spacing * (1 + 1e-6)
        assert cells == 1 or edge / (cells - 1) > spacing * (1 - 1e-6)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_what_a_run_needs_is_linear_in_cells_runs_and_steps(precision: str):
    small, large = (100, 100, 100), (100, 400, 100)  # four times as many cells
    compiling = {"memory": RUNTIME_BYTES, "gradient": GRADIENT_COMPILER_BYTES, "search": SEARCH_COMPILER_BYTES}

    def beyond(what: str, gib: float) -> float:
        return gib * GIB - compiling[what]

    one = beyond("memory", memory_gib(large, precision))
    assert one == pytest.approx(4 * beyond("memory", memory_gib(small, precision, 1)))
    assert beyond("memory", memory_gib(large, precision, 5)) == pytest.approx(5 * one)
    for adjoint in ("saved", "two-level"):
        for of in (
            lambda c, a=adjoint: beyond("gradient", gradient_memory_gib(c, precision, 64, a)),
            lambda c, a=adjoint: beyond("search", search_memory_gib(c, 64, a)),
        ):
            assert of(large) == pytest.approx(4 * of(small))
    saved = [gradient_memory_gib(small, precision, steps, "saved") for steps in (100, 200, 300)]
    assert saved[2] - saved[1] == pytest.approx(saved[1] - saved[0])
    halved = [gradient_memory_gib(small, precision, steps, "two-level") for steps in (25, 100, 400)]
    assert halved[2] - halved[1] == pytest.approx(2 * (halved[1] - halved[0]))  # grows with the root of the steps
    assert gradient_memory_gib(small, precision, 4, "saved") == gradient_memory_gib(small, precision, 4, "two-level")
    assert search_memory_gib(large, 1, "saved") * GIB >= SEARCH_COMPILER_BYTES + RUNS_AT_ONCE * 2600 * math.prod(large)


def size_of(**sections: Any):
    return scenario_size(scenario_from_table(sections))


def test_the_estimate_of_minutes_counts_cells_arms_and_steps_once_each():
    base = {"grid": {"cells": [30, 32, 4]}, "run": {"end_h": 48.0}}
    working = lambda **more: size_of(**{**base, **more}).minutes * 60 - PREPARATION_SECONDS["healthy"]  # noqa: E731
    seconds = working()
    assert working(grid={"cells": [60, 32, 4]}) == pytest.approx(2 * seconds)
    assert working(arm=[{"name": "a"}, {"name": "b"}, {"name": "c"}]) == pytest.approx(3 * seconds)
    assert working(run={"end_h": 96.0}) == pytest.approx(2 * seconds)
    assert working(run={"end_h": 48.0, "steps_per_day": 24}) == pytest.approx(6 * seconds)
    assert working(disease={"start": "chronic"}) - seconds == pytest.approx(40.0)


def test_the_numbers_of_the_physics_scale_as_their_definitions_say():
    base, fine = size_of(grid={"cells": [30, 32, 4]}), size_of(grid={"cells": [60, 64, 8]})
    assert fine.peclet == pytest.approx(base.peclet / 2) and fine.damkohler == base.damkohler
    assert [2 * h for h in fine.spacing_um] == pytest.approx(base.spacing_um)
    wide = size_of(grid={"cells": [30, 32, 4]}, lobule={"radius_um": 750.0})
    assert wide.speed_um_s == pytest.approx(1.5 * base.speed_um_s)  # over 500 um
    assert wide.peclet == pytest.approx(1.5**2 * base.peclet)
    assert wide.penetration_length_um == base.penetration_length_um  # of the tissue, whatever its shape


def test_a_parameter_that_is_replaced_counts_in_the_estimate():
    row = {row.name: row for row in load_parameters().table()}["oxygen.p50_mmHg"]
    plain = scenario_size(Scenario())
    assert scenario_size(Scenario(parameters={row.name: row.low})).damkohler < plain.damkohler  # more is bound
    assert scenario_size(Scenario(), load_parameters("rat")).damkohler != plain.damkohler


NO_TOML = {
    "a text without end": ('[run]\ntransport = "limited\n', "run.transport: line 2 is not TOML"),
    "no value": ("[run]\nend_h =\n", "run.end_h: line 2 is not TOML"),
    "no equals sign": ("[run]\n\nend_h 48\n", "run: line 3 is not TOML"),
    "a header without end": ("[run\nend_h = 48\n", "line 1 is not TOML"),
    "two values": ("[run]\nend_h = 48 49\n", "run.end_h: line 2 is not TOML"),
    "a list without end": ("[grid]\ncells = [26, 30\n[run]\n", "run: line 3 is not TOML"),
    "a comma in a list": ("[grid]\ncells = [26,, 8]\n", "grid.cells: line 2 is not TOML"),
    "a leading zero": ("[run]\nend_h = 048\n", "run.end_h: line 2 is not TOML"),
    "words of Python": ("direct_only = True\n", "direct_only: line 1 is not TOML"),
    "a decimal comma in an infusion": (
        "[[arm]]\nname = 'a'\n[[arm.infusion]]\nstart_h = 2,5  # half past two\n",
        "arm.infusion.start_h: decimal comma in line 4: write 2.5",
    ),
    "a key twice in an infusion": (
        "[[arm]]\nname = 'a'\n[[arm.infusion]]\nstart_h = 1\nstart_h = 2\n",
        "arm.infusion.start_h: is given twice, the second time in line 5",
    ),
    "a section that was a value": ("grid = 3\n[grid]\ncells = [1, 1, 1]\n", "grid: "),
    "an escape that is none": ('title = "C:\\users"\n', "title: line 1 is not TOML"),
    "a control character": ('title = "a\x07b"\n', "title: line 1 is not TOML"),
}


@pytest.mark.parametrize("case", NO_TOML)
def test_what_is_no_toml_is_one_line_with_its_key_and_number(case: str, tmp_path: Path):
    text, words = NO_TOML[case]
    path = tmp_path / "case.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path)
    line = str(caught.value)
    assert line.startswith(f"case.toml: {words}") and line.isprintable()


def test_line_ends_of_another_system_and_a_last_line_without_one_are_read(tmp_path: Path):
    path = tmp_path / "Größe 肝.toml"
    for text in ('title = "肝"\r\n[run]\r\nend_h = 48\r\n', 'title = "肝"\n[run]\nend_h = 48'):
        path.write_bytes(text.encode())
        scenario = load_scenario(str(path))
        assert (scenario.title, scenario.run.end_h) == ("肝", 48.0)


def test_the_largest_file_is_read_and_one_byte_more_is_not(tmp_path: Path):
    path = tmp_path / "case.toml"
    path.write_bytes(b"#" * 1_000_000)
    assert load_scenario(path) == Scenario()
    path.write_bytes(b"#" * 1_000_001)
    with pytest.raises(ScenarioError, match="is larger than 1000 kB"):
        load_scenario(path)
