"""Figures of what stands about an optimum: the window of its schedule, fewer infusions, and the front of one harm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from hepatojax.report.figures.schedules import NamedSchedule, schedule_rows
from hepatojax.report.figures.style import LINES, finite_peak, new_figure, printed, spanned, styled, with_unit
from hepatojax.report.figures.window import BEST, FARTHEST, GAIN, HARMS, WINDOW
from hepatojax.report.figures.window import limit_label as label_of
from hepatojax.studies.fewer import FewerInfusions


def draw_about(record: Mapping[str, Any], stages: Sequence[FewerInfusions], end_h: float, folder: Path) -> list[Path]:
    """Draw what `optimum.json` says about an optimum, as far as it says it.

    Args:
        record: with "window", "fewer" and "pareto" where they are known.
        stages: of ever fewer infusions; may be empty.
        end_h: end of the runs [h].
        folder: where the PNG files go; made if needed.

    Returns:
        The files written, at 150 dots per inch: window, fewer, pareto.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Figure] = {}
    if record.get("window"):
        figures["window"] = dose_window(record["window"])
    if stages:
        figures["fewer"] = fewer_rows(stages, end_h)
    if record.get("pareto"):
        figures["pareto"] = pareto(record["pareto"])
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=150)
    return [folder / f"{name}.png" for name in figures]


@styled
def dose_window(said: Mapping[str, Any]) -> Figure:
    """Objective, and below it the excess of each limit, against the total dose of the best schedule times a factor.

    Horizontal axis all cells [10⁶ cells/kg], times and shares of the infusions as they are; the range in which every
    limit is kept is shaded. Excesses [-] are shown up to 1.

    Args:
        said: of `hepatojax.io.study.result.multiples_record`.
    """
    scan, total = said["scan"], said["total"]
    doses = total * np.asarray(scan["factor"])
    figure = new_figure(8.0, 5.6, "Window: the best schedule with more or fewer cells")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(1.2, 1.0))
    top.plot(doses, scan["objective"], "o-", ms=3, color=GAIN, label="objective")
    best = np.asarray(scan["objective"], float)[int(np.argmin(np.abs(np.asarray(scan["factor"]) - 1.0)))]
    top.plot([total], [best], "*", ms=10, color=BEST, label="best schedule", zorder=5)
    top.set_ylabel("objective")
    for number, (name, excess) in enumerate(scan["limits"].items()):
        style = {"color": HARMS[number % len(HARMS)], "linestyle": LINES[number % len(LINES)]}
        bottom.plot(doses, excess, label=label_of(name), **style)
    bottom.axhline(0.0, color="0.2", lw=1)
    bottom.set_ylabel("excess of each limit\n(0: at its bound)")
    bottom.set_ylim(-1.05, FARTHEST)
    bottom.set_xlabel(f"all cells [{printed(said['unit'])}]")
    for axes in (top, bottom):
        if said["allowed"] is not None:
            low, high = (end["total"] for end in said["allowed"])
            axes.axvspan(low, high, color=WINDOW, alpha=0.18, lw=0, label="every limit is kept", zorder=0)
        axes.axvline(total, color=BEST, lw=0.8, ls=":")
    if said["allowed"] is not None:
        ended = [label_of(end["ended_by"]) for end in said["allowed"]]
        top.set_title(f"ended below by: {ended[0]}; above by: {ended[1]}", loc="left")
    figure.legend(handles=_handles(top, bottom), loc="outside lower center", ncols=3)
    return figure


def fewer_rows(stages: Sequence[FewerInfusions], end_h: float) -> Figure:
    """The best schedules of ever fewer infusions, a row each, with objective and verdict.

    Horizontal axis days, vertical axes doses [10⁶ cells/kg].

    Args:
        stages: of `fewer_infusions`.
        end_h: end of the runs [h].
    """
    rows = []
    for stage in stages:
        assert stage.optimum.schedule is not None
        said = f"objective {stage.optimum.objective:.6g}" + ("" if stage.converged else f" ({stage.optimum.verdict})")
        rows.append(NamedSchedule(f"best of {len(stage.kept)}", stage.optimum.schedule, said))
    whole = rows[0]._replace(name="all infusions")
    heading = "the infusion that is missed least goes first"
    return schedule_rows({heading: [whole, *rows]}, end_h, "Ever fewer infusions")


@styled
def pareto(said: Mapping[str, Any]) -> Figure:
    """The best objective against the bound on one harm, with the slope of the front and the limits that are active.

    Horizontal axis the bound in its unit, vertical axis the objective in its own; below, a mark for each limit that is
    active. Points without an optimum are left out.

    Args:
        said: of `hepatojax.io.study.result.pareto_record`.
    """
    points = [point for point in said["points"] if point["verdict"] == "converged"]
    bounds, values = (np.asarray([point[key] for point in points], float) for key in ("bound", "objective"))
    names = list(dict.fromkeys(name for point in points for name in point["active"]))
    left_out = len(said["points"]) - len(points)
    title = "Best objective for each bound" + (f" ({left_out} without an optimum left out)" if left_out else "")
    figure = new_figure(7.0, 4.6 + 0.25 * len(names), title)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(4.0, 0.6 + 0.5 * max(len(names), 1)))
    top.plot(bounds, values, "o-", ms=4, color=GAIN, label="best objective")
    reach = 0.3 * np.diff(bounds).min(initial=np.inf) if len(bounds) > 1 else 0.0
    for bound, value, point in zip(bounds, values, points, strict=True):
        ends = np.asarray([-reach, reach])
        label = "slope, of the multiplier" if point is points[0] else None
        top.plot(bound + ends, value + point["slope"] * ends, color=BEST, lw=2.0, alpha=0.7, label=label)
    lowest, highest = top.get_ylim()
    top.set_ylim(*spanned(lowest, highest, finite_peak(np.abs(values))))  # a front that does not move is a level line
    top.set_ylabel("objective")
    top.legend(loc="lower right")
    for row, name in enumerate(names):
        active = [point["bound"] for point in points if name in point["active"]]
        bottom.plot(active, [row] * len(active), "s", ms=6, color=HARMS[row % len(HARMS)])
    bottom.set_yticks(range(len(names)), [label_of(name) for name in names])
    bottom.set_ylim(len(names) - 0.4, -0.6)
    bottom.set_title("active limits" if names else "no limit is active", loc="left")
    bottom.set_xlabel(f"bound on {with_unit(said['limit'], said['unit'])}, {said['at']}")
    return figure


def _handles(*panels: Any) -> list[Any]:
    """Handles of several panels, each label once."""
    found = [pair for axes in panels for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    return list({label: handle for handle, label in found}.values())
