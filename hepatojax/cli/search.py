"""Search the best dose of a study in a durable folder, then simulate the arm before and after.

In this order: the journal is opened or begun, what an earlier search said is taken back, the search runs or is
recalled, `optimum.json` and `scenario.toml` are written, then the two runs, what they read, and the figures. Whatever
ends it early, the journal stays, and the same command goes on from it.

Reference: RELIABILITY 2.3 (optimisation record) and 3.4.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hepatojax.build import build_study
from hepatojax.cli.about import Found, found_about, window_line
from hepatojax.cli.arms import LAST_STAGE, prepare, run_arms
from hepatojax.cli.device import kept_programs, preset_folder
from hepatojax.cli.output import write_errors
from hepatojax.cli.progress import LINE_EVERY_S, stages
from hepatojax.cli.run import StoppedOnRequest
from hepatojax.io.presets import PresetFolder
from hepatojax.io.provenance import provenance, source_revision
from hepatojax.io.results import open_run
from hepatojax.io.run_folder import SCENARIO_FILE, locked, remove_files, remove_summary, write_scenario
from hepatojax.io.scenario import scenario_to_toml
from hepatojax.io.study.journal import JOURNAL_FILE, Journal, open_journal
from hepatojax.io.study.parts import AFTER, BEFORE, StudyParts, treated
from hepatojax.io.study.result import (
    FIGURES,
    FIGURES_ABOUT,
    OPTIMUM_FILE,
    SEARCHED,
    asked_record,
    named_limits,
    optimum_record,
    readings,
    write_optimum,
)
from hepatojax.io.study.specification import Study
from hepatojax.parameters.registry import registry_of
from hepatojax.scenario import ArmSpec, Scenario
from hepatojax.status import ExitCode
from hepatojax.studies.optimise import optimise_dose
from hepatojax.studies.optimum import DoseOptimum, Iterate, Verdict
from hepatojax.studies.problem import DoseProblem


def search(
    study: Study,
    parts: StudyParts,
    output: Path,
    *,
    image: np.ndarray | None,
    device: str,
    command: str,
    quiet: bool,
    figures: bool,
    stopped: Sequence[int],
) -> ExitCode:
    """Find the best dose of a study, or go on with a search that was cut off.

    Args:
        study: checked.
        parts: its aims, limits and variables, checked.
        output: folder of the results; made if needed, and owned to the end.
        image: labels (nz, ny, nx) of the geometry "labels".
        device: line that names it, for the provenance.
        command: how the program was called, for the provenance.
        quiet: True prints errors only.
        figures: False leaves them out.
        stopped: not empty once the user has asked to stop; looked at before each place that is computed.

    Returns:
        DONE for a converged optimum, NOT_CONVERGED for any other verdict, STOPPED, or the code of a run before or after
        that failed.

    Raises:
        JournalError: the folder belongs to another study or program.
        RunFolderLocked: another process writes there.
        SimulationError: there is no start state.
        WriteError: the disk refused; the journal holds every place up to then.
    """
    with write_errors():
        output.mkdir(parents=True, exist_ok=True)
        with locked(output):  # to the end, for the runs and what compares them belong to this search too
            asked = asked_record(study, parts, SEARCHED)
            try:
                found = _found(study, parts, asked, output, image, quiet=quiet, stopped=stopped)
            except StoppedOnRequest as stop:
                print(stop, file=sys.stderr)
                return ExitCode.STOPPED
            optimum = found.optimum
            text = scenario_to_toml(_after(study, optimum))
            origin = provenance(
                scenario_text=text,
                parameters_hash=registry_of(study.scenario).hash,
                device=device,
                precision=study.scenario.run.precision,
                command=command,
            )
            said = {**optimum_record(parts, optimum), **found.record(study, parts)}
            record = {"title": study.title, "study": asked, **said, "provenance": origin}
            write_optimum(output, record)
            if not quiet:
                print("\n".join(_report(record)), flush=True)
            if optimum.best.conditions is None:
                return ExitCode.NOT_CONVERGED
            write_scenario(output, text)
            how: dict[str, Any] = {"image": image, "device": device, "command": command, "stopped": stopped}
            code = _run_both(study, optimum, output, quiet=quiet, **how)
            if code != ExitCode.DONE:
                return code
            _compare(study, parts, found, record, output, quiet=quiet, figures=figures)
    return ExitCode.DONE if optimum.verdict == Verdict.CONVERGED else ExitCode.NOT_CONVERGED


def _found(
    study: Study,
    parts: StudyParts,
    asked: Mapping[str, Any],
    output: Path,
    image: np.ndarray | None,
    *,
    quiet: bool,
    stopped: Sequence[int],
) -> Found:
    """The optimum and what stands about it, from what the journal holds and what is computed now."""

    def interrupt() -> None:
        if stopped:
            raise StoppedOnRequest(f"stopped on request; the same command goes on with the places of {JOURNAL_FILE}")

    header = {
        "title": study.title,
        "sha256": asked["fingerprint"],
        "source_revision": source_revision(),
        "variables": [variable.name for variable in parts.variables],
        "limits": [name for name, _ in named_limits(parts)],
    }
    how = study.optimise
    with open_journal(output, header, interrupt) as journal:
        _forget(output)
        problem = problem_of(study, parts, image, quiet=quiet)
        if not quiet:
            print("the start state is ready; now the program is compiled or found, then come the places", flush=True)
        progress = SearchProgress(journal, how.starts, quiet=quiet)
        optimum = optimise_dose(
            problem,
            how.method,
            how.starts,
            how.seed,
            allow_failed_certificate=how.allow_failed_certificate,
            calls=how.calls,
            on_iterate=progress.tell,
            record=journal,
        )
        return found_about(study, parts, problem, optimum, journal, quiet=quiet)


def _forget(output: Path) -> None:
    """Take back what an earlier search has said, for it may hold no longer.

    `optimum.json` is written before the other files and goes after them: where it is not, they are not of a search.
    """
    if not (output / OPTIMUM_FILE).exists():
        return
    for folder in (output / BEFORE, output / AFTER):
        if folder.is_dir():
            with locked(folder):
                remove_summary(folder)
    figures = [f"figures/{name}.png" for name in (*FIGURES, *FIGURES_ABOUT)]
    remove_files(output, (*figures, SCENARIO_FILE, OPTIMUM_FILE))


def problem_of(study: Study, parts: StudyParts, image: np.ndarray | None, *, quiet: bool) -> DoseProblem:
    """The problem of a study, with the start state that presets keep; each stage is told.

    Args:
        study: checked.
        parts: its aims, limits and variables.
        image: labels (nz, ny, nx) of the geometry "labels".
        quiet: True tells nothing.

    Returns:
        The problem on the study's grid, from day 0 to the end of the run [h].

    Raises:
        SimulationError: there is no start state.
    """
    programs = kept_programs()  # looks at the code, which may change during the long preparation
    presets = PresetFolder(preset_folder())
    with stages("preparing", quiet=quiet) as tell:
        prepare(study.scenario, presets, image, tell)
        tell(LAST_STAGE[study.scenario.disease.start])
        built = build_study(study.scenario, presets, image)
    return DoseProblem(
        built.model,
        built.state,
        parts.schedule,
        study.scenario.run.end_h,
        parts.aims,
        parts.variables,
        parts.limits,
        study.optimise.adjoint,
        study.optimise.checkpoints,
        programs,
    )


class SearchProgress:
    """A line for each computed place on a terminal, at most one every 30 s elsewhere.

    Args:
        journal: counts the places that were computed and recalled.
        starts: number of starts.
        quiet: True says nothing.
    """

    def __init__(self, journal: Journal, starts: int, *, quiet: bool):
        self.journal, self.starts, self.quiet = journal, starts, quiet
        self._begin = time.monotonic()
        self._last = -np.inf
        self._told = 0

    def tell(self, iterate: Iterate) -> None:
        """Say what came of a place; places that are recalled are passed over.

        Args:
            iterate: with the objective in its unit, and the excess of each limit (c,) [-].
        """
        now, computed = time.monotonic(), self.journal.computed
        if self.quiet or computed == self._told:
            return
        self._told = computed
        if not sys.stdout.isatty() and now - self._last < LINE_EVERY_S:
            return
        self._last = now
        recalled = f" ({self.journal.recalled} recalled)" if self.journal.recalled else ""
        excess = f", largest excess {float(iterate.limits.max()):.2g}" if len(iterate.limits) else ""
        print(
            f"place {computed + self.journal.recalled}{recalled}, start {iterate.start + 1} of {self.starts}: "
            f"objective {iterate.objective:.6g}{excess}, {now - self._begin:.0f} s",
            flush=True,
        )


def _after(study: Study, optimum: DoseOptimum) -> Scenario:
    """The scenario with the best schedule and product as its one arm."""
    assert optimum.schedule is not None
    return treated(study.scenario, optimum.schedule, optimum.product)


def _run_both(
    study: Study,
    optimum: DoseOptimum,
    output: Path,
    *,
    image: np.ndarray | None,
    device: str,
    command: str,
    quiet: bool,
    stopped: Sequence[int],
) -> ExitCode:
    """Simulate the arm as it is and as the optimum has it, as two arms of one scenario where they share a product."""
    before = dataclasses.replace(study.scenario, arms=(ArmSpec(BEFORE, study.scenario.arm(study.arm).infusions),))
    after = _after(study, optimum)
    together = dataclasses.replace(before, arms=after.arms) == after
    scenarios = [dataclasses.replace(before, arms=before.arms + after.arms)] if together else [before, after]
    how: dict[str, Any] = {"image": image, "device": device, "command": command, "quiet": quiet, "stopped": stopped}
    for scenario in scenarios:
        code = run_arms(scenario, output, **how)
        if code != ExitCode.DONE:
            return code
    return ExitCode.DONE


def _compare(
    study: Study,
    parts: StudyParts,
    found: Found,
    record: dict[str, Any],
    output: Path,
    *,
    quiet: bool,
    figures: bool,
) -> None:
    """Add to the record what the two runs read, and draw them."""
    optimum = found.optimum
    assert optimum.schedule is not None
    with open_run(output / BEFORE) as before, open_run(output / AFTER) as after:
        said = {
            BEFORE: readings(parts, before, parts.schedule),
            AFTER: readings(parts, after, optimum.schedule),
        }
        write_optimum(output, {**record, "runs": said})
        if not quiet:
            print(f"objective {said[BEFORE]['objective']:.6g} before, {said[AFTER]['objective']:.6g} after")
        if figures:
            from hepatojax.report.figures.about import draw_about
            from hepatojax.report.figures.study import StudyCourses, draw_study

            courses = StudyCourses(parts, {BEFORE: before, AFTER: after}, optimum, said, study.scenario.run.end_h)
            draw_study(courses, output / "figures")
            draw_about(record, found.stages or (), study.scenario.run.end_h, output / "figures")


def _report(record: dict[str, Any]) -> list[str]:
    """The certificates, the best values, the limits and the verdict, a line each."""
    lines = [
        line for where, certificate in record["certificates"].items() for line in certificate_lines(where, certificate)
    ]
    lines += [f"{entry['name']:28} {_with_unit(entry['value'], entry['unit'])}" for entry in record["values"]]
    for limit in record["limits"]:
        multiplier = "" if limit["multiplier"] != limit["multiplier"] else f", multiplier {limit['multiplier']:.3g}"
        bound = _with_unit(limit["bound"], limit["unit"])
        lines.append(f"{limit['name']:28} {limit['reading']:.6g} of {bound}{multiplier}")
    if record["idle"]:
        lines.append(f"without effect at any start: {', '.join(record['idle'])}")
    if record["window"] is not None:
        lines.append(window_line(record["window"]))
    return [*lines, f"objective {record['objective']:.6g} after {record['jacobian_calls']} places", record["message"]]


def _with_unit(value: float, unit: str) -> str:
    """A number to six digits with its unit; without one it stands alone."""
    return f"{value:.6g}" if unit == "-" else f"{value:.6g} [{unit}]"


def certificate_lines(where: str, certificate: dict[str, Any] | None) -> list[str]:
    """A heading and a line for each figure of a certificate's record.

    Args:
        where: it was taken, "start" or "optimum".
        certificate: of `certificate_record`; None gives no lines.

    Returns:
        After the heading lines that begin with `pass`, `FAIL` or, for what does not apply, `-`; then name, value, bound
        and, of a rate, the decades of step that it was found by.
    """
    if certificate is None:
        return []
    return [f"gradient at the {where}:", *map(_figure_line, certificate["figures"])]


def _figure_line(figure: Mapping[str, Any]) -> str:
    verdict = ("pass" if figure["passed"] else "FAIL") if figure["tested"] else "  - "
    said = f"{figure['value']:.3g} ({figure['kind']} {figure['bound']:g})"
    return f"{verdict}  {figure['name']:44} {' '.join(filter(None, (said, figure['range'])))}"
