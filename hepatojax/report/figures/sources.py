"""Who made the signals: the source fluxes that the solver used, stacked by origin.

A result names such a series `source_<what>_by_<origin>`, for example `source_hgf_by_msc`. What is no signal has a panel
and a unit of its own: HGF made active by the matrix, and effector T cells that regulation holds back.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hepatojax.io.results import RunFile
from hepatojax.report.figures.style import (
    COLOURS,
    MissingQuantity,
    Runs,
    day_axis,
    days_of,
    finite_peak,
    new_figure,
    printed,
    source_name,
    spoken,
    styled,
)

PREFIX, BY = "source_", "_by_"
ROOM_FOR_LEGEND = 1.45
LEGEND_ROWS = 3


@styled
def signal_sources(runs: Runs) -> Figure:
    """A column for each signal, a row for each arm; the share of each origin over the run stands in the legend.

    Horizontal axes are days, vertical ones the unit of the sources, which stands in the title of a column; the arms
    share it.

    Args:
        runs: arm -> result; the signals of the first are shown.

    Raises:
        MissingQuantity: no source series in the first result.
    """
    first = next(iter(runs.values()))
    whats = list(dict.fromkeys(name[len(PREFIX) :].split(BY)[0] for name in first.series if name.startswith(PREFIX)))
    if not whats:
        raise MissingQuantity(f"{first.path} has no series source_<signal>_by_<origin>")
    figure = new_figure(1.0 + 2.9 * len(whats), 1.0 + 2.6 * len(runs), "Who made the signals")
    panels = figure.subplots(len(runs), len(whats), squeeze=False, sharex=True, sharey="col")
    for row, (arm, run) in zip(panels, runs.items(), strict=True):
        for axes, what in zip(row, whats, strict=True):
            _draw_stack(axes, run, what)
        row[0].set_ylabel(spoken(arm))
    for axes, what in zip(panels[0], whats, strict=True):
        unit = first.series_units[next(name for name in first.series if name.startswith(f"{PREFIX}{what}{BY}"))]
        axes.set_title(f"{source_name(what)} [{printed(unit)}]")
        top = max(finite_peak(_total(run, what)) for run in runs.values())
        axes.set_ylim(0.0, ROOM_FOR_LEGEND * top or 1.0)
    for axes in panels[-1]:
        day_axis(axes)
    return figure


def source_shares(run: RunFile, what: str) -> dict[str, float]:
    """Share of each origin in the time integral of a signal's sources [-]; zero if nothing was made, NaN if unknown.

        share = integral of one origin / integral of all, by the trapezoidal rule over the macro-steps

    Args:
        run: an opened result.
        what: is made, the first part of `source_<what>_by_<origin>`.

    Returns:
        Origin -> share, in the order of the file.
    """
    parts = {origin: _integral(run, values) for origin, values in _origins(run, what).items()}
    total = sum(parts.values())
    return {origin: 0.0 if total <= 0 else part / total for origin, part in parts.items()}


def _draw_stack(axes: Axes, run: RunFile, what: str) -> None:
    """The origins on each other, with a gap where one of them is unknown; what has no share stands without one."""
    origins, known = _origins(run, what), np.isfinite(_total(run, what))
    shown = [np.where(known, values, np.nan) for values in origins.values()]
    labels = [_label(origin, share) for origin, share in source_shares(run, what).items()]
    axes.stackplot(days_of(run), *shown, labels=labels, colors=COLOURS[: len(origins)], alpha=0.85)
    columns = 1 if len(origins) <= LEGEND_ROWS else 2
    axes.legend(loc="upper left", fontsize=7, ncols=columns, handlelength=1.0, columnspacing=0.8)


def _label(origin: str, share: float) -> str:
    percent = "100" if share >= 0.995 else f"{100 * share:.2g}"  # two digits would make 1e+02 of it
    return f"{source_name(origin)} {percent} %" if np.isfinite(share) else source_name(origin)


def _total(run: RunFile, what: str) -> Float[np.ndarray, " n"]:
    """All origins together at each macro-step (n,), in the unit of the sources."""
    return np.sum(list(_origins(run, what).values()), axis=0)


def _origins(run: RunFile, what: str) -> dict[str, Float[np.ndarray, " n"]]:
    """Origin -> its source at each macro-step (n,), in the unit of the series."""
    start = f"{PREFIX}{what}{BY}"
    return {name[len(start) :]: values for name, values in run.series.items() if name.startswith(start)}


def _integral(run: RunFile, values: Float[np.ndarray, " n"]) -> float:
    return float(np.trapezoid(values, run.series_times_h))
