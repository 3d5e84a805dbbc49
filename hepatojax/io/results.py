"""The result file of one arm: written while the run goes on, merged at its end, read lazily.

While running, every saved time is one durable part in `parts/`, and `run.vtkhdf` is a small index (virtual datasets
over the parts), replaced atomically after each part. At the end the parts are merged into one plain `run.vtkhdf`. At
any moment `run.vtkhdf` opens with every tool that opens the merged file. A kill costs at most the saved time that was
under way.

A reader believes nothing: links, storage, sizes and shapes are checked before values are read, and an index may point
to nothing but its own parts. The layout is that of `hepatojax.io.vtkhdf`.

Reference: RELIABILITY 3.4 (writing) and 3.6 (reading).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float, Shaped

from hepatojax.io.guards import (
    HDF5_ERRORS,
    announced_bytes,
    first_line,
    is_own_file,
    is_regular,
    own_item,
    size_fault,
    storage_fault,
)
from hepatojax.io.snapshots import HASHED_NAME, durable_write, hashed_files, is_intact, sweep_temporaries, write_hashed
from hepatojax.io.vtkhdf import (
    COMPRESSION,
    RESERVED_NAMES,
    AddField,
    RunHeader,
    Series,
    create_compressed,
    part_image,
    run_image,
    stored_type,
)
from hepatojax.status import HepatojaxError, Status, WriteError

RUN_FILE = "run.vtkhdf"
PARTS = "parts"
OK, ENDED = "ok", "ended, how is not recorded"  # statuses of a run, beside the names of `Status`
NOT_ENDED = "not ended"  # of a file without a status, which is written when a run ends
EAGER_LIMIT_BYTES = 4 << 30  # of times, maps, series and provenance together; fields are read slice by slice
MERGE_LIMIT_BYTES = 2 << 30  # the merged image is built in memory; a larger run stays an index over its parts


class ResultFileError(HepatojaxError, ValueError):
    """A result file cannot be trusted or read; one sentence says which and why. Exit code 2."""


def write_run(
    path: str | Path,
    header: RunHeader,
    times_h: Sequence[float],
    fields: Mapping[str, Shaped[np.ndarray, "t nz ny nx"]],
    series: Series,
) -> Path:
    """Write a finished run in one go.

    Args:
        path: the file, by convention `*.vtkhdf`.
        header: grid, units, static maps, provenance; without a status there, the file says that it is not recorded.
        times_h: saved times (t,) [h].
        fields: name -> values (t, nz, ny, nx) in the unit of the header.
        series: scalars at every macro-step.

    Returns:
        The file.

    Raises:
        ValueError: a field of another shape, or a name that is reserved or has no unit in the header.
        OSError: the disk refused; a file that was there is as it was.
    """

    def add_field(file: h5py.File, name: str) -> h5py.Dataset:
        values = np.asarray(fields[name])
        if values.shape != (len(times_h), *header.shape):
            raise ValueError(f"field {name!r} has shape {values.shape}, expected {(len(times_h), *header.shape)}")
        return create_compressed(file, name, values, header.chunk)

    path, header = Path(path), replace(header, provenance={"status": ENDED, **header.provenance})
    durable_write(path, run_image(header, times_h, tuple(fields), add_field, series))
    return path


class RunWriter:
    """Writes the result of one arm as it is computed; whatever was appended survives a kill at any later moment.

    Attributes:
        header: grid, units, static maps and provenance; `finish` adds the status to it.
        path: `run.vtkhdf`, which exists after the first `append`.

    Reference: RELIABILITY 3.4.
    """

    def __init__(self, folder: str | Path, header: RunHeader):
        """Start a new result in `folder`; an earlier result there is removed. The caller holds the folder's lock.

        Args:
            folder: of one arm; made if needed, with `parts/` in it.
            header: fixed for all saved times.
        """
        self.header = header
        self.path = Path(folder) / RUN_FILE
        self._parts: list[Path] = []
        self._times_h: list[float] = []
        self._fields: dict[str, np.dtype] = {}
        self._series = Series()
        self._folder = self.path.parent / PARTS
        self._folder.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)  # before its parts: an index without parts must never be seen
        for part in hashed_files(self._folder, "part"):
            part.unlink()
        for place in (self.path.parent, self._folder):
            sweep_temporaries(place)

    def append(self, time_h: float, fields: Mapping[str, Shaped[np.ndarray, "nz ny nx"]], series: Series) -> None:
        """Store the fields at one saved time and the series since the last one; durable when it returns.

        Args:
            time_h: the saved time [h].
            fields: name -> values (nz, ny, nx) in the unit of the header; the same names and types every time.
            series: scalars at the macro-steps since the last call; the same names every time.

        Raises:
            ValueError: names, types or shapes differ from what is stored already, or a name has no unit in the header.
            OSError: the disk refused; everything appended before is intact.
        """
        types = {name: stored_type(np.asarray(values).dtype) for name, values in fields.items()}
        if self._parts and types != self._fields:
            raise ValueError(f"fields {sorted(types)} differ in name or type from those of the first saved time")
        part = write_hashed(self._folder, "part", len(self._parts), part_image(self.header, fields))
        self._fields = types
        self._parts.append(part)
        self._times_h.append(time_h)
        self._series = _joined(self._series, series)
        self._write(self._add_virtual)

    def finish(self, closing: Mapping[str, Any] | None = None) -> Path:
        """Merge the parts into one plain file and remove them; a run above 2 GiB stays an index over its parts.

        Args:
            closing: what is known at the end only, joins the provenance of the file: ledger, and status, which is "ok"
                or the name of another `Status`.

        Returns:
            `run.vtkhdf`.

        Raises:
            WriteError: a part was damaged on the disk; the index over all of them stays, without a status.
            OSError: the disk refused; index and parts stay as they were.
        """
        self.header = replace(self.header, provenance={**self.header.provenance, "status": ENDED, **(closing or {})})
        if sum(part.stat().st_size for part in self._parts) > MERGE_LIMIT_BYTES:
            self._write(self._add_virtual)
            return self.path
        damaged = [part.name for part in self._parts if not is_intact(part)]
        if damaged:
            raise WriteError(f"{self._folder}: part {damaged[0]} is damaged, so the run is left unmerged")
        self._write(self._add_merged)
        for part in self._parts:
            os.unlink(part)
        if not any(self._folder.iterdir()):
            self._folder.rmdir()
        return self.path

    def _write(self, add_field: AddField) -> None:
        """Replace `run.vtkhdf` by one that holds everything known so far."""
        image = run_image(self.header, self._times_h, tuple(self._fields), add_field, self._series)
        durable_write(self.path, image)

    def _add_virtual(self, file: h5py.File, name: str) -> h5py.Dataset:
        """A dataset that reads each saved time from its part, by a name relative to the run file."""
        kind, shape = self._fields[name], self.header.shape
        layout = h5py.VirtualLayout((len(self._parts), *shape), kind)
        for number, part in enumerate(self._parts):
            layout[number] = h5py.VirtualSource(f"{PARTS}/{part.name}", name, (1, *shape), kind)[0]
        return file.create_virtual_dataset(name, layout, fillvalue=np.nan if kind.kind == "f" else 0)

    def _add_merged(self, file: h5py.File, name: str) -> h5py.Dataset:
        """A plain dataset with the compressed chunks of the parts, copied as they are."""
        shape = (len(self._parts), *self.header.shape)
        merged = file.create_dataset(name, shape, self._fields[name], chunks=self.header.chunk, **COMPRESSION)
        for number, part in enumerate(self._parts):
            with h5py.File(part, "r") as source:
                chunks = source[name].id
                for index in range(chunks.get_num_chunks()):
                    offset = chunks.get_chunk_info(index).chunk_offset
                    mask, data = chunks.read_direct_chunk(offset)
                    merged.id.write_direct_chunk((number, *offset[1:]), data, mask)
        return merged


@dataclass(frozen=True)
class RunFile:
    """A result opened for reading; use it in a `with` block or call `close`.

    Attributes:
        path: the file.
        title: one line.
        spacing_um: cell size (hz, hy, hx) [um], at rest.
        shape: number of cells (nz, ny, nx).
        times_h: saved times (t,) [h].
        fields: name -> lazy array (t, nz, ny, nx); a slice reads from the file.
        static: name -> map (nz, ny, nx).
        series_times_h: ends of macro-steps (n,) [h].
        series: name -> values (n,).
        units: of every field and map.
        meanings: of every field and map, one line each.
        series_units: of every series, which may have the name of a field.
        series_meanings: of every series, one line each.
        provenance: name -> text.
        merged: False while fields lie in parts, because the run has not ended or is above 2 GiB.
        file: handle that the lazy arrays read through.
    """

    path: Path
    title: str
    spacing_um: tuple[float, float, float]
    shape: tuple[int, int, int]
    times_h: Float[np.ndarray, " t"]
    fields: Mapping[str, h5py.Dataset]
    static: Mapping[str, Shaped[np.ndarray, "nz ny nx"]]
    series_times_h: Float[np.ndarray, " n"]
    series: Mapping[str, Float[np.ndarray, " n"]]
    units: Mapping[str, str]
    meanings: Mapping[str, str]
    series_units: Mapping[str, str]
    series_meanings: Mapping[str, str]
    provenance: Mapping[str, str]
    merged: bool
    file: h5py.File

    def field_at(self, name: str, time_h: float) -> Shaped[np.ndarray, "nz ny nx"]:
        """The field (nz, ny, nx) at the saved time nearest to `time_h`.

        Args:
            name: of a saved field.
            time_h: since the start of the run [h].

        Returns:
            Values in `units[name]`, read now.
        """
        return self.fields[name][int(np.argmin(np.abs(self.times_h - time_h)))]

    @property
    def state(self) -> str:
        """How the run ended, as a phrase: "complete", or the name and meaning of another status."""
        status = self.provenance.get("status", NOT_ENDED)
        if status in Status.__members__:
            status = f"{status}, {Status[status].statement}"
        return ("complete" if status == OK else status) + ("" if self.merged else f" (an index over {PARTS}/)")

    def close(self) -> None:
        """Close the file; the lazy fields end with it."""
        self.file.close()

    def __enter__(self) -> RunFile:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def open_run(path: str | Path) -> RunFile:
    """Open a result for reading.

    Args:
        path: `run.vtkhdf`, or the folder that holds it.

    Returns:
        The result. Times, maps, series and provenance are read, fields are not.

    Raises:
        ResultFileError: not a HepatoJAX result, a part is missing, it points outside its own folder, or it announces
            more than it holds or than 4 GiB of what is read at once. The file is closed again.

    Reference: RELIABILITY 3.6.
    """
    path = Path(path) / RUN_FILE if Path(path).is_dir() else Path(path)
    if not is_regular(path):
        raise ResultFileError(f"{path}: no such regular file")
    try:
        file = h5py.File(path, "r")
    except HDF5_ERRORS as error:
        raise ResultFileError(f"{path}: not a readable HDF5 file ({first_line(str(error))})") from None
    with ExitStack() as stack:
        stack.callback(file.close)
        run = _read_run(path, file)
        stack.pop_all()
    return run


def describe_run(path: str | Path) -> str:
    """A page of text about a result: grid, times, what is stored in which unit, last values, provenance.

    Args:
        path: as in `open_run`.

    Raises:
        ResultFileError: as `open_run`.
    """
    with open_run(path) as run:
        nz, ny, nx = run.shape
        hz, hy, hx = run.spacing_um
        lines = [
            f"{run.path}: {run.title}",
            f"grid        {nx} x {ny} x {nz} cells of {hx:g} x {hy:g} x {hz:g} um (x, y, z)",
            f"saved       {_saved(run.times_h)}",
            f"state       {run.state}",
        ]
        lines += ["fields"] + [f"  {name:24} {run.units[name]:10} {run.meanings[name]}" for name in run.fields]
        lines += ["static maps"] + [f"  {name:24} {run.units[name]:10} {run.meanings[name]}" for name in run.static]
        lines += ["series (last value)"]
        lines += [f"  {name:24} {_last(values):>12} {run.series_units[name]}" for name, values in run.series.items()]
        lines += ["provenance"] + [f"  {name:24} {first_line(text)}" for name, text in run.provenance.items()]
    return "\n".join(lines)


def _read_run(path: Path, file: h5py.File) -> RunFile:
    """Everything but the fields.

    Raises:
        ResultFileError: the file lacks something, or holds it in another form than the writer gives it.
    """
    try:
        for group in ("VTKHDF", "series", "provenance"):
            if not isinstance(own_item(file, group), h5py.Group):
                raise ResultFileError(f"{path}: not a HepatoJAX result (no group {group} stored in the file itself)")
        return _contents(path, file)
    except ResultFileError:
        raise
    except HDF5_ERRORS as error:
        raise ResultFileError(f"{path}: not a HepatoJAX result, or a damaged one ({first_line(str(error))})") from None


def _contents(path: Path, file: h5py.File) -> RunFile:
    """The opened result, once links, storage, sizes and shapes of everything in it have been checked."""
    time = _plain(path, file, "time")
    shape = tuple(_plain(path, file, axis).size for axis in "zyx")
    arrays = {name: _own(path, file, name) for name in map(str, file) if name not in RESERVED_NAMES}
    fields = {name: array for name, array in arrays.items() if array.dims[0].keys() == ["time"]}
    static = {name: _plain(path, file, name) for name in arrays if name not in fields}
    series, provenance = _group(path, file, "series"), _group(path, file, "provenance")
    _require_room(path, (time, *static.values(), *series.values(), *provenance.values()))
    _require_shape(path, fields, (time.size, *shape))
    _require_shape(path, static, (1, *shape))
    _require_shape(path, series, series["time"].shape)
    _require_fields(path, file, fields, (1, *shape))
    series_times = series.pop("time")
    return RunFile(
        path=path,
        title=str(file.attrs["title"]),
        spacing_um=tuple(float(h) for h in file["VTKHDF"].attrs["Spacing"][::-1]),  # type: ignore[arg-type]
        shape=shape,  # type: ignore[arg-type]
        times_h=np.asarray(time[:], dtype=np.float64),
        fields=fields,
        static={name: array[0] for name, array in static.items()},
        series_times_h=series_times[()],
        series={name: array[()] for name, array in series.items()},
        units=_attribute(arrays, "units"),
        meanings=_attribute(arrays, "long_name"),
        series_units=_attribute(series, "units"),
        series_meanings=_attribute(series, "long_name"),
        provenance={name: str(text.asstr()[()]) for name, text in provenance.items()},
        merged=not any(array.is_virtual for array in fields.values()),
        file=file,
    )


def _attribute(arrays: Mapping[str, h5py.Dataset], attribute: str) -> dict[str, str]:
    return {name: str(array.attrs[attribute]) for name, array in arrays.items()}


def _group(path: Path, file: h5py.File, group: str) -> dict[str, h5py.Dataset]:
    """The datasets of a group by name."""
    return {name: _plain(path, file, f"{group}/{name}") for name in map(str, file[group])}  # type: ignore[arg-type]


def _own(path: Path, file: h5py.File, name: str) -> h5py.Dataset:
    """The dataset of that name, reached by hard links alone."""
    dataset = own_item(file, name)
    if not isinstance(dataset, h5py.Dataset):
        raise ResultFileError(f"{path}: {name} is not stored in the file itself")
    return dataset


def _plain(path: Path, file: h5py.File, name: str) -> h5py.Dataset:
    """A dataset whose values lie in this file, as many as it announces."""
    dataset = _own(path, file, name)
    fault = storage_fault(dataset) or size_fault(dataset)
    if fault:
        raise ResultFileError(f"{path}: {name} {fault}")
    return dataset


def _require_room(path: Path, eager: Iterable[h5py.Dataset]) -> None:
    """Refuse a file whose times, maps, series and provenance together would fill the memory."""
    size = sum(announced_bytes(dataset.shape, dataset.dtype.itemsize) for dataset in eager)
    if size > EAGER_LIMIT_BYTES:
        raise ResultFileError(f"{path}: maps and series of {size} bytes, the limit is {EAGER_LIMIT_BYTES}")


def _require_shape(path: Path, arrays: Mapping[str, h5py.Dataset], shape: tuple[int, ...]) -> None:
    """Refuse the first array of another shape, and one that has no axis at all."""
    for name, array in arrays.items():
        if array.shape != shape or not array.shape:
            raise ResultFileError(f"{path}: {name} has shape {array.shape}, wanted is {shape}")


def _require_fields(path: Path, file: h5py.File, fields: Mapping[str, h5py.Dataset], saved: tuple[int, ...]) -> None:
    """Refuse fields that take their values from elsewhere than this file, or the parts that lie beside it.

    Args:
        saved: shape of a field in a part, (1, nz, ny, nx).
    """
    parts: dict[str, set[str]] = {}
    for name, field in fields.items():
        if not field.is_virtual:
            _plain(path, file, name)
            continue
        sources = field.virtual_sources()
        for source in sources:
            folder, _, part = source.file_name.partition("/")
            if folder != PARTS or HASHED_NAME.fullmatch(part) is None:
                raise ResultFileError(f"{path}: {name} points to {source.file_name}, which is not a part of this run")
            parts.setdefault(part, set()).add(source.dset_name)
        if len(sources) != field.shape[0]:
            raise ResultFileError(f"{path}: {name} has {len(sources)} parts for {field.shape[0]} saved times")
    for part, names in parts.items():
        _require_part(path.parent / PARTS / part, names, saved)


def _require_part(part: Path, names: Iterable[str], shape: tuple[int, ...]) -> None:
    """Refuse a part that is missing, is no plain file of its own folder, or does not hold a saved time itself."""
    if not os.path.lexists(part):
        raise ResultFileError(f"{part}: the part of the run is missing")
    if part.parent.is_symlink() or not is_own_file(part):
        raise ResultFileError(f"{part}: the part of the run is a link or no regular file")
    try:
        with h5py.File(part, "r") as file:
            _require_shape(part, {name: _plain(part, file, name) for name in names}, shape)
    except ResultFileError:
        raise
    except HDF5_ERRORS as error:
        raise ResultFileError(f"{part}: not a readable HDF5 file ({first_line(str(error))})") from None


def _joined(before: Series, after: Series) -> Series:
    """Series of two consecutive stretches of time, one after the other; a name cannot come later or end sooner."""
    if not before.values:
        return after
    if set(before.values) != set(after.values):
        changed = sorted(set(before.values) ^ set(after.values))
        raise ValueError(f"series {changed[0]!r} is not given at every save")
    values = {name: np.concatenate((before.values[name], after.values[name])) for name in before.values}
    return Series(np.concatenate((before.times_h, after.times_h)), values)


def _saved(times_h: np.ndarray) -> str:
    return f"{len(times_h)} times, {times_h[0]:g} to {times_h[-1]:g} h" if len(times_h) else "nothing"


def _last(values: np.ndarray) -> str:
    return f"{values[-1]:.6g}" if values.size else "-"
