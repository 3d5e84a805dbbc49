"""The ledger: does what entered equal what left and what stayed, each term integrated on its own.

The figures take the numbers from the ledger that is written into the result when a run ends. The bound is that of the
precision of the fields, which is taken from the first result.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hepatojax.io.results import RunFile
from hepatojax.report.figures.style import COLOURS, MissingQuantity, Runs, new_figure, spoken, styled

BOUNDS = {"float64": 1e-9, "float32": 1e-4}
SMALLEST = 1e-17


@styled
def ledger(runs: Runs) -> Figure:
    """Relative error of every balance beside its bound, and the terms of every balance as shares of what entered.

    A row for each balance. Left: |error| over what entered [-] on a logarithmic axis, a dot for each arm, dashed the
    bound (1e-9 in float64, 1e-4 in float32). Then for each arm the terms over what entered [-]: to the left what
    entered, to the right what left or stayed.

    Args:
        runs: arm -> finished result.

    Raises:
        MissingQuantity: a result was not finished, so that it holds no ledger.
    """
    ledgers = {arm: ledger_of(run) for arm, run in runs.items()}
    names = list(next(iter(ledgers.values())))
    figure = new_figure(11.0, 1.4 + 0.42 * len(names) + 0.2 * len(runs), "Ledger")
    errors, *shares = figure.subplots(
        1, 1 + len(runs), sharey=True, squeeze=False, width_ratios=[1.2] + [1] * len(runs)
    )[0]
    _draw_errors(errors, ledgers, names, next(iter(runs.values())).provenance.get("precision", "float32"))
    for axes, (arm, entries) in zip(shares, ledgers.items(), strict=True):
        axes.set_title(f"terms over what entered\n{spoken(arm)}")
        _draw_terms(axes, entries, names)
    errors.set_yticks(range(len(names)), [spoken(name) for name in names])
    errors.invert_yaxis()
    figure.legend(*errors.get_legend_handles_labels(), loc="outside upper right", ncols=len(runs))
    return figure


def ledger_of(run: RunFile) -> dict[str, dict[str, Any]]:
    """The ledger kept in a result: quantity -> {terms: term -> integral, gained, error}.

    Args:
        run: finished.

    Returns:
        Integrals over the run in the unit of each quantity, what entered positive.

    Raises:
        MissingQuantity: the run has not ended.
    """
    if "ledger" not in run.provenance:
        raise MissingQuantity(f"{run.path} holds no ledger; it is written when a run ends")
    return json.loads(run.provenance["ledger"])


def relative_error(entry: Mapping[str, Any]) -> float:
    """Error of a balance over what entered; the error itself where nothing entered.

    Args:
        entry: of one quantity, with its `error` and what it `gained` in the unit of the quantity.
    """
    return entry["error"] / entry["gained"] if entry["gained"] > 0 else entry["error"]


def _draw_errors(axes: Axes, ledgers: Mapping[str, Mapping], names: list[str], precision: str) -> None:
    """Errors of all arms, a little apart in each row; an error of zero is shown as 1e-17."""
    for number, (arm, entries) in enumerate(ledgers.items()):
        errors = [max(abs(relative_error(entries[name])), SMALLEST) for name in names]
        places = [row + 0.15 * (number - 0.5 * (len(ledgers) - 1)) for row in range(len(names))]
        axes.plot(errors, places, "o", ms=5, color=COLOURS[number % len(COLOURS)], label=spoken(arm))
    axes.axvline(BOUNDS[precision], color="0.4", linestyle="--", linewidth=1.0)
    axes.set_xscale("log")
    axes.set_xlim(0.1 * SMALLEST, 1.0)
    axes.set_title(f"error over what entered\nbound {BOUNDS[precision]:g} ({precision})")


def _draw_terms(axes: Axes, entries: Mapping[str, Any], names: list[str]) -> None:
    """Bars to the left for what entered, to the right for what left or stayed, each term with its name."""
    for row, name in enumerate(names):
        gained = entries[name]["gained"] or 1.0
        left, right = 0.0, 0.0
        for number, (term, value) in enumerate(entries[name]["terms"].items()):
            share = -value / gained
            start = right if share > 0 else left
            axes.barh(row, share, left=start, height=0.6, color=COLOURS[number % len(COLOURS)], alpha=0.8)
            if abs(share) > 0.15:
                axes.text(
                    start + 0.5 * share, row, spoken(term).replace(" ", "\n"), ha="center", va="center", fontsize=6
                )
            left, right = (left, right + share) if share > 0 else (left + share, right)
    axes.axvline(0.0, color="black", linewidth=0.8)
    axes.set_xlim(-1.15, 1.15)
    axes.set_xlabel("entered    |    left or stayed")
