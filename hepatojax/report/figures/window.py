"""Figures of therapeutic windows: gain and harms against the dose, and how far each uncertain factor moves a window.

They take studies and no bare window, so that none is shown without its band.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from hepatojax.report.figures.style import COLOURS, LINES, new_figure, short_name, spoken, styled
from hepatojax.studies.interval import BOUND, Edge, Window, WindowVerdict
from hepatojax.studies.window import AMPLIFICATION, FactorWindows, WindowStudy

WINDOW, BAND, BEST = COLOURS[2], "0.45", COLOURS[6]
GAIN, LOW, HIGH = COLOURS[0], COLOURS[4], COLOURS[5]
HARMS = (COLOURS[1], COLOURS[3], COLOURS[4], COLOURS[5], COLOURS[6])
HATCHES = {"lower": "////", "upper": "\\\\\\\\"}
FARTHEST = 1.0  # excess that the panel of harms shows [-]
EMPTY = {
    WindowVerdict.NO_GAIN: "empty: gain not reached",
    WindowVerdict.LIMIT_BROKEN: "empty: a limit is broken first",
    WindowVerdict.FAILED_SIMULATION: "unknown: simulation failed",
    WindowVerdict.FAILED_DOSES: "unknown: some simulations failed",
}


@styled
def window_curves(studies: Sequence[WindowStudy], gain: str = "") -> Figure:
    """Gain, and below it the excess of each limit, against the dose; one column a study.

    The window is shaded, its edges say what ends it, and hatched spans show how far the factors of the band move them.
    Horizontal axes are doses [cells/kg], logarithmic; above is the gain in the unit of the objective, below the excess
    of each limit over its bound [-], shown up to 1.

    Args:
        studies: at least one.
        gain: what it is, in words, with its unit.
    """
    figure = new_figure(1.0 + 3.4 * len(studies), 5.6, "Gain and harms against the dose")
    panels = figure.subplots(2, len(studies), squeeze=False, sharex=True, sharey="row", height_ratios=(1.2, 1.0))
    for (top, bottom), study in zip(panels.T, studies, strict=True):
        _draw_gain(top, study)
        _draw_harms(bottom, study)
        for axes in (top, bottom):
            _shade(axes, study)
        top.set_title(_title(study), pad=26)
        bottom.set_xlabel("dose [cells/kg]")
    panels[0, 0].set_ylabel(f"gain over no cells\n({gain})" if gain else "gain over no cells")
    panels[1, 0].set_ylabel("excess of each limit\n(0: at its bound)")
    for axes in panels[1]:
        axes.set_ylim(-1.05, FARTHEST)
    handles = [*panels[0, 0].get_legend_handles_labels()[0], *panels[1, 0].get_legend_handles_labels()[0]]
    handles += [Patch(color=WINDOW, alpha=0.18, label="window")]
    for part, hatch in HATCHES.items():
        label = f"where factors move its {part} edge"
        handles.append(Patch(facecolor="none", edgecolor=BAND, hatch=hatch, lw=0, label=label))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


@styled
def window_bars(studies: Sequence[WindowStudy]) -> Figure:
    """The window of each study as a bar, and below it the windows at both ends of every factor of the band.

    Factors are in the order of how far they move any edge. Horizontal axes are doses [cells/kg], logarithmic, over the
    bounds of the variable.

    Args:
        studies: at least one, all with the same factors.
    """
    names = _order(studies)
    figure = new_figure(2.4 + 3.0 * len(studies), 1.9 + 0.42 * (len(names) + 1), "Therapeutic window and its band")
    panels = figure.subplots(1, len(studies), squeeze=False, sharex=True, sharey=True)[0]
    for axes, study in zip(panels, studies, strict=True):
        by_name = {each.factor.name: each for each in study.band}
        _draw_nominal(axes, study.window)
        for row, name in enumerate(names, start=1):
            _draw_factor(axes, by_name[name], row)
        axes.set_xscale("log")
        axes.set_xlim(study.variable.low, study.variable.high)
        axes.set_title(spoken(study.name) + _band_unknown(study))
        axes.set_xlabel("dose [cells/kg]")
        axes.tick_params(axis="y", length=0)
    factors = {each.factor.name: each for each in studies[0].band}
    panels[0].set_yticks(range(len(names) + 1), ["as assumed", *(_factor_label(factors[name]) for name in names)])
    panels[0].set_ylim(len(names) + 0.6, -0.6)
    figure.legend(handles=_bar_legend(studies[0].window.share), loc="outside lower center", ncols=3)
    return figure


def _draw_gain(axes: Axes, study: WindowStudy) -> None:
    """The scanned doses with their gain, the gain that is wanted, the best dose with its flat range, and failures."""
    window, scan = study.window, study.window.scan
    axes.plot(scan.doses, scan.gain, "o-", ms=3, color=GAIN, label="gain")
    label = f"least gain worth having, {window.least_gain:g}"
    axes.axhline(window.least_gain, color=GAIN, lw=1, ls=LINES[1], label=label)
    axes.axhline(0.0, color="0.7", lw=0.8, zorder=0)
    axes.set_xscale("log")
    if window.best is not None:
        best = window.best
        axes.plot([best.dose], [best.gain], "*", ms=10, color=BEST, label="best dose in the window", zorder=5)
        flat = f"loses at most {100 * window.share:g} % of it"
        axes.plot([best.low, best.high], [best.gain] * 2, "-", lw=1.2, color=BEST, label=flat, marker="|")
    failed = scan.doses[scan.failed]
    if len(failed):
        marks = axes.get_xaxis_transform()
        axes.plot(failed, np.full(len(failed), 0.03), "x", color=COLOURS[1], transform=marks, label="no result")


def _draw_harms(axes: Axes, study: WindowStudy) -> None:
    """The excess of each limit at the scanned doses [-]; above the line of zero it is broken."""
    scan = study.window.scan
    for number, name in enumerate(study.limits):
        colour, line = HARMS[number % len(HARMS)], LINES[number % len(LINES)]
        axes.plot(scan.doses, scan.limits[:, number], color=colour, linestyle=line, label=limit_label(name))
    axes.axhline(0.0, color="0.2", lw=1)


def _shade(axes: Axes, study: WindowStudy) -> None:
    """The window, where the band moves its edges, and on the upper panel what ends it."""
    lower, upper = study.window.lower, study.window.upper
    for part, hatch in HATCHES.items():
        moved = study.moved(part)
        if moved and moved[1] > moved[0]:
            axes.axvspan(*moved, facecolor="none", edgecolor=BAND, alpha=0.6, hatch=hatch, lw=0, zorder=0)
    if lower is None or upper is None:
        return
    axes.axvspan(lower.dose, upper.dose, color=WINDOW, alpha=0.18, lw=0, zorder=0)
    for edge in (lower, upper):
        axes.axvline(edge.dose, color=WINDOW, lw=1.2)
    if axes.get_subplotspec().is_first_row():  # type: ignore[union-attr]
        for edge, side in ((lower, "left"), (upper, "right")):
            _name_edge(axes, edge, side, study)


def _name_edge(axes: Axes, edge: Edge, side: str, study: WindowStudy) -> None:
    """The dose at an edge and what ends the window there, above the panel."""
    variable = study.variable
    text = f"{_dose(edge.dose)}\n{limit_label(edge.active)}" if edge.active != BOUND else "bound of\nthe variable"
    crowded = not 0.15 < variable.place(edge.dose) < 0.85
    align = side if crowded else {"left": "right", "right": "left"}[side]
    style = {"ha": align, "va": "bottom", "fontsize": 7, "color": WINDOW}
    place = axes.get_xaxis_transform()
    axes.annotate(text, (edge.dose, 1.0), (0, 2), xycoords=place, textcoords="offset points", **style)


def _draw_nominal(axes: Axes, window: Window) -> None:
    """The window as assumed, its best dose and flat range; in words why there is none."""
    if window.lower is None or window.upper is None or window.best is None:
        axes.text(0.5, 0, EMPTY[window.verdict], transform=axes.get_yaxis_transform(), ha="center", va="center")
        return
    axes.barh(0, window.upper.dose - window.lower.dose, left=window.lower.dose, height=0.5, color=WINDOW, alpha=0.55)
    axes.plot([window.best.low, window.best.high], [0, 0], color=BEST, lw=1.5, marker="|")
    axes.plot(window.best.dose, 0, "*", ms=9, color=BEST)
    axes.axvspan(window.lower.dose, window.upper.dose, color=WINDOW, alpha=0.1, lw=0, zorder=0)


def _draw_factor(axes: Axes, each: FactorWindows, row: int) -> None:
    """Two thin bars: the window at the low and at the high end of a factor."""
    for window, colour, at in ((each.at_low, LOW, row - 0.17), (each.at_high, HIGH, row + 0.17)):
        if window.lower is None or window.upper is None or window.best is None:
            place = axes.get_yaxis_transform()
            axes.text(0.5, at, EMPTY[window.verdict], transform=place, ha="center", va="center", fontsize=6.5)
            continue
        axes.barh(at, window.upper.dose - window.lower.dose, left=window.lower.dose, height=0.28, color=colour)
        axes.plot(window.best.dose, at, "*", ms=5, color=BEST)


def _bar_legend(share: float) -> list[Patch | Line2D]:
    return [
        Patch(color=WINDOW, alpha=0.55, label="window as assumed"),
        Patch(color=LOW, label="factor at its lowest"),
        Patch(color=HIGH, label="factor at its highest"),
        Line2D([], [], color=BEST, marker="*", lw=0, ms=8, label="best dose"),
        Line2D([], [], color=BEST, marker="|", lw=1.5, label=f"loses at most {100 * share:g} % of the best gain"),
    ]


def _order(studies: Sequence[WindowStudy]) -> list[str]:
    """Names of the factors, the one that moves edges farthest first; one that empties a window comes before all."""

    def moves(name: str) -> float:
        found = [_moved(study.window, each) for study in studies for each in study.band if each.factor.name == name]
        return max(found)

    return sorted((each.factor.name for each in studies[0].band), key=moves, reverse=True)


def _moved(window: Window, each: FactorWindows) -> float:
    """How far an edge moves, in decades of the dose."""
    if not all(w.open for w in (window, each.at_low, each.at_high)):  # one that is unknown may move it just as far
        return float("inf") if window.open else 0.0
    edges = [(w.lower.dose, w.upper.dose) for w in (window, each.at_low, each.at_high)]  # type: ignore[union-attr]
    return float(np.ptp(np.log10(edges), axis=0).max())


def _title(study: WindowStudy) -> str:
    empty = "" if study.window.open else f"\n{EMPTY[study.window.verdict]}"
    return f"{spoken(study.name)}{empty}{_band_unknown(study)}"


def _band_unknown(study: WindowStudy) -> str:
    """How many windows of the band are not known, for a title; empty if all are."""
    count = len(study.unknown)
    return f"\nthe band may be wider: {count} of {2 * len(study.band)} windows not known" if count else ""


def _factor_label(each: FactorWindows) -> str:
    """A factor with its range and unit, for the vertical axis."""
    factor = each.factor
    unit = "" if factor.unit in ("-", "") else f" {factor.unit}"
    return f"{spoken(factor.name.removeprefix(AMPLIFICATION))}\n{factor.low:g} to {factor.high:g}{unit}"


def limit_label(name: str) -> str:
    """The name of a limit as a reader says it: "blocked fraction, peak".

    Args:
        name: as `Program.limits` has it; another text is only spoken.
    """
    words = name.split()
    if words[-1] not in ("most", "least"):
        return spoken(name)
    return ", ".join([short_name(words[0]), *words[1:-1]])


def _dose(dose: float) -> str:
    """A dose to two digits with a power of ten, in the mathematics of matplotlib."""
    mantissa, exponent = f"{dose:.1e}".split("e")
    return rf"${mantissa}\times10^{{{int(exponent)}}}$"
