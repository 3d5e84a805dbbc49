"""Memory that has been freed goes back to the system while a command runs."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

EVERY_S = 1.0


def hand_memory_back() -> None:
    """Hand what has been freed back to the system; the C library keeps it otherwise. Does nothing but on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def memory_handed_back() -> Iterator[None]:
    """Hand freed memory back every second within the block, also amid a compilation.

    A compiler goes over a large program in many passes. What one has freed the C library would keep, in pieces that the
    next cannot use: more than the run itself needs.

    A thread of its own does it, since the main one is inside the compiler; it ends with the block.
    """
    done = threading.Event()

    def sweep() -> None:
        while not done.wait(EVERY_S):
            hand_memory_back()

    sweeper = threading.Thread(target=sweep, name="memory", daemon=True)
    sweeper.start()
    try:
        yield
    finally:
        done.set()
        sweeper.join()
