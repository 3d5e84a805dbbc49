"""What every verb promises: help without JAX, one line for each mistake, an exit code for each way to end, progress."""

from __future__ import annotations

import argparse
import errno
import gc
import io
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from hepatojax.checks.records import Check, Record
from hepatojax.cli import checks
from hepatojax.cli import progress as progress_module
from hepatojax.cli.device import (
    cache_folder,
    kept_programs,
    prepare_jax,
    preset_folder,
    usable_cache,
    without_cache,
)
from hepatojax.cli.main import main, parser
from hepatojax.cli.options import read_settings
from hepatojax.cli.output import LastingStream, lasting, reason_of, write_errors
from hepatojax.cli.progress import progress, stages
from hepatojax.cli.run import require_output, stop_on_signal
from hepatojax.io.results import RunWriter
from hepatojax.io.run_folder import RunFolderLocked, locked
from hepatojax.io.scenario import Problem, ScenarioError
from hepatojax.io.study import StudyFileError
from hepatojax.io.vtkhdf import Quantity, RunHeader, Series
from hepatojax.parameters.registry import load_parameters
from hepatojax.scenario import SPECIES
from hepatojax.status import DeviceError, ExitCode, HepatojaxError, OutputError, SimulationError, Status, WriteError

VERBS = ("run", "optimise", "window", "check", "parameters", "schema", "info", "plot", "verify", "validate", "doctor")


