"""One file, four readers: VTK, xarray, h5py and `open_run` return equal values at every step of a 7 x 5 x 4 grid."""

import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from hepatojax.io.results import open_run, write_run
from hepatojax.io.vtkhdf import Quantity, RunHeader, Series

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / ".ci" / "check_oldest_vtk.py"
FILES = ("ended/run.vtkhdf", "running/run.vtkhdf")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vtk")
    subprocess.run([sys.executable, SCRIPT, "write", folder], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    return folder


@pytest.fixture(scope="module")
def expected(folder):
    return dict(np.load(folder / "expected.npz"))


def test_vtk_reads_equal_values_at_every_step(folder):
    pytest.importorskip("vtkmodules")
    done = subprocess.run([sys.executable, SCRIPT, "read", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "3360 values equal in 2 files" in done.stdout


@pytest.mark.parametrize("name", FILES)
def test_h5py_and_open_run_read_equal_values(folder, expected, name):
    with open_run(folder / name) as run, h5py.File(folder / name) as file:
        for field, values in expected.items():
            ours = run.fields[field][()] if field in run.fields else run.static[field]
            assert ours.dtype == values.dtype
            assert np.array_equal(ours, values)
            assert np.array_equal(np.squeeze(file[field][()]), values)
            assert np.array_equal(np.squeeze(file["VTKHDF/CellData"][field][()]), values)


@pytest.mark.parametrize("name", FILES)
def test_xarray_reads_equal_values_with_named_axes_and_units(folder, expected, name):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    with xarray.open_dataset(folder / name, engine="h5netcdf") as dataset:
        assert dataset.oxygen.dims == ("time", "z", "y", "x")
        assert dataset.oxygen.attrs["units"] == "mmHg"
        assert list(dataset.time.values) == [0.0, 6.0, 30.0]
        assert list(dataset.x.values) == [5.0, 15.0, 25.0, 35.0, 45.0, 55.0, 65.0]
        for field, values in expected.items():
            assert np.array_equal(
                dataset[field].squeeze("static", drop=True) if values.ndim == 3 else dataset[field], values
            )
        assert float(dataset.oxygen.sel(time=30.0, x=25.0, y=16.5, z=42.0)) == 30312.0
    with xarray.open_dataset(folder / name, engine="h5netcdf", group="series") as series:
        assert list(series.meld.values) == [20.0, 20.0, 20.0, 26.0, 20.0, 50.0]


def test_the_snippet_of_the_readme_takes_the_mean_over_the_tissue(tmp_path, monkeypatch, capsys):
    pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    section = (ROOT / "README.md").read_text().split("## Reading a result")[1]
    snippet = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    labels = np.zeros((2, 3, 4), dtype=np.uint8)
    labels[:, 1, :2] = (1, 2)
    header = RunHeader(
        "a run",
        (1.0, 1.0, 1.0),
        labels.shape,
        {"oxygen": Quantity("mmHg"), "labels": Quantity("-")},
        {"labels": labels},
    )
    oxygen = np.stack([10.0 * (labels > 0), 40.0 * (labels > 0)])
    monkeypatch.chdir(tmp_path)
    path = Path(re.search(r'"(outputs/.*?)"', snippet)[1])
    path.parent.mkdir(parents=True)
    write_run(path, header, (0.0, 24.0), {"oxygen": oxygen}, Series())
    names: dict = {}
    exec(snippet, names)
    names["run"].close()
    names["data"].close()
    assert capsys.readouterr().out == "40.0 mmHg\n"
