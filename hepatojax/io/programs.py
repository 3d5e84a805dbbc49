"""Compiled programs kept between processes, for one code, one JAX and one kind of processor.

A program is a file of its own, named after its key and all of these, and begins with a digest of its name and the
rest, so that neither a damaged nor a renamed one is loaded. The files that were used last stay, `KEPT` of them.
"""

from __future__ import annotations

import hashlib
import os
import platform
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from importlib.metadata import version
from pathlib import Path

from hepatojax.io.guards import is_own_file
from hepatojax.io.presets import code_hash
from hepatojax.io.provenance import sha256
from hepatojax.io.snapshots import durable_write

KEPT = 32  # some 20 MB each for the gradient of a run
NEVER_COMPILED = ("io", "report", "checks", "cli")  # rooms that no compiled code imports
SUFFIX = ".program"
_DIGEST_BYTES = hashlib.sha256().digest_size
_FLAGS_VARIABLE = "XLA_FLAGS"


class ProgramFolder:
    """A folder of compiled programs, one file for each key; other code, versions and processors find nothing in it.

    A folder that cannot be used costs time and nothing else: it is warned of, and programs are compiled again. Only
    files of the user's own are read, for a program does what it says.

    Args:
        folder: made when the first program is saved.
        compiling: surrounds the compilation of what will be saved, see `hepatojax.cli.device.without_cache`;
            `contextlib.nullcontext` will do where JAX has no cache.
    """

    def __init__(self, folder: Path, compiling: Callable[[], AbstractContextManager[None]]):
        self._folder, self.compiling = folder, compiling
        self._code = _code()
        self._made_by = "\n".join([self._code, *_versions(), _processor(), os.environ.get(_FLAGS_VARIABLE, "")])

    def load(self, key: str) -> bytes | None:
        """The program kept under a key, or None; a damaged file is removed with a warning, and counts as none.

        Args:
            key: the text that it was saved under.
        """
        path = self._place(key)
        try:
            if not (is_own_file(path) and path.stat().st_uid == os.getuid()):
                return None
            data = path.read_bytes()
            program = data[_DIGEST_BYTES:]
            if _digest(path, program) == data[:_DIGEST_BYTES]:
                with suppress(OSError):  # a disk that is read only
                    os.utime(path)
                return program
            path.unlink(missing_ok=True)
            warnings.warn(f"{path} is damaged and was removed; the program is compiled again", stacklevel=2)
        except FileNotFoundError:  # removed by another process meanwhile
            return None
        except OSError as error:
            self._warn(error)
        return None

    def save(self, key: str, program: bytes) -> None:
        """Keep a program under a key, durably, and remove those that were used longest ago.

        What was compiled while the sources changed is not kept, with a warning: nobody knows which of them made it.

        Args:
            key: text that says all it depends on but code, versions and processor.
            program: its bytes.
        """
        try:
            if _code() != self._code:
                warnings.warn("the source of HepatoJAX has changed meanwhile; the program is not kept", stacklevel=2)
                return
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._place(key)
            durable_write(path, _digest(path, program) + program)
            for old in sorted(self._folder.glob(f"*{SUFFIX}"), key=_last_used)[:-KEPT]:
                old.unlink(missing_ok=True)
        except OSError as error:
            self._warn(error)

    def _place(self, key: str) -> Path:
        return self._folder / (sha256(key + self._made_by)[:32] + SUFFIX)

    def _warn(self, error: OSError) -> None:
        reason = error.strerror or type(error).__name__
        warnings.warn(f"{self._folder}: {reason}; a later start compiles its programs again", stacklevel=3)


def _digest(path: Path, program: bytes) -> bytes:
    return hashlib.sha256(path.name.encode() + program).digest()


def _last_used(path: Path) -> float:
    """Time of the last use; that of what another process has just removed is the oldest."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _code() -> str:
    """Of the source that programs are made of; numbers reach them as arguments or as constants of their key."""
    return code_hash((".py",), NEVER_COMPILED)


def _versions() -> tuple[str, ...]:
    return platform.python_version(), version("jax"), version("jaxlib")


def _processor() -> str:
    """The instructions that the processor has, for which a program is compiled."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    said = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    return f"{platform.machine()} {said}"
