"""Files on odd grids come back value by value; half a file, a full disk or a foreign file is one clear refusal."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

from hepatojax.io import run_folder, snapshots
from hepatojax.io.guards import announced_bytes, is_own_file, is_regular, own_item
from hepatojax.io.readers import InputFileError, read_label_image
from hepatojax.io.results import ResultFileError, RunWriter, describe_run, open_run, write_run
from hepatojax.io.run_folder import locked, remove_files, write_record
from hepatojax.io.snapshots import (
    durable_write,
    hashed_files,
    is_intact,
    newest_checkpoint,
    write_checkpoint,
    write_hashed,
)
from hepatojax.io.study.journal import JOURNAL_FILE, open_journal
from hepatojax.io.vtkhdf import Quantity, RunHeader, Series
from hepatojax.status import WriteError
from hepatojax.studies.program import Linearised, Outcome

SHAPES = ((7, 5, 4), (1, 5, 7), (1, 1, 9), (1, 1, 1), (65, 1, 2))  # nz = 1, one cell, and one more than a chunk
KINDS = ("float32", "float64", "int8", "uint8", "int32", "bool")
EXTREMES = (0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, 1e-40, 3.4e38)


def values_of(kind: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Noise with the extremes of the type among it."""
    noise = np.random.default_rng(seed).integers(-100, 100, shape)
    if kind.startswith("float"):
        flat = (noise / 7.0).ravel()
        flat[: len(EXTREMES)] = EXTREMES[: len(flat)]
        return flat.reshape(shape).astype(kind)
    return noise > 0 if kind == "bool" else noise.astype(kind)


def header_of(shape: tuple[int, int, int], **more: Any) -> RunHeader:
    quantities = {kind: Quantity(f"unit of {kind}", f"Größe ({kind})") for kind in KINDS} | dict.fromkeys(
        ("meld", "inside"), Quantity("-")
    )
    static = {kind: values_of(kind, shape, 99) for kind in ("uint8", "float64")} | {
        "inside": values_of("bool", shape, 9)
    }
    fields = {"quantities": quantities, "static": static, **more}
    return RunHeader("Leber 肝臓 " + "x" * 300, (0.1, 1 / 3, 1e4), shape, **fields)


SHOWN = ("float32", "int8", "int32")  # as fields; others are maps


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("how", ["index", "merged", "at once"])
def test_every_value_of_every_type_comes_back_on_any_grid(tmp_path: Path, shape: tuple[int, int, int], how: str):
    header, times = header_of(shape), (0.0, 1e-9, 1e5)
    fields = {kind: [values_of(kind, shape, step) for step in range(3)] for kind in SHOWN}
    series = Series(np.asarray([0.1, 0.2, 0.3]), {"meld": np.asarray([np.nan, -0.0, 1e300])})
    if how == "at once":
        write_run(
            tmp_path / "run.vtkhdf", header, times, {kind: np.stack(each) for kind, each in fields.items()}, series
        )
    else:
        writer = RunWriter(tmp_path, header)
        for step, time_h in enumerate(times):
            part = Series(series.times_h[step : step + 1], {"meld": series.values["meld"][step : step + 1]})
            writer.append(time_h, {kind: fields[kind][step] for kind in SHOWN}, part)
        if how == "merged":
            writer.finish()
    with open_run(tmp_path) as run:
        assert (run.title, run.shape, run.spacing_um) == (header.title, shape, header.spacing_um)
        assert run.times_h.tolist() == list(times) and run.times_h.dtype == np.float64
        for kind in SHOWN:
            found = run.fields[kind][()]
            assert found.dtype == kind and found.tobytes() == np.stack(fields[kind]).tobytes()
            assert (run.units[kind], run.meanings[kind]) == (f"unit of {kind}", f"Größe ({kind})")
        for kind, values in header.static.items():
            assert run.static[kind].dtype == ("uint8" if kind == "inside" else kind)
            assert run.static[kind].tobytes() == values.tobytes()
        assert run.series["meld"].tobytes() == series.values["meld"].tobytes()
        assert run.file["VTKHDF"].attrs["WholeExtent"].tolist() == [0, shape[2], 0, shape[1], 0, shape[0]]
        axes = {axis: run.file[axis][()] for axis in "zyx"}
        for axis, cells, width in zip("zyx", shape, header.spacing_um, strict=True):
            np.testing.assert_allclose(axes[axis], (np.arange(cells) + 0.5) * width, rtol=1e-15)
    assert f"{shape[2]} x {shape[1]} x {shape[0]} cells" in describe_run(tmp_path)


