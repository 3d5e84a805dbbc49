"""The command line: verbs that need no simulation, exit codes, progress."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hepatojax.checks.records import Check
from hepatojax.cli import progress as progress_module
from hepatojax.cli.checks import UnknownCheckError, chosen
from hepatojax.cli.device import cache_folder, preset_folder
from hepatojax.cli.main import exit_code, main
from hepatojax.cli.output import LastingStream
from hepatojax.cli.progress import progress
from hepatojax.cli.run import command_line, stop_on_signal
from hepatojax.io.presets import PresetFolder
from hepatojax.io.scenario import ScenarioError, load_scenario
from hepatojax.io.scenario.size import COMPILER_PEAK_BYTES, GIB, require_memory
from hepatojax.status import DeviceError, ExitCode


def test_check_prints_what_a_run_needs(tmp_path: Path, capsys: pytest.CaptureFixture):
    path = tmp_path / "case.toml"
    path.write_text("[grid]\ncells = [26, 30, 8]\n")
    assert main(["check", str(path), "--set", "run.end_h=48", "--precision", "float64"]) == ExitCode.DONE
    printed = capsys.readouterr().out
    assert " GB" not in printed
    for words in ("26 x 30 x 8 cells", "8 macro-steps", "GiB in float64", "Peclet", "Damkohler", "minutes"):
        assert words in printed
    assert "\nresolution " in printed


def test_check_says_into_how_many_segments_the_adjoint_cuts_a_run(tmp_path: Path, capsys: pytest.CaptureFixture):
    path = tmp_path / "case.toml"
    path.write_text("[grid]\ncells = [64, 74, 32]\n[run]\nend_h = 672\n")
    for more, segments in (((), "(8 x 14 macro-steps)"), (("--checkpoints", "16"), "(16 x 7 macro-steps)")):
        assert main(["check", str(path), *more]) == ExitCode.DONE
        assert segments in capsys.readouterr().out
    assert main(["check", str(path), "--checkpoints", "5"]) == ExitCode.REJECTED_INPUT
    said = "error: --checkpoints is 5; 112 macro-steps allow 1, 2, 4, 7, 8, 14, 16, 28, 56, 112\n"
    assert capsys.readouterr().err == said


def test_one_cell_has_no_resolution_to_print(tmp_path: Path, capsys: pytest.CaptureFixture):
    path = tmp_path / "case.toml"
    path.write_text('[lobule]\ngeometry = "well_mixed"\n')
    assert main(["check", str(path)]) == ExitCode.DONE
    assert "resolution" not in capsys.readouterr().out


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """A scenario on a label image of 6 x 5 x 2 voxels."""
    image = np.ones((2, 5, 6), np.uint8)
    image[:, 0, 0], image[:, 4, 5] = 2, 3
    np.save(tmp_path / "image.npy", image)
    path = tmp_path / "case.toml"
    path.write_text('[lobule]\ngeometry = "labels"\nlabels_file = "image.npy"\n[grid]\nspacing_um = 15\n')
    return path


def test_check_reads_the_label_image(labelled: Path, capsys: pytest.CaptureFixture):
    assert main(["check", str(labelled)]) == ExitCode.DONE
    assert "6 x 5 x 2 cells of 15 x 15 x 15 um" in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["check", "run"])
def test_label_image_that_is_none_is_refused(verb: str, labelled: Path, capsys: pytest.CaptureFixture):
    image = labelled.with_name("image.npy")
    output = ["-o", str(labelled.with_name("out"))] if verb == "run" else []
    for write, words in (
        (lambda: image.write_bytes(b"junk"), "neither a NumPy nor an HDF5 file"),
        (lambda: np.save(image, np.ones((2, 5, 6), np.uint8)), "it needs a portal tract (2)"),
        (lambda: np.save(image, np.full((2, 5, 6), 9, np.uint8)), "unknown label 9"),
    ):
        write()
        assert main([verb, str(labelled), *output]) == ExitCode.REJECTED_INPUT
        printed = capsys.readouterr().err
        assert printed.startswith(f"error: {image}: ") and words in printed and printed.count("\n") == 1
    assert not labelled.with_name("out").exists()


def test_septa_without_room_in_an_image_are_refused(labelled: Path, capsys: pytest.CaptureFixture):
    setting = ["--set", "lobule.fibrotic_septa=2", "-o", str(labelled.with_name("out"))]
    assert main(["run", str(labelled), *setting]) == ExitCode.REJECTED_INPUT
    printed = capsys.readouterr().err
    assert "2 septa asked for, but the geometry has 1 pairs" in printed and printed.count("\n") == 1
    assert not labelled.with_name("out").exists()


def test_image_that_the_memory_cannot_hold_is_refused(labelled: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hepatojax.io.scenario.size.free_memory_gib", lambda: 1.0)
    needed = f"compilation alone needs {COMPILER_PEAK_BYTES / GIB:.3g} GiB"
    with pytest.raises(ScenarioError, match=rf"lobule\.labels_file: 6 x 5 x 2 cells need .* {needed}"):
        require_memory(load_scenario(labelled), "case.toml", (2, 5, 6))


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
    assert exit_code(MemoryError()) == ExitCode.NO_MEMORY_OR_DEVICE
    assert exit_code(KeyboardInterrupt()) == ExitCode.STOPPED
    assert exit_code(RuntimeError("a defect")) is None


def test_memory_that_runs_out_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    def exhausted(path: Path) -> str:
        raise MemoryError("Unable to allocate 72.8 TiB")

    monkeypatch.setattr("hepatojax.io.results.describe_run", exhausted)
    assert main(["info", "run.vtkhdf"]) == ExitCode.NO_MEMORY_OR_DEVICE
    assert capsys.readouterr().err == "error: this machine ran out of memory: Unable to allocate 72.8 TiB\n"


SILENCED = """
import sys
from hepatojax.cli import run
from hepatojax.cli.main import main
from hepatojax.status import ExitCode, OutputError

