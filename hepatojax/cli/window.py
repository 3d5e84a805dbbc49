"""The verb window: the therapeutic window of a study by each route, always with its band.

`window.json` and two figures are written once all windows are known, and what an earlier command left of them goes
before the first is sought. A stop keeps nothing. The study must have one variable, the amount of one infusion on a
logarithmic scale; doses are in cells/kg throughout.

Reference: RELIABILITY 2.2 (no bare dose).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hepatojax.cli.options import add_device
from hepatojax.cli.output import lasting, write_errors
from hepatojax.cli.run import StoppedOnRequest, command_line, stop_on_signal
from hepatojax.cli.study import add_study, admit
from hepatojax.status import ExitCode, HepatojaxError
from hepatojax.studies.quantities import AMOUNT

if TYPE_CHECKING:
    import numpy as np

    from hepatojax.io.study import Study
    from hepatojax.io.study.parts import StudyParts
    from hepatojax.studies.interval import Window
    from hepatojax.studies.window import WindowStudy

WINDOW_FILE = "window.json"
CURVES, BARS = "figures/curves.png", "figures/window.png"


class NoAmount(HepatojaxError):
    """A study whose variable is not the amount of one infusion. Exit code 2."""


def register(verbs: Any) -> None:
    """Add the verb to the command line."""
    window = verbs.add_parser("window", help="find the therapeutic window of a study by each route, with its band")
    add_study(window)
    add_device(window)
    window.set_defaults(action=find_windows)


def find_windows(options: argparse.Namespace) -> ExitCode:
    """Find the windows; refuse what cannot work before anything is compiled or written.

    An empty window is a result. Nobody need read what it prints.

    Args:
        options: of `add_study` and `add_device`.

    Returns:
        DONE, NOT_CONVERGED where simulations failed on every route, MEMBERS_FAILED where on some, or STOPPED.
    """
    with lasting("stdout"):
        return _find_windows(options)


def _find_windows(options: argparse.Namespace) -> ExitCode:
    study, parts, image, device = admit(options, _require_amount)
    from hepatojax.io.run_folder import locked, remove_files
    from hepatojax.io.study.result import WINDOWED, asked_record

    with write_errors(), stop_on_signal() as stopped:
        options.output.mkdir(parents=True, exist_ok=True)
        with locked(options.output):
            remove_files(options.output, (CURVES, BARS, WINDOW_FILE))  # what an earlier run said holds no longer
            asked = asked_record(study, parts, WINDOWED)
            try:
                found = _windows(study, parts, image, quiet=options.quiet, stopped=stopped)
            except StoppedOnRequest as stop:
                print(stop, file=sys.stderr)
                return ExitCode.STOPPED
            write_windows(options.output, study, asked, found, device)
            if not options.no_figures:
                _draw(found, options.output, parts)
    return _code(found)


def _require_amount(study: Study, source: str) -> None:
    """Refuse a study of anything but one amount on a logarithmic scale, before JAX is loaded."""
    entries = [dict(entry) for entry in study.variables]
    fits = len(entries) == 1 and str(entries[0].get("name", "")).startswith(AMOUNT)
    if not fits or entries[0].get("scale", "linear") != "log":
        raise NoAmount(f'{source}: variable: a window wants one, cells_per_kg[i] on the scale "log"')
    if not study.window.least_gain > 0:
        raise NoAmount(f"{source}: window.least_gain: must be above zero (got {study.window.least_gain:g})")


def _windows(
    study: Study, parts: StudyParts, image: np.ndarray | None, *, quiet: bool, stopped: Sequence[int]
) -> tuple[WindowStudy, ...]:
    """The windows by each route.

    Raises:
        StoppedOnRequest: between two windows.
    """
    from hepatojax.assembly import build_lobule
    from hepatojax.cli.search import problem_of
    from hepatojax.parameters.registry import registry_of
    from hepatojax.studies.window import amplification_factors, windows_by

    problem = problem_of(study, parts, image, quiet=quiet)
    parameters, asked = registry_of(study.scenario), study.window
    scarred = study.scenario.lobule.fibrotic_septa > 0
    healthy = build_lobule(study.scenario, parameters, image) if scarred else None
    factors = amplification_factors(parameters, asked.factors, healthy)
    total, done = len(asked.routes) * (1 + 2 * len(factors)), 0
    if not quiet:
        print(f"the start state is ready; now the program is compiled or found, then come {total} windows", flush=True)

    def interrupt() -> None:
        if stopped and done < total:
            raise StoppedOnRequest(f"stopped on request after {done} of {total} windows, which are not kept")

    def tell(name: str, window: Window) -> None:
        nonlocal done
        done += 1
        if not quiet:
            print(f"window {done} of {total}, {name}: {window.reason}", flush=True)
        interrupt()

    interrupt()
    return windows_by(
        problem,
        asked.least_gain,
        factors,
        asked.routes,
        share=asked.share,
        doses=asked.doses,
        on_window=tell,
    )


def write_windows(
    folder: Path, study: Study, asked: Mapping[str, Any], found: tuple[WindowStudy, ...], device: str
) -> Path:
    """Write `window.json`: what was asked, every window with its band, and where it comes from.

    Args:
        folder: of the results.
        study: that was asked.
        asked: its record, see `asked_record`.
        found: the windows, one by each route.
        device: line that names it, for the provenance.

    Returns:
        The file, with title, study, windows and provenance; doses are in cells/kg, gains in the unit of the objective.

    Raises:
        OSError: the disk refused; no file is left.
    """
    from hepatojax.io.provenance import provenance
    from hepatojax.io.run_folder import write_record
    from hepatojax.io.scenario import scenario_to_toml
    from hepatojax.parameters.registry import registry_of

    origin = provenance(
        scenario_text=scenario_to_toml(study.scenario),
        parameters_hash=registry_of(study.scenario).hash,
        device=device,
        precision=study.scenario.run.precision,
        command=command_line(),
    )
    windows = [_study_record(each) for each in found]
    record = {"title": study.title, "study": asked, "windows": windows, "provenance": origin}
    return write_record(folder / WINDOW_FILE, record)


def _study_record(study: WindowStudy) -> dict[str, Any]:
    """A window and, for each factor of its band, the windows at both ends, with what they have in common."""
    return {
        "name": study.name,
        "unit": "cells/kg",
        "limits": study.limits,
        "window": _window_record(study.window),
        "band": [
            {
                "factor": each.factor.name,
                "unit": each.factor.unit,
                "value": each.factor.value,
                "low": {"value": each.factor.low, **_window_record(each.at_low)},
                "high": {"value": each.factor.high, **_window_record(each.at_high)},
            }
            for each in study.band
        ],
        "lower_over_band": study.moved("lower"),
        "best_over_band": study.moved("best"),
        "upper_over_band": study.moved("upper"),
        "in_every_window": study.common,
        "empty_at": study.emptied,
        "unknown_at": study.unknown,
    }


def _window_record(window: Window) -> dict[str, Any]:
    """One window: verdict, edges and best dose [cells/kg], number of runs, and the scan that it was found by."""
    return {
        "verdict": str(window.verdict),
        "reason": window.reason,
        "converged": window.converged,
        **{name: None if part is None else part._asdict() for name, part in _parts(window).items()},
        "multiplier": window.multiplier,
        "intervals": window.intervals,
        "least_gain": window.least_gain,
        "share": window.share,
        "objective_without_cells": window.untreated,
        "runs": {"forward": window.forward, "with_derivative": window.jacobians},
        "scan": window.scan._asdict(),
    }


def _parts(window: Window) -> dict[str, Any]:
    return {"lower": window.lower, "upper": window.upper, "best": window.best}


def _draw(found: tuple[WindowStudy, ...], folder: Path, parts: StudyParts) -> None:
    """Gain and harms against the dose, and the band, as PNG in `figures/`."""
    from hepatojax.report.figures.window import window_bars, window_curves

    (folder / CURVES).parent.mkdir(exist_ok=True)
    window_curves(found, _gain_in_words(parts)).savefig(folder / CURVES, dpi=150)
    window_bars(found).savefig(folder / BARS, dpi=150)


def _gain_in_words(parts: StudyParts) -> str:
    """What the gain is, for an objective of one aim of weight 1 or -1; empty for others."""
    from hepatojax.io.study.result import unit_of
    from hepatojax.report.figures.style import with_unit

    if len(parts.aims) != 1 or abs(parts.aims[0].weight) != 1.0:
        return ""
    aim = parts.aims[0]
    return f"{'more' if aim.weight > 0 else 'less'} {with_unit(aim.quantity, unit_of(aim.quantity))}, {aim.at}"


def _code(found: tuple[WindowStudy, ...]) -> ExitCode:
    """DONE for empty windows too; not where simulations failed."""
    failed = [each for each in found if each.failures]
    for each in failed:
        print(f"error: {each.name}: {'; '.join(status.statement for status in each.failures)}", file=sys.stderr)
    if not failed:
        return ExitCode.DONE
    return ExitCode.NOT_CONVERGED if len(failed) == len(found) else ExitCode.MEMBERS_FAILED