def test_the_nearest_saved_time_is_read_and_the_earlier_of_two_as_near(tmp_path: Path):
    header = RunHeader("t", (1.0, 1.0, 1.0), (1, 1, 1), {"q": Quantity("-")})
    write_run(tmp_path / "r", header, (0.0, 24.0, 72.0), {"q": np.arange(3.0).reshape(3, 1, 1, 1)}, Series())
    with open_run(tmp_path / "r") as run:
        asked = (-5.0, 11.9, 12.0, 12.1, 48.0, 48.1, 1e9)
        assert [float(run.field_at("q", time_h)[0, 0, 0]) for time_h in asked] == [0, 0, 0, 1, 1, 2, 2]
        with pytest.raises(KeyError):
            run.field_at("p", 0.0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a small finished run."""
    folder = tmp_path_factory.mktemp("whole")
    writer = RunWriter(folder, RunHeader("t", (1.0, 1.0, 1.0), (1, 2, 3), {"q": Quantity("nM"), "meld": Quantity("-")}))
    for time_h in (0.0, 24.0):
        writer.append(time_h, {"q": np.full((1, 2, 3), time_h)}, Series(np.asarray([time_h]), {"meld": np.ones(1)}))
    return writer.finish({"status": "ok"}).read_bytes()


def test_no_beginning_of_a_result_is_taken_for_one(tmp_path: Path, whole: bytes):
    path = tmp_path / "run.vtkhdf"
    for end in (*range(0, 2048, 67), *range(2048, len(whole), 997), len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(ResultFileError, match=r"run\.vtkhdf") as refused:
            open_run(path)
        assert "\n" not in str(refused.value)
    path.write_bytes(whole)
    open_run(path).close()
    assert [each.name for each in tmp_path.iterdir()] == ["run.vtkhdf"]


@pytest.mark.parametrize("place", [17, 25])
def test_a_result_with_a_damaged_superblock_is_refused_by_name(tmp_path: Path, whole: bytes, place: int):
    (tmp_path / "run.vtkhdf").write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
    with pytest.raises(ResultFileError, match=r"run\.vtkhdf"):
        open_run(tmp_path)


@pytest.mark.parametrize(("place", "bit"), [(18, 128), (24, 1)])
def test_a_label_image_with_a_damaged_superblock_is_refused_by_name(tmp_path: Path, place: int, bit: int):
    with h5py.File(tmp_path / "labels.h5", "w") as file:
        file["labels"] = np.ones((2, 3, 4), np.uint8)
    data = bytearray((tmp_path / "labels.h5").read_bytes())
    data[place] ^= bit
    (tmp_path / "labels.h5").write_bytes(data)
    with pytest.raises(InputFileError, match="damaged HDF5 file"):
        read_label_image(tmp_path / "labels.h5")


@pytest.mark.parametrize("finish", [False, True])
def test_a_field_of_truth_values_is_declared_as_zeros_and_ones(tmp_path: Path, finish: bool):
    inside = values_of("bool", (1, 2, 3), 0)
    writer = RunWriter(tmp_path, header_of((1, 2, 3)))
    writer.append(0.0, {"bool": inside}, Series())
    if finish:
        writer.finish()
    with h5py.File(tmp_path / "run.vtkhdf") as file:
        assert file["bool"].dtype == np.uint8 and np.array_equal(file["bool"][0], inside.astype(np.uint8))


@pytest.mark.parametrize("place", [17, 25])
def test_a_part_with_a_damaged_superblock_is_refused_by_name(tmp_path: Path, place: int):
    writer = RunWriter(tmp_path, header_of((1, 2, 3)))
    writer.append(0.0, {"int8": np.ones((1, 2, 3), np.int8)}, Series())
    (part,) = hashed_files(tmp_path / "parts", "part")
    data = bytearray(part.read_bytes())
    data[place] ^= 32
    part.write_bytes(data)
    with pytest.raises(ResultFileError, match=part.name):
        open_run(tmp_path)


@pytest.mark.parametrize("change", [np.asfortranarray, lambda a: a.astype(">i4"), lambda a: a.astype(np.uint64)])
def test_labels_are_the_same_in_any_order_of_bytes_and_axes(tmp_path: Path, change: Callable):
    image = np.random.default_rng(0).integers(0, 256, (3, 1, 5)).astype(np.uint8)
    np.save(tmp_path / "labels.npy", change(image))
    with h5py.File(tmp_path / "labels.h5", "w") as file:
        file.create_dataset("labels", data=change(image), chunks=True, shuffle=True, fletcher32=True)
    for name in ("labels.npy", "labels.h5"):
        found = read_label_image(tmp_path / name)
        assert found.dtype == np.uint8 and np.array_equal(found, image)


class Faulty:
    """Stands in for the module `os`: the nth call of a function, counted from now, ends as it is told."""

    def __init__(self, name: str, nth: int, error: BaseException):
        self.name, self.left, self.error = name, nth, error

    def __getattr__(self, name: str) -> Any:
        function = getattr(os, name)
        return function if name != self.name else lambda *arguments: self._call(function, *arguments)

    def _call(self, function: Callable, *arguments: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            raise self.error
        return function(*arguments)


class Killed(BaseException):
    """As if the process had ended here, but for what is undone on the way out."""


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("error", [Killed(), OSError(errno.ENOSPC, "No space left on device")], ids=["kill", "full"])
def test_a_fault_at_the_rename_of_part_or_index_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int, error: BaseException
):
    """Of each append the first rename is that of the part, the second that of the index over it."""
    writer = RunWriter(tmp_path, header_of((1, 2, 3)))
    fields = [{"float32": values_of("float32", (1, 2, 3), step)} for step in range(3)]
    writer.append(0.0, fields[0], Series())
    monkeypatch.setattr(snapshots, "os", Faulty("replace", nth, error))
    with pytest.raises(type(error)):
        writer.append(24.0, fields[1], Series())
    monkeypatch.undo()
    assert list(tmp_path.rglob("*.tmp")) == []
    with open_run(tmp_path) as run:
        assert run.times_h.tolist() == [0.0] and run.fields["float32"][0].tobytes() == fields[0]["float32"].tobytes()
    again = RunWriter(tmp_path, header_of((1, 2, 3)))  # the next run in this folder
    assert not (tmp_path / "run.vtkhdf").exists() and hashed_files(tmp_path / "parts", "part") == []
    again.append(0.0, fields[2], Series())
    with open_run(again.finish()) as run:
        assert run.fields["float32"][0].tobytes() == fields[2]["float32"].tobytes()


def test_a_merge_that_the_disk_refuses_leaves_the_index_and_all_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    writer = RunWriter(tmp_path, header_of((1, 2, 3)))
    for step in range(3):
        writer.append(float(step), {"float32": values_of("float32", (1, 2, 3), step)}, Series())
    monkeypatch.setattr(snapshots, "os", Faulty("write", 1, OSError(errno.EDQUOT, "Disk quota exceeded")))
    with pytest.raises(OSError, match="quota"):
        writer.finish({"status": "ok"})
    monkeypatch.undo()
    with open_run(tmp_path) as run:
        assert not run.merged and run.state.startswith("not ended") and len(run.times_h) == 3
    assert len(hashed_files(tmp_path / "parts", "part")) == 3
    with open_run(writer.finish({"status": "ok"})) as run:
        assert run.merged and run.state == "complete"
    assert not (tmp_path / "parts").exists()


def test_a_folder_of_parts_that_holds_something_else_is_left_with_it(tmp_path: Path):
    writer = RunWriter(tmp_path, header_of((1, 1, 1)))
    writer.append(0.0, {"int8": np.ones((1, 1, 1), np.int8)}, Series())
    (tmp_path / "parts" / "notes.txt").write_text("mine")
    writer.finish()
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["notes.txt"]
    RunWriter(tmp_path, header_of((1, 1, 1)))
    assert (tmp_path / "parts" / "notes.txt").read_text() == "mine"


def test_a_reader_never_sees_half_a_file(tmp_path: Path):
    """While one thread replaces a file over and over, whatever another reads is one of the versions, whole."""
    path, versions = tmp_path / "summary.json", [bytes([65 + n]) * 200_000 for n in range(4)]
    durable_write(path, versions[0])
    done = threading.Event()

    def replace() -> None:
        try:
            for number in range(40):
                durable_write(path, versions[number % 4])
        finally:
            done.set()

    writing = threading.Thread(target=replace)
    writing.start()
    seen = 0
    while not done.is_set() or seen < 40:
        assert path.read_bytes() in versions
        seen += 1
    writing.join()
    assert [each.name for each in tmp_path.iterdir()] == ["summary.json"]


def test_an_open_reader_keeps_the_version_that_it_opened(tmp_path: Path):
    writer = RunWriter(tmp_path, header_of((1, 2, 3)))
    writer.append(0.0, {"float32": np.zeros((1, 2, 3))}, Series())
    with open_run(tmp_path) as early:
        writer.append(24.0, {"float32": np.ones((1, 2, 3))}, Series())
        writer.finish()
        assert early.times_h.tolist() == [0.0] and len(early.fields["float32"]) == 1
        with open_run(tmp_path) as late:
            assert late.times_h.tolist() == [0.0, 24.0] and late.merged


def test_a_write_in_small_pieces_is_a_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The system may take less than it is given at once."""
    few = SimpleNamespace(**{name: getattr(os, name) for name in dir(os) if not name.startswith("__")})
    few.write = lambda handle, data: os.write(handle, bytes(data[:7]))
    monkeypatch.setattr(snapshots, "os", few)
    data = np.random.default_rng(0).bytes(1000)
    durable_write(tmp_path / "file", data)
    durable_write(tmp_path / "none", b"")
    assert (tmp_path / "file").read_bytes() == data and (tmp_path / "none").read_bytes() == b""


def test_a_hashed_file_says_whether_it_is_intact(tmp_path: Path):
    path = write_hashed(tmp_path, "state", 12, b"data")
    assert path.name == "state00000012.3a6eb0790f39ac87.h5"  # of the SHA-256 of the four letters
    assert is_intact(path)
    for wrong in (path.rename(tmp_path / "state00000012.3a6eb0790f39ac88.h5"), tmp_path / "data.h5"):
        wrong.write_bytes(b"data")
        assert not is_intact(wrong)
    for number in (100_000_000 - 1, 3, 20):
        write_hashed(tmp_path, "part", number, b"")
    (tmp_path / "part00000001.h5").touch()
    assert [int(each.name[4:12]) for each in hashed_files(tmp_path, "part")] == [3, 20, 99_999_999]


@pytest.mark.parametrize(
    "tree", [{}, {"a": {}}, {"a": {"b": {"c": np.zeros((0, 3), np.int16)}}}, {"é": np.bool_(True)}]
)
def test_a_checkpoint_of_any_tree_is_that_tree(tmp_path: Path, tree: dict[str, Any]):
    write_checkpoint(tmp_path, 0, tree, {"text": "肝" * 100, "number": 1 / 3})
    back = newest_checkpoint(tmp_path)
    assert back is not None and (back.step, back.attributes) == (0, {"text": "肝" * 100, "number": 1 / 3})

    def same(one: Any, other: Any) -> bool:
        if isinstance(one, dict):
            return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
        return one.dtype == other.dtype and np.array_equal(one, other) and one.shape == other.shape

    assert same(tree, back.tree)


def test_two_damaged_checkpoints_are_both_set_aside_and_nothing_is_believed(tmp_path: Path):
    for step in (1, 2):
        path = write_checkpoint(tmp_path, step, {"q": np.ones(3)}, {})
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="damaged checkpoint") as warned:
        assert newest_checkpoint(tmp_path) is None
    assert len(warned) == 2 and sorted(path.suffix for path in tmp_path.iterdir()) == [".bad", ".bad"]


