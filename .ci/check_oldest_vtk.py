"""Does a given VTK read `run.vtkhdf` value by value, step by step? Two calls, in two environments.

    python .ci/check_oldest_vtk.py write FOLDER    in an environment with hepatojax
    python .ci/check_oldest_vtk.py read FOLDER     in an environment with NumPy and any vtk >= 9.3.1

`write` leaves a merged file, the file of a run that has not ended, and the expected values, on an unequal 7 x 5 x 4
grid, so that swapped axes show. `read` ends with a non-zero exit code at the first difference.
"""

import sys
from pathlib import Path

import numpy as np

SHAPE = (4, 5, 7)
SPACING_UM = (12.0, 11.0, 10.0)
TIMES_H = (0.0, 6.0, 30.0)
FILES = ("ended/run.vtkhdf", "running/run.vtkhdf")


def fields_at(time_h: float) -> dict[str, np.ndarray]:
    """Fields whose every value tells its place and time."""
    z, y, x = np.indices(SHAPE)
    place = x + 10 * y + 100 * z
    return {"oxygen": (place + 1000 * time_h).astype(np.float32), "hgf": np.sin(place + time_h).astype(np.float64)}


def static_maps() -> dict[str, np.ndarray]:
    """Maps that do not change, of two types."""
    z, y, x = np.indices(SHAPE)
    return {"zone": ((x + y) / 10).astype(np.float32), "labels": ((x + 2 * y + 3 * z) % 4).astype(np.uint8)}


def write(folder: Path) -> None:
    """Write both files and the expected values."""
    from hepatojax.io.results import RunWriter
    from hepatojax.io.vtkhdf import Quantity, RunHeader, Series

    units = {"oxygen": "mmHg", "hgf": "nM", "zone": "-", "labels": "-", "meld": "-"}
    quantities = {name: Quantity(unit) for name, unit in units.items()}
    header = RunHeader("check", SPACING_UM, SHAPE, quantities, static_maps(), {"purpose": "reading with VTK"})
    ended, running = RunWriter(folder / "ended", header), RunWriter(folder / "running", header)
    for time_h in TIMES_H:
        series = Series(np.array([time_h, time_h + 3]), {"meld": np.array([20.0, 20.0 + time_h])})
        ended.append(time_h, fields_at(time_h), series)
        running.append(time_h, fields_at(time_h), series)
    ended.finish()
    stacked = {name: np.stack([fields_at(time_h)[name] for time_h in TIMES_H]) for name in fields_at(0.0)}
    np.savez(folder / "expected.npz", **stacked, **static_maps())


def read(folder: Path) -> None:
    """Compare what VTK reads with what was written."""
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkCommonCore import vtkVersion
    from vtkmodules.vtkCommonExecutionModel import vtkStreamingDemandDrivenPipeline
    from vtkmodules.vtkIOHDF import vtkHDFReader

    nz, ny, nx = SHAPE
    expected = np.load(folder / "expected.npz")
    compared = 0
    for name in FILES:
        reader = vtkHDFReader()
        reader.SetFileName(str(folder / name))
        reader.UpdateInformation()
        times = reader.GetOutputInformation(0).Get(vtkStreamingDemandDrivenPipeline.TIME_STEPS())
        assert tuple(times) == TIMES_H, f"{name}: times {times}"
        for step, time_h in enumerate(TIMES_H):
            reader.UpdateTimeStep(time_h)
            image = reader.GetOutputDataObject(0)
            assert image.GetDimensions() == (nx + 1, ny + 1, nz + 1), f"{name}: {image.GetDimensions()} points"
            assert image.GetSpacing() == SPACING_UM[::-1], f"{name}: spacing {image.GetSpacing()}"
            for field in expected.files:
                wanted = expected[field] if expected[field].ndim == 3 else expected[field][step]
                got = vtk_to_numpy(image.GetCellData().GetArray(field))
                assert got.dtype == wanted.dtype, f"{name}: {field} read as {got.dtype}"
                assert np.array_equal(got.reshape(SHAPE), wanted), f"{name}: {field} differs at {time_h} h"
                compared += got.size
    sys.stdout.write(f"vtk {vtkVersion.GetVTKVersion()}: {compared} values equal in {len(FILES)} files\n")


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]](Path(sys.argv[2]))
