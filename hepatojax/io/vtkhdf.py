"""The layout of `run.vtkhdf`: one HDF5 file that ParaView, VTK, PyVista, xarray and h5py open.

    /time /z /y /x       dimension scales; z, y, x are cell centres [um], time [h]
    /oxygen ...          fields (time, z, y, x)
    /zone ...            static maps (static, z, y, x), the axis `static` has length 1
    /series/time, ...    scalars at every macro-step
    /provenance/...      versions, scenario, parameters, as text
    /VTKHDF              ImageData: CellData holds hard links to the fields and maps, Steps/Values a copy of the time

Arrays keep the solver's order (z, y, x), so nothing is transposed; the VTK attributes alone are in the order x, y, z.
Steps/Values is a copy because h5netcdf could find the axis `time` under that name if it were a hard link. Truth values
are stored as 0 and 1, and the filters are gzip, shuffle and fletcher32, which VTK reads without a plug-in.

Reference: VTKHDF 2.0 file format (VTK documentation); CF-1.11 dimension scales; measured rules in ECOSYSTEM 1.2.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import h5py
import numpy as np
from jaxtyping import Float, Shaped

from hepatojax.io.snapshots import image_of, memory_file

COMPRESSION = {"compression": "gzip", "compression_opts": 1, "shuffle": True, "fletcher32": True}
RESERVED_NAMES = frozenset({"time", "z", "y", "x", "static", "series", "provenance", "VTKHDF"})
CHUNK_CELLS = 64
SERIES_CHUNK = 4096
DIMENSION_ONLY = "This is a netCDF dimension but not a netCDF variable.         1"


@runtime_checkable
class Described(Protocol):
    """Anything with a unit and a meaning; `hepatojax.mechanism.FieldSpec` is one."""

    @property
    def unit(self) -> str:
        """Unit as text, "-" for none."""
        ...

    @property
    def meaning(self) -> str:
        """One line, or empty."""
        ...


@dataclass(frozen=True)
class Quantity:
    """Unit and meaning of a stored array.

    Attributes:
        unit: as text in the spelling of `hepatojax.units`, "-" for none.
        meaning: one line for readers; where it is empty, the name with blanks stands in.
    """

    unit: str
    meaning: str = ""


@dataclass(frozen=True)
class RunHeader:
    """What is known of a run before it starts.

    Attributes:
        title: one line.
        spacing_um: cell size (hz, hy, hx) [um], at rest.
        shape: number of cells (nz, ny, nx).
        quantities: name -> unit and meaning, for every field and map that will be written.
        static: maps that do not change, each (nz, ny, nx).
        provenance: name -> text, number or nested table; stored as text.
        series_quantities: name -> unit and meaning, for every series; None if `quantities` names them too. A series may
            have the name of a field and another meaning, such as its mean.
    """

    title: str
    spacing_um: tuple[float, float, float]
    shape: tuple[int, int, int]
    quantities: Mapping[str, Described]
    static: Mapping[str, Shaped[np.ndarray, "nz ny nx"]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    series_quantities: Mapping[str, Described] | None = None

    @property
    def chunk(self) -> tuple[int, int, int, int]:
        """Chunk of one field at one time.

        Returns:
            (1, cz, cy, cx), at most 64 cells along each axis.

        Reference: ECOSYSTEM 1.4.
        """
        nz, ny, nx = (min(n, CHUNK_CELLS) for n in self.shape)
        return 1, nz, ny, nx

    def quantity(self, name: str) -> Described:
        """Unit and meaning of a field or map.

        Args:
            name: under which it is to be stored.

        Raises:
            ValueError: the name cannot stand in the file, or has no unit.
        """
        return _described(self.quantities, name)

    def series_quantity(self, name: str) -> Described:
        """Unit and meaning of a series.

        Args:
            name: under which it is to be stored in the group `series`.

        Raises:
            ValueError: the name cannot stand in the file, or has no unit.
        """
        return _described(self.quantities if self.series_quantities is None else self.series_quantities, name)


def _described(quantities: Mapping[str, Described], name: str) -> Described:
    """The entry of a name that is fit for VTK, where "/" and "." have a meaning, and is none of the file's own."""
    if name in RESERVED_NAMES or "/" in name or "." in name:
        raise ValueError(f"{name!r} cannot be the name of a stored quantity: it is reserved or holds '/' or '.'")
    if name not in quantities:
        raise ValueError(f"{name!r} has no unit: add it to the quantities of the run's header")
    return quantities[name]


