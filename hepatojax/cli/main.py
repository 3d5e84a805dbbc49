"""The command `hepatojax`: verbs, and errors as one line each with an exit code. Nothing heavy is imported here.

Exit codes: 0 done, 1 some members failed, 2 refused input, 3 the folder is in use, 4 not converged, 5 no memory or no
such device, 74 the disk refused, 75 stopped on request. What a user can act on is `error: ...` on the standard error, a
line for each problem, or its traceback with --debug; a defect of the program always has its traceback. Warnings are
`warning: ...`, a line each.

Reference: RELIABILITY 3.5 and 4.2.
"""

from __future__ import annotations

import argparse
import errno
import sys
import warnings
from typing import NoReturn

from hepatojax import __version__
from hepatojax.cli import checks, results, run, scenario, study, window
from hepatojax.cli.output import lasting, reason_of
from hepatojax.io.provenance import DISCLAIMER
from hepatojax.status import ExitCode, HepatojaxError

_DISK_ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG, errno.EROFS)


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(ExitCode.REJECTED_INPUT, f"error: {message} (see {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line.

    Returns:
        A parser whose result has `action`, the function of the verb, which takes the options and returns an exit code.
    """
    top = _Parser(prog="hepatojax", description="Simulate a liver lobule under cell therapy in 3D.", epilog=DISCLAIMER)
    top.add_argument("--version", action="version", version=f"hepatojax {__version__}")
    top.add_argument("--debug", action="store_true", help="show the traceback of an error")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    for group in (run, study, window, scenario, results, checks):
        group.register(verbs)
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the name of the program; those of the process by default.

    Returns:
        The exit code, see `hepatojax.status.ExitCode`.

    Raises:
        SystemExit: --help and --version (0), and arguments that are none (2).
    """
    options = parser().parse_args(arguments)
    with lasting("stderr"):
        return _act(options)


def _act(options: argparse.Namespace) -> int:
    """Call the verb; an error that a user can act on becomes lines and a code, any other goes through."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return int(options.action(options))
    except (HepatojaxError, OSError, RuntimeError, MemoryError, KeyboardInterrupt) as error:
        code = exit_code(error)
        if options.debug or code is None:
            raise
        for line in _lines(error):
            print(f"error: {line}", file=sys.stderr)
        return int(code)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """A warning as one line, without the place in the source that Python would show."""
    print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)


def exit_code(error: BaseException) -> ExitCode | None:
    """The exit code for an error that a user can act on; None for a defect, which keeps its traceback.

    A reader who has left ends the verbs that only print, and that is no fault of theirs; `run` outlasts him.

    Args:
        error: that a verb has raised. Of errors of the system, those of a disk (full, quota, too large, read-only,
            failing) are write errors, and the others refused input.
    """
    if isinstance(error, HepatojaxError):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.STOPPED
    if isinstance(error, BrokenPipeError):
        return ExitCode.DONE
    if isinstance(error, OSError):
        return ExitCode.WRITE_ERROR if error.errno in _DISK_ERRORS else ExitCode.REJECTED_INPUT
    return ExitCode.NO_MEMORY_OR_DEVICE if isinstance(error, MemoryError) or _device_is_full(error) else None


def _device_is_full(error: BaseException) -> bool:
    """XLA has no type of its own for memory that runs out on the device; its message holds this word."""
    return "RESOURCE_EXHAUSTED" in str(error)


def _lines(error: BaseException) -> list[str]:
    """What is said of an error, a line each; nothing to a reader who has left."""
    if isinstance(error, KeyboardInterrupt):
        return ["stopped on request; what was saved stays usable"]
    if isinstance(error, BrokenPipeError):
        return []
    if isinstance(error, OSError) and error.strerror:
        return [reason_of(error)]
    if isinstance(error, MemoryError):
        return [": ".join(["this machine ran out of memory", *str(error).splitlines()[:1]])]
    if _device_is_full(error):
        return ["the device ran out of memory; use fewer cells or precision float32"]
    return str(error).splitlines() or [type(error).__name__]


if __name__ == "__main__":
    sys.exit(main())
