"""Progress of a long run: a bar with the time left on a terminal, a line every 30 s elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LINE_EVERY_S = 30.0


Report = Callable[[float, str], None]
"""Called with the work done so far and a word on the state of things."""


@contextmanager
def progress(title: str, total: float, *, quiet: bool = False) -> Iterator[Report]:
    """Show how far a piece of work has come.

    Args:
        title: what is being done. total: amount of work, in the unit of `done`. quiet: True shows nothing.
    """
    if quiet:
        yield lambda done, note: None
    elif sys.stdout.isatty():
        with _bar(title, total) as report:
            yield report
    else:
        yield _lines(title, total)


@contextmanager
def _bar(title: str, total: float) -> Iterator[Report]:
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns) as bar:
        task = bar.add_task(title, total=total, note="")
        yield lambda done, note: bar.update(task, completed=done, note=note)


def _lines(title: str, total: float) -> Report:
    start = last = time.monotonic()

    def report(done: float, note: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < LINE_EVERY_S and done < total:
            return
        last = now
        left = "" if done <= 0 or done >= total else f", {(now - start) * (total / done - 1.0):.0f} s left"
        print(
            f"{title}: {100.0 * done / total:.0f} %, {now - start:.0f} s{left}{'  ' if note else ''}{note}", flush=True
        )

    return report