@dataclass(frozen=True)
class Series:
    """Scalars at every macro-step, in the units of the header.

    Attributes:
        times_h: ends of the macro-steps (n,) [h].
        values: name -> values (n,).
    """

    times_h: Float[np.ndarray, " n"] = field(default_factory=lambda: np.zeros(0))
    values: Mapping[str, Float[np.ndarray, " n"]] = field(default_factory=dict)


AddField = Callable[[h5py.File, str], h5py.Dataset]


def run_image(
    header: RunHeader, times_h: Sequence[float], fields: Sequence[str], add_field: AddField, series: Series
) -> bytes:
    """The bytes of a run file.

    Args:
        header: the run.
        times_h: saved times (t,) [h].
        fields: names of the fields that change with time.
        add_field: creates the dataset (t, nz, ny, nx) of that name at the root of the file.
        series: scalars at every macro-step.

    Returns:
        The HDF5 image, to be written by `hepatojax.io.snapshots.durable_write`.

    Raises:
        ValueError: a field, map or series has a reserved name or no unit.

    Reference: ECOSYSTEM 1.2.
    """
    with memory_file() as file:
        file.attrs.update({"Conventions": "CF-1.11", "title": header.title, "source": "HepatoJAX"})
        _add_axes(file, header, times_h)
        for name in fields:
            _describe(add_field(file, name), header.quantity(name), ("time", "z", "y", "x"))
        for name, values in header.static.items():
            dataset = create_compressed(file, name, values[np.newaxis], header.chunk)
            _describe(dataset, header.quantity(name), ("static", "z", "y", "x"))
        _add_view(file, header, times_h, fields)
        _add_series(file.create_group("series"), header, series)
        _add_provenance(file.create_group("provenance"), header.provenance)
        return image_of(file)


def part_image(header: RunHeader, fields: Mapping[str, Shaped[np.ndarray, "nz ny nx"]]) -> bytes:
    """The bytes of a part: every field (nz, ny, nx) at one saved time, chunked and compressed as in the run file.

    Args:
        header: of the run.
        fields: name -> values (nz, ny, nx) in the unit of the header.

    Returns:
        The HDF5 image of datasets (1, nz, ny, nx), whose chunks can be copied into the merged file as they are.

    Raises:
        ValueError: a field of another shape than the grid's, or without a unit.
    """
    with memory_file() as file:
        for name, values in fields.items():
            array = np.asarray(values)
            if array.shape != header.shape:
                raise ValueError(f"field {name!r} has shape {array.shape}, the grid has {header.shape}")
            create_compressed(file, name, array[np.newaxis], header.chunk).attrs["units"] = header.quantity(name).unit
        return image_of(file)


def stored_type(kind: np.dtype) -> np.dtype:
    """The type in which values are stored: truth values become 0 and 1, which VTK can read.

    Args:
        kind: type of the values in memory.

    Reference: ECOSYSTEM 1.2.
    """
    return np.dtype(np.uint8) if kind.kind == "b" else kind


def create_compressed(
    group: h5py.Group, name: str, data: np.ndarray, chunk: tuple[int, ...], **keywords: Any
) -> h5py.Dataset:
    """A compressed dataset with a checksum on every chunk, in the type that is stored.

    Args:
        group: the file, or a group of it.
        name: of the dataset in the group.
        data: the whole array; its first axis is time, `static` or the macro-step.
        chunk: length of a chunk along each axis.
        keywords: passed to h5py, such as `maxshape`.

    Returns:
        The dataset, with shuffle, gzip 1 and fletcher32 on its chunks.

    Reference: ECOSYSTEM 1.4; RELIABILITY 0, finding 6 (without a checksum, flipped bits read as wrong numbers).
    """
    array = np.asarray(data)
    array = array.astype(stored_type(array.dtype), copy=False)
    return group.create_dataset(name, data=array, chunks=chunk, **COMPRESSION, **keywords)


