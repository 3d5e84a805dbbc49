"""Output that is refused: a reader who has left silences a stream, a disk that refuses ends a run as a write error."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hepatojax.status import WriteError


class LastingStream:
    """A text stream that falls silent once nobody reads it, so that a computation goes on; other errors pass."""

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> int:
        """Write; the end of a line is flushed, so that the loss of the reader shows here and not at the exit."""
        try:
            self._stream.write(text)
            if text.endswith("\n"):
                self._stream.flush()
        except OSError as error:
            self._leave(error)
        return len(text)

    def flush(self) -> None:
        """Hand over what is buffered."""
        try:
            self._stream.flush()
        except OSError as error:
            self._leave(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _leave(self, error: OSError) -> None:
        """Lead the stream to nowhere, since Python flushes it again when the process ends."""
        if not self._nobody_reads(error):
            raise error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def _nobody_reads(self, error: OSError) -> bool:
        """Whether a pipe is closed or a terminal gone; the same error of a file is one of its disk."""
        if error.errno == errno.EPIPE:
            return True
        return error.errno == errno.EIO and stat.S_ISCHR(os.fstat(self._stream.fileno()).st_mode)


@contextmanager
def lasting(name: str) -> Iterator[None]:
    """Within the block a stream falls silent once nobody reads it.

    Args:
        name: "stdout" or "stderr"; one that was closed before the program began is silent.
    """
    stream = getattr(sys, name)
    with open(os.devnull, "w") as nowhere:
        setattr(sys, name, LastingStream(nowhere if stream is None else stream))
        try:
            yield
        finally:
            try:
                getattr(sys, name).flush()
            finally:
                setattr(sys, name, stream)


@contextmanager
def write_errors() -> Iterator[None]:
    """Tell a disk that refuses in the middle of a run from input that is refused before it.

    Raises:
        WriteError: the file, if it is known, and the reason.
    """
    try:
        yield
    except OSError as error:
        raise WriteError(reason_of(error)) from error


def reason_of(error: OSError) -> str:
    """An error of the system as one line, with the file if it is known."""
    if not error.strerror:
        return str(error) or type(error).__name__
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
