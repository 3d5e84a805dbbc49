"""Time courses of the liver's function, all arms in one figure, with the change against the first arm below."""

from __future__ import annotations

import tomllib

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hepatojax.io.results import RunFile
from hepatojax.report.figures.style import (
    COLOURS,
    HOURS_PER_DAY,
    LINES,
    Runs,
    day_axis,
    days_of,
    finite_peak,
    new_figure,
    require,
    spanned,
    spoken,
    styled,
    with_unit,
)

CLINICAL = ("functional_mass", "meld", "bilirubin_mg_dl", "albumin_g_l", "inr")


@styled
def clinical_courses(runs: Runs) -> Figure:
    """Functional mass, MELD, bilirubin, albumin and INR of every arm; below, each minus the first while that lasts.

    Horizontal axes are days, vertical ones the unit of the series, which stands in the title of a panel. Triangles at
    the foot mark infusions in the colour of their arm.

    Args:
        runs: arm -> result, the control first.

    Raises:
        MissingQuantity: a result lacks one of the series.
    """
    for run in runs.values():
        require(run, CLINICAL)
    rows = 2 if len(runs) > 1 else 1
    figure = new_figure(2.5 * len(CLINICAL), 1.0 + 2.2 * rows, "Function of the liver (▲ infusions)")
    panels = figure.subplots(rows, len(CLINICAL), squeeze=False, sharex=True)
    control_name, control = next(iter(runs.items()))
    for column, name in enumerate(CLINICAL):
        panels[0, column].set_title(with_unit(name, control.series_units[name]))
        _draw_arms(panels[0, column], runs, name, None)
        _widen(panels[0, column], runs, name)
        if rows == 2:
            _draw_arms(panels[1, column], runs, name, control)
            _widen(panels[1, column], runs, name)
            panels[1, column].ticklabel_format(axis="y", scilimits=(-3, 3))
        day_axis(panels[-1, column])
    _mark_infusions(panels, runs)
    if rows == 2:
        panels[1, 0].set_ylabel(f"minus {spoken(control_name)}")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=len(runs))
    return figure


def infusion_days(run: RunFile, arm: str) -> list[float]:
    """Start of each infusion of an arm [d], from the scenario kept in the result; none if there is no scenario.

    Args:
        run: whose provenance holds the scenario.
        arm: its name there.
    """
    arms = tomllib.loads(run.provenance.get("scenario", "")).get("arm", [])
    infusions = [infusion for entry in arms if entry["name"] == arm for infusion in entry.get("infusion", [])]
    return [infusion["start_h"] / HOURS_PER_DAY for infusion in infusions]


def _draw_arms(axes: Axes, runs: Runs, name: str, control: RunFile | None) -> None:
    """One line for each arm at its own times, or its difference from the control for as long as the control lasts."""
    for number, (arm, run) in enumerate(runs.items()):
        values = run.series[name]
        if control is not None:
            beside = (control.series_times_h, control.series[name])
            values = values - np.interp(run.series_times_h, *beside, left=np.nan, right=np.nan)
        colour, line = COLOURS[number % len(COLOURS)], LINES[number % len(LINES)]
        axes.plot(days_of(run), values, color=colour, linestyle=line, label=spoken(arm))


def _widen(axes: Axes, runs: Runs, name: str) -> None:
    """Keep the span of a panel above a thousandth of the largest finite value in any arm."""
    largest = max(finite_peak(np.abs(run.series[name])) for run in runs.values())
    axes.set_ylim(*spanned(*axes.get_ylim(), largest))


def _mark_infusions(panels: np.ndarray, runs: Runs) -> None:
    """A tick on the time axis of every panel at each infusion, in the colour of its arm."""
    for number, (arm, run) in enumerate(runs.items()):
        for axes in panels.flat:
            days = infusion_days(run, arm)
            place, colour = axes.get_xaxis_transform(), COLOURS[number % len(COLOURS)]
            axes.plot(days, [0.02 + 0.05 * number] * len(days), "^", ms=4, color=colour, transform=place)
