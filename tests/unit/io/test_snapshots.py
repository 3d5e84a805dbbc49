"""Durable files: no crash point and no refused write loses what was acknowledged."""

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from hepatojax.io import results, snapshots
from hepatojax.io.results import RunWriter, open_run
from hepatojax.io.vtkhdf import Quantity, RunHeader, Series

SHAPE = (2, 3, 4)
HEADER = RunHeader("crash test", (1.0, 1.0, 1.0), SHAPE, {"oxygen": Quantity("mmHg"), "meld": Quantity("-")})
SAVES = 4


def oxygen(save: int) -> np.ndarray:
    return np.random.default_rng(save).standard_normal(SHAPE).astype(np.float32)


def append(writer: RunWriter, save: int) -> None:
    writer.append(float(save), {"oxygen": oxygen(save)}, Series(np.array([float(save)]), {"meld": np.array([1.0])}))


class Recorder:
    """Stands in for the module `os`: does what is asked and writes down every change of the disk."""

    def __init__(self, root: Path):
        self.root = root
        self.log: list[tuple] = []
        self.names: dict[int, str] = {}

    def __getattr__(self, name):
        return getattr(os, name)

    def _name(self, path) -> str:
        return os.path.relpath(path, self.root)

    def open(self, path, flags, *mode):
        handle = os.open(path, flags, *mode)
        self.names[handle] = self._name(path)
        if flags & os.O_CREAT:
            self.log.append(("create", self._name(path)))
        return handle

    def write(self, handle, data):
        self.log.append(("write", self.names[handle], bytes(data)))
        return os.write(handle, data)

    def fsync(self, handle):
        self.log.append(("fsync", self.names[handle]))
        os.fsync(handle)

    def replace(self, source, target):
        self.log.append(("replace", self._name(source), self._name(target)))
        os.replace(source, target)

    def unlink(self, path):
        os.unlink(path)
        self.log.append(("unlink", self._name(path)))


def disk_after(log: list[tuple], *, power_loss: bool) -> dict[str, bytes]:
    """What lies on the disk after these operations; a power loss drops data and renames that were not synchronised."""
    files: dict[str, bytes] = {}
    safe_data: set[str] = set()
    waiting: list[tuple] = []  # renames and removals whose folder was not synchronised yet
    for kind, name, *rest in log:
        if kind in ("create", "write"):
            files[name] = files.get(name, b"") + (rest[0] if rest else b"")
        elif kind == "fsync" and name in files:
            safe_data.add(name)
        elif kind == "fsync":  # of a folder
            here = [step for step in waiting if str(Path(step[1]).parent) == name]
            waiting = [step for step in waiting if step not in here]
            apply(files, safe_data, here)
        elif power_loss:
            waiting.append((kind, name, *rest))
        else:
            apply(files, safe_data, [(kind, name, *rest)])
    if power_loss:
        return {name: data if name in safe_data else b"" for name, data in files.items()}
    return files


def apply(files: dict[str, bytes], safe_data: set[str], steps: list[tuple]) -> None:
    for kind, name, *rest in steps:
        data = files.pop(name)
        if kind == "replace":
            files[rest[0]] = data
            if name in safe_data:
                safe_data.add(rest[0])


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The log of a whole run and the log positions at which each save was acknowledged."""
    root = tmp_path_factory.mktemp("recorded")
    recorder, patch = Recorder(root), pytest.MonkeyPatch()
    patch.setattr(snapshots, "os", recorder)
    patch.setattr(results, "os", recorder)
    writer, acknowledged = RunWriter(root, HEADER), []
    for save in range(SAVES):
        append(writer, save)
        acknowledged.append(len(recorder.log))
    writer.finish()
    patch.undo()
    return recorder.log, acknowledged


def torn(log: list[tuple]) -> list[tuple]:
    """The same operations with only half of the last write done."""
    kind, name, *data = log[-1]
    return [*log[:-1], (kind, name, data[0][: len(data[0]) // 2])] if kind == "write" else log


@pytest.mark.parametrize("power_loss", [False, True])
@pytest.mark.parametrize("cut", [list, torn])
def test_every_crash_point_leaves_all_acknowledged_saves(tmp_path, recorded, cut, power_loss):
    log, acknowledged = recorded
    for moment in range(len(log) + 1):
        folder = tmp_path / str(moment)
        for name, data in disk_after(cut(log[:moment]) if moment else [], power_loss=power_loss).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        promised = sum(position <= moment for position in acknowledged)
        if not (folder / "run.vtkhdf").exists():
            assert promised == 0
            continue
        with open_run(folder) as run:
            assert len(run.times_h) >= promised
            for save in range(len(run.times_h)):
                assert np.array_equal(run.fields["oxygen"][save], oxygen(save))
        shutil.rmtree(folder)


@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_refused_write_is_an_error_and_harms_nothing(tmp_path, monkeypatch, call, code):
    writer = RunWriter(tmp_path, HEADER)
    append(writer, 0)
    refusing = Recorder(tmp_path)
    monkeypatch.setattr(snapshots, "os", refusing)

    def refuse(*arguments):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(refusing, call, refuse, raising=False)
    with pytest.raises(OSError, match=os.strerror(code)):
        append(writer, 1)
    monkeypatch.undo()
    assert not list(tmp_path.rglob("*.tmp"))
    append(writer, 1)
    writer.finish()
    with open_run(tmp_path) as run:
        assert list(run.times_h) == [0.0, 1.0]
        assert np.array_equal(run.fields["oxygen"][1], oxygen(1))


def test_checkpoint_returns_every_bit_and_type(tmp_path):
    tree = {"voxel": {"q": oxygen(0), "p": oxygen(1).astype(np.float64)}, "body": {"bilirubin": np.float64(np.pi)}}
    snapshots.write_checkpoint(tmp_path, 12, {**tree, "step": np.int32(12)}, {"scenario": "abc"})
    back = snapshots.newest_checkpoint(tmp_path)
    assert back is not None
    assert (back.step, back.attributes["scenario"], back.tree["step"].dtype) == (12, "abc", np.int32)
    for group, values in tree.items():
        for name, value in values.items():
            assert back.tree[group][name].dtype == value.dtype
            assert back.tree[group][name].tobytes() == value.tobytes()


def test_damaged_checkpoint_is_set_aside_and_the_one_before_is_used(tmp_path):
    for step in (1, 2, 3):
        newest = snapshots.write_checkpoint(tmp_path, step, {"q": oxygen(step)}, {})
    assert len(snapshots.hashed_files(tmp_path, "state")) == snapshots.CHECKPOINTS_KEPT
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    with pytest.warns(UserWarning, match="damaged checkpoint"):
        back = snapshots.newest_checkpoint(tmp_path)
    assert back is not None and back.step == 2
    assert newest.with_suffix(".bad").exists()


def test_no_checkpoint_is_none(tmp_path):
    assert snapshots.newest_checkpoint(tmp_path) is None


def test_sweep_removes_temporaries_and_nothing_else(tmp_path):
    (tmp_path / ".run.vtkhdf.123.tmp").write_bytes(b"half")
    (tmp_path / "run.vtkhdf").write_bytes(b"whole")
    snapshots.sweep_temporaries(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["run.vtkhdf"]
