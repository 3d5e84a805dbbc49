"""The verb optimise: the best dose of a study, certified, resumable, with a run before and after it.

Both verbs of a study refuse in the same order, from cheap to dear: the study and its scenario, the image, the memory of
runs and of the gradient, the output folder, then JAX, then the parts of the study that need it, then the lobule.

Reference: RELIABILITY 4.2.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hepatojax.cli.options import (
    add_device,
    add_output,
    add_settings,
    read_image,
    read_settings,
    require_lobule,
)
from hepatojax.cli.output import lasting
from hepatojax.cli.run import command_line, require_output, stop_on_signal
from hepatojax.status import ExitCode
from hepatojax.studies.batch import RUNS_AT_ONCE

if TYPE_CHECKING:
    import numpy as np

    from hepatojax.io.study import Study
    from hepatojax.io.study.parts import StudyParts


def register(verbs: Any) -> None:
    """Add the verb to the command line."""
    optimise = verbs.add_parser("optimise", help="find the best dose of a study; the same command again goes on")
    add_study(optimise)
    add_device(optimise)
    optimise.set_defaults(action=optimise_study)


def add_study(parser: argparse.ArgumentParser) -> None:
    """A study file, what may replace parts of its scenario, and where the results go.

    Args:
        parser: of the verb; gets FILE, --set, --output, --quiet and --no-figures.
    """
    parser.add_argument("file", type=Path, help="study, see docs/study.md")
    add_settings(parser)
    add_output(parser, "outputs/study")


def read_study(options: argparse.Namespace) -> Study:
    """The study of `add_study`'s arguments.

    Args:
        options: file, set.

    Raises:
        SettingError: a --set is none.
        StudyFileError: one line for each problem.
    """
    from hepatojax.io.study import load_study

    return load_study(options.file, read_settings(options))


class Admitted(NamedTuple):
    """A study that nothing speaks against.

    Attributes:
        study: checked, with its scenario.
        parts: its aims, limits and variables.
        image: labels (nz, ny, nx) of the geometry "labels", None for others.
        device: the line that names what JAX computes on.
    """

    study: Study
    parts: StudyParts
    image: np.ndarray | None
    device: str


def admit(
    options: argparse.Namespace, check: Callable[[Study, str], None] | None = None, *, certified: bool = False
) -> Admitted:
    """Refuse what cannot work before anything is compiled or written, the cheapest reasons first.

    Args:
        options: of `add_study` and `add_device`.
        check: of the study and the name of its file, before JAX is loaded.
        certified: True where a certified gradient is to come, which takes more memory than a run.

    Returns:
        The study, ready to be computed; JAX is configured, and the device was printed unless --quiet is given.

    Raises:
        HepatojaxError: one line for each problem.
    """
    from hepatojax.io.scenario.size import require_memory, require_search_memory

    study = read_study(options)
    if check is not None:
        check(study, options.file.name)
    image = read_image(study.scenario)
    shape = None if image is None else image.shape
    require_memory(study.scenario, options.file.name, shape, RUNS_AT_ONCE)
    if certified:
        how = study.optimise
        more = {"checkpoints": how.checkpoints, "cotangents": study.cotangents}
        require_search_memory(study.scenario, options.file.name, how.adjoint, shape, **more)
    require_output(options.output)
    from hepatojax.cli.device import prepare_jax

    device = prepare_jax(options.device, options.require_gpu)
    from hepatojax.io.study.parts import study_parts

    parts = study_parts(study)
    if not options.quiet:
        print(f"device {device}; {study.scenario.run.precision}; results in {options.output}", flush=True)
    require_lobule(study.scenario, image)
    return Admitted(study, parts, image, device)


def optimise_study(options: argparse.Namespace) -> ExitCode:
    """Find the best dose; refuse what cannot work before anything is compiled or written.

    Nobody need read what it prints: the search goes on without a reader.

    Args:
        options: of `add_study` and `add_device`.

    Returns:
        As `hepatojax.cli.search.search`.
    """
    with lasting("stdout"):
        return _optimise_study(options)


def _optimise_study(options: argparse.Namespace) -> ExitCode:
    study, parts, image, device = admit(options, certified=True)
    from hepatojax.cli.search import search

    with stop_on_signal() as stopped:
        return search(
            study,
            parts,
            options.output,
            image=image,
            device=device,
            command=command_line(),
            quiet=options.quiet,
            figures=not options.no_figures,
            stopped=stopped,
        )
