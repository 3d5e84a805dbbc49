"""The verb window: what it refuses before it computes, what it writes, and how it ends."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from matplotlib.image import imread

from hepatojax.cli import window as verb
from hepatojax.cli.main import main
from hepatojax.io.study import load_study
from hepatojax.io.study.parts import StudyParts, fingerprint, study_parts
from hepatojax.io.study.result import WINDOWED, asked_record
from hepatojax.scenario import ROUTES
from hepatojax.status import ExitCode, Status
from hepatojax.studies.interval import Window, find_window
from hepatojax.studies.problem import DoseProblem
from hepatojax.studies.program import Outcome, Program
from hepatojax.studies.variables import Variable
from hepatojax.studies.window import Factor, therapeutic_window

AMOUNT = Variable("cells_per_kg[0]", 1e4, 1e8, "log")
SCENARIO = """
species = "human"
[lobule]
geometry = "column"
[grid]
cells = [4, 1, 1]
[run]
end_h = 24.0
[[arm]]
name = "cells"
[[arm.infusion]]
start_h = 1.0
cells_per_kg = 1e6
route = "portal"
"""
STUDY = """
scenario = "case.toml"
arm = "cells"
[[aim]]
quantity = "functional_mass"
[[variable]]
name = "{name}"
low = 1e4
high = 1e8
scale = "{scale}"
[window]
least_gain = {least}
"""


@pytest.fixture
def study_file(tmp_path):
    def write(name="cells_per_kg[0]", scale="log", least=0.01):
        (tmp_path / "case.toml").write_text(SCENARIO)
        path = tmp_path / "study.toml"
        path.write_text(STUDY.format(name=name, scale=scale, least=least))
        return path

    return write


def found(least_gain=0.1, dies=None):
    def function(x, inputs):
        d = AMOUNT.value(x[0])
        failed = jnp.asarray(False) if dies is None else dies(d)
        return Outcome(d / (d + 1e6), jnp.zeros(0), jnp.where(failed, int(Status.NOT_FINITE), int(Status.OK)))

    idle = Factor("amplification.licensing", "-", 3.0, 1.0, 4.0, lambda inputs, value: inputs)
    program = Program(function, jnp.zeros(()), ("x0",))
    return therapeutic_window(program, least_gain, [idle], variable=AMOUNT, name="portal", doses=5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": "linear"}, "cells_per_kg[i] on the scale"),
        ({"name": "product.potency_hgf"}, "cells_per_kg[i] on the scale"),
        ({"least": 0.0}, "least_gain: must be above zero"),
    ],
)
def test_a_study_of_something_else_is_refused_in_one_line(study_file, tmp_path, capsys, changes, message):
    code = main(["window", str(study_file(**changes)), "-o", str(tmp_path / "out")])
    assert code == ExitCode.REJECTED_INPUT
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_an_empty_window_is_done_and_a_failed_run_is_not(capsys):
    assert verb._code((found(least_gain=2.0),)) == ExitCode.DONE
    assert verb._code((found(dies=lambda d: d > 1e7),)) == ExitCode.NOT_CONVERGED
    assert verb._code((found(), found(dies=lambda d: d > 1e7))) == ExitCode.MEMBERS_FAILED
    assert "portal: a value is not finite" in capsys.readouterr().err


def test_the_file_holds_every_window_with_its_band_and_no_nan(study_file, tmp_path):
    windows, study = (found(), found(least_gain=2.0), found(dies=lambda d: d > 1e7)), load_study(study_file())
    path = verb.write_windows(tmp_path, study, asked_record(study, study_parts(study), WINDOWED), windows, "cpu")
    record = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    first, empty, failed = record["windows"]
    assert (record["study"]["window"]["doses"], record["study"]["optimise"]["adjoint"]) == (study.window.doses, "saved")
    assert first["window"]["lower"]["active"] == "gain"
    assert first["window"]["lower"]["dose"] == pytest.approx(1e6 / 9.0, rel=1e-3)
    assert [end["value"] for end in (first["band"][0]["low"], first["band"][0]["high"])] == [1.0, 4.0]
    assert empty["window"]["best"] is None
    assert empty["window"]["verdict"].startswith("empty")
    assert failed["window"]["scan"]["gain"][-1] is None
    ends = ["amplification.licensing low", "amplification.licensing high"]
    assert [(each["empty_at"], each["unknown_at"]) for each in record["windows"]] == [([], []), (ends, []), ([], ends)]
    assert record["provenance"]["scenario"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Model:
    """What stands in for a liver: a product, and what a factor makes of it."""

    product: Any
    potency: float


PORTAL = [float(route == "portal") for route in ROUTES]
FILES = {"window.json", "figures/curves.png", "figures/window.png"}


@pytest.fixture
def asked(study_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the verb on a gain p d / (d + 1e6) by the portal vein and none by other routes; p is a factor of 1..4."""
    path = study_file(least=0.5)
    path.write_text(path.read_text() + 'routes = ["portal", "arterial"]\ndoses = 5\n')

    def function(x: Any, inputs: Any) -> Outcome:
        model, _, schedule = inputs
        d, share = AMOUNT.value(x[0]), jnp.dot(schedule.route_mix[0], jnp.asarray(PORTAL))
        return Outcome(model.potency * share * d / (d + 1e6), jnp.zeros(0), jnp.asarray(int(Status.OK)))

    def problem_of(study: Any, parts: StudyParts, image: Any, *, quiet: bool) -> DoseProblem:
        problem, model = object.__new__(DoseProblem), Model(parts.product, 3.0)
        program = Program(function, (model, None, parts.schedule), ("cells_per_kg[0]",))
        known = {"model": model, "state": None, "schedule": parts.schedule, "variables": parts.variables}
        problem.__dict__.update({**known, "program": program})
        return problem

    def factors(*_: Any) -> list[Factor]:
        def inputs(given: Any, value: float) -> Any:
            return (Model(given[0].product, value), *given[1:])

        return [Factor("amplification.licensing", "-", 3.0, 1.0, 4.0, inputs)]

    monkeypatch.setattr("hepatojax.cli.search.problem_of", problem_of)
    monkeypatch.setattr("hepatojax.studies.window.amplification_factors", factors)
    monkeypatch.setattr("hepatojax.cli.device.usable_cache", lambda: None)
    return lambda *more: main(["window", str(path), "-o", str(tmp_path / "out"), "--device", "cpu", *more])


