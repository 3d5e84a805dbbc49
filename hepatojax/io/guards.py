"""What is checked of a file from elsewhere before a byte of its data is believed.

A hostile HDF5 file can name any local file as its storage, follow links out of itself, claim terabytes, or be a pipe
that never answers. The guards say what is wrong as the end of a sentence; the readers put their own error around it.

Reference: RELIABILITY 3.6 (16 hostile files, with what a naive reader does).
"""

from __future__ import annotations

import math
import stat
from pathlib import Path

import h5py

HDF5_ERRORS = (OSError, RuntimeError, LookupError, AttributeError, TypeError, ValueError)  # of h5py, in a damaged file
DEFLATE_RATIO = 1100  # deflate cannot compress better than about 1030 : 1
PLAIN_FILTERS = frozenset({h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32})


def is_regular(path: Path) -> bool:
    """True for a file with bytes to read, be it behind a link; a pipe or a device may never answer.

    Args:
        path: may be missing, which is no regular file either.
    """
    return path.exists() and stat.S_ISREG(path.stat().st_mode)


def is_own_file(path: Path) -> bool:
    """True for a regular file that lies where its name says; a link may lead anywhere.

    Args:
        path: as in `is_regular`; only its last name is looked at, a linked folder above it is not seen.
    """
    return is_regular(path) and not path.is_symlink()


def own_item(file: h5py.File, name: str) -> h5py.Group | h5py.Dataset | None:
    """What lies at the end of a path of hard links; None where a part is missing or a link of another kind.

    Args:
        file: opened for reading.
        name: path inside the file, such as "series/time".

    Returns:
        The group or dataset. Every part of the path is looked at before it is opened, so no other link is ever
        followed.

    Reference: RELIABILITY 3.6.
    """
    item: h5py.Group | h5py.Dataset = file
    for part in name.strip("/").split("/"):
        if not isinstance(item, h5py.Group) or not isinstance(item.get(part, getlink=True), h5py.HardLink):
            return None
        item = item[part]  # type: ignore[assignment]
    return item


def storage_fault(dataset: h5py.Dataset) -> str | None:
    """Why a dataset does not hold its own values in a form that everyone reads, or None.

    Args:
        dataset: reached by `own_item`.

    Returns:
        The end of a sentence that begins with the name of the dataset; None where its bytes lie in this file, plain or
        through deflate, shuffle and fletcher32 alone.

    Reference: RELIABILITY 3.6.
    """
    properties = dataset.id.get_create_plist()
    filters = {properties.get_filter(number)[0] for number in range(properties.get_nfilters())}
    if dataset.external or dataset.is_virtual or not filters <= PLAIN_FILTERS:
        return "has external, virtual or plug-in storage; write it plain or with gzip"
    return None


def size_fault(dataset: h5py.Dataset) -> str | None:
    """Why a dataset with plain storage cannot hold the values that it announces, or None.

        stored bytes x 1100 >= announced bytes

    Args:
        dataset: that `storage_fault` has nothing against.

    Returns:
        The end of a sentence that begins with the name of the dataset; nothing has been read or unpacked then.

    Reference: RELIABILITY 3.6.
    """
    size = announced_bytes(dataset.shape, dataset.dtype.itemsize)
    if dataset.id.get_storage_size() * DEFLATE_RATIO < size:
        return f"announces {size} bytes and stores far fewer"
    return None


def first_line(text: str) -> str:
    """The beginning of a text, as the end of a sentence.

    Args:
        text: such as the message of another library, of any length and any number of lines.

    Returns:
        At most 80 characters of its first line, with "..." where something was left out.
    """
    line = text.splitlines()[0] if text else ""
    return line if len(line) <= 80 and line == text else f"{line[:77]}..."


def announced_bytes(shape: tuple[int, ...] | None, itemsize: int) -> int:
    """Bytes that an array would take, in integers that do not overflow; none for a dataset without a shape.

        itemsize x product of the shape

    Args:
        shape: as the file states it; None for a dataset that holds nothing.
        itemsize: of one value [byte].

    Returns:
        Size in memory [byte], uncompressed.
    """
    return 0 if shape is None else math.prod(int(n) for n in shape) * itemsize
