"""Durable files: under its name a file is either whole or not there, whatever kills the process or the machine.

HDF5 never touches the disk here. A file is built in memory as an image, and its bytes are written by ordinary file
I/O to a temporary name, synchronised, renamed, and the folder synchronised. A full disk is then an `OSError` that
leaves all earlier files intact, and a kill leaves at most a temporary that `sweep_temporaries` removes.

Reference: RELIABILITY 3.1 to 3.4 (kill, crash-point and disk-full experiments).
"""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

HASHED_NAME = re.compile(r"(part|state)(\d{8})\.([0-9a-f]{16})\.h5")
CHECKPOINTS_KEPT = 2


@contextmanager
def memory_file() -> Iterator[h5py.File]:
    """An empty HDF5 file that lives in memory only; take its bytes with `image_of` before the block ends.

    Yields:
        The file, with format bounds (earliest, v110): old readers open it, and it can hold virtual datasets.

    Reference: ECOSYSTEM 1.3.
    """
    with h5py.File("image", "w", driver="core", backing_store=False, libver=("earliest", "v110")) as file:
        yield file


def image_of(file: h5py.File) -> bytes:
    """The bytes that the file would have on disk.

    Args:
        file: of `memory_file`, with everything that was written to it so far.
    """
    file.flush()
    return file.id.get_file_image()


def durable_write(path: Path, data: bytes) -> None:
    """Put `data` under `path` so that a crash at any moment leaves the old file or the new one, never a part.

    Temporary name, write, fsync, rename, fsync of the folder. A kill may leave `.<name>.<process>.tmp` beside the file.

    Args:
        path: in an existing folder; a file of that name is replaced.
        data: the whole content.

    Raises:
        OSError: the disk refused (full, quota, read-only); nothing of the new file stays behind.

    Reference: RELIABILITY 3.1 and 3.3.
    """
    temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
    try:
        _write_and_synchronise(temporary, data)
        os.replace(temporary, path)
    finally:
        _remove_if_present(temporary)
    synchronise_folder(path.parent)


def synchronise_folder(folder: Path) -> None:
    """Make the names in a folder survive a power loss.

    Args:
        folder: in which files were renamed or removed; the files themselves are synchronised by their writers.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep_temporaries(folder: Path) -> None:
    """Remove what killed writers left behind; the caller holds the lock of the run folder.

    Args:
        folder: whose `.*.tmp` go; folders inside it are not looked into.

    Reference: RELIABILITY 3.4.
    """
    for temporary in folder.glob(".*.tmp"):
        _remove_if_present(temporary)


def write_hashed(folder: Path, kind: str, number: int, data: bytes) -> Path:
    """Write a durable file whose name carries its number and the first 16 digits of its SHA-256.

    Args:
        folder: an existing folder.
        kind: "part" (fields at one saved time) or "state" (checkpoint).
        number: order of the file among its kind.
        data: the HDF5 image.

    Returns:
        The file, such as `part00000012.0123456789abcdef.h5`.

    Raises:
        OSError: the disk refused; the other files are as they were.

    Reference: RELIABILITY 3.4.
    """
    path = folder / f"{kind}{number:08d}.{hashlib.sha256(data).hexdigest()[:16]}.h5"
    durable_write(path, data)
    return path


def hashed_files(folder: Path, kind: str) -> list[Path]:
    """The files of one kind, in the order of their numbers.

    Args:
        folder: an existing one; files of other names are passed over.
        kind: "part" or "state".
    """
    names = (HASHED_NAME.fullmatch(path.name) for path in folder.iterdir())
    return sorted(folder / name.group() for name in names if name and name[1] == kind)


def is_intact(path: Path) -> bool:
    """True if the bytes of the file are those that its name was made from.

    Args:
        path: a file of `write_hashed`; one of another form of name is not intact.
    """
    name = HASHED_NAME.fullmatch(path.name)
    if name is None:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().startswith(name[3])


@dataclass(frozen=True)
class Checkpoint:
    """A state as read back.

    Attributes:
        step: macro-steps done.
        tree: nested dict of arrays.
        attributes: what the writer noted beside it (hash of the scenario, versions).
    """

    step: int
    tree: dict[str, Any]
    attributes: dict[str, Any]


def write_checkpoint(folder: Path, step: int, tree: Mapping[str, Any], attributes: Mapping[str, Any]) -> Path:
    """Write a state durably, uncompressed and bit for bit, and drop all but the newest two.

    Args:
        folder: an existing folder.
        step: macro-steps done.
        tree: nested dict whose leaves are arrays or numbers.
        attributes: text and numbers kept beside the state.

    Returns:
        The file. Older ones go only once it is durable.

    Raises:
        OSError: the disk refused; the checkpoints before it are as they were.

    Reference: RELIABILITY 3.4.
    """
    with memory_file() as file:
        _store_tree(file, tree)
        file.attrs.update(dict(attributes))
        data = image_of(file)
    path = write_hashed(folder, "state", step, data)
    for old in hashed_files(folder, "state")[:-CHECKPOINTS_KEPT]:
        _remove_if_present(old)
    return path


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest state whose bytes are intact, or None; a damaged file is set aside as `.bad` with a warning.

    Args:
        folder: an existing one.

    Returns:
        The state as it was written; the one before where the newest is damaged.

    Reference: RELIABILITY 3.4.
    """
    for path in reversed(hashed_files(folder, "state")):
        if is_intact(path):
            return _read_checkpoint(path)
        os.replace(path, path.with_suffix(".bad"))
        warnings.warn(f"{path}: damaged checkpoint, renamed to .bad; the one before is used", stacklevel=2)
    return None


def _read_checkpoint(path: Path) -> Checkpoint:
    step = int(HASHED_NAME.fullmatch(path.name)[2])  # type: ignore[index]
    with h5py.File(path, "r") as file:
        return Checkpoint(step, _load_tree(file), dict(file.attrs))


def _store_tree(group: h5py.Group, tree: Mapping[str, Any]) -> None:
    """Nested dicts as groups, their leaves as plain datasets; the tree comes back by `_load_tree`."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            _store_tree(group.create_group(name), value)
        else:
            group.create_dataset(name, data=np.asarray(value))


def _load_tree(group: h5py.Group) -> dict[str, Any]:
    """The nested dict of a group, every dataset read whole; a leaf without axes comes back as a NumPy scalar."""
    return {name: _load_tree(item) if isinstance(item, h5py.Group) else item[()] for name, item in group.items()}


def _write_and_synchronise(path: Path, data: bytes) -> None:
    """Write everything, in as many calls as the system wants, and synchronise once.

    A failed fsync is not tried again on the same descriptor, for the pages may count as clean by then.

    Reference: RELIABILITY 3.3.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_if_present(path: Path) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)
