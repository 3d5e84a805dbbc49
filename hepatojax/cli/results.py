"""Verbs about what comes out: info, plot."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from hepatojax.status import ExitCode


def register(verbs: Any) -> None:
    """Add the verbs to the command line."""
    info = verbs.add_parser("info", help="say what a result file holds")
    info.add_argument("file", type=Path, help="run.vtkhdf or its folder")
    info.set_defaults(action=print_info)
    plot = verbs.add_parser("plot", help="draw the figures of a run again")
    plot.add_argument("folder", type=Path, help="output folder of `hepatojax run`, or one run.vtkhdf")
    plot.add_argument("-o", "--output", type=Path, help="folder of the figures; default: figures/ inside the output")
    plot.set_defaults(action=draw_figures)


def print_info(options: argparse.Namespace) -> ExitCode:
    """Print grid, times, quantities with units, last values and provenance of a result.

    Args:
        options: file, `run.vtkhdf` or its folder; it may be of a run that is still going on.

    Raises:
        ResultFileError: there is none, or it cannot be trusted; exit code 2.
    """
    from hepatojax.io.results import describe_run

    print(describe_run(options.file))
    return ExitCode.DONE


def draw_figures(options: argparse.Namespace) -> ExitCode:
    """Draw the figures of a run, or of the one result file that is given.

    Args:
        options: folder of a run or one result file, and output, the folder of the figures.

    Returns:
        DONE, after a line with the name of each file.

    Raises:
        ResultFileError: there is no result, or one cannot be trusted; exit code 2, and no figure is drawn.
    """
    from hepatojax.report.figures import draw_run

    place: Path = options.folder
    folder = place.parent if place.is_file() else place
    for figure in draw_run(place, options.output or folder / "figures"):
        print(figure)
    return ExitCode.DONE
