"""Porto-central profiles: means of fields over layers of equal zone coordinate.

The coordinate is 0 at the portal vessels and 1 at the central vein. All cells of a layer count alike, in the whole
volume and not in the middle plane alone.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Shaped
from matplotlib import colormaps
from matplotlib.figure import Figure

from hepatojax.io.results import RunFile
from hepatojax.report.figures.maps import CELLS, SUPPLY, tissue
from hepatojax.report.figures.style import (
    HOURS_PER_DAY,
    MissingQuantity,
    Runs,
    chosen_times,
    new_figure,
    spanned,
    spoken,
    styled,
    with_unit,
)

LAYERS = 16


@styled
def zonal_profiles(runs: Runs) -> Figure:
    """A column for each field, a row for each arm, a line for each chosen day.

    Horizontal axes are the zone coordinate [-], 0 portal to 1 central, vertical ones the unit of the field, which
    stands in the title of its column; the arms share it.

    Args:
        runs: arm -> result; the fields of the first are shown.

    Raises:
        MissingQuantity: a result has no zone map or none of the fields.
    """
    first = next(iter(runs.values()))
    names = [name for name in (*SUPPLY, *CELLS) if name in first.fields]
    if "zone" not in first.static or not names:
        raise MissingQuantity(f"{first.path} holds no zone map, or none of the fields that vary along it")
    figure = new_figure(1.4 + 1.7 * len(names), 1.2 + 1.7 * len(runs), "Porto-central profiles")
    panels = figure.subplots(len(runs), len(names), squeeze=False, sharex=True, sharey="col")
    for row, (arm, run) in zip(panels, runs.items(), strict=True):
        times = chosen_times(run)
        colours = colormaps["viridis"](np.linspace(0.0, 0.9, len(times)))
        for axes, name in zip(row, names, strict=True):
            for time_h, colour in zip(times, colours, strict=True):
                layer, mean = zonal_mean(run, run.field_at(name, time_h))
                marker = "o" if len(layer) == 1 else ""  # a well-mixed lobule has no profile
                axes.plot(layer, mean, marker=marker, color=colour, label=f"day {time_h / HOURS_PER_DAY:g}")
        row[0].set_ylabel(spoken(arm))
    for axes, name in zip(panels[0], names, strict=True):
        axes.set_title(with_unit(name, first.units[name]).replace(" [", "\n[").replace(" (", "\n("))
        low, high = axes.get_ylim()
        axes.set_ylim(*spanned(low, high, high))
    for axes in panels[-1]:
        axes.set_xticks([0.0, 0.5, 1.0], ["portal", "mid", "central"])
    panels[0][-1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def zonal_mean(
    run: RunFile, field: Shaped[np.ndarray, "nz ny nx"]
) -> tuple[Float[np.ndarray, " l"], Float[np.ndarray, " l"]]:
    """Means of a field over layers of the zone coordinate; layers without a cell are left out.

        layer = min(floor(16 zone), 15),   mean = sum of the field over its cells / their number

    Args:
        run: with the map `zone`.
        field: values (nz, ny, nx), any unit.

    Returns:
        Middle of each layer (0 portal, 1 central) [-], and the mean of the field in it in its unit, each (l,).
    """
    inside = tissue(run)
    layer = np.minimum((run.static["zone"][inside] * LAYERS).astype(int), LAYERS - 1)
    count = np.bincount(layer, minlength=LAYERS)
    total = np.bincount(layer, weights=field[inside].astype(np.float64), minlength=LAYERS)
    filled = count > 0
    return ((np.arange(LAYERS) + 0.5) / LAYERS)[filled], total[filled] / count[filled]
