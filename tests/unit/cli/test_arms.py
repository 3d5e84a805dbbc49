"""The arms of a run: what is written when, and what is left after a stop, a kill or a fault; the solver is replaced."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hepatojax.build import Study
from hepatojax.cli import arms
from hepatojax.io.results import open_run
from hepatojax.io.run_folder import RunFolderLocked, arm_folder, locked, read_summary
from hepatojax.io.vtkhdf import RunHeader
from hepatojax.scenario import ArmSpec, RunSpec, Scenario
from hepatojax.simulate import Ledger, Solution
from hepatojax.status import ExitCode, Status

SCENARIO = Scenario(arms=(ArmSpec("a"), ArmSpec("b")), run=RunSpec(end_h=12.0, save_every_h=6.0, fields=()))


def part_until(time_h: float, status: Status = Status.OK) -> Solution:
    """One macro-step without fields and without endpoints; no more of a solution than the arms look at."""
    part = object.__new__(Solution)
    values = {
        "times_h": np.array([time_h]),
        "endpoints": {},
        "saved_times_h": np.zeros(0),
        "saved": {},
        "state": SimpleNamespace(quasi_steady=SimpleNamespace(oxygen=np.zeros((1, 1, 1))), step=1),
        "ledger": Ledger(terms={}, gained={}, error={}),
        "statistics": {},
        "status": np.asarray(int(status)),
        "failed_step": np.asarray(0),
        "failed_voxel": np.zeros(3, int),
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


def run(output: Path, stopped: list[int] | None = None) -> ExitCode:
    """Both arms of the scenario."""
    return arms.run_arms(
        SCENARIO, output, image=None, device="", command="", quiet=True, stopped=[] if stopped is None else stopped
    )


def test_run_without_fields_saves_its_times(solver: SimpleNamespace, tmp_path: Path):
    assert run(tmp_path) == ExitCode.DONE
    with open_run(tmp_path / "b") as result:
        assert result.times_h.tolist() == [6.0, 12.0]
        assert result.provenance["status"] == "ok"
    assert read_summary(tmp_path / "b")["message"] == "ok"


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
    held = read_summary(tmp_path / "a")
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
    assert read_summary(tmp_path / "a")["status"] == "ok"
    assert capsys.readouterr().err == "stopped on request before b\n"


def test_stop_during_the_preparation_leaves_earlier_results(
    solver: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture
):
    run(tmp_path)
    stopped: list[int] = []
    solver.prepare = lambda: stopped.append(2)
    assert run(tmp_path, stopped) == ExitCode.STOPPED
    assert capsys.readouterr().err == "stopped on request before a\n"
    assert read_summary(tmp_path / "a")["status"] == "ok"


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
