"""Label images from elsewhere: good ones are read, hostile ones refused in one sentence."""

import os
import pickle

import h5py
import numpy as np
import pytest

from hepatojax.io.readers import InputFileError, read_label_image

LABELS = np.random.default_rng(0).integers(0, 4, (4, 5, 7)).astype(np.uint8)


def hdf5(path, fill):
    with h5py.File(path, "w") as file:
        fill(file)
    return path


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int64])
def test_a_label_image_is_read_from_numpy_and_hdf5(tmp_path, kind):
    np.save(tmp_path / "labels.npy", LABELS.astype(kind))
    hdf5(tmp_path / "labels.h5", lambda f: f.create_dataset("a/labels", data=LABELS.astype(kind), compression="gzip"))
    for read in (read_label_image(tmp_path / "labels.npy"), read_label_image(tmp_path / "labels.h5", "a/labels")):
        assert read.dtype == np.uint8
        assert np.array_equal(read, LABELS)


def _virtual(other):
    def fill(file):
        layout = h5py.VirtualLayout(LABELS.shape, "u1")
        layout[:] = h5py.VirtualSource(other, "labels", LABELS.shape)
        file.create_virtual_dataset("labels", layout)

    return fill


def _bomb(file):
    file.create_dataset("labels", (1 << 10, 1 << 10, 1 << 10), "u1", chunks=(1 << 10, 1 << 10, 16), compression="gzip")


HOSTILE_HDF5 = {
    "external storage": (
        lambda f, d: f.create_dataset("labels", (1, 1, 9), "u1", external=[(d / "x", 0, 9)]),
        "external",
    ),
    "external link": (lambda f, d: f.__setitem__("labels", h5py.ExternalLink("other.h5", "/labels")), "links"),
    "soft link": (lambda f, d: f.__setitem__("labels", h5py.SoftLink("/nowhere")), "links"),
    "soft link on the way": (lambda f, d: f.__setitem__("a", h5py.SoftLink("/")), "links"),
    "virtual dataset": (lambda f, d: _virtual(d / "other.h5")(f), "virtual"),
    "unallocated terabytes": (lambda f, d: f.create_dataset("labels", (10**4,) * 3, "i8", chunks=(64,) * 3), "limit"),
    "nothing stored": (lambda f, d: _bomb(f), "stores far fewer"),
    "a group": (lambda f, d: f.create_group("labels"), "group"),
    "text": (lambda f, d: f.__setitem__("labels", "hello"), "integers"),
    "floats": (lambda f, d: f.__setitem__("labels", LABELS.astype(float)), "integers"),
    "truth values": (lambda f, d: f.__setitem__("labels", LABELS > 1), "integers"),
    "two dimensions": (lambda f, d: f.__setitem__("labels", LABELS[0]), "shape"),
    "no cell": (lambda f, d: f.create_dataset("labels", (0, 3, 3), "u1"), "shape"),
    "no values at all": (lambda f, d: f.__setitem__("labels", h5py.Empty("u1")), "shape"),
    "plug-in filter": (lambda f, d: f.create_dataset("labels", data=LABELS, compression="lzf"), "plug-in"),
    "negative label": (lambda f, d: f.__setitem__("labels", -LABELS.astype(int)), "allowed"),
    "large label": (lambda f, d: f.__setitem__("labels", LABELS.astype(int) + 256), "allowed"),
}


@pytest.mark.parametrize("case", HOSTILE_HDF5)
def test_a_hostile_hdf5_file_is_refused(tmp_path, case):
    fill, message = HOSTILE_HDF5[case]
    (tmp_path / "x").write_bytes(b"TOPSECRET")
    path = hdf5(tmp_path / "labels.h5", lambda file: fill(file, tmp_path))
    with pytest.raises(InputFileError, match=message) as caught:
        read_label_image(path, "a/labels" if "on the way" in case else "labels")
    assert "\n" not in str(caught.value)


def test_damaged_or_irregular_files_are_refused(tmp_path):
    whole = hdf5(tmp_path / "whole.h5", lambda file: file.create_dataset("labels", data=LABELS)).read_bytes()
    (tmp_path / "half.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.h5").write_bytes(b"")
    (tmp_path / "text.h5").write_text("[grid]\n")
    (tmp_path / "folder.h5").mkdir()
    os.mkfifo(tmp_path / "pipe.h5")
    for name in ("half.h5", "empty.h5", "text.h5", "folder.h5", "pipe.h5", "absent.h5"):
        with pytest.raises(InputFileError, match=name):
            read_label_image(tmp_path / name)


def test_a_numpy_file_with_pickled_code_floats_or_missing_bytes_is_refused(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "harm"),))

    np.save(tmp_path / "pickled.npy", np.full((1, 1, 1), Harmful(), dtype=object), allow_pickle=True)
    (tmp_path / "pure.npy").write_bytes(pickle.dumps(Harmful()))
    np.save(tmp_path / "floats.npy", LABELS.astype(float))
    np.save(tmp_path / "whole.npy", LABELS)
    (tmp_path / "short.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:-1])
    (tmp_path / "header.npy").write_bytes(b"\x93NUMPY\x01\x00\x08\x00{'descr'")
    for name in ("pickled", "pure", "floats", "short", "header"):
        with pytest.raises(InputFileError, match=name):
            read_label_image(tmp_path / f"{name}.npy")
    assert not (tmp_path / "harm").exists()
