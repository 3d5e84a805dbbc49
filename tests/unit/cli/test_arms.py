"""The arms of a run: what is written when, and what is left after a stop, a kill or a fault; the solver is replaced."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.build import Study
from hepatojax.cli import arms
from hepatojax.cli.main import exit_code
from hepatojax.endpoints import ENDPOINTS
from hepatojax.failure import NOWHERE
from hepatojax.io.results import RunWriter, open_run
from hepatojax.io.run_folder import RunFolderLocked, arm_folder, locked
from hepatojax.io.vtkhdf import RunHeader, Series
from hepatojax.model import SPECIFICATIONS, LiverModel
from hepatojax.scenario import ArmSpec, DiseaseSpec, RunSpec, Scenario
from hepatojax.simulate import Ledger, Solution
from hepatojax.status import ExitCode, SimulationError, Status, WriteError

SCENARIO = Scenario(arms=(ArmSpec("a"), ArmSpec("b")), run=RunSpec(end_h=12.0, save_every_h=6.0, fields=()))


def summary_of(folder: Path) -> dict[str, Any]:
    """What `summary.json` holds."""
    return json.loads((folder / "summary.json").read_text())


def part_until(time_h: float, status: Status = Status.OK, step_h: float = 6.0) -> Solution:
    """One macro-step without fields and without endpoints; no more of a solution than the arms look at."""
    part = object.__new__(Solution)
    values = {
        "times_h": np.array([time_h]),
        "endpoints": {},
        "saved_times_h": np.zeros(0),
        "saved": {},
        "state": SimpleNamespace(quasi_steady=SimpleNamespace(oxygen=np.zeros((1, 1, 1))), step=round(time_h / step_h)),
        "ledger": Ledger(terms={}, gained={}, error={}),
        "statistics": {},
        "status": jnp.asarray(int(status)),
        "failed_step": jnp.asarray(0),
        "failed_field": jnp.asarray(0),
        "failed_voxel": jnp.full(3, NOWHERE),
        "failed_statistics": {},
    }
    for name, value in values.items():
        object.__setattr__(part, name, value)
    return part


@pytest.fixture
def solver(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What a test may change: `prepare()` and `course()`, which yields the parts of an arm."""
    fake = SimpleNamespace(prepare=lambda: None, course=lambda: [part_until(6.0), part_until(12.0)])
    header = RunHeader("t", (1.0, 1.0, 1.0), (1, 1, 1), {})
    replaced: dict[str, Any] = {
        "prepare": lambda *_: fake.prepare(),
        "build_study": lambda *_: Study(None, None, {"a": None, "b": None}),  # type: ignore[arg-type]
        "simulate_chunks": lambda *_, **__: fake.course(),
        "_header": lambda *_: header,
        "replace": lambda part, **_: part,
        "join": lambda parts: parts[-1],
    }
    for name, value in replaced.items():
        monkeypatch.setattr(arms, name, value)
    return fake


def run(output: Path, stopped: list[int] | None = None, scenario: Scenario = SCENARIO, quiet: bool = True) -> ExitCode:
    """Both arms of the scenario."""
    stopped = [] if stopped is None else stopped
    return arms.run_arms(scenario, output, image=None, device="", command="", quiet=quiet, stopped=stopped)


def test_run_without_fields_saves_its_times(solver: SimpleNamespace, tmp_path: Path):
    assert run(tmp_path) == ExitCode.DONE
    with open_run(tmp_path / "b") as result:
        assert result.times_h.tolist() == [6.0, 12.0]
        assert result.provenance["status"] == "ok"
    assert summary_of(tmp_path / "b")["message"] == "ok"


def test_a_course_is_complete_by_its_steps_and_not_by_its_rounded_hours(
    solver: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture
):
    five = replace(SCENARIO, run=RunSpec(end_h=14.4, steps_per_day=5, save_every_h=4.8, fields=()))
    assert 3 * 4.8 < 14.4
    solver.course = lambda: [part_until(number * 4.8, step_h=4.8) for number in (1, 2, 3)]
    assert run(tmp_path, scenario=five, quiet=False) == ExitCode.DONE
    assert summary_of(tmp_path / "b")["status"] == "ok"
    shown = capsys.readouterr().out.splitlines()
    assert [line.split(" %")[0] for line in shown] == ["preparing: start state", "a: 100", "b: 100"]


def test_jax_is_listened_to_no_longer_than_the_run():
    with arms.compile_clock() as clock:
        jax.monitoring.record_event_duration_secs("/jax/core/compile/some_duration", 0.5)
    jax.monitoring.record_event_duration_secs("/jax/core/compile/some_duration", 0.25)
    assert clock.seconds == 0.5


