"""The verb run: every arm of a scenario, into one folder each, with figures.

Refusals come from cheap to dear: the scenario, its image, the memory, the output folder, then JAX and the device, then
the lobule. No result is written before the last of them. The first signal saves and stops, the second ends the process.

Reference: RELIABILITY 3.5 (signals) and 4.2.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from hepatojax.cli.options import add_device, add_output, add_scenario, read_image, read_scenario, require_lobule
from hepatojax.cli.output import lasting, write_errors
from hepatojax.status import ExitCode, HepatojaxError, OutputError

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
STANDARD_OUTPUT, STANDARD_ERROR = 1, 2
SHOW_CURSOR = b"\x1b[?25h\n"


class StoppedOnRequest(HepatojaxError):
    """The user has asked to stop; one line says what becomes of what was computed. Exit code 75."""

    exit_code = ExitCode.STOPPED


def register(verbs: Any) -> None:
    """Add the verb to the command line."""
    run = verbs.add_parser("run", help="simulate every arm of a scenario")
    add_scenario(run)
    add_output(run, "outputs")
    add_device(run)
    run.set_defaults(action=run_scenario)


def run_scenario(options: argparse.Namespace) -> ExitCode:
    """Simulate every arm; refuse what cannot work before anything is imported, compiled or written.

    Nobody need read what it prints: the run goes on without a reader.

    Args:
        options: of `add_scenario`, `add_output` and `add_device`.

    Returns:
        As `hepatojax.cli.arms.run_arms`; figures are drawn only where every arm is done.
    """
    with lasting("stdout"):
        return _run_scenario(options)


def _run_scenario(options: argparse.Namespace) -> ExitCode:
    from hepatojax.io.scenario.size import require_memory

    scenario = read_scenario(options)
    image = read_image(scenario)
    require_memory(scenario, options.file.name, None if image is None else image.shape)
    require_output(options.output)
    from hepatojax.cli.device import prepare_jax

    device = prepare_jax(options.device, options.require_gpu)
    if not options.quiet:
        print(f"device {device}; {scenario.run.precision}; results in {options.output}", flush=True)
    require_lobule(scenario, image)
    from hepatojax.cli.arms import run_arms

    with stop_on_signal() as stopped:
        code = run_arms(
            scenario,
            options.output,
            image=image,
            device=device,
            command=command_line(),
            quiet=options.quiet,
            stopped=stopped,
        )
    if code == ExitCode.DONE and not options.no_figures:
        from hepatojax.report.figures import draw_run

        with write_errors():
            draw_run(options.output, options.output / "figures")
    return code


def command_line() -> str:
    """How the program was called, as text that any file can hold: bytes that are not UTF-8 are spelt out."""
    return " ".join(["hepatojax", *sys.argv[1:]]).encode(errors="backslashreplace").decode()


def require_output(folder: Path) -> None:
    """Refuse an output folder that cannot be made or written, without making it.

    A relative path is made as deep as needed. Of an absolute one the parent must exist, so that results do not land
    beside a file system that is not mounted.

    Args:
        folder: as given; a nameless temporary file is tried in the deepest part of it that exists.

    Raises:
        OutputError: which part of the path is at fault.
    """
    if not str(folder).isprintable():
        raise OutputError(f"-o: {str(folder)!r} is not the name of a folder")
    existing = next(place for place in (folder, *folder.absolute().parents) if os.path.lexists(place))
    if not existing.exists():
        raise OutputError(f"-o {folder}: {existing} is a link to nothing")
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
    """Catch the first SIGINT or SIGTERM in a list, so that a run can save and stop; the second one ends the process.

    A thread does both, for the main one may be inside a compiled program, where Python handles no signal.

    Yields:
        The list, empty until the user asks to stop; a computation looks at it between its parts. The handlers before
        come back with the end of the block.

    Reference: RELIABILITY 3.5.
    """
    caught: list[int] = []
    receiving, sending = os.pipe()
    os.set_blocking(sending, False)
    before: dict[int, Any] = {number: signal.signal(number, _leave_to_thread) for number in STOP_SIGNALS}
    woken = signal.set_wakeup_fd(sending, warn_on_full_buffer=False)
    watching = threading.Thread(target=_watch, args=(receiving, caught), daemon=True)
    watching.start()
    try:
        yield caught
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(sending)
        watching.join()
        os.close(receiving)


def _leave_to_thread(number: int, frame: FrameType | None) -> None:
    """A signal that has this handler reaches the wakeup pipe and does nothing else."""


def _watch(receiving: int, caught: list[int]) -> None:
    """Note the first signal that comes through the pipe, and leave at the second; ends with the pipe."""
    while number := os.read(receiving, 1):
        if number[0] not in STOP_SIGNALS:
            continue
        if caught:
            leave_at_once()
        caught.append(number[0])
        with suppress(OSError):  # nobody reads, or the disk is full; the second signal is still to be watched for
            os.write(STANDARD_ERROR, b"stopping after the next save; again to stop at once\n")


def leave_at_once() -> NoReturn:
    """End the process without the teardown of JAX, which a running program would not survive.

    Exit code 75. Files are durable as they stand, locks end with the process, and at most a temporary or a part without
    an index stays behind.
    """
    try:
        sys.stdout.flush()
        sys.stderr.flush()
        if sys.stdout.isatty():
            os.write(STANDARD_OUTPUT, SHOW_CURSOR)  # which the progress bar hides
    finally:
        os._exit(ExitCode.STOPPED)