def _add_axes(file: h5py.File, header: RunHeader, times_h: Sequence[float]) -> None:
    """Dimension scales: saved times [h], cell centres (i + 1/2) h [um], and the axis of length one of static maps."""
    time = file.create_dataset("time", data=np.asarray(times_h, dtype=np.float64))
    _make_scale(time, "time", Quantity("h", "time since the start of the run"))
    for axis, cells, spacing in zip("zyx", header.shape, header.spacing_um, strict=True):
        centres = file.create_dataset(axis, data=(np.arange(cells) + 0.5) * spacing)
        _make_scale(centres, axis, Quantity("um", f"{axis} of the cell centres, at rest"))
    static = file.create_dataset("static", data=np.zeros(1, dtype=np.float32))
    _make_scale(static, DIMENSION_ONLY, Quantity("-", "axis of length one of the maps that do not change"))


def _add_view(file: h5py.File, header: RunHeader, times_h: Sequence[float], fields: Sequence[str]) -> None:
    """The VTK view: for n cells the extent is 0..n, and every array states where each step begins."""
    view = file.create_group("VTKHDF")
    nz, ny, nx = header.shape
    view.attrs["Version"] = np.array([2, 0], dtype=np.int64)
    view.attrs.create("Type", np.bytes_("ImageData"))  # fixed-length ASCII: VTK 9.3 and 9.4 refuse any other string
    view.attrs["WholeExtent"] = np.array([0, nx, 0, ny, 0, nz], dtype=np.int64)
    view.attrs["Origin"] = np.zeros(3)
    view.attrs["Spacing"] = np.array(header.spacing_um[::-1], dtype=np.float64)
    view.attrs["Direction"] = np.eye(3).ravel()
    steps = view.create_group("Steps")
    steps.attrs["NSteps"] = np.int64(len(times_h))
    steps.create_dataset("Values", data=np.asarray(times_h, dtype=np.float64)).attrs["units"] = "h"
    cells, offsets = view.create_group("CellData"), steps.create_group("CellDataOffsets")
    for name in (*fields, *header.static):
        cells[name] = file[name]
        first = np.arange(len(times_h)) if name in fields else np.zeros(len(times_h))
        offsets.create_dataset(name, data=first.astype(np.int64)).attrs["units"] = "-"


def _add_series(group: h5py.Group, header: RunHeader, series: Series) -> None:
    """The scalars of every macro-step in float64, on a time axis of their own, finer than that of the fields."""
    time = _series_dataset(group, "time", series.times_h)
    _make_scale(time, "time", Quantity("h", "time since the start of the run"))
    for name, values in series.values.items():
        dataset = _series_dataset(group, name, values)
        _label(dataset, header.series_quantity(name))
        dataset.dims[0].attach_scale(time)


def _series_dataset(group: h5py.Group, name: str, values: np.ndarray) -> h5py.Dataset:
    """A dataset (n,) in chunks of at most 4096 values."""
    chunk = min(max(len(values), 1), SERIES_CHUNK)
    return create_compressed(group, name, np.asarray(values, dtype=np.float64), (chunk,), maxshape=(None,))


def _add_provenance(group: h5py.Group, provenance: Mapping[str, Any]) -> None:
    """Text datasets, since an attribute is limited to 64 KiB and a scenario is not."""
    for name, value in provenance.items():
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        group.create_dataset(name, data=text).attrs["units"] = "-"


def _describe(dataset: h5py.Dataset, quantity: Described, axes: tuple[str, ...]) -> None:
    """Label an array, and name its axes by the dimension scales at the root of the file."""
    _label(dataset, quantity)
    for number, axis in enumerate(axes):
        dataset.dims[number].attach_scale(dataset.file[axis])


def _make_scale(dataset: h5py.Dataset, name: str, quantity: Described) -> None:
    dataset.make_scale(name)
    _label(dataset, quantity)


def _label(dataset: h5py.Dataset, quantity: Described) -> None:
    """Give a dataset its unit and meaning in the attributes of CF, `units` and `long_name`."""
    dataset.attrs["units"] = quantity.unit
    dataset.attrs["long_name"] = quantity.meaning or str(dataset.name).rsplit("/", 1)[-1].replace("_", " ")
