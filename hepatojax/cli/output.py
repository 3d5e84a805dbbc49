"""Output that is refused: a reader who has left silences a stream, a disk that refuses ends a run as a write error.

`hepatojax run ... | head` must not end a computation of hours, and a full disk behind a redirected stream must not pass
for success. So a closed pipe and a terminal that is gone silence the stream, and every other error of it goes on.
"""

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
    """A text stream that falls silent once nobody reads it, so that a computation goes on; other errors pass.

    Args:
        stream: with a file descriptor, which leads to nowhere once its reader has left.
    """

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> int:
        """Write; the end of a line is flushed, so that the loss of the reader shows here and not at the exit.

        Args:
            text: any number of lines.

        Returns:
            Number of characters, whether or not anybody reads them.

        Raises:
            OSError: any refusal but that of a closed pipe or a terminal that is gone.
        """
        try:
            self._stream.write(text)
            if text.endswith("\n"):
                self._stream.flush()
        except OSError as error:
            self._leave(error)
        return len(text)

    def flush(self) -> None:
        """Hand over what is buffered.

        Raises:
            OSError: as `write`.
        """
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

    Within the block every error of the system ends the command with exit code 74; what is on the disk stays.

    Raises:
        WriteError: the file, if it is known, and the reason.
    """
    try:
        yield
    except OSError as error:
        raise WriteError(reason_of(error)) from error


def reason_of(error: OSError) -> str:
    """An error of the system as one line, with the file if it is known.

    Args:
        error: its number stays out, the words for it are those of the system.
    """
    if not error.strerror:
        return str(error) or type(error).__name__
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
