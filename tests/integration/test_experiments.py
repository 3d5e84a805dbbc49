"""Every case is read and checked; with -m slow each runs through the command line on a tiny grid, balances, and does
what its question needs."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

import hepatojax as hj
from hepatojax.cli.main import main
from hepatojax.io.study import load_study

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
CASES = ("01_acute_liver_failure", "02_oxygen_zonation", "03_partial_hepatectomy", "04_fibrotic_lobule")
TINY = (
    "grid.cells=[9,10,2]",
    "run.end_h=24",
    "run.save_every_h=24",
    'run.fields=["oxygen", "hgf"]',  # the same everywhere, so that cases share a compiled program
    "disease.chronic_days=30",
)
SUMMARY = {
    "status",
    "grid",
    "precision",
    "macro_steps",
    "seconds",
    "peak_memory_mib",
    "ledger",
    "solver",
    "endpoints",
}
CHRONIC = {"01_acute_liver_failure", "04_fibrotic_lobule"}


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """An empty folder for compiled programs and start states, so that a test never meets those of the user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*/case.toml")), ids=lambda path: path.parent.name)
def test_every_case_passes_its_check(path, capsys):
    assert main(["check", str(path)]) == 0
    assert "cells" in capsys.readouterr().out


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*/study.toml")), ids=lambda path: path.parent.name)
def test_every_study_is_read(path):
    study = load_study(path)
    assert study.arm in {arm.name for arm in study.scenario.arms}


# Slow, since each needs a program of its own; by default the tests of the main job run one whole course.
@pytest.fixture(scope="module", params=[pytest.param(case, marks=pytest.mark.slow) for case in CASES])
def finished(request, cache, tmp_path_factory):
    """The name of an experiment and the folder of its results."""
    output = tmp_path_factory.mktemp(request.param) / "out"
    case = EXPERIMENTS / request.param / "case.toml"
    settings = [f"--set={setting}" for setting in settings_of(request.param)]
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # as for a user
        assert main(["run", str(case), "-o", str(output), "--quiet", "--no-figures", "--device=cpu", *settings]) == 0
    return request.param, output


def settings_of(name: str) -> list[str]:
    """What makes a case tiny: one day, and one of the arms' infusions where there are later ones."""
    settings = [s for s in TINY if name in CHRONIC or "chronic" not in s]
    if name == "01_acute_liver_failure":
        settings += [f"arm.intravenous.infusion.{i}.start_h={1 + 6 * (i - 1)}" for i in (2, 3, 4)]
    return settings


def summaries(output: Path) -> dict[str, dict]:
    """The summary of every arm."""
    return {path.parent.name: json.loads(path.read_text()) for path in output.glob("*/summary.json")}


def test_every_arm_leaves_a_summary_that_balances(finished):
    name, output = finished
    arms = {arm.name for arm in hj.load_scenario(EXPERIMENTS / name / "case.toml").arms}
    found = summaries(output)
    assert set(found) == arms
    for summary in found.values():
        assert set(summary) >= SUMMARY
        assert summary["status"] == "ok"
        assert summary["grid"] == [9, 10, 2]
        assert summary["macro_steps"] == 4
        assert set(summary["seconds"]) == {"compile", "prepare", "run"}
        assert all({"unit", "day", "value"} == set(endpoint) for endpoint in summary["endpoints"].values())
        assert max(summary["ledger"].values()) <= 1e-4


def test_every_arm_leaves_a_run_that_opens(finished):
    _, output = finished
    for folder in output.glob("*/run.vtkhdf"):
        with hj.open_run(folder.parent) as run:
            assert run.shape == (2, 10, 9)
            assert run.merged
            assert np.isfinite(np.asarray(run.series["functional_mass"])).all()
        assert (folder.parent / "scenario.toml").is_file()


def test_each_case_does_what_its_question_needs(finished):
    name, output = finished
    with hj.open_run(next(output.glob("*/run.vtkhdf")).parent) as run:
        series = {key: np.asarray(values) for key, values in run.series.items()}
    match name:
        case "01_acute_liver_failure":
            with hj.open_run(output / "intraportal") as treated, hj.open_run(output / "standard_care") as untreated:
                assert treated.series["msc_liver"][-1] > 0
                assert untreated.series["msc_liver"][-1] == 0
        case "02_oxygen_zonation":
            assert np.allclose(series["functional_mass"], 1.0, atol=1e-5)
            assert series["oxygen_min"][-1] < series["oxygen_mean"][-1]
        case "03_partial_hepatectomy":
            assert series["liver_volume"][0] > 0.42
            assert (np.diff(series["liver_volume"]) > 0).all()
        case "04_fibrotic_lobule":
            assert series["functional_mass"][-1] < 1.0
