"""What all figures share: fonts, colours that colour-blind readers can tell apart, short names with units.

A figure is made without a window and without matplotlib's global state, so that it can be drawn on a machine without a
display and beside a user's own figures. Each has the disclaimer at its foot. Units are those of the result file, in a
readable spelling; times of series and infusions are shown in days.

Reference: RELIABILITY 2.2 (the disclaimer).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec

import numpy as np
from jaxtyping import Float
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hepatojax.io.provenance import DISCLAIMER
from hepatojax.io.results import RunFile

P = ParamSpec("P")
HOURS_PER_DAY = 24.0
SMALLEST_SPAN = 1e-3  # of an axis, as a share of the values on it
LEFT_INCH = 0.1  # beside every figure: the layout of maps cuts the labels of the axis by so much
FOOT_INCH = 0.15  # below every figure, for the disclaimer

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito (2008)
LINES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (5, 1, 1, 1)))
SHORT_NAMES = {
    "pressure": "pressure (portal 1, central 0)",
    "flow_speed": "superficial speed of blood",
    "oxygen": "pO$_2$",
    "hgf": "HGF in tissue",
    "quiescent": "quiescent hepatocytes",
    "primed": "primed hepatocytes",
    "injured": "injured hepatocytes",
    "msc_adherent": "adherent MSC",
    "functional_mass": "functional mass",
    "meld": "MELD",
    "blocked_peak": "plugged sinusoids",
    "bilirubin_mg_dl": "bilirubin",
    "albumin_g_l": "albumin",
    "inr": "INR",
}
SIGNALS = {
    "hgf": "HGF",
    "tnf": "TNF",
    "il6": "IL-6",
    "il10": "IL-10",
    "tgf_beta": "TGF-β",
    "vegf": "VEGF",
    "cxcl12": "CXCL12",
    "msc": "MSC",
}
SOURCES = {
    "education": "educated phagocytes",
    "hgf": "HGF made in the lobule",
    "active_hgf": "HGF made active",
    "restraint": "effector T cells held back",
    "m2": "new M2 macrophages",
    "macrophage_m2": "M2 macrophages",
    "resident": "resident cells",
    "itself": "M2 renewal",
    "debris": "uptake of debris",
    "constitutive": "without injury",
    "matrix_under_load": "matrix, load",
    "matrix_at_debris": "matrix, debris",
}
Runs = Mapping[str, RunFile]


class MissingQuantity(ValueError):
    """A result lacks what a figure shows; one sentence names it. The figure is left out, the others are drawn."""


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in the style of the house, leaving matplotlib's own settings as they are.

    Args:
        draw: makes a figure.

    Returns:
        The same function, whose figure has the disclaimer at its foot.
    """

    @wraps(draw)
    def wrapped(*arguments: P.args, **keywords: P.kwargs) -> Figure:
        with rc_context(STYLE):
            figure = draw(*arguments, **keywords)
            figure.text(0.995, 0.002, DISCLAIMER, ha="right", va="bottom", fontsize=6, color="0.5")
            return figure

    return wrapped


def new_figure(width: float, height: float, title: str) -> Figure:
    """An empty figure [inch] with a title; it belongs to no window and to no global state.

    Args:
        width: of the whole figure [inch].
        height: of the whole figure [inch], the foot with the disclaimer included.
        title: stands at the upper left.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    left, foot = LEFT_INCH / width, FOOT_INCH / height
    figure.get_layout_engine().set(rect=(left, foot, 1.0 - left, 1.0 - foot))  # type: ignore
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    return figure


def short_name(name: str) -> str:
    """The name of a stored field or series as a reader says it.

    Args:
        name: as in the result file; one without a short form has its underscores replaced.
    """
    return SHORT_NAMES.get(name, spoken(name))


def spoken(name: str) -> str:
    """The name of a signal, an origin, an arm or a term as a reader says it.

    Args:
        name: as in the scenario or the result file.
    """
    return SIGNALS.get(name, name.replace("_", " ").replace("msc", "MSC"))


def source_name(name: str) -> str:
    """The name of what is made, or of who makes it, as a reader says it.

    Args:
        name: either part of a series `source_<what>_by_<origin>`.
    """
    return SOURCES.get(name, spoken(name))


def with_unit(name: str, unit: str) -> str:
    """Short name and unit; a number without unit stands alone.

    Args:
        name: of a field or series.
        unit: as in the result file.

    Returns:
        Such as "bilirubin [mg/dl]".
    """
    unit = printed(unit)
    return short_name(name) if unit in ("-", "1", "") else f"{short_name(name)} [{unit}]"


def printed(unit: str) -> str:
    """A unit of the result file as a figure prints it.

    Args:
        unit: such as "um" or "1e6 cells", which become "µm" and "10⁶ cells".
    """
    return unit.replace("um", "µm").replace("m2", "m²").replace("m3", "m³").replace("1e6", "10⁶")


def finite_peak(values: Float[np.ndarray, " n"]) -> float:
    """The largest finite value, at least zero: an axis cannot end at a value that is no number.

    Args:
        values: (n,), any unit; all nan gives 0.
    """
    return float(values.max(initial=0.0, where=np.isfinite(values)))


def spanned(lowest: float, highest: float, value: float) -> tuple[float, float]:
    """Limits of an axis, widened about their middle to a thousandth of a value, so that rounding stays flat.

    Args:
        lowest: limit of the axis as drawn, in the unit of the axis.
        highest: the other limit.
        value: largest value shown, whose thousandth is the smallest span; at zero the span is 1.

    Returns:
        Lower and upper limit.
    """
    span = SMALLEST_SPAN * abs(value) or 1.0
    if highest - lowest >= span:
        return lowest, highest
    middle = 0.5 * (lowest + highest)
    return middle - 0.5 * span, middle + 0.5 * span


def require(run: RunFile, names: Sequence[str]) -> None:
    """Refuse a result without these series.

    Args:
        run: an opened result.
        names: of series that a figure cannot do without.

    Raises:
        MissingQuantity: names the first that is missing.
    """
    for name in names:
        if name not in run.series:
            raise MissingQuantity(f"{run.path} has no series {name!r}")


def chosen_times(run: RunFile, count: int = 4) -> Float[np.ndarray, " c"]:
    """At most `count` saved times [h], evenly spread, the first and the last among them.

    Args:
        run: an opened result; one with fewer saves gives all of them.
        count: of panels or lines that have room.

    Returns:
        Saved times (c,) [h].
    """
    places = np.linspace(0, len(run.times_h) - 1, min(count, len(run.times_h)))
    return run.times_h[np.round(places).astype(int)]


def days_of(run: RunFile) -> Float[np.ndarray, " n"]:
    """Times of the series [d].

    Args:
        run: whose macro-steps are counted from the start of the run.

    Returns:
        Ends of macro-steps (n,) [d].
    """
    return run.series_times_h / HOURS_PER_DAY


def day_axis(axes: Axes) -> None:
    """Label the horizontal axis in days."""
    axes.set_xlabel("day")
    axes.margins(x=0.02)
