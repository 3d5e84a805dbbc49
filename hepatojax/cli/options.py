"""Arguments that several verbs share."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hepatojax.status import HepatojaxError

if TYPE_CHECKING:
    import numpy as np

    from hepatojax.scenario import Scenario


class SettingError(HepatojaxError):
    """A `--set` that is not `section.key=value`. Exit code 2."""


def add_scenario(parser: argparse.ArgumentParser) -> None:
    """A scenario file and what may replace parts of it.

    Args:
        parser: of the verb; gets FILE, --set and --precision.
    """
    parser.add_argument("file", type=Path, help="scenario, see docs/scenario.md")
    add_settings(parser)
    parser.add_argument("--precision", help="float32 or float64; the same as --set run.precision=...")


def add_settings(parser: argparse.ArgumentParser) -> None:
    """What replaces values of a scenario.

    Args:
        parser: of the verb; gets --set, which may be repeated.
    """
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="replace a value of the scenario, such as grid.cells=[26,30,8]; may be repeated",
    )


def add_output(parser: argparse.ArgumentParser, folder: str) -> None:
    """Where results go, and how much is said and drawn of them.

    Args:
        parser: of the verb; gets --output, --quiet and --no-figures.
        folder: of the results, unless one is given.
    """
    parser.add_argument("-o", "--output", type=Path, default=Path(folder), help="folder of the results")
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    parser.add_argument("--no-figures", action="store_true", help="leave the figures out")


def add_device(parser: argparse.ArgumentParser) -> None:
    """Where to compute.

    Args:
        parser: of the verb; gets --device and --require-gpu.
    """
    parser.add_argument("--device", choices=("cpu", "gpu"), help="default: a GPU if JAX has one, else the CPU")
    parser.add_argument("--require-gpu", action="store_true", help="refuse to run without a GPU")


def read_scenario(options: argparse.Namespace) -> Scenario:
    """The scenario of `add_scenario`'s arguments.

    Args:
        options: file, set, precision; the last has the last word.

    Raises:
        SettingError: a --set is none.
        ScenarioError: one line for each problem.
    """
    from hepatojax.io.scenario import load_scenario

    settings = read_settings(options)
    if options.precision is not None:
        settings["run.precision"] = options.precision
    return load_scenario(options.file, settings)


def read_settings(options: argparse.Namespace) -> dict[str, Any]:
    """The values of `add_settings`' argument by their dotted keys.

    Args:
        options: set; of one key that is given twice the later value holds.

    Raises:
        SettingError: one that is not `section.key=value`.
    """
    from hepatojax.io.scenario.overrides import parse_setting

    try:
        return dict(parse_setting(text) for text in options.set)
    except ValueError as error:
        raise SettingError(str(error)) from None


def read_image(scenario: Scenario) -> np.ndarray | None:
    """The label image (nz, ny, nx) of a scenario, None for the other geometries.

    Args:
        scenario: checked, so that the name of the file is absolute.

    Raises:
        InputFileError: what is wrong with the file.
    """
    if scenario.lobule.labels_file is None:
        return None
    from hepatojax.io.readers import read_label_image

    return read_label_image(scenario.lobule.labels_file)


def require_lobule(scenario: Scenario, image: np.ndarray | None) -> None:
    """Refuse a label image that cannot be a lobule, or has no room for its septa.

    The lobule is built for the purpose and thrown away; the random field of permeability is left out.

    Args:
        scenario: checked.
        image: labels (nz, ny, nx); None, as for the other geometries, is never refused.

    Raises:
        InputFileError: which label is unknown or missing, that the voxels are too coarse, or that vessels are few.
    """
    if image is None:
        return
    from hepatojax.assembly import build_lobule
    from hepatojax.io.readers import InputFileError
    from hepatojax.onset import scarred
    from hepatojax.parameters.registry import registry_of

    smooth = replace(scenario, lobule=replace(scenario.lobule, permeability_log_sd=0.0))
    try:
        scarred(scenario.lobule, build_lobule(smooth, registry_of(scenario), image))
    except ValueError as error:
        raise InputFileError(f"{scenario.lobule.labels_file}: {error}") from None
