"""Scenario files: sections fill the plain dataclasses, what is written reads back equal, settings replace values."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepatojax.io.scenario import ScenarioError, json_schema, load_scenario, scenario_from_table, scenario_to_toml
from hepatojax.io.scenario.document import SECTIONS
from hepatojax.io.scenario.overrides import parse_setting
from hepatojax.io.scenario.reference import key_tables
from hepatojax.io.scenario.size import memory_gib, scenario_size
from hepatojax.scenario import (
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


infusions = st.builds(
    InfusionSpec,
    start_h=st.floats(0.0, 600.0),
    cells_per_kg=st.floats(0.0, 1e9),
    route=st.sampled_from(ROUTES),
    duration_h=st.floats(1e-3, 24.0),
)


@settings(max_examples=30, deadline=None)
@given(
    title=st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=40),
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


def test_keys_without_effect_are_refused():
    for table, key in (
        ({"lobule": {"tiling": [2, 2]}}, "lobule.tiling"),
        ({"lobule": {"labels_file": "image.npy"}}, "lobule.labels_file"),
        ({"lobule": {"geometry": "labels"}}, "lobule.labels_file"),
        ({"lobule": {"geometry": "column"}, "grid": {"cells": [8, 8, 1]}}, "grid.cells"),
        ({"grid": {"cells": [26, 30, 8], "spacing_um": 40.0}}, "grid.spacing_um"),
        ({"arm": []}, "arm"),
        ({"run": {"drive": "pressure"}}, "run.pressure_drop_pa"),
        ({"run": {"pressure_drop_pa": 500.0}}, "run.pressure_drop_pa"),
        ({"lobule": {"radius_um": 150.0, "central_vein_radius_um": 100.0}}, "lobule.radius_um"),
    ):
        with pytest.raises(ScenarioError) as refused:
            scenario_from_table(table)
        assert key in {problem.key for problem in refused.value.problems}


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
    # by hand: D 1800 um2/s, 63 mmHg x 1.35 uM/mmHg, 0.044 mM/s; flow 1 ml/min/ml; saturation of the inlet 0.908
    assert size.penetration_length_um == pytest.approx((2 * 1800 * 63 * 1.35e-3 / 0.044) ** 0.5)
    assert size.damkohler == pytest.approx(0.044 * 60 / (8.4 * 0.9079 + 0.085), rel=1e-3)
    assert size.peclet == pytest.approx(size.speed_um_s * size.spacing_um[1] / 1800)


def test_memory_grows_with_cells_and_precision():
    assert memory_gib((64, 64, 64), "float64") > memory_gib((64, 64, 64), "float32") > memory_gib((8, 8, 8), "float32")


def test_schema_states_units_and_ranges():
    run = json_schema()["$defs"]["RunSection"]["properties"]
    assert run["end_h"]["unit"] == "h" and run["end_h"]["exclusiveMinimum"] == 0.0
    assert run["transport"]["enum"] == ["limited", "upwind"]


def test_documentation_lists_every_key():
    assert key_tables() in (ROOT / "docs" / "scenario.md").read_text(encoding="utf-8")