def subparsers() -> dict[str, argparse.ArgumentParser]:
    (group,) = [action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(group.choices)


def test_every_verb_is_there_and_every_option_of_it_is_explained():
    assert tuple(subparsers()) == VERBS
    for verb, options in subparsers().items():
        for action in options._actions:
            assert action.help or action.choices, f"{verb} {action.option_strings or action.dest}"


def test_help_of_every_verb_and_the_version_load_nothing_heavy(fresh_python):
    code = (
        "import contextlib, io, sys\n"
        "from hepatojax.cli.main import main\n"
        f"for arguments in (*([verb, '--help'] for verb in {VERBS!r}), ['--help'], ['--version']):\n"
        "    printed = io.StringIO()\n"
        "    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):\n"
        "        try:\n"
        "            main(arguments)\n"
        "        except SystemExit as leaving:\n"
        "            assert leaving.code == 0, arguments\n"
        "    assert printed.getvalue().strip(), arguments\n"
        "print(sorted({'jax', 'numpy', 'h5py', 'matplotlib', 'scipy', 'pydantic'} & set(sys.modules)))\n"
    )
    assert fresh_python(code) == "[]\n"


def test_the_help_of_the_program_says_what_it_is_not_for(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "not a medical device" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("verb", ["run", "optimise", "window", "check", "info", "plot"])
def test_an_option_that_no_verb_knows_and_a_missing_file_are_one_line(verb: str, capsys: pytest.CaptureFixture):
    for arguments in ([verb], [verb, "file", "--sett", "a=b"], [verb, "file", "other"]):
        with pytest.raises(SystemExit) as leaving:
            main(arguments)
        assert leaving.value.code == ExitCode.REJECTED_INPUT
        said = capsys.readouterr().err
        assert said.startswith("error: ") and said.count("\n") == 1 and "--help" in said


FOREIGN = [
    (verb, kind)
    for verb in ("run", "check", "optimise", "window", "info", "plot")
    for kind in ("absent", "folder", "HDF5", "binary")
]


@pytest.mark.parametrize(("verb", "kind"), FOREIGN)
def test_a_file_of_another_kind_is_a_mistake_in_a_line_that_leaves_nothing(
    verb: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture
):
    path = tmp_path / "in" / "Zürich 1.toml"
    path.parent.mkdir()
    if kind == "folder":
        path.mkdir()
    elif kind != "absent":
        path.write_bytes(b"\x89HDF\r\n\x1a\n" if "HDF5" in kind else bytes(range(256)))
    before = sorted(tmp_path.rglob("*"))
    output = [] if verb in ("check", "info") else ["-o", str(tmp_path / "out")]
    assert main([verb, str(path), *output]) == ExitCode.REJECTED_INPUT
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    assert printed.err.startswith("error: ") and "Zürich 1.toml" in printed.err
    assert sorted(tmp_path.rglob("*")) == before


class Refusing(RuntimeError, HepatojaxError):
    """An error of two kinds, of which the one with an exit code counts."""

    exit_code = ExitCode.FOLDER_LOCKED


ENDS: dict[str, tuple[BaseException, ExitCode, str]] = {
    "locked": (RunFolderLocked("out: another run writes here"), ExitCode.FOLDER_LOCKED, "out: another run writes here"),
    "scenario": (
        ScenarioError("a.toml", [Problem("x", "one"), Problem("", "two\n2")]),
        ExitCode.REJECTED_INPUT,
        "a.toml: x: one\na.toml: two\\n2",
    ),
    "study": (StudyFileError(["s: one", "s: two"]), ExitCode.REJECTED_INPUT, "s: one\ns: two"),
    "output": (OutputError("no"), ExitCode.REJECTED_INPUT, "no"),
    "write": (WriteError("no"), ExitCode.WRITE_ERROR, "no"),
    "device": (DeviceError("no"), ExitCode.NO_MEMORY_OR_DEVICE, "no"),
    "not converged": (SimulationError(Status.OXYGEN_NOT_CONVERGED, "no"), ExitCode.NOT_CONVERGED, "no"),
    "dead without a result": (SimulationError(Status.DEAD_LIVER, "no"), ExitCode.NOT_CONVERGED, "no"),
    "stopped without a result": (SimulationError(Status.STOPPED, "no"), ExitCode.STOPPED, "no"),
    "interrupted": (KeyboardInterrupt(), ExitCode.STOPPED, "stopped on request; what was saved stays usable"),
    "no right": (PermissionError(errno.EACCES, "Not permitted", "x"), ExitCode.REJECTED_INPUT, "x: Not permitted"),
    "full": (OSError(errno.ENOSPC, "No space left", "x"), ExitCode.WRITE_ERROR, "x: No space left"),
    "quota": (OSError(errno.EDQUOT, "Quota exceeded"), ExitCode.WRITE_ERROR, "Quota exceeded"),
    "read-only": (OSError(errno.EROFS, "Read-only file system", "x"), ExitCode.WRITE_ERROR, "x: Read-only file system"),
    "bad disk": (OSError(errno.EIO, "Input/output error"), ExitCode.WRITE_ERROR, "Input/output error"),
    "without a reason": (OSError("of HDF5, in one line"), ExitCode.REJECTED_INPUT, "of HDF5, in one line"),
    "without a word": (OSError(), ExitCode.REJECTED_INPUT, "OSError"),
    "memory": (MemoryError("8 PiB\nx"), ExitCode.NO_MEMORY_OR_DEVICE, "this machine ran out of memory: 8 PiB"),
    "memory without a word": (MemoryError(), ExitCode.NO_MEMORY_OR_DEVICE, "this machine ran out of memory"),
    "device memory": (
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory\nallocator dump"),
        ExitCode.NO_MEMORY_OR_DEVICE,
        "the device ran out of memory; use fewer cells or precision float32",
    ),
    "of two kinds": (Refusing("mine"), ExitCode.FOLDER_LOCKED, "mine"),
    "reader left": (BrokenPipeError(errno.EPIPE, "Broken pipe"), ExitCode.DONE, ""),
}  # fmt: skip


@pytest.mark.parametrize("way", ENDS)
def test_every_way_to_end_has_its_code_and_its_lines(
    way: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    error, code, lines = ENDS[way]

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("hepatojax.io.results.describe_run", fail)
    assert main(["info", "file"]) == code
    assert capsys.readouterr().err == "".join(f"error: {line}\n" for line in lines.splitlines())
    if way != "reader left":
        with pytest.raises(type(error)):
            main(["--debug", "info", "file"])


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch):
    def fail(_: Path) -> str:
        raise RuntimeError("a defect")

    monkeypatch.setattr("hepatojax.io.results.describe_run", fail)
    with pytest.raises(RuntimeError, match="a defect"):
        main(["info", "file"])


def test_the_codes_are_those_of_the_documents_and_of_sysexits():
    assert {code.name: int(code) for code in ExitCode} == {
        "DONE": 0, "MEMBERS_FAILED": 1, "REJECTED_INPUT": 2, "FOLDER_LOCKED": 3, "NOT_CONVERGED": 4,
        "NO_MEMORY_OR_DEVICE": 5, "WRITE_ERROR": os.EX_IOERR, "STOPPED": os.EX_TEMPFAIL,
    }  # fmt: skip


def tiny(folder: Path) -> RunWriter:
    writer = RunWriter(folder, RunHeader("t", (1.0, 1.0, 1.0), (1, 1, 2), {"q": Quantity("nM")}))
    writer.append(0.0, {"q": np.zeros((1, 1, 2))}, Series())
    return writer


def test_info_reads_a_run_that_goes_on_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture):
    with locked(tmp_path):  # as the run holds it
        writer = tiny(tmp_path)
        assert main(["info", str(tmp_path)]) == ExitCode.DONE
        assert "state       not ended (an index over parts/)" in capsys.readouterr().out
        writer.finish({"status": "OXYGEN_NOT_CONVERGED"})
    assert main(["info", str(tmp_path / "run.vtkhdf")]) == ExitCode.DONE
    assert "state       OXYGEN_NOT_CONVERGED, oxygen did not converge\n" in capsys.readouterr().out


def test_plot_on_a_full_disk_is_a_write_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "maps.png")

    tiny(tmp_path / "arm").finish({"status": "ok"})
    monkeypatch.setattr(
        "hepatojax.report.figures.gallery._drawings", lambda runs: [("maps", lambda: SimpleNamespace(savefig=full))]
    )
    assert main(["plot", str(tmp_path)]) == ExitCode.WRITE_ERROR
    assert capsys.readouterr().err == "error: maps.png: No space left on device\n"


