"""The run file: what is written is read, whether in one go, while running, or merged."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest

from hepatojax.cli.main import main
from hepatojax.io import results
from hepatojax.io.results import ResultFileError, RunWriter, describe_run, open_run, write_run
from hepatojax.io.vtkhdf import Quantity, RunHeader, Series
from hepatojax.status import ExitCode, WriteError

SHAPE = (4, 5, 7)
QUANTITIES = {
    "oxygen": Quantity("mmHg", "partial pressure"),
    "hgf": Quantity("nM"),
    "zone": Quantity("-", "porto-central coordinate"),
    "inside": Quantity("-"),
    "meld": Quantity("-"),
}
ZONE = np.linspace(0, 1, 140, dtype=np.float32).reshape(SHAPE)
HEADER = RunHeader(
    "a run", (3.0, 2.0, 1.0), SHAPE, QUANTITIES, {"zone": ZONE, "inside": ZONE > 0.5}, {"seed": 3, "note": "x" * 70000}
)
TIMES_H = (0.0, 24.0, 60.0)


def fields_at(time_h: float) -> dict[str, np.ndarray]:
    noise = np.random.default_rng(int(time_h)).standard_normal(SHAPE)
    return {"oxygen": noise.astype(np.float32), "hgf": noise}


def series_at(time_h: float) -> Series:
    return Series(np.array([time_h, time_h + 6]), {"meld": np.array([time_h, 2 * time_h])})


def written(folder) -> RunWriter:
    writer = RunWriter(folder, HEADER)
    for time_h in TIMES_H:
        writer.append(time_h, fields_at(time_h), series_at(time_h))
    return writer


def assert_holds_the_run(folder) -> None:
    with open_run(folder) as run:
        assert (run.title, run.spacing_um, run.shape) == ("a run", (3.0, 2.0, 1.0), SHAPE)
        assert tuple(run.times_h) == TIMES_H
        for step, time_h in enumerate(TIMES_H):
            for name, values in fields_at(time_h).items():
                assert run.fields[name].dtype == values.dtype
                assert np.array_equal(run.fields[name][step], values)
                assert np.array_equal(run.field_at(name, time_h + 1.0), values)
        assert np.array_equal(run.static["zone"], ZONE)
        assert np.array_equal(run.static["inside"], (ZONE > 0.5).astype(np.uint8))
        assert np.array_equal(run.series_times_h, np.concatenate([series_at(t).times_h for t in TIMES_H]))
        assert np.array_equal(run.series["meld"], np.concatenate([series_at(t).values["meld"] for t in TIMES_H]))
        units = {name: quantity.unit for name, quantity in QUANTITIES.items()}
        assert {**run.units, **run.series_units} == units and set(run.series_units) == {"meld"}
        assert {name: run.provenance[name] for name in ("seed", "note")} == {"seed": "3", "note": "x" * 70000}


def test_the_index_of_a_running_run_holds_all_that_was_appended(tmp_path):
    written(tmp_path)
    assert_holds_the_run(tmp_path)
    with open_run(tmp_path) as run:
        assert not run.merged


def test_the_merged_file_holds_all_and_stands_alone(tmp_path):
    written(tmp_path).finish()
    assert [path.name for path in tmp_path.iterdir()] == ["run.vtkhdf"]
    assert_holds_the_run(tmp_path)
    with open_run(tmp_path) as run:
        assert run.merged


def test_written_in_one_go_equals_merged_to_the_last_value(tmp_path):
    fields = {name: np.stack([fields_at(time_h)[name] for time_h in TIMES_H]) for name in ("oxygen", "hgf")}
    series = Series(
        np.concatenate([series_at(t).times_h for t in TIMES_H]),
        {"meld": np.concatenate([series_at(t).values["meld"] for t in TIMES_H])},
    )
    write_run(tmp_path / "run.vtkhdf", HEADER, TIMES_H, fields, series)
    assert_holds_the_run(tmp_path)


def test_what_is_known_at_the_end_joins_the_provenance(tmp_path):
    written(tmp_path).finish({"ledger": {"oxygen": 1e-12}})
    with open_run(tmp_path) as run:
        assert run.provenance["ledger"] == '{"oxygen": 1e-12}'
        assert run.provenance["seed"] == "3"


def test_a_run_too_large_to_merge_stays_an_index_and_is_not_called_running(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "MERGE_LIMIT_BYTES", 10)
    written(tmp_path).finish({"status": "ok"})
    assert_holds_the_run(tmp_path)
    assert state_of(tmp_path) == "complete (an index over parts/)"


def state_of(folder) -> str:
    return next(line for line in describe_run(folder).splitlines() if line.startswith("state")).split(maxsplit=1)[1]


def test_the_description_says_how_the_run_ended(tmp_path):
    writer = written(tmp_path)
    assert state_of(tmp_path) == "not ended (an index over parts/)"
    writer.finish({"status": "STOPPED"})
    assert state_of(tmp_path) == "STOPPED, the run was stopped on request"
    for closing, state in (({"status": "ok"}, "complete"), (None, "ended, how is not recorded")):
        written(tmp_path).finish(closing)
        assert state_of(tmp_path) == state


def test_a_run_without_fields_is_ended_when_it_says_so(tmp_path):
    writer = RunWriter(tmp_path, HEADER)
    writer.append(24.0, {}, series_at(24.0))
    assert state_of(tmp_path) == "not ended"
    writer.finish({"status": "ok"})
    assert state_of(tmp_path) == "complete"


def test_a_run_written_in_one_go_has_ended(tmp_path):
    for name, status, state in (("a", {}, "ended, how is not recorded"), ("b", {"status": "ok"}, "complete")):
        write_run(tmp_path / name, replace(HEADER, provenance=status), (), {}, Series())
        assert state_of(tmp_path / name) == state


def test_a_series_may_have_the_name_and_not_the_meaning_of_a_field(tmp_path):
    header = replace(HEADER, series_quantities={"oxygen": Quantity("kPa", "mean over the lobule")})
    writer = RunWriter(tmp_path, header)
    for time_h in TIMES_H:
        writer.append(time_h, fields_at(time_h), Series(np.array([time_h]), {"oxygen": np.array([1.0])}))
    with open_run(writer.finish()) as run:
        assert (run.units["oxygen"], run.meanings["oxygen"]) == ("mmHg", "partial pressure")
        assert (run.series_units["oxygen"], run.series_meanings["oxygen"]) == ("kPa", "mean over the lobule")
    assert [line.split()[-1] for line in describe_run(tmp_path).splitlines() if " oxygen " in line] == [
        "pressure",
        "kPa",
    ]
    with pytest.raises(ValueError, match="meld"):
        RunWriter(tmp_path, header).append(0.0, {}, series_at(0.0))


def test_a_run_without_a_saved_time_can_be_described(tmp_path):
    RunWriter(tmp_path, HEADER).finish()
    assert "saved       nothing" in describe_run(tmp_path)


def test_a_long_table_in_the_provenance_comes_back(tmp_path):
    table = [{"name": f"subject.parameter_{number}", "value": number / 7} for number in range(3000)]
    header = replace(HEADER, provenance={"parameters": table, "text": json.dumps(table)})
    writer = RunWriter(tmp_path, header)
    writer.append(0.0, fields_at(0.0), series_at(0.0))
    writer.finish()
    with open_run(tmp_path) as run:
        assert len(run.provenance["text"]) > 100_000
        assert json.loads(run.provenance["parameters"]) == json.loads(run.provenance["text"]) == table
    assert max(map(len, describe_run(tmp_path).splitlines())) < 200


def test_the_layout_is_the_one_that_vtk_and_netcdf_ask_for(tmp_path):
    with h5py.File(written(tmp_path).finish()) as file:
        view = file["VTKHDF"]
        kind = view.attrs.get_id("Type").get_type()
        assert kind.get_cset() == h5py.h5t.CSET_ASCII and not kind.is_variable_str()
        assert list(view.attrs["WholeExtent"]) == [0, 7, 0, 5, 0, 4]
        assert list(view.attrs["Spacing"]) == [1.0, 2.0, 3.0]
        assert view.attrs["Direction"].shape == (9,)
        for name in ("oxygen", "hgf", "zone", "inside"):
            assert view["CellData"].get(name, getlink=True).__class__ is h5py.HardLink
            assert view["CellData"][name] == file[name]
            field = file[name]
            assert (field.compression, field.compression_opts, field.shuffle, field.fletcher32) == (
                "gzip",
                1,
                True,
                True,
            )
        assert view["Steps/Values"] != file["time"]
        assert np.array_equal(view["Steps/Values"], file["time"])
        assert file["zone"].shape == (1, *SHAPE)
        assert list(view["Steps/CellDataOffsets/oxygen"]) == [0, 1, 2]
        assert list(view["Steps/CellDataOffsets/zone"]) == [0, 0, 0]
        assert [file["oxygen"].dims[axis].keys() for axis in range(4)] == [["time"], ["z"], ["y"], ["x"]]
        assert list(file["x"]) == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5]
        without = []
        file.visititems(lambda name, item: without.append(name) if _lacks_unit(item) else None)
        assert without == []


def _lacks_unit(item) -> bool:
    return isinstance(item, h5py.Dataset) and "units" not in item.attrs


def test_any_flipped_bit_in_the_data_is_noticed(tmp_path):
    path = written(tmp_path).finish()
    with h5py.File(path) as file:
        chunk = file["hgf"].id.get_chunk_info(1)
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset + chunk.size // 2] ^= 4
    path.write_bytes(data)
    with open_run(path) as run, pytest.raises(OSError):
        run.fields["hgf"][1]


def test_a_damaged_part_is_not_merged(tmp_path):
    writer = written(tmp_path)
    part = sorted((tmp_path / "parts").iterdir())[1]
    part.write_bytes(part.read_bytes()[:-1] + b"!")
    with pytest.raises(WriteError, match=part.name):
        writer.finish()


def test_a_missing_part_is_an_error_and_not_a_field_of_nan(tmp_path):
    written(tmp_path)
    sorted((tmp_path / "parts").iterdir())[1].unlink()
    with pytest.raises(ResultFileError, match="missing"):
        open_run(tmp_path)


def test_a_new_run_replaces_an_old_one(tmp_path):
    written(tmp_path)
    RunWriter(tmp_path, HEADER)
    assert not (tmp_path / "run.vtkhdf").exists()
    written(tmp_path).finish()
    assert_holds_the_run(tmp_path)


@pytest.mark.parametrize(
    ("fields", "series", "message"),
    [
        ({"oxygen": np.zeros((7, 5, 4)), "hgf": np.zeros(SHAPE)}, series_at(1.0), r"shape \(7, 5, 4\)"),
        ({"pressure": np.zeros(SHAPE)}, series_at(1.0), "no unit"),
        ({"time": np.zeros(SHAPE)}, series_at(1.0), "reserved"),
        ({"oxygen": np.zeros(SHAPE)}, Series(np.zeros(1), {"inr": np.zeros(1)}), "no unit"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_its_name(tmp_path, fields, series, message):
    with pytest.raises(ValueError, match=message):
        RunWriter(tmp_path, HEADER).append(0.0, fields, series)


def test_fields_and_series_may_not_change_during_a_run(tmp_path):
    writer = written(tmp_path)
    with pytest.raises(ValueError, match="first saved time"):
        writer.append(90.0, {"oxygen": np.zeros(SHAPE)}, series_at(90.0))
    with pytest.raises(ValueError, match="meld"):
        writer.append(90.0, fields_at(90.0), Series(np.zeros(1), {}))


def test_description_names_grid_units_and_provenance(tmp_path):
    text = describe_run(written(tmp_path).finish())
    assert "7 x 5 x 4 cells of 1 x 2 x 3 um" in text
    assert "mmHg       partial pressure" in text
    assert "meld                              120 -" in text


def test_an_index_that_points_elsewhere_is_refused(tmp_path):
    path = written(tmp_path).finish()
    with h5py.File(path, "r+") as file:
        layout = h5py.VirtualLayout((3, *SHAPE), "f4")
        layout[:] = h5py.VirtualSource("/etc/other.h5", "oxygen", (3, *SHAPE))
        del file["oxygen"]
        file.create_virtual_dataset("oxygen", layout).dims[0].attach_scale(file["time"])
    with pytest.raises(ResultFileError, match="points to /etc/other"):
        open_run(path)


def _moved(part):
    (part.parents[1] / "other").mkdir()
    return part.rename(part.parents[1] / "other" / part.name)


def _linked(part):
    part.symlink_to(_moved(part))


def _linked_folder(part):
    part.parent.rename(part.parents[1] / "elsewhere").parent.joinpath("parts").symlink_to("elsewhere")


def _replaced(part, fill):
    part.unlink()
    with h5py.File(part, "w") as file:
        fill(file, part.with_name("secret"))


def _virtual(file, other):
    layout = h5py.VirtualLayout((1, *SHAPE), "f8")
    layout[:] = h5py.VirtualSource(str(other), "hgf", (1, *SHAPE))
    file.create_virtual_dataset("hgf", layout)


HOSTILE_PART = {
    "a link": (_linked, "is a link or no regular file"),
    "a linked folder": (_linked_folder, "is a link or no regular file"),
    "a pipe": (lambda part: (part.unlink(), os.mkfifo(part)), "is a link or no regular file"),
    "junk": (lambda part: part.write_text("junk"), "not a readable HDF5 file"),
    "external storage": (
        lambda part: _replaced(part, lambda f, o: f.create_dataset("hgf", (1, *SHAPE), "f8", external=[(o, 0, 1120)])),
        "hgf has external, virtual or plug-in storage",
    ),
    "a virtual dataset": (lambda part: _replaced(part, _virtual), "hgf has external, virtual or plug-in storage"),
    "an external link": (
        lambda part: _replaced(part, lambda f, o: f.__setitem__("hgf", h5py.ExternalLink(o, "/hgf"))),
        "hgf is not stored in the file itself",
    ),
    "nothing": (lambda part: _replaced(part, lambda f, o: None), "is not stored in the file itself"),
    "another shape": (
        lambda part: _replaced(part, lambda f, o: f.create_dataset("hgf", data=np.zeros((1, 1, 5, 7)))),
        "hgf has shape",
    ),
    "values that are not there": (
        lambda part: _replaced(part, lambda f, o: f.create_dataset("hgf", (1, *SHAPE), "f8", chunks=(1, *SHAPE))),
        "stores far fewer",
    ),
}


@pytest.mark.parametrize("case", HOSTILE_PART)
def test_a_part_that_takes_its_values_from_elsewhere_is_refused(tmp_path, case):
    change, message = HOSTILE_PART[case]
    writer = RunWriter(tmp_path, HEADER)
    for time_h in TIMES_H:
        writer.append(time_h, {"hgf": fields_at(time_h)["hgf"]}, series_at(time_h))
    change(sorted((tmp_path / "parts").iterdir())[1])
    with pytest.raises(ResultFileError, match=message) as refused:
        open_run(tmp_path)
    assert "/parts/part0000000" in str(refused.value) and "\n" not in str(refused.value)


def test_an_index_without_a_part_for_each_time_is_refused(tmp_path):
    written(tmp_path)
    part = sorted((tmp_path / "parts").iterdir())[0].name
    with h5py.File(tmp_path / "run.vtkhdf", "r+") as file:
        layout = h5py.VirtualLayout((3, *SHAPE), "f8")
        layout[0] = h5py.VirtualSource(f"parts/{part}", "hgf", (1, *SHAPE))[0]
        for name in ("hgf", "VTKHDF/CellData/hgf"):
            del file[name]
        hgf = file.create_virtual_dataset("hgf", layout)
        hgf.attrs.update({"units": "nM", "long_name": "hgf"})
        hgf.dims[0].attach_scale(file["time"])
    with pytest.raises(ResultFileError, match="hgf has 1 parts for 3 saved times"):
        open_run(tmp_path)


MANY = 10**13


def _announced(file, name, shape):
    place, name = (file["series"], name.removeprefix("series/")) if "/" in name else (file, name)
    if name in place:
        file.move(place[name].name, "VTKHDF/x")
    chunks = tuple(min(n, 64) for n in shape)
    place.create_dataset(name, shape, "f8", chunks=chunks, compression="gzip").attrs.update(
        {"units": "-", "long_name": "many"}
    )


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        *((name, (MANY,)) for name in ("time", "z", "series/time", "series/meld")),
        ("zone", (1, *SHAPE[:2], MANY)),
        ("provenance/scenario", (MANY,)),
    ],
)
@pytest.mark.parametrize("verb", ["info", "plot"])
def test_a_small_file_that_announces_much_is_refused(tmp_path, capsys, name, shape, verb):
    path = written(tmp_path).finish()
    with h5py.File(path, "r+") as file:
        if name.startswith("provenance"):
            file.create_dataset(name, shape, h5py.string_dtype(), chunks=(64,))
        else:
            _announced(file, name, shape)
    assert path.stat().st_size < 200_000
    assert main([verb, str(path)]) == ExitCode.REJECTED_INPUT
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {path}: {name} announces ") and printed.count("\n") == 1


def test_a_field_that_announces_much_is_refused(tmp_path):
    path = written(tmp_path).finish()
    with h5py.File(path, "r+") as file:
        del file["VTKHDF/CellData/hgf"], file["hgf"]
        _announced(file, "hgf", (3, *SHAPE))
        file["hgf"].dims[0].attach_scale(file["time"])
    with pytest.raises(ResultFileError, match="hgf announces 3360 bytes and stores far fewer"):
        open_run(path)


def test_what_is_read_at_once_has_a_limit(tmp_path, monkeypatch):
    path = written(tmp_path).finish()
    monkeypatch.setattr(results, "EAGER_LIMIT_BYTES", 800)
    with pytest.raises(ResultFileError, match=r"maps and series of \d+ bytes, the limit is 800"):
        open_run(path)


@pytest.mark.parametrize("link", [h5py.ExternalLink, h5py.SoftLink])
@pytest.mark.parametrize("name", ["VTKHDF", "series", "provenance", "time"])
def test_links_of_groups_and_axes_are_not_followed(tmp_path, name, link):
    path = written(tmp_path).finish()
    (tmp_path / "other.h5").write_bytes(path.read_bytes())
    with h5py.File(path, "r+") as file:
        file.move(name, "series/x" if name == "VTKHDF" else "VTKHDF/x")
        file[name] = link("other.h5", f"/{name}") if link is h5py.ExternalLink else link("/VTKHDF/x")
    with pytest.raises(ResultFileError, match="stored in the file itself"):
        open_run(path)


def _rename_attribute(item, name):
    item.attrs["other"] = item.attrs[name]
    del item.attrs[name]


FOREIGN = {
    "no title": lambda file: _rename_attribute(file, "title"),
    "no spacing": lambda file: _rename_attribute(file["VTKHDF"], "Spacing"),
    "no unit": lambda file: _rename_attribute(file["oxygen"], "units"),
    "no time of the series": lambda file: file.move("series/time", "series/hours"),
    "a scalar field": lambda file: file.create_dataset("scalar", data=1.0),
    "a number as provenance": lambda file: file.create_dataset("provenance/number", data=1.0),
    "a single time": lambda file: (file.move("time", "VTKHDF/time"), file.create_dataset("time", data=1.0)),
    "a field of another shape": lambda file: (file.move("z", "VTKHDF/z"), file.create_dataset("z", data=[1.0])),
    "a series of another length": lambda file: _described(file.create_dataset("series/short", data=[1.0])),
}


def _described(dataset):
    dataset.attrs.update({"units": "-", "long_name": "short"})


@pytest.mark.parametrize("case", FOREIGN)
def test_a_foreign_or_damaged_file_is_refused_by_name(tmp_path, case):
    path = written(tmp_path).finish()
    with h5py.File(path, "r+") as file:
        FOREIGN[case](file)
    with pytest.raises(ResultFileError, match=r"run\.vtkhdf") as caught:
        open_run(path)
    assert "\n" not in str(caught.value)


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.h5")
    for path in (tmp_path / "pipe.h5", "/dev/null"):
        with pytest.raises(ResultFileError, match="no such regular file"):
            open_run(path)


def test_what_is_no_result_is_refused_in_one_sentence(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["a"] = 1
    (tmp_path / "text.h5").write_text("[grid]\n")
    for name, message in (
        ("other.h5", "not a HepatoJAX"),
        ("text.h5", "not a readable"),
        ("absent.h5", "no such regular file"),
    ):
        with pytest.raises(ResultFileError, match=message):
            open_run(tmp_path / name)


def test_reading_and_writing_results_needs_no_jax():
    modules = ("results", "readers", "run_folder")
    code = "".join(f"import hepatojax.io.{name};" for name in modules) + "import sys; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=os.getcwd(), check=False).returncode == 0
