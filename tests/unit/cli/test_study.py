"""The verb optimise: what it refuses, writes, recalls and returns; functions of known optimum stand in for runs."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.image import imread

from hepatojax.cli import search
from hepatojax.cli.main import main
from hepatojax.endpoints import ENDPOINTS
from hepatojax.io.results import RunWriter
from hepatojax.io.run_folder import RunFolderLocked, arm_folder, locked, write_summary
from hepatojax.io.scenario import load_scenario
from hepatojax.io.study import load_study
from hepatojax.io.study.journal import JOURNAL_FILE, Journal
from hepatojax.io.study.parts import study_parts
from hepatojax.io.vtkhdf import Quantity, RunHeader, Series
from hepatojax.scenario import Scenario
from hepatojax.status import ExitCode, SimulationError, Status
from hepatojax.studies.certificate import MARGIN
from hepatojax.studies.problem import DoseProblem
from hepatojax.studies.program import Outcome, Program
from tests.unit.studies.conftest import stand_in as stand_in

CASE = """
[grid]
cells = [26, 30, 8]
[run]
end_h = 48.0
[[arm]]
name = "cells"
[[arm.infusion]]
start_h = 1.0
cells_per_kg = 1e6
route = "intravenous"
"""
STUDY = """
title = "a study"
scenario = "case.toml"
arm = "cells"
[[aim]]
quantity = "functional_mass"
[[aim]]
quantity = "total_cells"
weight = -0.01
[[limit]]
quantity = "blocked_fraction"
at = "peak"
most = 0.5
[[variable]]
name = "start_h[0]"
low = 0.0
high = 24.0
[[variable]]
name = "route_mix[0].portal"
low = 0.0
high = 1.0
[optimise]
starts = 2
"""
COURSES = {"functional_mass": 0.5, "meld": 20.0, "blocked_fraction": 0.1}


def hill(x):
    """Highest at (0.7, 0.8), were it not for the limit."""
    return 1.0 - jnp.sum((x - jnp.asarray([0.7, 0.8])) ** 2)


def budget(x):
    """x0 + x1 <= 1, so that the optimum is (0.45, 0.55)."""
    return jnp.sum(x) - 1.0


def write_courses(scenario: Scenario, output: Path, **_: Any) -> ExitCode:
    """What `run` leaves of every arm of a scenario, without a simulation."""
    times_h = np.arange(6.0, 48.1, 6.0)
    units = {name: Quantity(ENDPOINTS[name].unit) for name in COURSES}
    for arm in scenario.arms:
        header = RunHeader(arm.name, (1.0, 1.0, 1.0), (1, 1, 1), {}, series_quantities=units)
        writer = RunWriter(arm_folder(output, arm.name), header)
        later = 0.1 * times_h / 48.0 * (arm.name == "after")
        writer.append(48.0, {}, Series(times_h, {name: value + later for name, value in COURSES.items()}))
        writer.finish({"status": "ok"})
        write_summary(arm_folder(output, arm.name), {"status": "ok"})
    return ExitCode.DONE


class Asked(SimpleNamespace):
    """A study on the disk, and what was made of it. program: what stands in for its problem."""

    def optimise(self, *more: str) -> int:
        """Run the verb."""
        return main(["optimise", str(self.file), "-o", str(self.output), "--device", "cpu", *more])

    @property
    def found(self) -> dict[str, Any]:
        """What optimum.json says."""
        return json.loads((self.output / "optimum.json").read_text())


@pytest.fixture(scope="module")
def program(stand_in: Callable) -> Program:
    """What stands in for the simulation, compiled once."""
    return stand_in(hill, budget)


@pytest.fixture
def asked(tmp_path: Path, program: Program, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """A study of two variables under one limit."""
    (tmp_path / "case.toml").write_text(CASE)
    (tmp_path / "study.toml").write_text(STUDY)
    asked = Asked(file=tmp_path / "study.toml", output=tmp_path / "out", program=program, ran=[])

    def problem_of(study: Any, parts: Any, image: Any, *, quiet: bool) -> DoseProblem:
        problem = object.__new__(DoseProblem)
        model = SimpleNamespace(product=parts.product)
        known = {"variables": parts.variables, "schedule": parts.schedule, "model": model, "program": asked.program}
        problem.__dict__.update(known)
        return problem

    def run_arms(scenario: Scenario, output: Path, **how: Any) -> ExitCode:
        asked.ran.append(scenario)
        return write_courses(scenario, output)

    def multiples(problem: DoseProblem, x: Any, factors: Any) -> Outcome:
        """Less than the optimum gains less, and a quarter more oversteps the limit."""
        size, limits = np.asarray(factors), len(asked.program.limits)
        excess = np.repeat((size - 1.25)[:, None], limits, axis=1)
        return Outcome(np.minimum(size, 1.5), excess, np.zeros(len(size), np.int32))

    monkeypatch.setattr(DoseProblem, "multiples", multiples)
    monkeypatch.setattr(search, "problem_of", problem_of)
    monkeypatch.setattr(search, "run_arms", run_arms)
    monkeypatch.setattr(search, "source_revision", lambda: "this one")
    monkeypatch.setattr("hepatojax.cli.device.usable_cache", lambda: None)
    monkeypatch.setattr("hepatojax.io.scenario.size.free_memory_gib", lambda: 64.0)
    return asked


def test_a_converged_search_leaves_everything_behind(asked, capsys):
    assert asked.optimise() == ExitCode.DONE
    printed = capsys.readouterr().out
    for words in (
        "gradient at the start:",
        "gradient at the optimum:",
        "Taylor remainder with the gradient, R1",
        "decades of step",
        "pass",
        "start_h[0]",
        "converged: the conditions",
        "the start state is ready; now the program is compiled or found, then come the places\nplace 1,",
    ):
        assert words in printed
    found = asked.found
    assert found["verdict"] == "converged"
    assert [(v["name"], v["unit"]) for v in found["values"]] == [("start_h[0]", "h"), ("route_mix[0].portal", "-")]
    assert [v["value"] for v in found["values"]] == pytest.approx([24.0 * 0.45, 0.55], abs=1e-2)
    (limit,) = found["limits"]
    assert limit["name"] == "blocked_fraction peak most"
    assert limit["reading"] == pytest.approx(0.5, rel=1e-6)
    assert limit["multiplier"] == pytest.approx(0.5, rel=1e-2)
    assert found["conditions"]["hold"] and len(found["starts"]) == 2
    assert list(found["certificates"]) == ["start", "optimum"]
    for certificate in found["certificates"].values():
        assert certificate["passed"]
        assert all({"value", "bound", "decades", "passed"} <= set(figure) for figure in certificate["figures"])
    best = np.asarray(found["starts"][0]["x"])
    assert found["certificates"]["optimum"]["place"] == pytest.approx(MARGIN + (1.0 - 2.0 * MARGIN) * best, abs=1e-3)
    assert found["jacobian_calls"] == sum(start["jacobian_calls"] for start in found["starts"])
    assert len(found["provenance"]["scenario_sha256"]) == 64
    header = json.loads((asked.output / JOURNAL_FILE).read_text().splitlines()[0])
    assert (found["study"]["fingerprint"], found["study"]["arm"]) == (header["sha256"], "cells")
    assert [aim["weight"] for aim in found["study"]["aims"]] == [1.0, -0.01]
    best = load_scenario(asked.output / "scenario.toml").arm("after")
    assert sum(i.cells_per_kg for i in best.infusions) == pytest.approx(1e6)
    assert [arm.name for arm in asked.ran[0].arms] == ["before", "after"] and len(asked.ran) == 1
    assert asked.ran[0].arms[1] == best


def test_what_the_runs_read_stands_beside_the_optimum(asked):
    asked.optimise("--quiet")
    runs = asked.found["runs"]
    assert runs["before"]["objective"] == pytest.approx(0.5 - 0.01)
    assert runs["after"]["objective"] == pytest.approx(0.6 - 0.01)
    assert [aim["reading"] for aim in runs["after"]["aims"]] == pytest.approx([0.6, 1.0])
    assert runs["after"]["limits"][0]["reading"] == pytest.approx(0.2, abs=0.02)


def test_every_figure_is_drawn_and_is_not_blank(asked):
    asked.optimise("--quiet")
    figures = sorted((asked.output / "figures").glob("*.png"))
    assert [path.stem for path in figures] == ["courses", "objective", "schedule", "search", "window"]
    for path in figures:
        assert imread(path)[..., :3].std() > 0.01


def test_the_same_command_computes_nothing_again(asked, stand_in):
    asked.optimise("--quiet", "--no-figures")
    first, lines = asked.found, (asked.output / JOURNAL_FILE).read_bytes()

    def broken(x):
        raise AssertionError("evaluated again")

    asked.program = stand_in(broken, budget)
    assert asked.optimise("--quiet", "--no-figures") == ExitCode.DONE
    again = asked.found
    del first["provenance"], again["provenance"]
    assert again == first
    assert (asked.output / JOURNAL_FILE).read_bytes() == lines


def test_a_search_that_is_cut_anywhere_ends_the_same(asked):
    asked.optimise("--quiet", "--no-figures")
    whole, path = asked.found, asked.output / JOURNAL_FILE
    lines = path.read_bytes().splitlines(keepends=True)
    for kept in (1, 2, 4, len(lines) - 1):
        path.write_bytes(b"".join(lines[:kept]) + lines[kept][:-7])
        asked.optimise("--quiet", "--no-figures")
        assert asked.found["starts"] == whole["starts"]
        assert sorted(path.read_bytes().splitlines()) == sorted(b"".join(lines).splitlines())


def test_every_line_of_the_journal_says_what_was_computed(asked):
    asked.optimise("--quiet", "--no-figures")
    header, *lines = map(json.loads, (asked.output / JOURNAL_FILE).read_text().splitlines())
    assert header["variables"] == ["start_h[0]", "route_mix[0].portal"] and len(header["sha256"]) == 64
    places = [line for line in lines if "jacobian" in line]
    assert len(places) == asked.found["jacobian_calls"]
    for place in places:
        x = np.asarray(place["x"])
        assert place["objective"] == pytest.approx(float(hill(x)))
        np.testing.assert_allclose(place["jacobian"], [-2.0 * (x - [0.7, 0.8]), [1.0, 1.0]], atol=1e-12)
        assert place["status"] == 0 and place["start"] in (0, 1)


def test_more_calls_go_on_from_what_is_there(asked):
    short = STUDY.replace("starts = 2", "starts = 2\ncalls = 2")
    asked.file.write_text(short)
    assert asked.optimise("--quiet", "--no-figures") == ExitCode.NOT_CONVERGED
    assert asked.found["verdict"] == "iteration limit"
    before = len((asked.output / JOURNAL_FILE).read_bytes().splitlines())
    asked.file.write_text(STUDY)
    assert asked.optimise("--quiet", "--no-figures") == ExitCode.DONE
    after = len((asked.output / JOURNAL_FILE).read_bytes().splitlines())
    places, certificates = asked.found["jacobian_calls"] - 4, 1  # two starts of two calls; where they had ended
    assert after - before == places + certificates


def test_the_folder_of_another_study_is_refused_and_left_as_it_is(asked, capsys):
    asked.optimise("--quiet", "--no-figures")
    before = asked.found
    capsys.readouterr()
    asked.file.write_text(STUDY.replace("24.0", "23.0"))
    assert asked.optimise() == ExitCode.REJECTED_INPUT
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and "holds the places of another study ('a study')" in printed
    assert asked.found == before


def test_places_of_another_program_are_refused_and_left_as_they_are(asked, monkeypatch, capsys):
    asked.optimise("--quiet", "--no-figures")
    before = asked.found
    monkeypatch.setattr(search, "source_revision", lambda: "a later one")
    assert asked.optimise("--quiet", "--no-figures") == ExitCode.REJECTED_INPUT
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and "(revision this one, this one is a later one); choose another -o" in printed
    assert asked.found == before


def no_start_state(*_: object, **__: object):
    raise SimulationError(Status.REST_NOT_CONVERGED, "there is no start state")


def test_a_search_that_ends_early_leaves_nothing_of_an_earlier_one(asked, monkeypatch):
    asked.optimise("--quiet")
    for name in ("notes.txt", "figures/mine.png"):
        (asked.output / name).write_text("of the user")
    whole = left_in(asked.output)
    monkeypatch.setattr(search, "problem_of", no_start_state)
    assert asked.optimise("--quiet") == ExitCode.NOT_CONVERGED
    figures = {f"figures/{name}.png" for name in ("courses", "objective", "schedule", "search", "window")}
    gone = {"optimum.json", "scenario.toml", "before/summary.json", "after/summary.json", *figures}
    assert whole - left_in(asked.output) == gone


def left_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("quiet", [False, True])
def test_stages_of_the_preparation_are_told_as_those_of_a_run(tmp_path, monkeypatch, capsys, quiet):
    (tmp_path / "case.toml").write_text(CASE)
    (tmp_path / "study.toml").write_text(STUDY)
    study, built = load_study(tmp_path / "study.toml"), SimpleNamespace(model=None, state=None)
    monkeypatch.setattr(search, "preset_folder", lambda: tmp_path)
    monkeypatch.setattr(search, "prepare", lambda scenario, presets, image, tell: tell("healthy rest"))
    monkeypatch.setattr(search, "build_study", lambda *_: built)
    monkeypatch.setattr(search, "DoseProblem", lambda *_: object.__new__(DoseProblem))
    search.problem_of(study, study_parts(study), None, quiet=quiet)
    stages = ["preparing: healthy rest", "preparing: start state"]
    assert capsys.readouterr().out.splitlines() == ([] if quiet else stages)


def test_what_no_search_has_written_is_not_removed(asked, monkeypatch):
    asked.output.mkdir()
    (asked.output / "scenario.toml").write_text("of the user")
    monkeypatch.setattr(search, "problem_of", no_start_state)
    for _ in range(2):
        assert asked.optimise("--quiet") == ExitCode.NOT_CONVERGED
    assert (asked.output / "scenario.toml").read_text() == "of the user"


def test_the_folder_is_owned_to_the_end(asked, monkeypatch):
    seen = []

    def owned(do: Callable) -> Callable:
        def checked(*arguments: Any, **how: Any) -> Any:
            with pytest.raises(RunFolderLocked), locked(asked.output):
                pass
            seen.append(do.__name__)
            return do(*arguments, **how)

        return checked

    for name in ("run_arms", "_compare"):
        monkeypatch.setattr(search, name, owned(getattr(search, name)))
    assert asked.optimise("--quiet", "--no-figures") == ExitCode.DONE
    assert seen == ["run_arms", "_compare"]


def test_a_gradient_beyond_the_memory_is_refused_before_anything_is_compiled(asked, monkeypatch, capsys):
    monkeypatch.setattr("hepatojax.io.scenario.size.free_memory_gib", lambda: 8.0)
    large = ("--quiet", "--no-figures", "--set", "grid.cells=[64,74,32]", "--set", "run.end_h=672")
    assert asked.optimise(*large) == ExitCode.REJECTED_INPUT
    printed = capsys.readouterr().err
    assert printed.startswith(
        "error: study.toml: optimise.adjoint: a certified gradient of 2 outputs of 64 x 74 x 32 cells over "
    )
    assert 'adjoint = "two-level" needs' in printed and printed.count("\n") == 1
    assert not asked.output.exists()
    asked.file.write_text(STUDY + 'adjoint = "two-level"\n')
    assert asked.optimise(*large) == ExitCode.DONE


def test_no_other_verdict_is_called_done(asked, stand_in, capsys):
    asked.program = stand_in(hill, lambda x: 3.0 - jnp.sum(x))
    assert asked.optimise("--no-figures") == ExitCode.NOT_CONVERGED
    assert "infeasible: no place near any start keeps every limit" in capsys.readouterr().out
    assert asked.found["verdict"] == "infeasible" and asked.ran


def test_a_simulation_that_always_fails_leaves_no_number_and_no_run(asked, stand_in):
    asked.program = stand_in(hill, budget, dies=lambda x: x[0] >= 0.0)
    assert asked.optimise("--quiet") == ExitCode.NOT_CONVERGED
    found = asked.found
    assert (found["objective"], found["conditions"]) == (None, None)
    assert [(limit["reading"], limit["excess"], limit["multiplier"]) for limit in found["limits"]] == [(None,) * 3]
    assert found["verdict"] == "failed simulation" and asked.ran == []
    assert not (asked.output / "scenario.toml").exists()


def test_a_run_that_fails_gives_its_own_code(asked, monkeypatch):
    monkeypatch.setattr(search, "run_arms", lambda *_, **__: ExitCode.MEMBERS_FAILED)
    assert asked.optimise("--quiet") == ExitCode.MEMBERS_FAILED
    assert asked.found["verdict"] == "converged" and "runs" not in asked.found


def test_a_product_that_is_chosen_makes_two_scenarios(asked):
    text = STUDY.replace("route_mix[0].portal", "product.potency_hgf").replace(
        "low = 0.0\nhigh = 1.0", "low = 0.5\nhigh = 2.0"
    )
    asked.file.write_text(text)
    assert asked.optimise("--quiet", "--no-figures") == ExitCode.DONE
    before, after = asked.ran
    assert (before.arms[0].name, after.arms[0].name) == ("before", "after")
    assert (before.product.potency_hgf, after.product.potency_hgf) == (1.0, pytest.approx(0.5 + 1.5 * 0.55, abs=1e-2))


def test_a_search_is_stopped_between_two_places_and_goes_on(asked, stand_in, monkeypatch, capsys):
    def stop_after(count: int):
        tell = search.SearchProgress.tell

        def telling(progress: Any, iterate: Any) -> None:
            tell(progress, iterate)
            if progress.journal.computed == count:
                os.kill(os.getpid(), 15)
                time.sleep(0.2)  # the signal is noted by a thread

        return telling

    with monkeypatch.context() as patch:
        patch.setattr(search.SearchProgress, "tell", stop_after(2))
        assert asked.optimise("--quiet") == ExitCode.STOPPED
    assert "the same command goes on" in capsys.readouterr().err
    assert not (asked.output / "optimum.json").exists()
    assert len((asked.output / JOURNAL_FILE).read_bytes().splitlines()) == 4
    assert asked.optimise("--quiet", "--no-figures") == ExitCode.DONE


def test_a_folder_in_use_is_refused(asked):
    asked.output.mkdir()
    with locked(asked.output):
        assert asked.optimise("--quiet") == ExitCode.FOLDER_LOCKED


def test_bad_input_is_refused_at_once_and_leaves_nothing(asked, capsys, fresh_python):
    asked.file.write_text(STUDY.replace("24.0", '"24"') + "[optimize]\n")
    assert asked.optimise() == ExitCode.REJECTED_INPUT
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(line.startswith("error: study.toml: ") for line in lines)
    asked.file.write_text(STUDY.replace("functional_mass", "functional_mas"))
    assert asked.optimise() == ExitCode.REJECTED_INPUT
    assert "did you mean functional_mass" in capsys.readouterr().err
    asked.file.write_text(STUDY)
    assert asked.optimise("--set", "run.end_h=-1") == ExitCode.REJECTED_INPUT
    assert asked.optimise("--set", "run.end_h") == ExitCode.REJECTED_INPUT
    assert not asked.output.exists()
    asked.file.write_text(STUDY + "[optimize]\n")
    code = f"import sys; from hepatojax.cli.main import main; main(['optimise', {str(asked.file)!r}])"
    assert fresh_python(f"{code}; print('jax' in sys.modules)") == "False\n"


def test_a_disk_that_refuses_is_a_write_error_and_the_search_goes_on_without_the_torn_line(asked, monkeypatch):
    asked.optimise("--quiet", "--no-figures")
    whole, path = asked.found, asked.output / JOURNAL_FILE
    lines = path.read_bytes().splitlines(keepends=True)
    path.unlink()
    append, before = Journal._append, []

    def full(journal: Journal, line: dict[str, Any]) -> dict[str, Any]:
        if len(before) < 3:
            before.append(line)
            return append(journal, line)
        journal._file.write(json.dumps(line).encode()[:-7])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "_append", full)
        assert asked.optimise("--quiet", "--no-figures") == ExitCode.WRITE_ERROR
    torn = path.read_bytes()
    assert torn.startswith(b"".join(lines[:4])) and len(torn) > len(b"".join(lines[:4])) and not torn.endswith(b"\n")
    assert asked.optimise("--quiet", "--no-figures") == ExitCode.DONE
    assert path.read_bytes() == b"".join(lines)
    assert asked.found["starts"] == whole["starts"]


def test_the_window_of_the_best_schedule_stands_beside_it(asked, capsys):
    asked.optimise("--no-figures")
    window = asked.found["window"]
    assert window["total"] == pytest.approx(1.0) and window["unit"] == "1e6 cells/kg"
    low, high = window["allowed"]
    assert (low["total"], low["ended_by"]) == (0.0, "end of the range")
    assert high["total"] == pytest.approx(1.25) and high["ended_by"] == "limit 0"
    assert "limits are kept from 0 (end of the range) to 1.25 (limit 0)" in capsys.readouterr().out


THREE = (
    STUDY.replace('name = "start_h[0]"\nlow = 0.0\nhigh = 24.0', 'name = "cells_per_kg[0]"\nlow = 0.0\nhigh = 2e6')
    .replace('name = "route_mix[0].portal"\nlow = 0.0\nhigh = 1.0', 'name = "cells_per_kg[1]"\nlow = 0.0\nhigh = 2e6')
)  # fmt: skip
MORE = THREE + '[fewer]\nkeep = 1\n[pareto]\nlimit = "blocked_fraction"\nlow = 0.25\nhigh = 0.75\npoints = 3\n'


@pytest.fixture
def reduced(asked, stand_in) -> Asked:
    """Two amounts under a budget of a bound 0.5, with a front and fewer infusions."""
    second = '[[arm.infusion]]\nstart_h = 20.0\ncells_per_kg = 1e6\nroute = "intravenous"\n'
    (asked.file.parent / "case.toml").write_text(CASE + second)
    asked.file.write_text(MORE)
    made = stand_in(hill, budget)
    asked.program = dataclasses.replace(
        made, variables=("cells_per_kg[0]", "cells_per_kg[1]"), limits=("blocked_fraction peak most",)
    )
    return asked


def test_fewer_infusions_and_the_front_are_found_recorded_and_drawn(reduced, capsys):
    """The best with x0 = 0 is x1 = 0.8; under x0 + x1 <= 1 + epsilon the optimum is (0.45, 0.55) + epsilon / 2."""
    assert reduced.optimise() == ExitCode.DONE
    whole, one = reduced.found["fewer"]
    assert (whole["kept"], whole["dropped"]) == (["cells_per_kg[0]", "cells_per_kg[1]"], None)
    assert (one["kept"], one["dropped"], one["verdict"]) == (["cells_per_kg[1]"], "cells_per_kg[0]", "converged")
    assert [v["value"] for v in one["values"]] == pytest.approx([0.0, 1.6e6], rel=1e-3)
    front = reduced.found["pareto"]
    assert (front["limit"], front["unit"], front["at"]) == ("blocked_fraction", "-", "peak")
    for point, bound in zip(front["points"], (0.25, 0.5, 0.75), strict=True):
        epsilon = bound / 0.5 - 1.0
        short = max(0.5 - epsilon, 0.0) / 2.0  # from the top (0.7, 0.8) on either axis
        assert point["bound"] == pytest.approx(bound) and point["verdict"] == "converged"
        assert point["objective"] == pytest.approx(1.0 - 2.0 * short**2, abs=1e-5)
        assert point["slope"] == pytest.approx(2.0 * short / 0.5, abs=2e-2)
        assert point["active"] == (["blocked_fraction peak most"] if short else [])
    printed = capsys.readouterr().out
    assert "1 infusion, without cells_per_kg[0]: objective 0.51, converged" in printed
    assert printed.count("blocked_fraction at most 0.") == 3
    for name in ("fewer", "pareto", "window"):
        assert imread(reduced.output / "figures" / f"{name}.png")[..., :3].std() > 0.01


def test_a_search_with_fewer_infusions_and_a_front_is_cut_and_goes_on(reduced, stand_in):
    reduced.optimise("--quiet", "--no-figures")
    whole, path = reduced.found, reduced.output / JOURNAL_FILE
    lines = path.read_bytes().splitlines(keepends=True)
    kinds = {json.loads(line).get("beside", [""])[0] for line in lines}
    assert kinds == {"", "caps", "typical derivatives", "epsilon of blocked_fraction peak most"}
    path.write_bytes(b"".join(lines[:-4]))
    reduced.optimise("--quiet", "--no-figures")
    assert (reduced.found["fewer"], reduced.found["pareto"]) == (whole["fewer"], whole["pareto"])
    assert path.read_bytes() == b"".join(lines)


def test_without_an_optimum_nothing_is_left_out_and_no_front_is_sought(reduced, stand_in):
    made = stand_in(hill, lambda x: 3.0 - jnp.sum(x))
    reduced.program = dataclasses.replace(reduced.program, function=made.function)
    assert reduced.optimise("--quiet", "--no-figures") == ExitCode.NOT_CONVERGED
    assert (reduced.found["fewer"], reduced.found["pareto"]) == (None, None)


@pytest.mark.slow
def test_a_real_column_is_optimised_and_its_run_says_what_the_search_said(tmp_path: Path):
    """The schedule of the search and the scenario of the best arm are the same treatment."""
    small = CASE.replace("[grid]\ncells = [26, 30, 8]", '[lobule]\ngeometry = "column"\n[grid]\ncells = [4, 1, 1]')
    (tmp_path / "case.toml").write_text(small.replace("48.0", "24.0") + "[disease]\nactivity = 1.0\n")
    (tmp_path / "study.toml").write_text(STUDY.replace("24.0", "20.0").replace("starts = 2", "starts = 1\ncalls = 3"))
    output = tmp_path / "out"
    code = main(["optimise", str(tmp_path / "study.toml"), "-o", str(output), "--device", "cpu"])
    found = json.loads((output / "optimum.json").read_text())
    assert code == (ExitCode.DONE if found["verdict"] == "converged" else ExitCode.NOT_CONVERGED)
    assert all(certificate["passed"] for certificate in found["certificates"].values())
    assert found["runs"]["after"]["objective"] == pytest.approx(found["objective"], abs=1e-5)
    scan = found["window"]["scan"]
    assert scan["objective"][scan["factor"].index(1.0)] == pytest.approx(found["objective"], abs=1e-5)
    read = [limit["excess"] for limit in found["limits"]]
    assert [excess[scan["factor"].index(1.0)] for excess in scan["limits"].values()] == pytest.approx(read, abs=1e-5)