def arguments(*settings: str) -> argparse.Namespace:
    return parser().parse_args(["check", "file", *(word for text in settings for word in ("--set", text))])


def test_settings_may_be_repeated_and_the_last_of_a_key_holds():
    assert read_settings(arguments()) == {}
    assert read_settings(arguments("run.end_h=24", "run.end_h=48", "title=x")) == {"run.end_h": 48, "title": "x"}


def test_options_of_device_and_output_are_the_same_in_every_verb_that_computes():
    for verb in ("run", "optimise", "window"):
        given = parser().parse_args(
            [verb, "f", "-o", "x", "--quiet", "--no-figures", "--device", "gpu", "--require-gpu"]
        )
        assert (given.output, given.quiet, given.no_figures, given.device, given.require_gpu) == (
            Path("x"), True, True, "gpu", True,
        )  # fmt: skip
        plain = parser().parse_args([verb, "f"])
        assert (plain.quiet, plain.no_figures, plain.device, plain.require_gpu) == (False, False, None, False)


@pytest.mark.parametrize("species", SPECIES)
def test_parameters_are_all_printed_with_unit_range_and_hash(species: str, capsys: pytest.CaptureFixture):
    assert main(["parameters", "--species", species]) == ExitCode.DONE
    *lines, last = capsys.readouterr().out.splitlines()
    registry = load_parameters(species)
    assert last == f"{len(lines)} parameters; all of {species}: sha256 {registry.hash}"
    for line, row in zip(lines, registry.table(), strict=True):
        assert line.split()[0] == row.name and f"{row.low:g}..{row.high:g}" in line and f" {row.unit} " in line
    assert main(["parameters", "--species", species, "--grep", "no such text at all"]) == ExitCode.DONE
    assert capsys.readouterr().out.startswith("0 parameters; ")


def test_what_parameters_prints_as_json_is_the_registry(capsys: pytest.CaptureFixture):
    assert main(["parameters", "--json", "--grep", "OXYGEN."]) == ExitCode.DONE
    held = json.loads(capsys.readouterr().out)
    names = [row["name"] for row in held["parameters"]]
    assert held["species"] == "human" and "oxygen.p50_mmHg" in names and len(names) < len(load_parameters().table())


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """A JAX whose devices are as told, and whose settings are noted and not made."""
    said: dict[str, Any] = {}
    held = SimpleNamespace(devices=[SimpleNamespace(platform="cpu", device_kind="cpu")], settings=said)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(jax.config, "update", said.__setitem__)
    monkeypatch.setattr(gc, "set_threshold", lambda *numbers: said.__setitem__("gc", numbers))
    monkeypatch.setattr(jax, "devices", lambda: held.devices)
    monkeypatch.setattr(jax, "device_count", lambda: len(held.devices))
    return held


