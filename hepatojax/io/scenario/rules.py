"""What several keys of a scenario must fulfil together.

Times must be whole numbers of macro-steps, infusions lie within the run, names of arms differ on any file system, and a
key that the chosen geometry or drive does not use must be left out, so that no setting is without effect in silence.
The grid must resolve how far oxygen reaches into tissue, which is computed only where shape and grid are right.

Reference: RELIABILITY 4.3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from hepatojax.io.scenario.errors import Problem
from hepatojax.io.scenario.size import CELLS_PER_PENETRATION_LENGTH, penetration_length_um, scenario_size
from hepatojax.parameters.registry import Parameters
from hepatojax.scenario import LobuleSpec, Scenario
from hepatojax.units import HOURS_PER_DAY

_TIME_TOLERANCE = 1e-9
_WITHOUT_EFFECT = {
    "hexagon": ("lobules_in_image",),
    "tiling": ("lobules_in_image",),
    "column": ("permeability_log_sd", "inlet_septa", "fibrotic_septa", "lobules_in_image"),
    "well_mixed": (
        "permeability_log_sd",
        "inlet_septa",
        "fibrotic_septa",
        "portal_tract_radius_um",
        "lobules_in_image",
    ),
    "labels": ("radius_um", "height_um", "inlet_septa"),
}


def check_together(scenario: Scenario, parameters: Parameters) -> list[Problem]:
    """Every problem that shows only when keys are seen together.

    Args:
        scenario: whose keys are right one by one.
        parameters: resolved for it, with its overrides.

    Returns:
        Problems with the key to be changed and, for times and spacing, a value that would do; empty if there are none.
    """
    geometry = [*_geometry(scenario), *_grid(scenario)]
    times = [*_infusions(scenario), *_times(scenario), *_disease(scenario)]
    problems = [*_names(scenario), *times, *_drive(scenario), *geometry]
    if not geometry:
        problems += _resolution(scenario, parameters)
    return problems


def _names(scenario: Scenario) -> Iterator[Problem]:
    """Names of arms become folders, so two may not differ by capitals alone."""
    if not scenario.arms:
        yield Problem("arm", "is empty; leave it out for standard care alone")
    seen: dict[str, str] = {}
    for arm in scenario.arms:
        other = seen.setdefault(arm.name.lower(), arm.name)
        if other is not arm.name or sum(a.name == arm.name for a in scenario.arms) > 1:
            yield Problem(f"arm.{arm.name}.name", f"is used twice ({other}, {arm.name}); folders need distinct names")
            return


def _infusions(scenario: Scenario) -> Iterator[Problem]:
    """Every infusion begins before the end of the run [h] and ends by then, but for rounding."""
    end = scenario.run.end_h
    for arm in scenario.arms:
        for number, infusion in enumerate(arm.infusions, start=1):
            key = f"arm.{arm.name}.infusion.{number}"
            stop = infusion.start_h + infusion.duration_h
            if infusion.start_h >= end:
                yield Problem(f"{key}.start_h", f"{infusion.start_h:g} h is not before run.end_h = {end:g} h")
            elif stop > end * (1 + _TIME_TOLERANCE):
                yield Problem(f"{key}.duration_h", f"the infusion ends at {stop:g} h, after run.end_h = {end:g} h")


def _times(scenario: Scenario) -> Iterator[Problem]:
    """The end of the run and the interval of saves are whole numbers of macro-steps, and the end one of saves."""
    run = scenario.run
    step = HOURS_PER_DAY / run.steps_per_day
    for key, value in (("end_h", run.end_h), ("save_every_h", run.save_every_h)):
        count = max(1, round(value / step))
        if abs(count * step - value) > _TIME_TOLERANCE * value:
            yield Problem(
                f"run.{key}",
                f"{value:g} h is not a whole number of macro-steps of {step:g} h (24 / steps_per_day);"
                f" nearest is {count * step:g}",
            )
    saves = run.end_h / run.save_every_h
    if round(saves) < 1 or abs(saves - round(saves)) > _TIME_TOLERANCE * saves:
        yield Problem(
            "run.save_every_h", f"run.end_h = {run.end_h:g} h is not a whole multiple of {run.save_every_h:g} h"
        )


def _drive(scenario: Scenario) -> Iterator[Problem]:
    """A drive by pressure needs the pressure drop [Pa]; a drive by flow has no use for it."""
    run = scenario.run
    if run.drive == "pressure" and run.pressure_drop_pa is None:
        yield Problem("run.pressure_drop_pa", 'is missing; drive = "pressure" needs it')
    if run.drive == "flow" and run.pressure_drop_pa is not None:
        yield Problem("run.pressure_drop_pa", 'has no effect with drive = "flow"; remove it or set drive = "pressure"')


def _disease(scenario: Scenario) -> Iterator[Problem]:
    """A lead of the flare needs a course before day 0, which a healthy start has not."""
    disease = scenario.disease
    if disease.start == "healthy" and disease.flare_lead_h > 0:
        yield Problem(
            "disease.flare_lead_h",
            f"{disease.flare_lead_h:g} h of lead need a course before day 0, which a healthy start has not;"
            ' set it to 0 or start = "chronic"',
        )


def _geometry(scenario: Scenario) -> Iterator[Problem]:
    """A geometry has what it needs, and no key is set that it would ignore."""
    lobule = scenario.lobule
    if lobule.geometry == "labels":
        if lobule.labels_file is None:
            yield Problem("lobule.labels_file", 'is missing; geometry = "labels" needs it')
        elif not Path(lobule.labels_file).is_file():
            yield Problem("lobule.labels_file", f"no such file ({lobule.labels_file})")
    elif lobule.labels_file is not None:
        yield Problem("lobule.labels_file", f'has no effect with geometry = "{lobule.geometry}"; set it to "labels"')
    for name in _WITHOUT_EFFECT[lobule.geometry]:
        if getattr(lobule, name) != getattr(LobuleSpec, name):
            yield Problem(f"lobule.{name}", f'has no effect with geometry = "{lobule.geometry}"; leave it out')
    pairs = neighbours_of_tiling(*lobule.tiling)
    if lobule.geometry in ("hexagon", "tiling") and lobule.fibrotic_septa > pairs:
        yield Problem(
            "lobule.fibrotic_septa",
            f"{lobule.fibrotic_septa} septa asked for; allowed: at most {pairs}, one between two neighbouring vessels",
        )
    if lobule.tiling != (1, 1) and lobule.geometry != "tiling":
        yield Problem("lobule.tiling", f'has no effect with geometry = "{lobule.geometry}"; set it to "tiling"')


def neighbours_of_tiling(across: int, along: int) -> int:
    """Pairs of neighbouring vessels, portal-portal and portal-central, of a tiling of hexagons; edges count once.

        12 m n - (m - 1) n - (2 m - 1) (n - 1)

    Args:
        across: hexagons in a row, m.
        along: rows, n.

    Returns:
        How many septa have room; each hexagon has six sides and six spokes, and a side may belong to two of them.
    """
    shared = (across - 1) * along + (2 * across - 1) * (along - 1)
    return 12 * across * along - shared


def _grid(scenario: Scenario) -> Iterator[Problem]:
    """Cells and spacing exclude each other, and some geometries leave no choice."""
    grid, geometry = scenario.grid, scenario.lobule.geometry
    if grid.cells is not None and grid.spacing_um is not None:
        yield Problem("grid.spacing_um", "is given beside grid.cells; give one of them")
    if geometry == "labels" and (grid.cells is not None or grid.spacing_um is None):
        yield Problem("grid.spacing_um", 'geometry = "labels" needs the voxel size here, and no grid.cells')
    if geometry == "well_mixed" and grid.cells not in (None, (1, 1, 1)):
        yield Problem("grid.cells", f'geometry = "well_mixed" has one cell, not {list(grid.cells)}')
    if geometry == "column" and grid.cells is not None and grid.cells[1:] != (1, 1):
        yield Problem("grid.cells", f'geometry = "column" runs along x: write [{grid.cells[0]}, 1, 1]')


def _resolution(scenario: Scenario, parameters: Parameters) -> Iterator[Problem]:
    """Cells must resolve the length over which oxygen falls."""
    geometry = scenario.lobule.geometry
    if geometry == "labels":
        yield from _spacing(scenario, scenario.grid.spacing_um or 0.0, penetration_length_um(parameters))
    elif geometry != "well_mixed":
        size = scenario_size(scenario, parameters)
        yield from _spacing(scenario, size.widest_um, size.penetration_length_um)


def _spacing(scenario: Scenario, spacing: float, length: float) -> Iterator[Problem]:
    """At least 0.75 cells to a penetration length of oxygen, both in um; the message says which spacing would do."""
    if spacing * CELLS_PER_PENETRATION_LENGTH > length:
        widest = math.floor(length / CELLS_PER_PENETRATION_LENGTH)
        key = "grid.cells" if scenario.grid.cells else "grid.spacing_um"
        yield Problem(
            key,
            f"{spacing:.3g} um gives {length / spacing:.2g} cells per oxygen penetration length ({length:.0f} um);"
            f" at least {CELLS_PER_PENETRATION_LENGTH:g} are needed: spacing at most {widest} um",
        )