def test_a_record_is_json_that_any_reader_takes(tmp_path: Path):
    record = {
        "größe": "肝\n\x00",
        "numbers": [np.float32(0.1), np.int64(2**62), -np.inf, True, None],
        "array": np.asarray([[1.5, np.nan]]),
        3: (np.bool_(False), np.asarray(2.0)),
    }
    text = write_record(tmp_path / "record.json", record).read_text(encoding="utf-8")
    held = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert held == {
        "größe": "肝\n\x00",
        "numbers": [float(np.float32(0.1)), 2**62, None, True, None],
        "array": [[1.5, None]],
        "3": [False, 2.0],
    }
    with pytest.raises(TypeError):
        write_record(tmp_path / "record.json", {"what": object()})
    assert (tmp_path / "record.json").read_text(encoding="utf-8") == text  # the old one, whole


def test_files_are_taken_back_as_far_as_they_exist(tmp_path: Path):
    (tmp_path / "figures").mkdir()
    for name in ("a.json", "figures/b.png", "kept"):
        (tmp_path / name).touch()
    remove_files(tmp_path, ("a.json", "figures/b.png", "absent", "figures/absent"))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["figures", "kept"]


def test_every_folder_is_synchronised_before_the_next_one_is_touched(tmp_path: Path, monkeypatch):
    """So a power loss cannot bring back the figures of a result that is gone."""
    (tmp_path / "figures").mkdir()
    for name in ("figures/a.png", "figures/b.png", "result.json"):
        (tmp_path / name).touch()
    left = []

    def synchronise(folder: Path) -> None:
        left.append((folder, sorted(path.name for path in tmp_path.rglob("*.*"))))

    monkeypatch.setattr(run_folder, "synchronise_folder", synchronise)
    remove_files(tmp_path, ("figures/a.png", "figures/b.png", "absent/c.png", "result.json"))
    assert left == [(tmp_path / "figures", ["result.json"]), (tmp_path, [])]


