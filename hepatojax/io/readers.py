"""Guarded readers of label images: a file from elsewhere is checked before a byte of its data is believed.

Beside what `hepatojax.io.guards` names, a NumPy file can carry pickled code. Everything but plain integers stored in
the file is refused. Checks come from cheap to dear: kind of file, signature, header, links and storage, type, shape,
size, then the values.

Reference: RELIABILITY 3.5 (pickle) and 3.6.
"""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError
from typing import BinaryIO

import h5py
import numpy as np
from jaxtyping import UInt8

from hepatojax.io.guards import (
    HDF5_ERRORS,
    announced_bytes,
    first_line,
    is_regular,
    own_item,
    size_fault,
    storage_fault,
)
from hepatojax.status import HepatojaxError

LABEL_LIMIT_BYTES = 2 << 30
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


class InputFileError(HepatojaxError, ValueError):
    """An input file is refused; one sentence says which file and why. The command line ends with exit code 2."""


def read_label_image(path: str | Path, dataset: str = "labels") -> UInt8[np.ndarray, "nz ny nx"]:
    """Read a label image from a `.npy` or `.h5` file.

    Args:
        path: a regular file; the format is told by its first bytes, not by its name.
        dataset: path of the dataset within an HDF5 file.

    Returns:
        Labels (nz, ny, nx), uint8 [-]; what they mean says `hepatojax.tissue.geometry`.

    Raises:
        InputFileError: not a three-dimensional image of integers 0..255 that lies wholly in this file, or above 2 GiB.

    Reference: RELIABILITY 3.6.
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


def _read_npy(path: Path, file: BinaryIO) -> np.ndarray:
    """The array of a `.npy` file of format 1.0 or 2.0, whose header must announce exactly the bytes that follow it."""
    try:
        version = np.lib.format.read_magic(file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, kind = read_header[version](file)
    except (ValueError, KeyError, SyntaxError, TokenError) as error:
        raise InputFileError(f"{path}: damaged NumPy header ({first_line(str(error))})") from None
    _check_plain_image(path, shape, kind)
    wanted, stored = int(np.prod(shape)) * kind.itemsize, path.stat().st_size - file.tell()
    if stored != wanted:
        raise InputFileError(f"{path}: {stored} bytes of data where the header announces {wanted}")
    file.seek(0)
    return np.load(file, allow_pickle=False)


def _read_hdf5(path: Path, name: str) -> np.ndarray:
    """The values of a dataset, which are read once storage, type, shape and size are known to be harmless."""
    try:
        with h5py.File(path, "r") as file:
            dataset = _own_dataset(path, file, name)
            _check_plain_image(path, dataset.shape or (), dataset.dtype)  # None where nothing is stored
            fault = size_fault(dataset)
            if fault:
                raise InputFileError(f"{path}: {name} {fault}")
            return dataset[()]
    except InputFileError:
        raise
    except HDF5_ERRORS as error:
        raise InputFileError(f"{path}: damaged HDF5 file ({first_line(str(error))})") from None


def _own_dataset(path: Path, file: h5py.File, name: str) -> h5py.Dataset:
    """The dataset, reached by hard links alone, stored in this file, with filters that everyone has."""
    item = own_item(file, name)
    if item is None:
        raise InputFileError(f"{path}: no dataset {name!r} stored in the file itself (links are not followed)")
    if not isinstance(item, h5py.Dataset):
        raise InputFileError(f"{path}: {name} is a group, a dataset is wanted")
    fault = storage_fault(item)
    if fault:
        raise InputFileError(f"{path}: {name} {fault}")
    return item


def _check_plain_image(path: Path, shape: tuple[int, ...], kind: np.dtype) -> None:
    """Refuse what is no three-dimensional array of integers, or would take more memory than any label image."""
    if kind.kind not in "iu":
        raise InputFileError(f"{path}: values of type {kind}, a label image holds integers")
    if len(shape) != 3 or min(shape) < 1:
        raise InputFileError(f"{path}: shape {shape}, a label image is (nz, ny, nx)")
    size = announced_bytes(shape, kind.itemsize)
    if size > LABEL_LIMIT_BYTES:
        raise InputFileError(f"{path}: {size} bytes, the limit is {LABEL_LIMIT_BYTES}")
