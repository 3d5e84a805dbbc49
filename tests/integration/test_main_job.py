"""The main job on a tiny grid: one command, three arms, files and figures; and the same course through Python."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hepatojax as hj
from hepatojax.body.circulation import arterial_share
from hepatojax.build import build_study
from hepatojax.cli.main import main
from hepatojax.macro_step import advance_jitted
from hepatojax.simulate import join, simulate_chunks
from hepatojax.tissue.oxygen import content
from tests.reference.bounds import outside

CASE = Path(__file__).parents[2] / "experiments" / "01_acute_liver_failure" / "case.toml"
ARMS = ("standard_care", "intravenous", "intraportal")
DOSE_PER_INFUSION = 70.0  # [1e6 cells], 1e6 cells/kg in 70 kg
CHANGES = {
    "grid.cells": [9, 10, 2],
    "disease.start": "healthy",
    "disease.flare_lead_h": 0.0,
    "run.end_h": 48.0,
    "run.fields": ["oxygen", "hgf"],
    **{f"arm.intravenous.infusion.{i}.start_h": 1.0 + 6.0 * (i - 1) for i in (2, 3, 4)},
}
SAVE = hj.SaveAt(24.0, ("oxygen", "hgf"))
SUMMARY_OF_THE_ISSUE = {
    *("status", "grid", "precision", "macro_steps", "seconds", "peak_memory_mib", "ledger", "solver", "endpoints"),
}


@pytest.fixture(scope="module", autouse=True)
def promotion():
    """Of dtypes and ranks, as a user has it."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture(scope="module")
def output(promotion, tmp_path_factory):
    """What the command leaves behind; programs and start states of the user are neither read nor written."""
    folder = tmp_path_factory.mktemp("main_job")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        settings = [f"--set={key}={json.dumps(value)}" for key, value in CHANGES.items()]
        assert main(["run", str(CASE), "-o", str(folder / "out"), "--quiet", "--device=cpu", *settings]) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def study(output):
    """The same study, built in Python."""
    return build_study(hj.load_scenario(CASE, overrides=CHANGES))


def summary(output: Path, arm: str) -> dict:
    return json.loads((output / arm / "summary.json").read_text())


def course(study, arm: str) -> hj.Solution:
    """The course of one arm, with the program that the command has compiled."""
    return join(list(simulate_chunks(study.model, study.state, study.schedules[arm], end_h=48.0, save=SAVE)))


def test_the_folder_is_laid_out_as_promised(output):
    for arm in ARMS:
        assert {"run.vtkhdf", "summary.json", "scenario.toml"} <= {path.name for path in (output / arm).iterdir()}
    assert len(list((output / "figures").glob("*.png"))) >= 5


@pytest.mark.parametrize("arm", ARMS)
def test_the_summary_holds_what_the_interface_names(output, arm):
    held = summary(output, arm)
    assert set(held) >= SUMMARY_OF_THE_ISSUE
    assert (held["status"], held["grid"], held["precision"], held["macro_steps"]) == ("ok", [9, 10, 2], "float32", 8)
    assert set(held["seconds"]) == {"compile", "prepare", "run"}
    assert held["peak_memory_mib"] > 0
    assert all(set(endpoint) == {"unit", "day", "value"} for endpoint in held["endpoints"].values())


@pytest.mark.parametrize("arm", ARMS)
def test_blood_leaves_with_what_it_brought_less_what_was_taken(output, study, arm):
    """C_out / (1 - extraction) is the content of the two inlets mixed by the arterial buffer at the flow of the run."""
    p = study.model.parameters
    with hj.open_run(output / arm / "run.vtkhdf") as run:
        left, taken, flow = (run.series[name] for name in ("oxygen_outlet", "oxygen_extraction", "flow"))
        saturated, perfusion, volume = (run.series[n] for n in ("saturation_outlet", "perfusion", "liver_volume"))
    brought = np.asarray(content(left, p.oxygen)) / (1.0 - taken)
    arterial = np.array([float(arterial_share(jnp.asarray(each), p.circulation)) for each in flow])
    mixed = arterial * float(content(p.arterial_mmHg, p.oxygen))
    mixed = mixed + (1.0 - arterial) * float(content(p.portal_mmHg, p.oxygen))
    np.testing.assert_allclose(brought, mixed, rtol=1e-4)
    ratio = (left / p.oxygen.p50_mmHg) ** p.oxygen.hill_exponent
    np.testing.assert_allclose(saturated, ratio / (1.0 + ratio), rtol=1e-6)
    np.testing.assert_allclose(perfusion, flow / volume, rtol=1e-12)  # [ml/min/g], 1 at rest


@pytest.mark.parametrize("arm", ARMS)
def test_what_enters_a_treated_lobule_leaves_it_or_stays(output, arm):
    assert max(summary(output, arm)["ledger"].values()) <= 1e-4


def test_the_cells_of_each_arm_are_counted(output):
    for arm, infusions in zip(ARMS, (0, 4, 1), strict=True):
        with hj.open_run(output / arm / "run.vtkhdf") as run:
            terms = json.loads(run.provenance["ledger"])["msc"]["terms"]
        assert terms["infused"] == pytest.approx(infusions * DOSE_PER_INFUSION, rel=1e-12)
        assert sum(terms.values()) == pytest.approx(0.0, abs=1e-4 * max(terms["infused"], 1.0))


def test_the_resolved_scenario_gives_the_same_run_again(output):
    again = hj.load_scenario(output / "intraportal" / "scenario.toml")
    assert again == hj.load_scenario(CASE, overrides=CHANGES)


def test_the_file_holds_the_course_that_python_computes(output, study):
    solution = course(study, "intraportal")
    with hj.open_run(output / "intraportal" / "run.vtkhdf") as run:
        assert np.array_equal(run.series_times_h, solution.times_h)
        assert np.array_equal(run.series["meld"], hj.liver_function(solution).meld)
        assert np.array_equal(run.field_at("oxygen", 48.0), solution.saved["oxygen"][-1])


def test_arms_share_one_program(study):
    course(study, ARMS[0])
    before = advance_jitted._cache_size()
    for arm in ARMS[1:]:
        course(study, arm)
    assert advance_jitted._cache_size() == before


@pytest.mark.parametrize("arm", ARMS)
def test_every_state_of_a_worse_disease_lies_within_its_bounds(study, arm):
    worse = dataclasses.replace(study.model.disease, activity=1.0, flare=10.0, flare_start_h=0.0, flare_end_h=48.0)
    model = dataclasses.replace(study.model, disease=worse)
    assert outside(study.state) == []
    for part in simulate_chunks(model, study.state, study.schedules[arm], end_h=48.0, save=SAVE):
        part.raise_for_status()
        assert outside(part.state) == []


def test_a_state_that_is_not_finite_at_the_start_is_named_with_its_voxel(study):
    state = study.state
    broken = state.replace(voxel={**state.voxel, "debris": state.voxel["debris"].at[1, 4, 3].set(jnp.nan)})
    first = next(simulate_chunks(study.model, broken, study.schedules[ARMS[0]], end_h=48.0, save=SAVE))
    assert first.message().startswith("a value is not finite at day 0.25: field debris, worst at voxel (1, 4, 3);")


def test_infusions_of_no_cells_change_nothing(study):
    given = study.schedules["intravenous"]
    placebo = dataclasses.replace(given, cells_per_kg=0.0 * given.cells_per_kg)
    treated = course(study._replace(schedules={"placebo": placebo}), "placebo")
    untreated = course(study, "standard_care")
    assert all(np.array_equal(treated.endpoints[name], untreated.endpoints[name]) for name in untreated.endpoints)
