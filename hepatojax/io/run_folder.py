"""The folder of a run: OUT/<arm>/{run.vtkhdf, summary.json, scenario.toml, parts/}, owned by one process at a time."""

from __future__ import annotations

import fcntl
import json
import math
import os
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hepatojax.io.snapshots import durable_write
from hepatojax.status import ExitCode, HepatojaxError

LOCK_FILE = ".lock"
SUMMARY_FILE = "summary.json"
SCENARIO_FILE = "scenario.toml"
ARM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class RunFolderLocked(HepatojaxError, RuntimeError):
    """Another process writes into this run folder; the command line turns this into exit code 3."""

    exit_code = ExitCode.FOLDER_LOCKED


def arm_folder(out: str | Path, arm: str) -> Path:
    """The folder of one arm, made if needed.

    Raises:
        ValueError: the name of the arm cannot be the name of a folder inside `out`.
    """
    if not ARM_NAME.fullmatch(arm) or ".." in arm:
        raise ValueError(f"arm {arm!r}: a name starts with a letter or digit, then letters, digits, '.', '_', '-'")
    folder = Path(out) / arm
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Own a run folder for the length of the block; the lock ends with the process, however it ends.

    Raises:
        RunFolderLocked: names the process, machine and time of the owner.
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
    """Write `summary.json` atomically; numbers that are not finite become null, which JSON can say."""
    path = folder / SUMMARY_FILE
    text = json.dumps(_plain(summary), indent=2, allow_nan=False)
    durable_write(path, (text + "\n").encode())
    return path


def read_summary(folder: Path) -> dict[str, Any]:
    """The summary of a run."""
    return json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))


def write_scenario(folder: Path, text: str) -> Path:
    """Write the resolved scenario beside the results."""
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
