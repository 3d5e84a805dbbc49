"""Scenario files: sections fill the plain dataclasses, what is written reads back equal, settings replace values."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepatojax.io.scenario import ScenarioError, json_schema, load_scenario, scenario_from_table, scenario_to_toml
from hepatojax.io.scenario.document import SECTIONS
from hepatojax.io.scenario.overrides import parse_setting
from hepatojax.io.scenario.reference import key_tables
from hepatojax.io.scenario.size import (
    GIB,
    _left_to_group,
    gradient_memory_gib,
    memory_gib,
    require_memory,
    require_search_memory,
    scenario_size,
    search_memory_gib,
)
from hepatojax.numerics.segments import kept_steps
from hepatojax.scenario import (
    GEOMETRIES,
    ROUTES,
    ArmSpec,
    GridSpec,
    InfusionSpec,
    LobuleSpec,
    RunSpec,
    Scenario,
    domain_extent_um,
    grid_cells,
)
from hepatojax.studies.batch import RUNS_AT_ONCE

ROOT = Path(__file__).parents[3]
TWO_ARMS = """
title = "two arms"
[grid]
spacing_um = 40.0
[[arm]]
name = "standard_care"
[[arm]]
name = "portal"
[[arm.infusion]]
start_h = 2.5
cells_per_kg = 1e6
route = "portal"
[parameters]
"oxygen.p50_mmHg" = 26
[parameters.oxygen]
diffusivity_um2_s = {value = 1.8e-5, unit = "cm2/s"}
"""


@pytest.fixture
def two_arms(tmp_path: Path) -> Path:
    path = tmp_path / "case.toml"
    path.write_text(TWO_ARMS)
    return path


def test_empty_file_is_the_default_scenario(tmp_path: Path):
    path = tmp_path / "case.toml"
    path.write_text("")
    assert load_scenario(path) == Scenario()


def test_sections_have_the_keys_of_their_dataclasses():
    renamed = {"arms": "arm", "infusions": "infusion"}
    for section in SECTIONS.values():
        names = {renamed.get(f.name, f.name) for f in fields(section.specification)}
        assert set(section.model_fields) == names


def test_file_gives_the_scenario_it_describes(two_arms: Path):
    scenario = load_scenario(two_arms)
    assert scenario.title == "two arms"
    assert scenario.arms == (
        ArmSpec("standard_care"),
        ArmSpec("portal", (InfusionSpec(start_h=2.5, cells_per_kg=1e6, route="portal"),)),
    )
    assert scenario.parameters == pytest.approx({"oxygen.p50_mmHg": 26.0, "oxygen.diffusivity_um2_s": 1.8e-9})


def test_settings_replace_values_of_the_file(two_arms: Path):
    scenario = load_scenario(
        two_arms,
        {
            "grid.cells": (26, 30, 8),
            "arm.portal.infusion.1.cells_per_kg": 2e6,
            "arm.1.name": "control",
            "parameters.oxygen.p50_mmHg": 26.5,
        },
    )
    assert scenario.grid == GridSpec(cells=(26, 30, 8))
    assert scenario.arms[1].infusions[0].cells_per_kg == 2e6
    assert scenario.arms[0].name == "control"
    assert scenario.parameters["oxygen.p50_mmHg"] == 26.5


def test_setting_that_leads_nowhere_is_named(two_arms: Path):
    for key in ("grid.cell", "arm.nobody.name", "arm.portal.infusion.2.start_h", "title.x", "gird.cells"):
        with pytest.raises(ScenarioError, match=f"case.toml: {key.split('.')[0]}"):
            load_scenario(two_arms, {key: 1.0})


def test_settings_of_the_command_line_are_toml_or_a_word():
    assert parse_setting("grid.cells=[26, 30, 8]") == ("grid.cells", [26, 30, 8])
    assert parse_setting("run.transport=upwind") == ("run.transport", "upwind")
    assert parse_setting("direct_only = true") == ("direct_only", True)
    with pytest.raises(ValueError, match=r"write section\.key=value"):
        parse_setting("grid.cells")
    for text, words in (("run.end_h=48\nsteps = 2", "more than one line"), ("x=" + 20_000 * "[", "nested too deeply")):
        with pytest.raises(ValueError, match=words):
            parse_setting(text)


def test_setting_of_an_arm_that_the_file_lacks_is_explained(two_arms: Path):
    with pytest.raises(ScenarioError, match=r"^scenario: arm\.cells\.name: the file has no \[\[arm\]\]; write one"):
        scenario_from_table({}, overrides={"arm.cells.name": "x"})
    with pytest.raises(ScenarioError, match=r"infusion\.1\.route: there is no such \[\[arm\.infusion\]\]"):
        load_scenario(two_arms, {"arm.standard_care.infusion.1.route": "portal"})


def test_parameter_given_twice_is_refused():
    twice = {"oxygen.p50_mmHg": 26.0, "oxygen": {"p50_mmHg": 27.0}}
    for overrides in ({}, {"parameters.oxygen.p50_mmHg": 26.5}):
        with pytest.raises(ScenarioError, match=r"^scenario: parameters\.oxygen\.p50_mmHg: is given twice"):
            scenario_from_table({"parameters": twice}, overrides=overrides)


def test_title_is_one_line_of_text():
    for title, words in (
        ("a\0b", r'"a\\x00b" holds a char'),
        ("a\nb", "one line"),
        ("x" * 201, "has 201 char.* at most 200"),
    ):
        with pytest.raises(ScenarioError, match=f"^scenario: title: .*{words}"):
            scenario_from_table({"title": title})
    assert scenario_from_table({"title": "x" * 200}).title == "x" * 200


def test_deeply_nested_tables_are_refused():
    deep: dict = {}
    for _ in range(5000):
        deep = {"a": deep or 1}
    with pytest.raises(ScenarioError, match=r"^scenario: run: is nested deeper than 16 levels"):
        scenario_from_table({"run": deep})
    for overrides in ({"run.end_h": deep}, {"run" + 5000 * ".a": 1}):
        with pytest.raises(ScenarioError, match=r"^scenario: run\.[a-z_.]+: "):
            scenario_from_table({}, overrides=overrides)


infusions = st.builds(
    InfusionSpec,
    start_h=st.floats(0.0, 600.0),
    cells_per_kg=st.floats(0.0, 1e9),
    route=st.sampled_from(ROUTES),
    duration_h=st.floats(1e-3, 24.0),
)


@settings(max_examples=30, deadline=None)
@given(
    title=st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]) | st.just(" "), max_size=40),
    doses=st.lists(infusions, max_size=3),
    log_sd=st.floats(0.0, 3.0),
    septa=st.booleans(),
)
def test_written_scenario_reads_back_equal(title: str, doses: list, log_sd: float, septa: bool, tmp_path_factory):
    scenario = Scenario(
        title=title,
        lobule=LobuleSpec(permeability_log_sd=log_sd, inlet_septa=septa),
        arms=(ArmSpec("none"), ArmSpec("cells", tuple(doses))),
        parameters={"oxygen.p50_mmHg": 26.5},
    )
    path = tmp_path_factory.mktemp("scenario") / "case.toml"
    path.write_text(scenario_to_toml(scenario), encoding="utf-8")
    assert load_scenario(path) == scenario


def test_times_must_fit_the_macro_steps():
    for run, key in (
        ({"end_h": 25.0}, "run.end_h"),
        ({"save_every_h": 7.0, "end_h": 42.0}, "run.save_every_h"),
        ({"save_every_h": 48.0, "end_h": 72.0}, "run.save_every_h"),
    ):
        with pytest.raises(ScenarioError) as refused:
            scenario_from_table({"run": run})
        assert key in {problem.key for problem in refused.value.problems}


GEOMETRY = {
    "hexagon": ("", (44, 50, 15)),
    "tiling": ("tiling = [2, 1]", (87, 50, 15)),
    "column": ("", (21, 1, 1)),
    "well_mixed": ("", (1, 1, 1)),
    "labels": ('labels_file = "image.npy"\n[grid]\nspacing_um = 15.0', (4, 3, 2)),
}


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_every_geometry_is_accepted_and_has_a_size(geometry: str, tmp_path: Path):
    more, cells = GEOMETRY[geometry]
    (tmp_path / "image.npy").touch()
    path = tmp_path / "case.toml"
    path.write_text(f'[lobule]\ngeometry = "{geometry}"\n{more}\n')
    scenario = load_scenario(path)
    size = scenario_size(scenario, image_shape=(2, 3, 4) if geometry == "labels" else None)
    assert (scenario.lobule.geometry, size.cells) == (geometry, cells)


def test_column_is_resolved_along_x_alone():
    size = scenario_size(scenario_from_table({"lobule": {"geometry": "column"}}))
    assert size.widest_um == size.spacing_um[0] < 20.0 < size.spacing_um[1]
    assert size.peclet == pytest.approx(size.speed_um_s * size.spacing_um[0] / 1800)
    with pytest.raises(ScenarioError, match=r"grid\.cells: 138 um gives 0.58 cells per oxygen penetration length"):
        scenario_from_table({"lobule": {"geometry": "column"}, "grid": {"cells": [3, 1, 1]}})


def test_voxels_of_an_image_must_resolve_oxygen(tmp_path: Path):
    (tmp_path / "image.npy").touch()
    lobule = {"geometry": "labels", "labels_file": "image.npy"}
    with pytest.raises(ScenarioError, match=r"grid\.spacing_um: 120 um gives"):
        scenario_from_table({"lobule": lobule, "grid": {"spacing_um": 120.0}}, folder=tmp_path)


def test_keys_without_effect_are_refused():
    for table, key in (
        ({"lobule": {"tiling": [2, 2]}}, "lobule.tiling"),
        ({"lobule": {"labels_file": "image.npy"}}, "lobule.labels_file"),
        ({"lobule": {"geometry": "column", "permeability_log_sd": 0.3}}, "lobule.permeability_log_sd"),
        ({"lobule": {"geometry": "well_mixed", "permeability_log_sd": 0.3}}, "lobule.permeability_log_sd"),
        ({"lobule": {"geometry": "column", "inlet_septa": True}}, "lobule.inlet_septa"),
        ({"lobule": {"geometry": "well_mixed", "inlet_septa": True}}, "lobule.inlet_septa"),
        ({"lobule": {"geometry": "column", "fibrotic_septa": 2}}, "lobule.fibrotic_septa"),
        ({"lobule": {"geometry": "well_mixed", "fibrotic_septa": 2}}, "lobule.fibrotic_septa"),
        ({"lobule": {"geometry": "well_mixed", "portal_tract_radius_um": 40.0}}, "lobule.portal_tract_radius_um"),
        ({"lobule": {"fibrotic_septa": 13}}, "lobule.fibrotic_septa"),
        ({"lobule": {"geometry": "tiling", "tiling": [2, 2], "fibrotic_septa": 44}}, "lobule.fibrotic_septa"),
        ({"lobule": {"lobules_in_image": 2.0}}, "lobule.lobules_in_image"),
        ({"lobule": {"geometry": "labels", "inlet_septa": True}}, "lobule.inlet_septa"),
        ({"lobule": {"geometry": "labels", "radius_um": 400.0}}, "lobule.radius_um"),
        ({"lobule": {"geometry": "labels", "height_um": 200.0}}, "lobule.height_um"),
        ({"lobule": {"geometry": "labels"}}, "lobule.labels_file"),
        ({"lobule": {"geometry": "column"}, "grid": {"cells": [8, 8, 1]}}, "grid.cells"),
        ({"grid": {"cells": [26, 30, 8], "spacing_um": 40.0}}, "grid.spacing_um"),
        ({"arm": []}, "arm"),
        ({"run": {"drive": "pressure"}}, "run.pressure_drop_pa"),
        ({"run": {"pressure_drop_pa": 500.0}}, "run.pressure_drop_pa"),
        ({"disease": {"start": "healthy", "flare": 1.0, "flare_lead_h": 24.0}}, "disease.flare_lead_h"),
        ({"run": {"fields": ["oxygen", "hgf", "oxygen"]}}, "run.fields"),
    ):
        with pytest.raises(ScenarioError) as refused:
            scenario_from_table(table)
        assert key in {problem.key for problem in refused.value.problems}


def test_keys_with_effect_are_accepted(tmp_path: Path):
    (tmp_path / "image.npy").touch()
    scenario_from_table({"lobule": {"fibrotic_septa": 12}})
    labels = {"geometry": "labels", "labels_file": "image.npy", "permeability_log_sd": 0.3}
    scenario_from_table({"lobule": labels, "grid": {"spacing_um": 20.0}}, folder=tmp_path)
    for geometry in ("column", "well_mixed"):
        sizes = {"radius_um": 400.0, "height_um": 200.0, "permeability_log_sd": 0.0, "inlet_septa": False}
        scenario_from_table({"lobule": {"geometry": geometry, **sizes}})


@pytest.mark.parametrize("case", sorted(ROOT.glob("experiments/*/case.toml")), ids=lambda case: case.parent.name)
def test_every_shipped_case_is_accepted(case: Path):
    assert load_scenario(case).arms


def test_single_brackets_for_an_arm_are_explained():
    with pytest.raises(ScenarioError, match=r"write \[\[arm\]\] with double brackets"):
        scenario_from_table({"arm": {"name": "cells"}})


def test_hexagon_fills_its_box():
    extent = domain_extent_um(LobuleSpec(), radius_um=500.0, height_um=300.0, central_vein_radius_um=40.0)
    assert extent == pytest.approx((500.0 * 3**0.5, 1000.0, 300.0))
    assert grid_cells(GridSpec(spacing_um=20.0), "hexagon", extent) == (44, 50, 15)
    assert grid_cells(GridSpec(), "well_mixed", extent) == (1, 1, 1)


def test_tiling_and_column_extents_follow_the_lobule():
    tiling = replace(LobuleSpec(geometry="tiling"), tiling=(2, 3))
    extent = domain_extent_um(tiling, radius_um=400.0, height_um=100.0, central_vein_radius_um=40.0)
    assert extent == pytest.approx((400.0 * 3**0.5 * 2.5, 400.0 * 5.0, 100.0))
    column = LobuleSpec(geometry="column")
    along = domain_extent_um(column, radius_um=500.0, height_um=100.0, central_vein_radius_um=40.0)[0]
    assert (along + 40.0) ** 2 * 3.141592653589793 == pytest.approx(1.5 * 3**0.5 * 500.0**2)


def test_size_states_the_numbers_of_the_physics():
    size = scenario_size(Scenario(grid=GridSpec(cells=(52, 60, 16)), run=RunSpec(end_h=672.0)))
    assert size.macro_steps == 112
    assert size.spacing_um == pytest.approx((16.65, 16.67, 18.75), rel=1e-3)
    # by hand: D 1800 um2/s, 58 mmHg x 1.35 uM/mmHg, 0.044 mM/s; flow 1 ml/min/ml; (58/27)^2.7 = 7.88, saturated 0.8874
    assert size.penetration_length_um == pytest.approx((2 * 1800 * 58 * 1.35e-3 / 0.044) ** 0.5)
    assert size.penetration_length_um == pytest.approx(80.04, abs=0.005)
    assert size.damkohler == pytest.approx(0.044 * 60 / (8.4 * 0.8874 + 0.0783), rel=1e-4)
    assert size.peclet == pytest.approx(size.speed_um_s * size.spacing_um[1] / 1800)


def test_memory_grows_with_cells_and_precision():
    large = (128, 128, 128)
    assert memory_gib(large, "float64") > memory_gib(large, "float32") > memory_gib((8, 8, 8), "float32")


def test_several_runs_at_once_need_the_cells_of_each(monkeypatch):
    cells = (64, 74, 32)
    more = memory_gib(cells, "float32", RUNS_AT_ONCE) - memory_gib(cells, "float32", 7)
    assert more == pytest.approx(151552 * 1600 / 2**30)
    scenario = Scenario(grid=GridSpec(cells=cells))
    monkeypatch.setattr("hepatojax.io.scenario.size.free_memory_gib", lambda: 2.2)
    require_memory(scenario, "study.toml")
    with pytest.raises(
        ScenarioError, match=r"cells, 8 runs at once, need about 2.83 GiB and 2.2 GiB are free; at most"
    ):
        require_memory(scenario, "study.toml", None, RUNS_AT_ONCE)


def test_a_gradient_needs_more_the_more_steps_it_saves():
    """64x74x32 cells over 112 steps, saved, took 8.1e6 KiB; two-level keeps 8 + 14 of 112."""
    cells = (64, 74, 32)
    saved, two_level = (gradient_memory_gib(cells, "float32", 112, a) for a in ("saved", "two-level"))
    assert saved == pytest.approx(8125604 / 2**20, rel=0.05)
    assert saved - two_level == pytest.approx(151552 * 250 * (112 - 22) / 2**30)
    assert gradient_memory_gib(cells, "float64", 112, "saved") > saved > memory_gib(cells, "float32")


@pytest.mark.parametrize(("checkpoints", "kept"), [(1, 113), (2, 58), (7, 23), (8, 22), (16, 23), (112, 113)])
def test_checkpoints_set_how_many_macro_steps_are_kept(checkpoints, kept):
    """s + n / s of n = 112."""
    per_step = 151552 * 250 / 2**30
    one, none = (
        gradient_memory_gib((64, 74, 32), "float32", 112, "two-level", checkpoints),
        gradient_memory_gib((64, 74, 32), "float32", 0, "saved"),
    )
    assert one - none == pytest.approx(kept * per_step)
    assert gradient_memory_gib((64, 74, 32), "float32", 112, "two-level") <= one


def test_a_prime_number_of_macro_steps_is_not_halved_by_the_two_level_adjoint():
    assert kept_steps(113, "two-level") == 114 > kept_steps(113, "saved")
    with pytest.raises(ValueError, match="113 macro-steps allow 1, 113"):
        gradient_memory_gib((4, 4, 4), "float32", 113, "two-level", 10)


def test_outputs_that_go_back_side_by_side_each_need_a_macro_step_but_share_what_is_kept():
    """The reverse pass of objective and limits is mapped over their cotangents, the solutions are not."""
    cells = (64, 74, 32)
    one, two, four = (search_memory_gib(cells, 112, "saved", None, count) for count in (1, 2, 4))
    assert four - one == pytest.approx(3 * (two - one))
    for other in (56, 448):  # enough that forward runs side by side need less
        more = search_memory_gib(cells, other, "saved", None, 4) - search_memory_gib(cells, other, "saved", None, 2)
        assert more == pytest.approx(2 * (two - one))


def test_a_search_needs_what_its_certificate_in_float64_needs():
    """On a column of 4 cells over 4 macro-steps one took 3.54 GiB."""
    assert search_memory_gib((4, 1, 1), 4, "saved") == pytest.approx(3.54, rel=0.01)
    beyond = [
        search_memory_gib(cells, 112, "saved") - gradient_memory_gib(cells, "float64", 112, "saved")
        for cells in ((4, 1, 1), (64, 74, 32))
    ]
    assert beyond[0] > 0 and beyond[1] == pytest.approx(beyond[0])


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_search_that_memory_cannot_hold_is_refused_with_what_would_fit(monkeypatch, precision):
    arms = (ArmSpec("before"), ArmSpec("cells"))
    scenario = Scenario(grid=GridSpec(cells=(64, 74, 32)), run=RunSpec(end_h=672.0, precision=precision), arms=arms)
    saved, two_level = (search_memory_gib((64, 74, 32), 112, adjoint) for adjoint in ("saved", "two-level"))

    def required(free: float, adjoint: str) -> None:
        monkeypatch.setattr("hepatojax.io.scenario.size.free_memory_gib", lambda: free)
        require_search_memory(scenario, "study.toml", adjoint)

    def refused(free: float, adjoint: str) -> str:
        with pytest.raises(ScenarioError) as caught:
            required(free, adjoint)
        (line,) = str(caught.value).splitlines()
        return line

    required(1.01 * saved, "saved")
    required(1.01 * two_level, "two-level")
    line = refused(1.01 * two_level, "saved")
    assert line.startswith(
        "study.toml: optimise.adjoint: a certified gradient of 64 x 74 x 32 cells over 112 macro-steps"
    )
    assert line.endswith(f'adjoint = "two-level" needs about {two_level:.3g} GiB')
    line = refused(0.9 * two_level, "two-level")
    assert line.startswith("study.toml: grid.cells: ")
    fitting = round(float(line.partition("at most ")[2].split()[0]))
    assert search_memory_gib((fitting, 1, 1), 112, "two-level") == pytest.approx(0.9 * two_level, rel=0.05)
    assert "compilation alone needs" in refused(1.0, "saved")


def test_checkpoints_that_keep_too_much_are_refused_with_those_that_would_do(monkeypatch):
    scenario, free = Scenario(grid=GridSpec(cells=(64, 74, 32)), run=RunSpec(end_h=672.0)), 0.0
    for checkpoints, outputs in ((112, 1), (112, 3)):
        needed, least = (search_memory_gib((64, 74, 32), 112, "two-level", n, outputs) for n in (checkpoints, None))
        free = 0.5 * (needed + least)
        monkeypatch.setattr("hepatojax.io.scenario.size.free_memory_gib", lambda free=free: free)
        with pytest.raises(ScenarioError) as caught:
            require_search_memory(scenario, "study.toml", "two-level", checkpoints=checkpoints, cotangents=outputs)
        said = str(caught.value)
        assert said.startswith("study.toml: optimise.checkpoints: a certified gradient")
        assert ("of 3 outputs" in said) == (outputs == 3)
        assert said.endswith(f'adjoint = "two-level" and checkpoints = 8 needs about {least:.3g} GiB')
        require_search_memory(scenario, "study.toml", "two-level", checkpoints=8, cotangents=outputs)


def test_a_control_group_leaves_its_limit_less_what_is_taken(tmp_path: Path):
    assert list(_left_to_group(tmp_path)) == []
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 150\nactive_file 50\n")
    for limit, left in (("max\n", []), ("1000\n", [450.0])):
        (tmp_path / "memory.max").write_text(limit)
        assert list(_left_to_group(tmp_path)) == left


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the address space in use is read from /proc")
def test_a_limited_address_space_is_free_but_for_what_is_taken():
    program = (
        "import resource\n"
        "from hepatojax.io.scenario.size import GIB, free_memory_gib\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2 << 30, resource.RLIM_INFINITY))\n"
        "before = free_memory_gib()\n"
        "kept = bytearray(1 << 29)\n"
        "print(before, free_memory_gib())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    before, after = map(float, done.stdout.split())
    assert before < 2.0 and before - after == pytest.approx(0.5, abs=0.05)


def test_memory_is_what_a_first_start_was_measured_to_take():
    assert memory_gib((1, 1, 1), "float32") * GIB == memory_gib((32, 32, 32), "float64") * GIB == pytest.approx(2.2e9)
    assert memory_gib((100, 100, 100), "float32") * GIB == pytest.approx(1.1e9 + 1600e6)
    assert memory_gib((100, 100, 100), "float64") * GIB == pytest.approx(1.1e9 + 2600e6)


def test_schema_states_units_and_ranges():
    run = json_schema()["$defs"]["RunSection"]["properties"]
    assert run["end_h"]["unit"] == "h" and run["end_h"]["exclusiveMinimum"] == 0.0
    assert run["transport"]["enum"] == ["limited", "upwind"]


def test_documentation_lists_every_key():
    assert key_tables() in (ROOT / "docs" / "scenario.md").read_text(encoding="utf-8")