def work(options):
    sys.stdin.readline()
    for day in range(3):
        print("day", day)
        print("warning", file=sys.stderr)
    open(sys.argv[1], "w").close()
    {end}

run._run_scenario = work
sys.exit(main(["run", "case.toml"]))
"""


@pytest.mark.parametrize(
    ("end", "code"),
    [("return ExitCode.DONE", 0), ("raise OutputError('late')", 2), ("raise MemoryError", 5)],
)
def test_a_run_outlasts_the_readers_of_both_its_streams(tmp_path: Path, end: str, code: int):
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    program = [sys.executable, "-c", SILENCED.format(end=end), str(tmp_path / "finished")]
    with subprocess.Popen(program, **pipes, text=True) as process:
        process.stdout.close()
        process.stderr.close()
        process.stdin.write("\n")
        process.stdin.close()
        assert process.wait(timeout=60.0) == code
    assert (tmp_path / "finished").exists()


@pytest.mark.parametrize("verb", ["parameters", "schema"])
def test_a_reader_who_has_left_ends_a_verb_that_prints(verb: str):
    program = f"import sys\nfrom hepatojax.cli.main import main\nsys.stdin.readline()\nsys.exit(main([{verb!r}]))"
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([sys.executable, "-u", "-c", program], **pipes, text=True) as process:
        process.stdout.close()
        process.stdin.write("\n")
        process.stdin.close()
        assert process.wait(timeout=60.0) == ExitCode.DONE
        assert process.stderr.read() == ""


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "1>&- 2>&-"])
def test_streams_that_were_never_open_are_no_error(closed: str):
    program = f"{sys.executable} -c 'import sys; from hepatojax.cli.main import main; sys.exit(main([\"schema\"]))'"
    assert subprocess.run(["sh", "-c", f"{program} {closed}"], timeout=60.0).returncode == ExitCode.DONE


def test_a_disk_that_fails_is_not_taken_for_a_reader_who_has_left(tmp_path: Path):
    """EIO of a terminal means that it is gone, EIO of a file that the disk is bad."""
    with open(tmp_path / "log", "w") as file, open(os.devnull, "w") as terminal:

        class Failing:
            def __init__(self, stream: Any):
                self.fileno = stream.fileno

            def write(self, text: str) -> int:
                raise OSError(errno.EIO, "Input/output error")

        with pytest.raises(OSError, match="Input/output"):
            LastingStream(Failing(file)).write("x")
        assert LastingStream(Failing(terminal)).write("x") == 1


def test_other_errors_of_a_stream_are_not_silenced():
    class Full:
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        LastingStream(Full()).write("x")  # type: ignore[arg-type]


def test_figures_that_cannot_be_written_are_a_write_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    def refuse(*_: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "figures")

    (tmp_path / "case.toml").write_text('[lobule]\ngeometry = "well_mixed"\n')
    monkeypatch.setattr("hepatojax.cli.arms.run_arms", lambda *_, **__: ExitCode.DONE)
    monkeypatch.setattr("hepatojax.cli.device.prepare_jax", lambda *_: "cpu")
    monkeypatch.setattr("hepatojax.report.figures.draw_run", refuse)
    arguments = ["run", str(tmp_path / "case.toml"), "-o", str(tmp_path / "out"), "--quiet"]
    assert main(arguments) == ExitCode.WRITE_ERROR
    assert capsys.readouterr().err == "error: figures: Permission denied\n"


def test_first_signal_is_remembered_and_announced(capfd: pytest.CaptureFixture):
    before = signal.getsignal(signal.SIGINT)
    with stop_on_signal() as stopped:
        signal.raise_signal(signal.SIGINT)
        deadline = time.monotonic() + 10.0
        while not stopped and time.monotonic() < deadline:
            time.sleep(0.01)
        assert stopped == [signal.SIGINT]
    assert capfd.readouterr().err == "stopping after the next save; again to stop at once\n"
    assert signal.getsignal(signal.SIGINT) is before


def test_second_signal_ends_a_process_that_is_not_in_python():
    program = (
        "import hashlib\n"
        "from hepatojax.cli.run import stop_on_signal\n"
        "with stop_on_signal():\n"
        "    print('in C', flush=True)\n"
        "    hashlib.pbkdf2_hmac('sha256', b'', b'', 2_000_000_000)\n"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", program], **pipes) as process:
        assert process.stdout.readline() == "in C\n"
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline().startswith("stopping after the next save")
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(timeout=20.0) == ExitCode.STOPPED
        finally:
            process.kill()


def test_progress_prints_a_line_at_the_end_and_none_when_quiet(capsys: pytest.CaptureFixture):
    with progress("arm", 10.0) as report:
        report(1.0)
        report(10.0)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 and lines[0].startswith("arm: 100 %")
    with progress("arm", 10.0, quiet=True) as report:
        report(10.0)
    assert capsys.readouterr().out == ""


def test_progress_states_the_time_left(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    times = iter([0.0, 40.0])
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: next(times))
    with progress("arm", 10.0) as report:
        report(4.0)
    assert capsys.readouterr().out == "arm: 40 %, 40 s, 60 s left\n"


def doctor(**environment: str) -> subprocess.CompletedProcess:
    """The verb doctor in a process and an environment of its own."""
    program = "import sys\nfrom hepatojax.cli.main import main\nsys.exit(main(['doctor']))"
    return subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **environment}, capture_output=True, text=True
    )


without_gpu = pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="this machine has a GPU")


@pytest.mark.parametrize("platform", ["nosuch", pytest.param("cuda", marks=without_gpu)])
def test_platform_without_a_device_is_one_line(platform: str):
    done = doctor(JAX_PLATFORMS=platform)
    assert done.returncode == ExitCode.NO_MEMORY_OR_DEVICE
    assert done.stderr.startswith("error: JAX finds no device: ") and done.stderr.count("\n") == 1
    assert f"unset JAX_PLATFORMS={platform}" in done.stderr


def test_cache_that_cannot_be_written_is_a_warning():
    done = doctor(JAX_PLATFORMS="cpu", JAX_COMPILATION_CACHE_DIR="/proc/none")
    assert done.returncode == ExitCode.DONE
    assert done.stderr.startswith("warning: /proc/none: ") and done.stderr.count("\n") == 1


def test_start_states_lie_in_the_cache_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/somewhere/jax")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert (cache_folder(), preset_folder()) == (Path("/somewhere/jax"), tmp_path / "hepatojax" / "presets")


def test_start_state_that_cannot_be_kept_is_warned_of_once():
    presets = PresetFolder(Path("/proc/none"))
    state = {"x": np.ones(2)}
    with pytest.warns(UserWarning, match=r"^/proc/none: .*; start states are not kept"):
        presets.save("one", state)
    with warnings.catch_warnings(action="error"):
        presets.save("two", state)
    assert presets.load("one") == state and presets.load("three") is None


def test_command_line_is_text_whatever_its_bytes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["hepatojax", "run", os.fsdecode(b"Z\xfcrich.toml"), "ä"])
    assert command_line() == r"hepatojax run Z\udcfcrich.toml ä"


def test_checks_are_chosen_by_id():
    checks = [Check(id, "", list) for id in ("V01", "V02", "R01")]
    assert [check.id for check in chosen(checks, "V0")] == ["V01", "V02"]
    with pytest.raises(UnknownCheckError, match=r"^--only 'X' matches no check; known are V01, V02, R01$"):
        chosen(checks, "X")


@pytest.mark.parametrize("verb", ["verify", "validate"])
def test_records_that_cannot_be_written_are_refused_first(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.setattr("hepatojax.cli.device.prepare_jax", lambda *_: pytest.fail("the work has begun"))
    for path, words in ((tmp_path, "is not a regular file"), (tmp_path / "none" / "x.json", "there is no folder")):
        assert main([verb, "--json", str(path)]) == ExitCode.REJECTED_INPUT
        printed = capsys.readouterr().err
        assert printed.startswith(f"error: --json {path}: {words}") and printed.count("\n") == 1
