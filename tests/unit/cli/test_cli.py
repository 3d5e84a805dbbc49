"""The command line: verbs that need no simulation, exit codes, progress."""

import errno
import json
import signal
from pathlib import Path

import pytest

from hepatojax.cli import progress as progress_module
from hepatojax.cli.main import exit_code, main
from hepatojax.cli.progress import progress
from hepatojax.cli.run import stop_on_signal
from hepatojax.status import DeviceError, ExitCode


def test_check_prints_what_a_run_needs(tmp_path: Path, capsys: pytest.CaptureFixture):
    path = tmp_path / "case.toml"
    path.write_text("[grid]\ncells = [26, 30, 8]\n")
    assert main(["check", str(path), "--set", "run.end_h=48", "--precision", "float64"]) == ExitCode.DONE
    printed = capsys.readouterr().out
    for words in ("26 x 30 x 8 cells", "8 macro-steps", "GB in float64", "Peclet", "Damkohler", "minutes"):
        assert words in printed


def test_setting_without_value_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture):
    path = tmp_path / "case.toml"
    path.write_text("")
    assert main(["check", str(path), "--set", "grid.cells"]) == ExitCode.REJECTED_INPUT
    assert capsys.readouterr().err == "error: --set grid.cells: write section.key=value\n"


def test_parameters_are_printed_and_filtered(capsys: pytest.CaptureFixture):
    assert main(["parameters", "--species", "rat", "--grep", "oxygen.p50_mmHg", "--json"]) == ExitCode.DONE
    printed = json.loads(capsys.readouterr().out)
    assert [row["value"] for row in printed["parameters"]] == [37.0]
    assert len(printed["sha256"]) == 64


def test_schema_is_json(capsys: pytest.CaptureFixture):
    assert main(["schema"]) == ExitCode.DONE
    assert "lobule" in json.loads(capsys.readouterr().out)["properties"]


def test_errors_map_to_exit_codes():
    assert exit_code(DeviceError("none")) == ExitCode.NO_MEMORY_OR_DEVICE
    assert exit_code(OSError(errno.ENOSPC, "No space left on device")) == ExitCode.WRITE_ERROR
    assert exit_code(FileNotFoundError(errno.ENOENT, "No such file")) == ExitCode.REJECTED_INPUT
    assert exit_code(RuntimeError("RESOURCE_EXHAUSTED: out of memory")) == ExitCode.NO_MEMORY_OR_DEVICE
    assert exit_code(KeyboardInterrupt()) == ExitCode.STOPPED
    assert exit_code(RuntimeError("a defect")) is None


def test_first_signal_is_remembered_and_the_second_acts():
    with stop_on_signal() as stopped:
        signal.raise_signal(signal.SIGINT)
        assert stopped == [signal.SIGINT]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_progress_prints_a_line_at_the_end_and_none_when_quiet(capsys: pytest.CaptureFixture):
    with progress("arm", 10.0) as report:
        report(1.0, "")
        report(10.0, "MELD 25")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 and lines[0].startswith("arm: 100 %") and lines[0].endswith("MELD 25")
    with progress("arm", 10.0, quiet=True) as report:
        report(10.0, "")
    assert capsys.readouterr().out == ""


def test_progress_states_the_time_left(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    times = iter([0.0, 40.0])
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: next(times))
    with progress("arm", 10.0) as report:
        report(4.0, "")
    assert capsys.readouterr().out == "arm: 40 %, 40 s, 60 s left\n"
