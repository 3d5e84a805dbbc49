"""Guarded readers of label images: a file from elsewhere is checked before a byte of its data is believed.

A hostile HDF5 file can name any local file as its storage, follow links out of itself, claim terabytes, or be a pipe
that never answers; a NumPy file can carry pickled code. Everything but plain integers stored in the file is refused.

Reference: RELIABILITY 3.6 (16 hostile files, with what a naive reader does).
"""

from __future__ import annotations

import stat
from pathlib import Path
from tokenize import TokenError
from typing import BinaryIO

import h5py
import numpy as np
from jaxtyping import UInt8

from hepatojax.status import HepatojaxError

LABEL_LIMIT_BYTES = 2 << 30
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
DEFLATE_RATIO = 1100  # deflate cannot compress better than about 1030 : 1
PLAIN_FILTERS = frozenset({h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32})


class InputFileError(HepatojaxError, ValueError):
    """An input file is refused; one sentence says which file and why."""


def read_label_image(path: str | Path, dataset: str = "labels") -> UInt8[np.ndarray, "nz ny nx"]:
    """Read a label image from a `.npy` or `.h5` file.

    Args:
        path: a regular file; the format is told by its first bytes, not by its name.
        dataset: path of the dataset within an HDF5 file.

    Returns:
        Labels (nz, ny, nx), uint8.

    Raises:
        InputFileError: not a three-dimensional image of integers 0..255 that lies wholly in this file.
    """
    path = Path(path)
    if not is_regular(path):
        raise InputFileError(f"{path}: no such regular file")
    with path.open("rb") as file:
        signature = file.read(8)
        file.seek(0)
        if signature.startswith(b"\x93NUMPY"):
            labels = _read_npy(path, file)
        elif signature == HDF5_SIGNATURE:
            labels = _read_hdf5(path, dataset)
        else:
            raise InputFileError(f"{path}: neither a NumPy nor an HDF5 file")
    if labels.min() < 0 or labels.max() > 255:
        raise InputFileError(f"{path}: labels reach from {labels.min()} to {labels.max()}, allowed are 0 to 255")
    return labels.astype(np.uint8)


def is_regular(path: Path) -> bool:
    """True for a file with bytes to read; a pipe or a device may never answer."""
    return path.exists() and stat.S_ISREG(path.stat().st_mode)


def own_item(file: h5py.File, name: str) -> h5py.Group | h5py.Dataset | None:
    """What lies at the end of a path of hard links; None where a part is missing or a link of another kind."""
    item: h5py.Group | h5py.Dataset = file
    for part in name.strip("/").split("/"):
        if not isinstance(item, h5py.Group) or not isinstance(item.get(part, getlink=True), h5py.HardLink):
            return None
        item = item[part]  # type: ignore[assignment]
    return item


def _read_npy(path: Path, file: BinaryIO) -> np.ndarray:
    try:
        version = np.lib.format.read_magic(file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, kind = read_header[version](file)
    except (ValueError, KeyError, SyntaxError, TokenError) as error:
        raise InputFileError(f"{path}: damaged NumPy header ({str(error).splitlines()[0]})") from None
    _check_plain_image(path, shape, kind)
    wanted, stored = int(np.prod(shape)) * kind.itemsize, path.stat().st_size - file.tell()
    if stored != wanted:
        raise InputFileError(f"{path}: {stored} bytes of data where the header announces {wanted}")
    file.seek(0)
    return np.load(file, allow_pickle=False)


def _read_hdf5(path: Path, name: str) -> np.ndarray:
    try:
        with h5py.File(path, "r") as file:
            dataset = _own_dataset(path, file, name)
            _check_plain_image(path, dataset.shape, dataset.dtype)
            if dataset.id.get_storage_size() * DEFLATE_RATIO < dataset.nbytes:
                raise InputFileError(f"{path}: {name} announces {dataset.nbytes} bytes and stores far fewer")
            return dataset[()]
    except OSError as error:
        raise InputFileError(f"{path}: damaged HDF5 file ({str(error).splitlines()[0]})") from None


def _own_dataset(path: Path, file: h5py.File, name: str) -> h5py.Dataset:
    """The dataset, reached by hard links alone, stored in this file, with filters that everyone has."""
    item = own_item(file, name)
    if item is None:
        raise InputFileError(f"{path}: no dataset {name!r} stored in the file itself (links are not followed)")
    if not isinstance(item, h5py.Dataset):
        raise InputFileError(f"{path}: {name} is a group, a dataset is wanted")
    properties = item.id.get_create_plist()
    filters = {properties.get_filter(number)[0] for number in range(properties.get_nfilters())}
    if item.external or item.is_virtual or not filters <= PLAIN_FILTERS:
        raise InputFileError(f"{path}: {name} has external, virtual or plug-in storage; write it plain or with gzip")
    return item


def _check_plain_image(path: Path, shape: tuple[int, ...], kind: np.dtype) -> None:
    if kind.kind not in "iu":
        raise InputFileError(f"{path}: values of type {kind}, a label image holds integers")
    if len(shape) != 3 or min(shape) < 1:
        raise InputFileError(f"{path}: shape {shape}, a label image is (nz, ny, nx)")
    size = int(np.prod([int(n) for n in shape], dtype=object)) * kind.itemsize
    if size > LABEL_LIMIT_BYTES:
        raise InputFileError(f"{path}: {size} bytes, the limit is {LABEL_LIMIT_BYTES}")
