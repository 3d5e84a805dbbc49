"""Figures of a study: the schedule, the parts of the objective and the courses before and after, and the search."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hepatojax.io.study.parts import AFTER, BEFORE, StudyParts, infusions_of
from hepatojax.io.study.result import FIGURES
from hepatojax.report.figures.style import (
    COLOURS,
    HOURS_PER_DAY,
    LINES,
    MissingQuantity,
    Runs,
    day_axis,
    days_of,
    finite_peak,
    new_figure,
    printed,
    require,
    spanned,
    spoken,
    styled,
    with_unit,
)
from hepatojax.scenario import ROUTES
from hepatojax.studies.objective import CELLS_UNIT
from hepatojax.studies.optimum import FEASIBLE, DoseOptimum
from hepatojax.studies.quantities import OF_SCHEDULE
from hepatojax.therapy.schedule import DoseSchedule

ALWAYS = ("functional_mass", "meld")
NARROWEST_SHARE = 0.012  # of the time axis, that an infusion is drawn with
COLUMNS = 3
OVERSTEPPED = "a limit is overstepped"


@dataclass(frozen=True)
class StudyCourses:
    """What the figures of a study show.

    Attributes:
        parts: of the study.
        runs: "before" and "after".
        optimum: what was found.
        readings: of each run, see `hepatojax.io.study.result.readings`.
        end_h: end of the runs [h].
    """

    parts: StudyParts
    runs: Runs
    optimum: DoseOptimum
    readings: Mapping[str, Mapping[str, Any]]
    end_h: float


def draw_study(study: StudyCourses, folder: Path) -> list[Path]:
    """Draw every figure of a study; one whose data are missing is left out with a warning.

    Args:
        study: what to show.
        folder: where the PNG files go; made if needed.

    Returns:
        The files written, at 150 dots per inch: schedule, objective, courses, search.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, draw in zip(FIGURES, (schedules, objective_parts, study_courses, search_course), strict=True):
        try:
            figure = draw(study)
        except MissingQuantity as missing:
            warnings.warn(f"figure {name} left out: {missing}", stacklevel=2)
            continue
        written.append(folder / f"{name}.png")
        figure.savefig(written[-1], dpi=150)
    return written


@styled
def schedules(study: StudyCourses) -> Figure:
    """Cells of each infusion by its routes, over time, before and after.

    Horizontal axis days, vertical axis dose [10⁶ cells/kg]; routes are stacked in their colours.

    Args:
        study: whose optimum has a schedule.
    """
    figure = new_figure(8.0, 4.6, "Doses before and after (short infusions are drawn wider than they last)")
    panels = figure.subplots(2, 1, sharex=True, sharey=True)
    after = study.optimum.schedule
    assert after is not None
    for axes, (name, schedule) in zip(panels, ((BEFORE, study.parts.schedule), (AFTER, after)), strict=True):
        total = float(np.asarray(schedule.cells_per_kg).sum()) / CELLS_UNIT
        axes.set_title(f"{name}: {total:.3g} million cells/kg in all", loc="left")
        axes.set_ylabel("dose [10⁶ cells/kg]")
        _draw_doses(axes, schedule, study.end_h)
    day_axis(panels[-1])
    used = {route for s in (study.parts.schedule, after) for route in _routes(s)}
    handles = [panels[0].bar([0.0], [0.0], color=_colour(route), label=route) for route in ROUTES if route in used]
    panels[0].set_xlim(-0.02 * study.end_h / HOURS_PER_DAY, 1.02 * study.end_h / HOURS_PER_DAY)
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles))
    return figure


