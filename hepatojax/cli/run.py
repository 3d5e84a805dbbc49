"""The verb run: every arm of a scenario, into one folder each, with figures."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from hepatojax.cli.options import add_device, add_scenario, read_scenario
from hepatojax.status import ExitCode, OutputError


def register(verbs: Any) -> None:
    """Add the verb to the command line."""
    run = verbs.add_parser("run", help="simulate every arm of a scenario")
    add_scenario(run)
    run.add_argument("-o", "--output", type=Path, default=Path("outputs"), help="folder of the results")
    run.add_argument("--quiet", action="store_true", help="print errors only")
    run.add_argument("--no-figures", action="store_true", help="leave the figures out")
    add_device(run)
    run.set_defaults(action=run_scenario)


def run_scenario(options: argparse.Namespace) -> ExitCode:
    """Simulate every arm; refuse what cannot work before anything is imported, compiled or written."""
    from hepatojax.io.scenario.size import require_memory

    scenario = read_scenario(options)
    require_memory(scenario, options.file.name)
    require_output(options.output)
    from hepatojax.cli.device import prepare_jax

    device = prepare_jax(options.device, options.require_gpu)
    if not options.quiet:
        print(f"device {device}; {scenario.run.precision}; results in {options.output}", flush=True)
    from hepatojax.cli.arms import run_arms

    command = " ".join(["hepatojax", *sys.argv[1:]])
    with stop_on_signal() as stopped:
        code = run_arms(scenario, options.output, device=device, command=command, quiet=options.quiet, stopped=stopped)
    if code == ExitCode.DONE and not options.no_figures:
        from hepatojax.report.figures import draw_run

        draw_run(options.output, options.output / "figures")
    return code


def require_output(folder: Path) -> None:
    """Refuse an output folder that cannot be made or written, without making it.

    A relative path is made as deep as needed. Of an absolute one the parent must exist, so that results do not land
    beside a file system that is not mounted.

    Raises:
        OutputError: which part of the path is at fault.
    """
    if not str(folder).isprintable():
        raise OutputError(f"-o: {str(folder)!r} is not the name of a folder")
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not existing.is_dir():
        raise OutputError(f"-o {folder}: {existing} is a file, not a folder")
    if folder.is_absolute() and not folder.parent.exists():
        raise OutputError(f"-o {folder}: {folder.parent} does not exist (not mounted?); make it first")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise OutputError(f"-o {folder}: {existing} is not writable ({error.strerror})") from None


@contextmanager
def stop_on_signal() -> Iterator[list[int]]:
    """Catch the first SIGINT or SIGTERM in a list, so that a run can save and stop; the second one acts at once."""
    caught: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        signal.signal(number, before[number])

    before: dict[int, Any] = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
