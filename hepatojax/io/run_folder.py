"""The folder of a run: OUT/<arm>/{run.vtkhdf, summary.json, scenario.toml, parts/}, owned by one process at a time.

A command owns a folder by `flock` on its file `.lock`, which the system frees when the process ends, however it ends.
HDF5's own lock is not relied on: a common environment variable switches it off. Small files are written durably, and
`summary.json` is the last one that an arm writes: where it is missing, no run of that arm has ended.

Reference: RELIABILITY 3.4.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from hepatojax.io.snapshots import durable_write, synchronise_folder
from hepatojax.scenario import ARM_NAME_RULE, is_arm_name
from hepatojax.status import ExitCode, HepatojaxError, OutputError

LOCK_FILE = ".lock"
SUMMARY_FILE = "summary.json"
SCENARIO_FILE = "scenario.toml"


class RunFolderLocked(HepatojaxError, RuntimeError):
    """Another process writes into this run folder; the command line turns this into exit code 3."""

    exit_code = ExitCode.FOLDER_LOCKED


def arm_folder(out: str | Path, arm: str) -> Path:
    """The folder of one arm, made if needed.

    Args:
        out: output folder of the command.
        arm: its name, which becomes that of the folder.

    Returns:
        `out/arm`.

    Raises:
        OutputError: the name of the arm cannot be the name of a folder inside `out`, or a file is in the way.
    """
    if not is_arm_name(arm):
        raise OutputError(f"arm {arm!r} cannot name a folder: {ARM_NAME_RULE}")
    folder = Path(out) / arm
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError(f"-o {out}: {error.filename} is in the way, a folder is wanted there") from None
    return folder


@contextmanager
def locked_arms(out: str | Path, arms: Sequence[str]) -> Iterator[dict[str, Path]]:
    """The folders of all arms, made and owned for the length of the block, so that faults show before any work.

    Args:
        out: output folder of the command.
        arms: names, each once.

    Yields:
        Name -> folder, in the order of the names.

    Raises:
        OutputError: a folder cannot be made.
        RunFolderLocked: another process owns one; folders that were made stay.
    """
    with ExitStack() as locks:
        folders = {arm: arm_folder(out, arm) for arm in arms}
        for folder in folders.values():
            locks.enter_context(locked(folder))
        yield folders


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Own a run folder for the length of the block; the lock ends with the process, however it ends.

    The file `.lock` stays: it says which process, on which machine and since when (UTC) has owned the folder last.

    Args:
        folder: an existing one.

    Raises:
        RunFolderLocked: names the process, machine and time of the owner.

    Reference: RELIABILITY 3.4.
    """
    handle = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(handle, 200, 0).decode(errors="replace").strip()
            raise RunFolderLocked(f"{folder}: another run writes here ({owner}); wait or choose another -o") from None
        now = datetime.now(UTC).isoformat(timespec="seconds")
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()} since {now}".encode(), 0)
        yield
    finally:
        os.close(handle)


def write_summary(folder: Path, summary: Mapping[str, Any]) -> Path:
    """Write `summary.json`, see `write_record`.

    Args:
        folder: of one arm.
        summary: how the run ended, what it cost and what came out; units stand beside the endpoints.

    Returns:
        The file.
    """
    return write_record(folder / SUMMARY_FILE, summary)


def write_record(path: Path, record: Mapping[str, Any]) -> Path:
    """Write a JSON file so that a crash leaves the old one or the new one; what is not finite becomes null.

    Args:
        path: in an existing folder.
        record: nested tables, lists, text and numbers; arrays and array scalars become lists and numbers.

    Returns:
        The file, ASCII with an indent of two.

    Raises:
        OSError: the disk refused; an earlier file is as it was.
    """
    durable_write(path, (json.dumps(_plain(record), indent=2, allow_nan=False) + "\n").encode())
    return path


def remove_summary(folder: Path) -> None:
    """Take back what an earlier run said, so that a killed one cannot be mistaken for it.

    Args:
        folder: of one arm, owned by the caller.
    """
    remove_files(folder, (SUMMARY_FILE,))


def remove_files(folder: Path, names: Iterable[str]) -> None:
    """Take back files that an earlier command has left in a folder or below it, in this order, as far as they exist.

    What is removed from one folder is synchronised before the next is touched, so that no power loss brings back a file
    without those after it.

    Args:
        folder: owned by the caller.
        names: paths relative to the folder; those of one folder stand together.
    """
    for parent, paths in groupby((folder / name for name in names), key=lambda path: path.parent):
        for path in paths:
            path.unlink(missing_ok=True)
        if parent.is_dir():
            synchronise_folder(parent)


def write_scenario(folder: Path, text: str) -> Path:
    """Write the resolved scenario beside the results.

    Args:
        folder: of one arm, or of a study.
        text: TOML of `scenario_to_toml`, which `hepatojax run` takes again.

    Returns:
        `scenario.toml` in the folder.
    """
    path = folder / SCENARIO_FILE
    durable_write(path, text.encode())
    return path


def _plain(value: Any) -> Any:
    """The same value in the types of JSON: arrays and array scalars become lists and numbers."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