@styled
def objective_parts(study: StudyCourses) -> Figure:
    """What each aim adds to the objective, weight times reading, before and after, the sum, and the change of each.

    Horizontal axes are in the unit of the objective; the last row is the sum.

    Args:
        study: with the readings of both runs.
    """
    aims = study.readings[BEFORE]["aims"]
    rows = [*map(_aim_label, aims), "objective, the sum"]
    figure = new_figure(10.0, 1.6 + 0.62 * len(rows), "Parts of the objective, which is to be large")
    both, change = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    places = np.arange(len(rows))
    values = [_parts_of(study.readings[name]) for name in (BEFORE, AFTER)]
    for number, name in enumerate((BEFORE, AFTER)):
        bars = both.barh(places + 0.38 * (number - 0.5), values[number], 0.36, color=COLOURS[number], label=name)
        both.bar_label(bars, fmt="%.4g", padding=3, fontsize=8)
    bars = change.barh(places, values[1] - values[0], 0.5, color="0.45")
    change.bar_label(bars, fmt="%+.3g", padding=3, fontsize=8)
    both.set_yticks(places, rows)
    both.invert_yaxis()
    both.set_xlabel("weight times reading [unit of the objective]")
    change.set_xlabel("after minus before")
    change.ticklabel_format(axis="x", scilimits=(-3, 3))
    for axes in (both, change):
        axes.axvline(0.0, color="0.6", lw=0.8)
        axes.axhline(len(rows) - 1.5, color="0.85", lw=0.8)
        axes.margins(x=0.25)
    figure.legend(*both.get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


@styled
def study_courses(study: StudyCourses) -> Figure:
    """Function, MELD and every quantity of an aim or a limit over time, before and after, with the limits.

    Horizontal axes are days, vertical ones the unit of the series, which stands in the title of a panel; dotted lines
    are bounds, triangles infusions.

    Args:
        study: with both runs open.

    Raises:
        MissingQuantity: a result lacks one of the series.
    """
    names = _quantities(study.parts)
    for run in study.runs.values():
        require(run, names)
    columns = min(COLUMNS, len(names))
    rows = -(-len(names) // columns)
    figure = new_figure(3.2 * columns, 1.0 + 2.4 * rows, "Courses before and after (▲ infusions)")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, name in zip(panels, names, strict=False):
        _draw_courses(axes, study, name)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=len(labels))
    return figure


@styled
def search_course(study: StudyCourses) -> Figure:
    """The objective at every computed place, start by start; hollow where a limit is overstepped.

    Horizontal axis the number of the place, vertical axis the objective in its unit; places that failed leave a gap.

    Args:
        study: whose optimum holds every place.
    """
    figure = new_figure(8.0, 3.8, f"Objective at the computed places ({study.optimum.verdict})")
    axes = figure.subplots()
    count = 0
    for number in range(len(study.optimum.starts)):
        places = [i for i in study.optimum.iterates if i.start == number]
        values = np.asarray([i.objective if i.status == 0 else np.nan for i in places])
        kept = np.asarray([i.limits.max(initial=0.0) <= FEASIBLE for i in places], bool)
        _draw_start(axes, count + 1 + np.arange(len(places)), values, kept, number)
        count += len(places)
    if any(place.limits.max(initial=0.0) > FEASIBLE for place in study.optimum.iterates):
        axes.plot([], [], "o", color="0.4", mfc="white", label=OVERSTEPPED)
    axes.axhline(study.optimum.objective, color="0.6", lw=0.8, ls=":", label="best")
    axes.set(xlabel="computed place, start after start", ylabel="objective")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    return figure


def _draw_start(axes: Axes, numbers: np.ndarray, values: np.ndarray, kept: np.ndarray, number: int) -> None:
    """The places of one start in the order in which they were computed, in one colour."""
    colour = COLOURS[number % len(COLOURS)]
    axes.plot(numbers, values, color=colour, lw=0.8, alpha=0.6)
    axes.plot(numbers[kept], values[kept], "o", ms=4, color=colour, label=f"start {number + 1}")
    axes.plot(numbers[~kept], values[~kept], "o", ms=4, color=colour, mfc="white")


def _draw_doses(axes: Axes, schedule: DoseSchedule, end_h: float) -> None:
    """A stack of routes at the middle of each infusion, wide enough to be seen."""
    tops: dict[tuple[float, float], float] = {}
    for infusion in infusions_of(schedule):
        when = (infusion.start_h, infusion.duration_h)
        width = max(infusion.duration_h, NARROWEST_SHARE * end_h) / HOURS_PER_DAY
        middle = (infusion.start_h + 0.5 * infusion.duration_h) / HOURS_PER_DAY
        height, base = infusion.cells_per_kg / CELLS_UNIT, tops.get(when, 0.0)
        axes.bar(middle, height, width, base, color=_colour(infusion.route), edgecolor="white", lw=0.3)
        tops[when] = base + height


def _draw_courses(axes: Axes, study: StudyCourses, name: str) -> None:
    """One series of both runs with its limits, and a triangle at the start of each infusion."""
    largest = 0.0
    for number, (arm, run) in enumerate(study.runs.items()):
        values = run.series[name]
        axes.plot(days_of(run), values, color=COLOURS[number], linestyle=LINES[number], label=arm)
        largest = max(largest, finite_peak(np.abs(values)))
        schedule = study.parts.schedule if arm == BEFORE else study.optimum.schedule
        assert schedule is not None
        days = sorted({i.start_h / HOURS_PER_DAY for i in infusions_of(schedule)})
        place = axes.get_xaxis_transform()
        axes.plot(days, [0.02 + 0.05 * number] * len(days), "^", ms=4, color=COLOURS[number], transform=place)
    for limit in study.parts.limits:
        if limit.quantity == name:
            axes.axhline(limit.bound, color="0.4", lw=0.9, ls=":")
            place = (0.99, limit.bound)
            text = f"{limit.at} at {limit.kind} {limit.bound:g}"
            axes.annotate(text, place, xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=7)
    axes.set_ylim(*spanned(*axes.get_ylim(), largest))
    axes.set_title(with_unit(name, study.runs[BEFORE].series_units[name]))
    day_axis(axes)


def _quantities(parts: StudyParts) -> tuple[str, ...]:
    """Names of the series to show, each once."""
    asked: Sequence[str] = [part.quantity for part in (*parts.aims, *parts.limits)]
    return tuple(dict.fromkeys((*ALWAYS, *(name for name in asked if name not in OF_SCHEDULE))))


def _parts_of(said: Mapping[str, Any]) -> np.ndarray:
    """What each aim adds to the objective, and the objective."""
    return np.asarray([*(aim["weight"] * aim["reading"] for aim in said["aims"]), said["objective"]])


def _aim_label(aim: Mapping[str, Any]) -> str:
    when = "" if aim["quantity"] in OF_SCHEDULE else f", {aim['at']}"
    unit = "" if aim["unit"] == "-" else f" / ({printed(aim['unit'])})"
    return f"{spoken(aim['quantity'])}{when}\ntimes {aim['weight']:g}{unit}"


def _routes(schedule: DoseSchedule) -> set[str]:
    return {infusion.route for infusion in infusions_of(schedule)}


def _colour(route: str) -> str:
    return COLOURS[ROUTES.index(route)]
