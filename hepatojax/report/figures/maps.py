"""Maps of fields in the middle plane of the lobule, in physical units, at chosen days.

The axes are x and y [µm], centred on the domain. Vessels are outlined in white, what is outside the tissue is left
grey. A row has one colour scale for all its days, so that colours can be compared over time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Shaped
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from hepatojax.io.results import RunFile
from hepatojax.report.figures.style import (
    HOURS_PER_DAY,
    MissingQuantity,
    chosen_times,
    new_figure,
    spanned,
    spoken,
    styled,
    with_unit,
)

SUPPLY = ("pressure", "flow_speed", "oxygen", "hgf")
CELLS = ("quiescent", "primed", "injured", "debris", "msc_adherent")
COLOUR_MAPS = {"pressure": "cividis", "flow_speed": "cividis", "oxygen": "magma", "hgf": "viridis"}
FLOATING = ("pressure", "oxygen")  # colour scales that need not start at zero
CAPPED = {"flow_speed": 98.0}  # percentile at which a colour scale ends
PANEL_INCH = 2.2
OUTSIDE = 0  # of the label map, see `hepatojax.tissue.geometry`


@styled
def supply_maps(run: RunFile, arm: str) -> Figure:
    """Pressure, flow, oxygen and HGF, as far as they were saved.

    Colour bars: pressure [-], speed of blood [µm/s], oxygen [mmHg], HGF [nM].

    Args:
        run: of one arm.
        arm: its name, for the title.

    Raises:
        MissingQuantity: none of the fields was saved.
    """
    return field_maps(run, f"Supply of the lobule, {spoken(arm)}", SUPPLY)


@styled
def cell_maps(run: RunFile, arm: str) -> Figure:
    """The states of the hepatocytes, and the MSC, as far as they were saved.

    Colour bars have the units of the result file.

    Args:
        run: of one arm.
        arm: its name, for the title.

    Raises:
        MissingQuantity: none of the fields was saved.
    """
    return field_maps(run, f"Cells of the lobule, {spoken(arm)}", CELLS)


def field_maps(run: RunFile, title: str, names: Sequence[str], times_h: Sequence[float] | None = None) -> Figure:
    """A row for each field, a column for each time, one colour scale for each row.

    Args:
        run: the result.
        title: of the figure.
        names: fields wanted; those that were not saved are left out.
        times_h: saved times [h]; by default four, evenly spread.

    Raises:
        MissingQuantity: none of the fields was saved.
    """
    shown = [name for name in names if name in run.fields]
    if not shown:
        raise MissingQuantity(f"{run.path} holds none of the fields {', '.join(names)}; add them to run.fields")
    times = chosen_times(run) if times_h is None else np.asarray(times_h)
    width, height = _panel_size(run)
    figure = new_figure(1.8 + (width + 0.1) * len(times), 1.0 + (height + 0.1) * len(shown), title)
    panels = figure.subplots(len(shown), len(times), squeeze=False, sharex=True, sharey=True)
    for row, name in zip(panels, shown, strict=True):
        _draw_row(figure, row, run, name, times)
    for axes, time_h in zip(panels[0], times, strict=True):
        axes.set_title(f"day {time_h / HOURS_PER_DAY:g}")
    for axes in panels[-1]:
        axes.set_xlabel("x [µm]")
    return figure


def tissue(run: RunFile) -> Bool[np.ndarray, "nz ny nx"]:
    """True where there is tissue; everywhere if the result holds no label map.

    Args:
        run: whose map `labels` is 0 outside.

    Returns:
        Mask (nz, ny, nx); vessels count as tissue.
    """
    labels = run.static.get("labels")
    return np.ones(run.shape, dtype=bool) if labels is None else labels != OUTSIDE


def middle_plane(run: RunFile, field: Shaped[np.ndarray, "nz ny nx"]) -> Shaped[np.ma.MaskedArray, "ny nx"]:
    """The middle plane across the lobule, masked outside the tissue.

    Args:
        run: of the field.
        field: values (nz, ny, nx), any unit.

    Returns:
        Values (ny, nx) of the layer nz // 2.
    """
    middle = run.shape[0] // 2
    return np.ma.masked_where(~tissue(run)[middle], field[middle])


def colour_limits(name: str, planes: Sequence[np.ma.MaskedArray]) -> tuple[float, float, bool]:
    """Lowest and highest value of a colour scale, and whether some cells lie above it; values not finite do not count.

    Fields but pressure and oxygen start at zero. The speed of blood ends at a percentile: at the vessels it is many
    times that of the tissue.

    Args:
        name: of the field.
        planes: what the row shows, each (ny, nx), masked outside the tissue.

    Returns:
        Limits in the unit of the field; 0 and 1 where there is no finite value.
    """
    values = np.concatenate([plane.compressed() for plane in planes]).astype(np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0, False
    lowest, largest = values.min(), values.max()
    highest = np.percentile(values, CAPPED[name]) if name in CAPPED else largest
    if name in FLOATING:
        lowest, highest = spanned(lowest, highest, largest)
    else:
        lowest = min(0.0, lowest)
        highest = highest if highest > lowest else lowest + 1.0
    return float(lowest), float(highest), bool(largest > highest)


def _panel_size(run: RunFile) -> tuple[float, float]:
    """Width and height of a map [inch], in the proportions of the domain, thin domains widened to be seen."""
    _, height, width = (n * h for n, h in zip(run.shape, run.spacing_um, strict=True))
    return max(PANEL_INCH * width / max(width, height), 1.0), max(PANEL_INCH * height / max(width, height), 1.0)


def _draw_row(figure: Figure, row: np.ndarray, run: RunFile, name: str, times_h: Float[np.ndarray, " c"]) -> None:
    """One field at all chosen times, with one colour bar that says its unit and, if it is capped, where it ends."""
    planes = [middle_plane(run, run.field_at(name, time_h)) for time_h in times_h]
    lowest, highest, above = colour_limits(name, planes)
    image = [_draw_plane(axes, run, plane, name) for axes, plane in zip(row, planes, strict=True)][-1]
    for axes in row:
        axes.images[0].set_clim(lowest, highest)
    row[0].set_ylabel("y [µm]")
    label = with_unit(name, run.units[name]) + (f"\nends at percentile {CAPPED[name]:g}" if above else "")
    extend = "max" if above else "neither"
    figure.colorbar(image, ax=list(row), label=label, extend=extend, fraction=0.05, aspect=14, pad=0.01)


def _draw_plane(axes: Axes, run: RunFile, plane: Shaped[np.ma.MaskedArray, "ny nx"], name: str) -> AxesImage:
    """One plane with the outlines of the tissue and of its vessels, the axes centred on the domain."""
    half_y, half_x = (0.5 * n * h for n, h in zip(run.shape[1:], run.spacing_um[1:], strict=True))
    extent = (-half_x, half_x, -half_y, half_y)
    image = axes.imshow(plane, origin="lower", extent=extent, cmap=COLOUR_MAPS.get(name, "viridis"))
    if "labels" in run.static and min(plane.shape) > 1:
        labels = run.static["labels"][run.shape[0] // 2].astype(float)
        axes.contour(labels > 1, [0.5], origin="lower", extent=extent, colors="white", linewidths=0.7)
    axes.set_facecolor("0.93")
    for side in axes.spines.values():
        side.set_visible(False)
    return image
