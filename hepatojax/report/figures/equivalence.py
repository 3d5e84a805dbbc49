"""Figure of doses of equal gain against attributes of the product, with their derivative, and what each is worth."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from hepatojax.report.figures.style import COLOURS, LINES, new_figure, styled
from hepatojax.studies.equivalence import EquivalentDose

REACH = 2.0**0.25  # of a tangent to both sides, as a factor
BARS = 0.76  # of the room of an attribute, for the bars of all routes


@styled
def equal_gain(
    curves: Mapping[str, Mapping[str, tuple[EquivalentDose, ...]]], worth: Mapping[str, Mapping[str, float]], title: str
) -> Figure:
    """Doses of equal gain with their tangents, and beside them what a little more of each attribute is worth.

    Left, both axes logarithmic: dose [cells/kg] against the attribute [-], a dot where a dose is known, and its
    tangent, dose x (value / value there)^elasticity. Right: percent of the dose saved by a percent more of the
    attribute, which is minus the elasticity.

    Args:
        curves: route -> attribute -> its doses of equal gain.
        worth: route -> attribute -> elasticity [-].
        title: of the figure.
    """
    figure = new_figure(10.0, 4.2, title)
    left, right = figure.subplots(1, 2, width_ratios=(1.1, 1.0))
    for (route, by_attribute), colour in zip(curves.items(), COLOURS, strict=False):
        for (name, curve), line in zip(by_attribute.items(), LINES, strict=False):
            _draw_curve(left, curve, colour, line, f"{name}, {route}")
    values = [each.value for by_attribute in curves.values() for curve in by_attribute.values() for each in curve]
    left.set(xscale="log", yscale="log", xlabel="attribute of the product [-]", ylabel="dose of equal gain [cells/kg]")
    ticks = 2.0 ** np.arange(np.floor(np.log2(min(values))), np.ceil(np.log2(max(values))) + 1)
    left.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    left.xaxis.set_minor_formatter(NullFormatter())
    left.set_title("dots: dose; lines: its exact derivative")
    left.legend(fontsize=8)
    _draw_worth(right, worth)
    return figure


def _draw_curve(axes: Axes, curve: tuple[EquivalentDose, ...], colour: str, line: object, label: str) -> None:
    """Known doses of one attribute as dots, each with a short piece of its tangent to both sides."""
    known = [each for each in curve if not each.reason]
    axes.plot([each.value for each in known], [each.dose for each in known], "o", ms=3.5, color=colour)
    for number, each in enumerate(known):
        reach = np.asarray([1.0 / REACH, REACH])
        style = {"color": colour, "linestyle": line, "lw": 1.2, "label": label if number == 0 else None}
        axes.plot(each.value * reach, each.dose * reach**each.elasticity, **style)


def _draw_worth(axes: Axes, worth: Mapping[str, Mapping[str, float]]) -> None:
    """Bars of minus the elasticity [-], grouped by attribute, a colour for each route."""
    names, width = list(next(iter(worth.values()))), BARS / len(worth)
    for number, ((route, found), colour) in enumerate(zip(worth.items(), COLOURS, strict=False)):
        at = np.arange(len(names)) + width * (number - 0.5 * (len(worth) - 1))
        bars = axes.barh(at, [-found[name] for name in names], 0.95 * width, color=colour, label=route)
        axes.bar_label(bars, [f"{-found[name]:.3f}" for name in names], padding=3, fontsize=7)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.margins(x=0.2)
    axes.set_xlabel("dose saved by a little more of it\n[% of the dose per % of the attribute]")
    axes.legend(loc="center right")
