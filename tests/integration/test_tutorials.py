"""docs/tutorials.md, run line by line: its files are read by default, its commands and its Python with -m slow."""

import json
import re
import shlex
from pathlib import Path

import jax
import numpy as np
import pytest

import hepatojax as hj
from hepatojax.cli.main import main
from hepatojax.io.study import load_study

PAGE = (Path(__file__).parents[2] / "docs" / "tutorials.md").read_text()
START, RUN, DERIVATIVE, DOSE = re.split(r"^## ", PAGE, flags=re.MULTILINE)
OPENS_A_WINDOW = ".plot("


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def do(text):
    """Every command succeeds and every block of Python runs, in the order of the page; the names that Python left."""
    names = {}
    for language, block in re.findall(r"```(sh|python)\n(.*?)```", text, re.DOTALL):
        if language == "sh":
            for line in block.splitlines():
                program, *arguments = shlex.split(line)
                assert program == "hepatojax"
                assert main(arguments) == 0, line
        elif "import pyvista" not in block:
            exec(block, names)
    return names


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the files of the page; programs and start states of the user are neither read nor written."""
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for block in blocks(PAGE, "toml"):
        (tmp_path / re.match(r"# (\S+)", block)[1]).write_text(block)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield tmp_path


def test_the_files_of_the_page_are_read(folder, capsys):
    assert main(["check", "case.toml"]) == 0
    assert "cells" in capsys.readouterr().out
    study = load_study(folder / "study.toml")
    assert study.arm == "portal" and study.scenario.lobule.geometry == "column"


def test_every_block_has_a_reader():
    assert len(re.findall(r"^```\w", PAGE, re.MULTILINE)) == sum(
        len(blocks(PAGE, language)) for language in ("toml", "sh", "python")
    )
    for block in blocks(PAGE, "python"):
        compile(block, "tutorials.md", "exec")


@pytest.mark.slow
def test_a_scenario_is_run_and_its_file_opened(folder, capsys):
    pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    names = do(RUN)
    try:
        assert np.isfinite(names["oxygen"].isel(time=-1).max())
        with hj.open_run(names["path"]) as run:
            last = run.series["functional_mass"][-1]
        assert f"functional mass {last:.3f}" in capsys.readouterr().out
        (picture,) = (block for block in blocks(RUN, "python") if "import pyvista" in block)
        pytest.importorskip("pyvista")
        exec("\n".join(line for line in picture.splitlines() if OPENS_A_WINDOW not in line), names)
        assert names["tissue"].n_cells == int((names["fields"].labels[0] > 0).sum())
    finally:
        names["fields"].close()
        names["courses"].close()


@pytest.mark.slow
def test_derivatives_tell_what_moving_dose_and_start_does(folder):
    names = do(DERIVATIVE)
    slope, schedule = names["slope"], names["schedule"]
    assert slope.cells_per_kg[0] != 0.0 and slope.start_h[0] != 0.0
    np.testing.assert_allclose(names["by_dose"], 0.01 * schedule.cells_per_kg[0] * slope.cells_per_kg[0], rtol=0.02)
    np.testing.assert_allclose(names["by_start"], 0.25 * slope.start_h[0], rtol=0.05)


@pytest.mark.slow
def test_a_dose_is_found_on_its_limit(folder):
    do(DOSE)
    found = json.loads((folder / "outputs/dose/optimum.json").read_text())
    assert found["verdict"] == "converged" and all(c["passed"] for c in found["certificates"].values())
    (limit,) = found["limits"]
    assert limit["reading"] == pytest.approx(0.05, abs=1e-5) and limit["multiplier"] > 0.0
    assert main(["check", "outputs/dose/scenario.toml"]) == 0
