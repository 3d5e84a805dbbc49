"""The verb optimise: the best dose of a study, certified, resumable, with a run before and after it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hepatojax.cli.options import SettingError, add_device, read_image, require_lobule
from hepatojax.cli.output import lasting
from hepatojax.cli.run import command_line, require_output, stop_on_signal
from hepatojax.status import ExitCode

if TYPE_CHECKING:
    from hepatojax.io.study import Study


def register(verbs: Any) -> None:
    """Add the verb to the command line."""
    optimise = verbs.add_parser("optimise", help="find the best dose of a study; the same command again goes on")
    add_study(optimise)
    add_device(optimise)
    optimise.set_defaults(action=optimise_study)


def add_study(parser: argparse.ArgumentParser) -> None:
    """A study file, what may replace parts of its scenario, and where the results go."""
    parser.add_argument("file", type=Path, help="study, see docs/study.md")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="replace a value of the scenario, such as grid.cells=[26,30,8]; may be repeated",
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("outputs/study"), help="folder of the results")
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    parser.add_argument("--no-figures", action="store_true", help="leave the figures out")


def read_study(options: argparse.Namespace) -> Study:
    """The study of `add_study`'s arguments.

    Raises:
        SettingError, StudyFileError: one line for each problem.
    """
    from hepatojax.io.scenario.overrides import parse_setting
    from hepatojax.io.study import load_study

    try:
        settings = dict(parse_setting(text) for text in options.set)
    except ValueError as error:
        raise SettingError(str(error)) from None
    return load_study(options.file, settings)


def optimise_study(options: argparse.Namespace) -> ExitCode:
    """Find the best dose; refuse what cannot work before anything is compiled or written.

    Nobody need read what it prints: the search goes on without a reader.
    """
    with lasting("stdout"):
        return _optimise_study(options)


def _optimise_study(options: argparse.Namespace) -> ExitCode:
    from hepatojax.io.scenario.size import require_memory

    study = read_study(options)
    image = read_image(study.scenario)
    require_memory(study.scenario, options.file.name, None if image is None else image.shape)
    require_output(options.output)
    from hepatojax.cli.device import prepare_jax

    device = prepare_jax(options.device, options.require_gpu)
    from hepatojax.io.study.parts import study_parts

    parts = study_parts(study)
    if not options.quiet:
        print(f"device {device}; {study.scenario.run.precision}; results in {options.output}", flush=True)
    require_lobule(study.scenario, image)
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