def left_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_verb_finds_the_windows_says_what_was_asked_and_draws(asked, tmp_path, capsys):
    assert asked() == ExitCode.DONE
    printed = capsys.readouterr().out
    assert "then come 6 windows" in printed and "window 6 of 6, arterial amplification.licensing 4: " in printed
    record = json.loads((tmp_path / "out" / "window.json").read_text())
    portal, arterial = record["windows"]
    low, nominal, high = (1e6 * 0.5 / (p - 0.5) for p in (4.0, 3.0, 1.0))  # where the gain is 0.5
    assert portal["window"]["lower"]["dose"] == pytest.approx(nominal, rel=1e-3)
    assert portal["lower_over_band"] == pytest.approx([low, high], rel=1e-3)
    assert (arterial["window"]["best"], len(arterial["empty_at"]), arterial["unknown_at"]) == (None, 2, [])
    study = load_study(tmp_path / "study.toml")
    assert record["study"]["fingerprint"] == fingerprint(study, study_parts(study))
    assert (record["study"]["arm"], record["study"]["variables"][0]["high"]) == ("cells", 1e8)
    for name in ("curves", "window"):
        assert imread(tmp_path / "out" / "figures" / f"{name}.png")[..., :3].std() > 0.01


def stop_in(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask to stop while a window is sought, the first being 1."""
    begun = []

    def stopping(*arguments: Any) -> Window:
        begun.append(arguments)
        if len(begun) == window:
            os.kill(os.getpid(), 15)
            time.sleep(0.2)  # the signal is noted by a thread
        return find_window(*arguments)

    monkeypatch.setattr("hepatojax.studies.window.find_window", stopping)


def test_a_stop_comes_between_two_windows_and_leaves_nothing_of_an_earlier_run(asked, tmp_path, monkeypatch, capsys):
    assert asked("--quiet") == ExitCode.DONE
    (tmp_path / "out" / "notes.txt").write_text("of the user")
    whole = left_in(tmp_path / "out")
    stop_in(2, monkeypatch)
    assert asked("--quiet") == ExitCode.STOPPED
    assert capsys.readouterr().err == "stopped on request after 2 of 6 windows, which are not kept\n"
    assert whole - left_in(tmp_path / "out") == FILES


def test_a_stop_in_the_last_window_loses_nothing(asked, tmp_path, monkeypatch):
    stop_in(6, monkeypatch)
    assert asked("--quiet") == ExitCode.DONE
    assert left_in(tmp_path / "out") >= FILES
