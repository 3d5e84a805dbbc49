"""The verb window: what it refuses before it computes, what it writes, and how it ends."""

import json

import jax.numpy as jnp
import pytest

from hepatojax.cli import window as verb
from hepatojax.cli.main import main
from hepatojax.io.study import load_study
from hepatojax.status import ExitCode, Status
from hepatojax.studies.problem import Outcome, Program
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
    windows = (found(), found(least_gain=2.0), found(dies=lambda d: d > 1e7))
    path = verb.write_windows(tmp_path, load_study(study_file()), windows, "cpu")
    record = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    first, empty, failed = record["windows"]
    assert first["window"]["lower"]["active"] == "gain"
    assert first["window"]["lower"]["dose"] == pytest.approx(1e6 / 9.0, rel=1e-3)
    assert [end["value"] for end in (first["band"][0]["low"], first["band"][0]["high"])] == [1.0, 4.0]
    assert empty["window"]["best"] is None
    assert empty["window"]["verdict"].startswith("empty")
    assert failed["window"]["scan"]["gain"][-1] is None
    assert record["provenance"]["scenario"]