GPU = SimpleNamespace(platform="gpu", device_kind="NVIDIA H200")


def test_the_device_line_names_kind_and_number(host: SimpleNamespace, tmp_path: Path):
    assert prepare_jax(None) == f"cpu: cpu, {os.cpu_count()} cores"
    assert host.settings["gc"][0] >= 10_000, "Python itself has 700 or 2000, or what an earlier command set"
    assert host.settings["jax_enable_x64"] is True and "jax_platforms" not in host.settings
    assert host.settings["jax_compilation_cache_dir"] == str(tmp_path / "cache") and (tmp_path / "cache").is_dir()
    prepare_jax("cpu")
    assert host.settings["jax_platforms"] == "cpu"
    host.devices = [GPU, GPU]
    for asked in ((None, False), ("gpu", False), (None, True), ("gpu", True)):
        assert prepare_jax(*asked) == "gpu: NVIDIA H200, 2 found"


@pytest.mark.parametrize("asked", [("gpu", False), (None, True), ("gpu", True)])
def test_no_other_device_is_taken_for_a_gpu(host: SimpleNamespace, asked: tuple):
    with pytest.raises(DeviceError, match=r"a GPU was asked for and JAX has only cpu; install .* or use --device cpu"):
        prepare_jax(*asked)
    with pytest.raises(DeviceError, match="--device cpu contradicts --require-gpu"):
        prepare_jax("cpu", True)


