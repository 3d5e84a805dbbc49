"""Figure of several schedules, a row each: when, how much, and what it leads to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from hepatojax.report.figures.style import COLOURS, HOURS_PER_DAY, new_figure, spoken, styled
from hepatojax.studies.objective import CELLS_UNIT
from hepatojax.therapy.schedule import DoseSchedule

BAR_DAYS = 0.35


class NamedSchedule(NamedTuple):
    """A schedule with its name and, in words, what it leads to.

    Attributes:
        name: stands above its row.
        schedule: starts [h] and amounts [cells/kg], each (d,).
        said: such as the gain that it earns, with the unit.
    """

    name: str
    schedule: DoseSchedule
    said: str


@styled
def schedule_rows(columns: Mapping[str, Sequence[NamedSchedule]], end_h: float, title: str) -> Figure:
    """Infusions as bars over the days, a column for each route and a row for each schedule.

    The first entry of a column, such as no cells at all, stands in its heading only. Horizontal axes are days, vertical
    ones doses [10⁶ cells/kg]; a bar begins with its infusion and is 0.35 d wide.

    Args:
        columns: route -> schedules.
        end_h: end of the runs [h].
        title: of the figure.
    """
    rows = max(len(courses) for courses in columns.values()) - 1
    figure = new_figure(11.0, 1.2 + 0.95 * rows, f"{title} (each infusion is drawn {BAR_DAYS:g} d wide)")
    panels = figure.subplots(rows, len(columns), squeeze=False, sharex=True, sharey=True)
    for panel, (route, courses), colour in zip(panels.T, columns.items(), COLOURS, strict=False):
        for axes, (name, schedule, said) in zip(panel, courses[1:], strict=False):
            cells = np.asarray(schedule.cells_per_kg)
            days = np.asarray(schedule.start_h)[cells > 0] / HOURS_PER_DAY
            axes.bar(days, cells[cells > 0] / CELLS_UNIT, width=BAR_DAYS, align="edge", color=colour)
            axes.set_title(f"{name}: {said}", loc="right", fontsize=8, pad=2)
        heading = f"{spoken(route)}\n{courses[0].name}: {courses[0].said}"
        place = {"xycoords": "axes fraction", "textcoords": "offset points"}
        panel[0].annotate(heading, (0.0, 1.0), (0, 12), va="bottom", **place)
        panel[-1].set_xlabel("day")
    figure.supylabel("dose [10⁶ cells/kg]", fontsize=9)
    panels[0, 0].set_xlim(-0.5, end_h / HOURS_PER_DAY)
    return figure
