"""Progress of a long run: a bar with the time left on a terminal, a line every 30 s elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LINE_EVERY_S = 30.0


Report = Callable[[float], None]
"""Called with the work done so far."""


@contextmanager
def progress(title: str, total: float, *, quiet: bool = False) -> Iterator[Report]:
    """Show how far a piece of work has come.

    Args:
        title: what is being done. total: amount of work, in the unit of `done`. quiet: True shows nothing.
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
    from rich import progress as rich

    columns = (rich.TextColumn("{task.description}"), rich.BarColumn(), rich.TaskProgressColumn())
    with rich.Progress(*columns, rich.TimeElapsedColumn(), rich.TimeRemainingColumn()) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)


def _lines(title: str, total: float) -> Report:
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