@pytest.mark.parametrize("error", [RuntimeError("no\nplatform " + "x" * 999), AssertionError()], ids=["words", "none"])
def test_no_device_at_all_is_one_line_with_advice(
    host: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    def fail() -> None:
        raise error

    monkeypatch.setattr(jax, "devices", fail)
    for platform, advice in (("", "try --device cpu"), ("cuda", "unset JAX_PLATFORMS=cuda or use --device cpu")):
        monkeypatch.setenv("JAX_PLATFORMS", platform)
        with pytest.raises(DeviceError) as refused:
            prepare_jax(None)
        line = str(refused.value)
        assert line.startswith("JAX finds no device: ") and line.endswith(advice)
        assert "\n" not in line and len(line) < 300


def test_caches_follow_the_environment_and_an_empty_word_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "hepatojax" / "compiled"
    assert preset_folder() == tmp_path / ".cache" / "hepatojax" / "presets"
    (tmp_path / ".cache").touch()
    with pytest.warns(UserWarning, match=r"compiled programs are not kept between runs$"):
        assert usable_cache() is None


@pytest.mark.parametrize("used", [True, False])
def test_derivatives_are_kept_beside_what_jax_keeps_and_only_then(tmp_path: Path, used: bool):
    names = ("jax_compilation_cache_dir", "jax_enable_compilation_cache")
    before = {name: jax.config.values[name] for name in names}
    try:
        for folder in (None, str(tmp_path)):
            jax.config.update(names[0], folder)
            jax.config.update(names[1], used)
            programs = kept_programs()
            assert (programs is not None) == (used and folder is not None)
        with without_cache():
            assert jax.config.values[names[1]] is False
        assert jax.config.values[names[1]] is used
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
    if programs is not None:
        programs.save("key", b"program")
        assert [path.parent for path in tmp_path.rglob("*.program")] == [tmp_path / "derivatives"]


def test_progress_elsewhere_than_on_a_terminal_is_a_line_every_half_minute_and_one_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(progress_module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    with progress("portal", 100.0) as report:
        for second in range(1, 101):
            clock.now = 100.0 + second
            report(float(second))
    assert capsys.readouterr().out.splitlines() == [
        "portal: 30 %, 30 s, 70 s left",
        "portal: 60 %, 60 s, 40 s left",
        "portal: 90 %, 90 s, 10 s left",
        "portal: 100 %, 100 s",
    ]
    with progress("portal", 100.0) as report:
        clock.now += 31.0
        report(0.0)  # nothing is done, so nobody can say how long the rest takes
    assert capsys.readouterr().out == "portal: 0 %, 31 s\n"


def test_progress_on_a_terminal_is_a_bar_and_quiet_is_quiet(monkeypatch: pytest.MonkeyPatch):
    shown = io.StringIO()
    shown.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdout", shown)
    monkeypatch.setenv("TERM", "xterm")
    with progress("portal", 4.0, quiet=True) as report:
        report(2.0)
    assert shown.getvalue() == ""
    with progress("portal", 4.0) as report:
        report(4.0)
    assert "portal" in shown.getvalue() and "100%" in shown.getvalue()


def test_stages_on_a_terminal_are_one_live_line_and_quiet_is_quiet(monkeypatch: pytest.MonkeyPatch):
    shown = io.StringIO()
    shown.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdout", shown)
    monkeypatch.setenv("TERM", "xterm")
    with stages("preparing", quiet=True) as tell:
        tell("healthy rest")
    assert shown.getvalue() == ""
    with stages("preparing") as tell:
        tell("healthy rest")
    assert "preparing: healthy rest" in shown.getvalue()


def test_a_long_stage_repeats_its_line_and_stops_with_the_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.setattr(progress_module, "LINE_EVERY_S", 0.02)
    with stages("preparing") as tell:
        tell("healthy rest")
        time.sleep(0.5)
    first, *again = capsys.readouterr().out.splitlines()
    assert first == "preparing: healthy rest"
    assert set(again) <= {"preparing: healthy rest, 0 s", "preparing: healthy rest, 1 s"} and again
    assert not [thread for thread in threading.enumerate() if "repeat" in thread.name]


def test_a_stream_is_put_back_after_the_block_whatever_ends_it(monkeypatch: pytest.MonkeyPatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)

    def fail() -> None:
        with lasting("stdout"):
            sys.stdout.write("said")
            assert isinstance(sys.stdout, LastingStream) and sys.stdout.getvalue() == "said"
            raise WriteError("no")

    with pytest.raises(WriteError):
        fail()
    assert sys.stdout is stream and stream.getvalue() == "said"


def test_an_error_of_the_disk_within_a_run_is_named_with_its_file_and_others_pass():
    with pytest.raises(WriteError, match=r"^run\.vtkhdf: No space left$"), write_errors():
        raise OSError(errno.ENOSPC, "No space left", "run.vtkhdf")
    for error in (OutputError("mine"), RuntimeError("mine"), MemoryError("mine")):
        with pytest.raises(type(error), match="mine"), write_errors():
            raise error
    assert reason_of(OSError("a reason")) == "a reason" and reason_of(TimeoutError()) == "TimeoutError"


def test_an_output_folder_is_judged_without_being_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    for fine in ("new", "new/and/deep", "there", "there/new", "Größe 肝", str(tmp_path / "new"), "there/../new"):
        require_output(Path(fine))
    for wrong, words in (
        ("a\nb", "is not the name of a folder"),
        ("a\x1b[2J", "is not the name"),
        (str(tmp_path / "a" / "b"), "make it first"),
    ):
        with pytest.raises(OutputError, match=words) as refused:
            require_output(Path(wrong))
        assert str(refused.value).isprintable()
    assert [path.name for path in tmp_path.iterdir()] == ["there"] and list((tmp_path / "there").iterdir()) == []


def test_handlers_of_signals_are_put_back_and_nothing_is_caught_without_one():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    handles = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else None
    for _ in range(3):
        with stop_on_signal() as stopped:
            assert stopped == []
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    if handles is not None:
        assert len(os.listdir("/proc/self/fd")) == handles


def record(id: str, passed: bool) -> Record:
    return Record(id=id, quantity="error", value=0.5, unit="-", accept="at most 1", passed=passed, source="by hand")


@pytest.mark.parametrize(("passed", "code"), [((True, True), ExitCode.DONE), ((True, False), ExitCode.MEMBERS_FAILED)])
def test_a_suite_tells_every_check_and_ends_with_how_many_passed(
    passed: tuple[bool, bool], code: ExitCode, tmp_path: Path, capsys: pytest.CaptureFixture
):
    suite = [Check(f"V0{n}", "", lambda n=n, p=p: [record(f"V0{n}", p)]) for n, p in enumerate(passed)]
    options = argparse.Namespace(only="", json=tmp_path / "records.json")
    assert checks._run_suite(suite, options) == code
    *lines, last = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["pass" if p else "FAIL", f"V0{n}"] for n, p in enumerate(passed)]
    assert last == f"{sum(passed)} of 2 checks passed"
    assert [held["passed"] for held in json.loads((tmp_path / "records.json").read_text())] == list(passed)
