"""All figures of a run, drawn from its files and saved as PNG.

Five figures compare the arms, the first of which is the control, and two show the maps of each arm. Only arms of one
scenario are put side by side, told by the hash of the scenario in their provenance: an output folder may hold older
ones.
"""

from __future__ import annotations

import tomllib
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from matplotlib.figure import Figure

from hepatojax.io.results import RUN_FILE, ResultFileError, open_run
from hepatojax.report.figures.biodistribution import biodistribution
from hepatojax.report.figures.courses import clinical_courses
from hepatojax.report.figures.ledger import ledger
from hepatojax.report.figures.maps import cell_maps, supply_maps
from hepatojax.report.figures.profiles import zonal_profiles
from hepatojax.report.figures.sources import signal_sources
from hepatojax.report.figures.style import MissingQuantity, Runs

COMPARING = {
    "courses": clinical_courses,
    "profiles": zonal_profiles,
    "biodistribution": biodistribution,
    "sources": signal_sources,
    "ledger": ledger,
}
IDENTITY = "scenario_sha256"  # entry of the provenance, the same in all arms of a run
OF_ONE_ARM = {"maps_supply": supply_maps, "maps_cells": cell_maps}


def draw_run(folder: str | Path, figures: str | Path) -> list[Path]:
    """Draw every figure of a run; what lacks its data, and arms of another scenario, are left out with a warning.

    Args:
        folder: output folder with one folder for each arm, or the folder of one arm, or one result file.
        figures: where the PNG files go; made if needed.

    Returns:
        The files written, at 150 dots per inch: courses, profiles, biodistribution, sources, ledger, and
        maps_supply_ARM and maps_cells_ARM of each arm.

    Raises:
        ResultFileError: no result in the folder, or one that cannot be trusted; nothing is drawn then.
        OSError: the disk refused; figures drawn before stay.
    """
    paths = arm_files(Path(folder))
    written = []
    with ExitStack() as stack:
        runs = {arm: stack.enter_context(open_run(path)) for arm, path in paths.items()}
        Path(figures).mkdir(parents=True, exist_ok=True)
        for name, draw in _drawings(runs):
            try:
                figure = draw()
            except MissingQuantity as missing:
                warnings.warn(f"figure {name} left out: {missing}", stacklevel=2)
                continue
            written.append(Path(figures) / f"{name}.png")
            figure.savefig(written[-1], dpi=150)
    return written


def arm_files(folder: Path) -> dict[str, Path]:
    """Result files by arm, of the newest run's scenario and in its order, so that the first arm is the control.

    Args:
        folder: output folder, folder of one arm, or one result file. Arms of another scenario are named in a warning.

    Returns:
        Name of the arm -> file; of a single file, the name of its folder.

    Raises:
        ResultFileError: there is none.
    """
    if folder.exists() and not folder.is_dir():
        return {folder.resolve().parent.name: folder}
    if (folder / RUN_FILE).exists():
        return {folder.resolve().name: folder / RUN_FILE}
    found = {path.parent.name: path for path in sorted(folder.glob(f"*/{RUN_FILE}"))}
    if not found:
        raise ResultFileError(f"{folder}: no {RUN_FILE} in it or in a folder inside it")
    origins = {arm: _origin(path) for arm, path in found.items()}
    newest = max(found, key=lambda arm: (origins[arm].get("created_utc", ""), found[arm].stat().st_mtime))
    same = [arm for arm in found if origins[arm].get(IDENTITY) == origins[newest].get(IDENTITY)]
    other = [arm for arm in found if arm not in same]
    if other:
        warnings.warn(f"{folder}: {', '.join(other)} left out, of another scenario than {newest}", stacklevel=3)
    order = [entry["name"] for entry in tomllib.loads(origins[newest].get("scenario", "")).get("arm", [])]
    same.sort(key=lambda arm: order.index(arm) if arm in order else len(order))
    return {arm: found[arm] for arm in same}


def _origin(path: Path) -> Mapping[str, str]:
    """The provenance of a result, whose scenario and time of writing tell which arms belong together."""
    with open_run(path) as run:
        return run.provenance


def _drawings(runs: Runs) -> Iterator[tuple[str, Callable[[], Figure]]]:
    """File name without ending -> how to draw the figure, all arms first, then each arm."""
    for name, compare in COMPARING.items():
        yield name, lambda compare=compare: compare(runs)
    for name, draw in OF_ONE_ARM.items():
        for arm, run in runs.items():
            yield f"{name}_{arm}", lambda draw=draw, run=run, arm=arm: draw(run, arm)