def test_the_first_arm_answers_for_preparation_and_compilation(
    solver: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    now = [100.0]

    def spend(compiling: float, working: float) -> None:
        now[0] += compiling + working
        jax.monitoring.record_event_duration_secs("/jax/core/compile/some_duration", compiling)

    def course():
        spend(2.0, 5.0)
        yield part_until(12.0)

    monkeypatch.setattr(arms.time, "monotonic", lambda: now[0])
    solver.prepare, solver.course = lambda: spend(16.0, 4.0), course
    assert run(tmp_path) == ExitCode.DONE
    assert summary_of(tmp_path / "a")["seconds"] == {"compile": 18.0, "prepare": 4.0, "run": 5.0}
    assert summary_of(tmp_path / "b")["seconds"] == {"compile": 2.0, "prepare": 0.0, "run": 5.0}


@pytest.mark.parametrize("quiet", [False, True])
def test_stages_of_the_preparation_are_told_when_they_begin(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture, quiet: bool
):
    for name in ("chronic_column", "resting_model", "build_lobule", "_forget_programs"):
        monkeypatch.setattr(arms, name, lambda *_: None)
    monkeypatch.setattr(arms, "preset_folder", lambda: tmp_path)
    monkeypatch.setattr(arms, "build_study", lambda *_: Study(None, None, {}))  # type: ignore[arg-type]
    ill = replace(SCENARIO, disease=DiseaseSpec(start="chronic"))
    assert arms._prepared(ill, None, quiet=quiet, stopped=[]) is not None
    stages = ("chronic start state", "healthy rest", "flare on the grid and compilation")
    assert capsys.readouterr().out.splitlines() == ([] if quiet else [f"preparing: {stage}" for stage in stages])


@pytest.mark.parametrize("code", [errno.EACCES, errno.ESTALE, errno.EPIPE])
def test_a_disk_that_refuses_in_the_middle_of_a_run_is_a_write_error(
    solver: SimpleNamespace, tmp_path: Path, code: int
):
    def refuse():
        yield part_until(6.0)
        raise OSError(code, os.strerror(code), "part")

    solver.course = refuse
    with pytest.raises(WriteError, match=f"^part: {os.strerror(code)}$") as refused:
        run(tmp_path)
    assert exit_code(refused.value) == ExitCode.WRITE_ERROR


def test_a_liver_that_dies_before_day_0_is_an_error(solver: SimpleNamespace, tmp_path: Path):
    def die():
        raise SimulationError(Status.DEAD_LIVER, f"before day 0: {Status.DEAD_LIVER.describe()}")

    solver.prepare = die
    with pytest.raises(SimulationError, match=r"^before day 0: no functioning liver is left; try a lower") as died:
        run(tmp_path)
    assert exit_code(died.value) == ExitCode.NOT_CONVERGED


@pytest.mark.parametrize("name", ["quiescent", "meld"])
def test_a_series_keeps_its_own_meaning_beside_a_field_of_its_name(tmp_path: Path, name: str):
    lobule = SimpleNamespace(
        grid=SimpleNamespace(spacing_um=(1.0, 1.0, 1.0), shape=(1, 1, 1)),
        **dict.fromkeys(("zone", "labels", "permeability"), np.zeros((1, 1, 1))),
    )
    model = object.__new__(LiverModel)
    object.__setattr__(model, "lobule", lobule)
    header = arms._header(SCENARIO, "a", model, {})
    writer = RunWriter(tmp_path, header)
    writer.append(6.0, {name: np.zeros((1, 1, 1))}, Series(np.array([6.0]), {name: np.zeros(1)}))
    with h5py.File(writer.finish()) as file:
        stored = file[f"series/{name}"].attrs["long_name"], file[name].attrs["long_name"]
    wanted = ENDPOINTS[name].meaning, next(spec.meaning for spec in SPECIFICATIONS if spec.name == name)
    assert stored == wanted and stored[0] != stored[1]
    with open_run(tmp_path) as result:
        assert (result.series_meanings[name], result.meanings[name]) == wanted


def test_killed_rerun_leaves_no_summary_of_the_run_before(solver: SimpleNamespace, tmp_path: Path):
    def kill():
        raise KeyboardInterrupt

    run(tmp_path)
    solver.course = kill
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    assert list(tmp_path.glob("*/summary.json")) == []


def test_stop_is_named_in_summary_file_and_on_the_screen(
    solver: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture
):
    stopped: list[int] = []

    def course():
        stopped.append(2)
        yield part_until(6.0)

    solver.course = course
    assert run(tmp_path, stopped) == ExitCode.STOPPED
    sentence = "the run was stopped on request at day 0.25; what was saved before stays usable"
    held = summary_of(tmp_path / "a")
    assert (held["status"], held["message"]) == ("STOPPED", sentence)
    with open_run(tmp_path / "a") as result:
        assert result.provenance["status"] == "STOPPED"
    assert capsys.readouterr().err == f"a: {sentence}\n"
    assert not (tmp_path / "b" / "run.vtkhdf").exists()


def test_stop_between_arms_starts_no_other(solver: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture):
    stopped: list[int] = []

    def course():
        yield part_until(6.0)
        stopped.append(2)
        yield part_until(12.0)

    solver.course = course
    assert run(tmp_path, stopped) == ExitCode.STOPPED
    assert summary_of(tmp_path / "a")["status"] == "ok"
    assert capsys.readouterr().err == "stopped on request before b\n"


def test_stop_during_the_preparation_leaves_earlier_results(
    solver: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture
):
    run(tmp_path)
    stopped: list[int] = []
    solver.prepare = lambda: stopped.append(2)
    assert run(tmp_path, stopped) == ExitCode.STOPPED
    assert capsys.readouterr().err == "stopped on request before a\n"
    assert summary_of(tmp_path / "a")["status"] == "ok"


def test_locked_folder_is_found_before_the_preparation(solver: SimpleNamespace, tmp_path: Path):
    prepared: list[int] = []
    solver.prepare = lambda: prepared.append(1)
    with locked(arm_folder(tmp_path, "b")), pytest.raises(RunFolderLocked):
        run(tmp_path)
    assert not prepared


def test_failure_is_an_error_and_a_dead_liver_a_result(
    solver: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture
):
    solver.course = lambda: [part_until(6.0, Status.DEAD_LIVER)]
    assert run(tmp_path) == ExitCode.DONE
    assert capsys.readouterr().err.startswith("a: no functioning liver is left at day 0.25")
    solver.course = lambda: [part_until(6.0, Status.NOT_FINITE)]
    assert run(tmp_path) == ExitCode.MEMBERS_FAILED
    assert capsys.readouterr().err.startswith("error: a: a value is not finite at day 0.25")
