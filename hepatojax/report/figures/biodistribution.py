"""Where the infused cells are: viable cells and label in each organ, and how many a lobule may expect."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hepatojax.io.results import RunFile
from hepatojax.report.figures.style import (
    COLOURS,
    LINES,
    MissingQuantity,
    Runs,
    day_axis,
    days_of,
    finite_peak,
    new_figure,
    printed,
    require,
    spoken,
    styled,
)

ORGANS = ("lung", "liver", "spleen", "other")
KINDS = {"msc": "viable cells", "label": "label"}
DECADES = 4.0


@styled
def biodistribution(runs: Runs) -> Figure:
    """A row for each arm with an infusion: viable cells, label, expected cells per lobule.

    Horizontal axes are days, vertical ones logarithmic from four decades below the peak: cells in each organ [10⁶
    cells], and cells in one lobule [cells], where the line of one cell is drawn.

    Args:
        runs: arm -> result.

    Raises:
        MissingQuantity: a result lacks the pools of an organ or the cells per lobule, or no arm has an infusion.
    """
    for run in runs.values():
        require(run, [f"{kind}_{place}" for kind in KINDS for place in (*ORGANS, "per_lobule")])
    shown = {arm: run for arm, run in runs.items() if _peak(run, "label_other") + _peak(run, "label_liver") > 0}
    if not shown:
        raise MissingQuantity("no arm holds infused cells")
    figure = new_figure(10.0, 1.2 + 2.1 * len(shown), "Biodistribution of the infused cells")
    panels = figure.subplots(len(shown), len(KINDS) + 1, squeeze=False, sharex=True)
    for row, (arm, run) in zip(panels, shown.items(), strict=True):
        for axes, kind in zip(row, KINDS, strict=False):
            _draw_organs(axes, run, kind)
        _draw_per_lobule(row[-1], run)
        row[0].set_ylabel(f"{spoken(arm)}\n[{printed('1e6 cells')}]")
    for axes, title in zip(panels[0], (*KINDS.values(), "expected cells per lobule"), strict=True):
        axes.set_title(title)
    for axes in panels[-1]:
        day_axis(axes)
    panels[0, 1].legend(loc="upper left", bbox_to_anchor=(0.0, 1.02), ncols=2, fontsize=8)
    panels[0, 2].legend(loc="lower right", fontsize=8)
    return figure


def _draw_organs(axes: Axes, run: RunFile, kind: str) -> None:
    """One kind of cells in lung, liver, spleen and elsewhere."""
    for colour, line, organ in zip(COLOURS, LINES, ORGANS, strict=False):
        axes.plot(days_of(run), run.series[f"{kind}_{organ}"], color=colour, linestyle=line, label=organ)
    _logarithmic(axes, max(_peak(run, f"{kind}_{organ}") for organ in ORGANS))


def _draw_per_lobule(axes: Axes, run: RunFile) -> None:
    """Viable and labelled cells with the line of one cell, below which most lobules hold none."""
    for kind, line in (("msc", "-"), ("label", ":")):
        axes.plot(days_of(run), run.series[f"{kind}_per_lobule"], color=COLOURS[1], linestyle=line, label=KINDS[kind])
    axes.axhline(1.0, color="0.6", linewidth=0.8, label="one cell")
    _logarithmic(axes, max(1.0, *(_peak(run, f"{kind}_per_lobule") for kind in KINDS)))


def _logarithmic(axes: Axes, peak: float) -> None:
    """A logarithmic axis over four decades below the peak; empty pools leave it linear."""
    if peak > 0:
        axes.set_yscale("log")
        axes.set_ylim(peak * 10.0**-DECADES, peak * 10.0)


def _peak(run: RunFile, name: str) -> float:
    return finite_peak(run.series[name])