def test_the_lock_names_its_owner_and_ends_with_an_error_in_the_block(tmp_path: Path):
    def refuse() -> None:
        with locked(tmp_path):
            raise WriteError((tmp_path / ".lock").read_text())

    with pytest.raises(WriteError) as refused:
        refuse()
    owner = str(refused.value)
    assert owner.startswith(f"process {os.getpid()} on ") and " since 2" in owner
    (tmp_path / ".lock").write_text("process 4194304 on a machine with a much longer name than any owner has now " * 3)
    with locked(tmp_path):
        assert (tmp_path / ".lock").read_text().count("process") == 1  # nothing of an earlier owner is left


def test_guards_tell_files_from_what_only_looks_like_one(tmp_path: Path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    names = ("file", "link", "dangling", "pipe", "absent", ".")
    assert [is_regular(tmp_path / name) for name in names] == [True, True, False, False, False, False]
    assert [is_own_file(tmp_path / name) for name in names] == [True, False, False, False, False, False]
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a/b"] = 1
        file["a/soft"] = h5py.SoftLink("/a/b")
        assert isinstance(own_item(file, "/a/b/"), h5py.Dataset) and isinstance(own_item(file, "a"), h5py.Group)
        for name in ("a/c", "a/soft", "a/b/c", "", "c"):
            assert own_item(file, name) is None
    assert announced_bytes((2**40, 2**40), 8) == 2**83 and announced_bytes((), 8) == 8 and announced_bytes(None, 8) == 0


def place(value: float, limits: int = 1) -> Linearised:
    outcome = Outcome(np.asarray(value), np.full(limits, value), np.asarray(0, np.int32))
    return Linearised(outcome, np.full((1 + limits, 1), value))


def never() -> Any:
    raise AssertionError("computed again")


@pytest.mark.parametrize("limits", [0, 3])
@pytest.mark.parametrize("value", [5e-324, -0.0, 1 / 3, 1.7976931348623157e308, np.nan, np.inf])
def test_a_journal_holds_any_number_to_its_last_bit(tmp_path: Path, value: float, limits: int):
    """But for an infinity, which JSON cannot say: it comes back as no number, like the failure that it is."""
    header = {"sha256": "0" * 64, "title": "Dosis 肝 " + "x" * 10_000}
    x = np.asarray([value if np.isfinite(value) else 0.5])
    with open_journal(tmp_path, header) as journal:
        journal.linearised(0, x, lambda: place(value, limits))
    with open_journal(tmp_path, header) as journal:
        found = journal.linearised(0, x, never)
    wanted = place(value if np.isfinite(value) else np.nan, limits)
    status = np.asarray(int(wanted.status), np.int32)
    wanted = wanted._replace(outcome=wanted.outcome._replace(status=status))
    assert found.jacobian.shape == (1 + limits, 1) and found.ok == np.isfinite(value)
    assert found.outcome.limits.shape == (limits,)
    for one, other in zip((*found.outcome, found.jacobian), (*wanted.outcome, wanted.jacobian), strict=True):
        assert np.array_equal(one, other, equal_nan=True) and np.array_equal(np.signbit(one), np.signbit(other))


def test_a_journal_that_a_crash_left_empty_or_in_its_header_begins_anew(tmp_path: Path):
    for rest in (b"", b'{"format": "hepato'):
        (tmp_path / JOURNAL_FILE).write_bytes(rest)
        with open_journal(tmp_path, {"sha256": "0" * 64}) as journal:
            journal.linearised(0, np.asarray([0.5]), lambda: place(1.0))
        lines = (tmp_path / JOURNAL_FILE).read_text().splitlines()
        assert len(lines) == 2 and json.loads(lines[0])["sha256"] == "0" * 64


def test_two_places_that_differ_in_the_last_bit_are_two_places(tmp_path: Path):
    first, second = np.asarray([0.1]), np.nextafter([0.1], 1.0)
    with open_journal(tmp_path, {"sha256": "0" * 64}) as journal:
        journal.linearised(0, first, lambda: place(1.0))
        assert float(journal.linearised(0, second, lambda: place(2.0)).outcome.objective) == 2.0
    with open_journal(tmp_path, {"sha256": "0" * 64}) as journal:
        assert [float(journal.linearised(0, x, never).outcome.objective) for x in (first, second)] == [1.0, 2.0]
