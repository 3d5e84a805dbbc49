"""Progress of a long run: a bar with the time left on a terminal, a line every 30 s elsewhere; and of stages.

Everything goes to the standard output, and a line is flushed at once, so that the log of a batch job is up to date.
Times of the lines are of the monotonic clock [s]: a change of the system's clock does not show.

Reference: ECOSYSTEM 2.4.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

LINE_EVERY_S = 30.0


Report = Callable[[float], None]
"""Called with the work done so far."""
Tell = Callable[[str], None]
"""Called with the name of the stage that begins."""


@contextmanager
def progress(title: str, total: float, *, quiet: bool = False) -> Iterator[Report]:
    """Show how far a piece of work has come.

    Args:
        title: what is being done.
        total: amount of work, in the unit of `done`.
        quiet: True shows nothing.

    Yields:
        A function of the work done so far. Where the output is no terminal it prints `title: 40 %, 12 s, 18 s left`,
        the time left on the assumption that the rest goes as fast.
    """
    if quiet:
        yield lambda done: None
    elif sys.stdout.isatty():
        with _bar(title, total) as report:
            yield report
    else:
        yield _lines(title, total)


@contextmanager
def _bar(title: str, total: float) -> Iterator[Report]:
    """A bar of rich with time elapsed and time left, which hides the cursor while it lives."""
    from rich import progress as rich

    columns = (rich.TextColumn("{task.description}"), rich.BarColumn(), rich.TaskProgressColumn())
    with rich.Progress(*columns, rich.TimeElapsedColumn(), rich.TimeRemainingColumn()) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)


def _lines(title: str, total: float) -> Report:
    """A line at most every 30 s, and one at the end."""
    start = last = time.monotonic()

    def report(done: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < LINE_EVERY_S and done < total:
            return
        last = now
        left = "" if done <= 0 or done >= total else f", {(now - start) * (total / done - 1.0):.0f} s left"
        print(f"{title}: {100.0 * done / total:.0f} %, {now - start:.0f} s{left}", flush=True)

    return report


@contextmanager
def stages(title: str, *, quiet: bool = False) -> Iterator[Tell]:
    """Say which stage of a work of unknown length is under way.

    A terminal shows one live line, which goes at the end. Elsewhere a stage has a line when it begins, and one every 30
    s that it lasts.

    Args:
        title: what is being done.
        quiet: True shows nothing.

    Yields:
        A function of the name of the stage that begins.
    """
    if quiet:
        yield lambda stage: None
    elif sys.stdout.isatty():
        with _live_line(title) as tell:
            yield tell
    else:
        with _repeated_lines(title) as tell:
            yield tell


@contextmanager
def _live_line(title: str) -> Iterator[Tell]:
    """One line of rich with the stage and the time elapsed over all stages."""
    from rich import progress as rich

    columns = (rich.TextColumn("{task.description}"), rich.TimeElapsedColumn())
    with rich.Progress(*columns, transient=True) as line:
        task = line.add_task(title, total=None)
        yield lambda stage: line.update(task, description=f"{title}: {stage}")


@contextmanager
def _repeated_lines(title: str) -> Iterator[Tell]:
    """A thread repeats the line, for the main one is inside the compiler."""
    start, told, ended = time.monotonic(), [""], threading.Event()

    def tell(stage: str) -> None:
        told[0] = stage
        print(f"{title}: {stage}", flush=True)

    def repeat() -> None:
        with suppress(OSError):  # the main thread meets the same refusal at its next line, and says so
            while not ended.wait(LINE_EVERY_S):
                print(f"{title}: {told[0]}, {time.monotonic() - start:.0f} s", flush=True)

    repeating = threading.Thread(target=repeat, daemon=True)
    repeating.start()
    try:
        yield tell
    finally:
        ended.set()
        repeating.join()
