"""Figures show the numbers of the file, in its units, and say what is missing."""

import os
import shutil
import warnings
from dataclasses import replace

import h5py
import matplotlib
import numpy as np
import pytest
from matplotlib.image import imread

from hepatojax.cli.main import main
from hepatojax.io.provenance import DISCLAIMER
from hepatojax.io.results import ResultFileError, RunWriter, open_run
from hepatojax.io.vtkhdf import RunHeader, Series
from hepatojax.report.figures import draw_run
from hepatojax.report.figures.biodistribution import biodistribution
from hepatojax.report.figures.courses import clinical_courses, infusion_days
from hepatojax.report.figures.gallery import arm_files
from hepatojax.report.figures.ledger import ledger, ledger_of, relative_error
from hepatojax.report.figures.maps import colour_limits, field_maps, middle_plane, tissue
from hepatojax.report.figures.profiles import zonal_mean, zonal_profiles
from hepatojax.report.figures.sources import source_shares
from hepatojax.report.figures.style import MissingQuantity, chosen_times, printed, spanned


@pytest.fixture
def runs(study):
    opened = {arm: open_run(path) for arm, path in arm_files(study).items()}
    yield opened
    for run in opened.values():
        run.close()


def test_every_figure_is_drawn_and_is_not_blank(study, tmp_path):
    before = dict(matplotlib.rcParams)
    files = draw_run(study, tmp_path / "figures")
    assert {path.stem for path in files} == {
        "courses", "profiles", "biodistribution", "sources", "ledger",
        "maps_supply_standard_care", "maps_supply_intravenous", "maps_cells_standard_care", "maps_cells_intravenous",
    }  # fmt: skip
    for path in files:
        image = imread(path)
        assert min(image.shape[:2]) > 200
        assert image[..., :3].std() > 0.02
    assert dict(matplotlib.rcParams) == before


def test_arms_stand_in_the_order_of_the_scenario(study):
    assert list(arm_files(study)) == ["standard_care", "intravenous"]


def test_one_arm_alone_can_be_drawn(study):
    assert arm_files(study / "intravenous") == {"intravenous": study / "intravenous" / "run.vtkhdf"}


def test_arms_of_another_scenario_are_left_out_with_one_warning(study, tmp_path):
    old, older, new = ("2026-01-01", "a"), ("2025-01-01", "a"), ("2026-02-01", "b")
    for arm, origin in {"standard_care": new, "intravenous": new, "past": old, "long_past": older}.items():
        shutil.copytree(study / "intravenous", tmp_path / arm)
        with h5py.File(tmp_path / arm / "run.vtkhdf", "r+") as file:
            file["provenance/created_utc"], file["provenance/scenario_sha256"] = origin
    with pytest.warns(UserWarning, match="another scenario") as warned:
        assert list(arm_files(tmp_path)) == ["standard_care", "intravenous"]
    assert [str(warning.message).split(": ")[1] for warning in warned] == [
        "long_past, past left out, of another scenario than intravenous"
    ]
    with warnings.catch_warnings(action="error"):
        assert list(arm_files(tmp_path / "past")) == ["past"]


def test_plot_draws_the_file_it_was_given(study, tmp_path, capsys):
    for name in ("run.vtkhdf", "copy.vtkhdf"):
        (tmp_path / "arm").mkdir(exist_ok=True)
        shutil.copy(study / "intravenous" / "run.vtkhdf", tmp_path / "arm" / name)
    with h5py.File(tmp_path / "arm" / "copy.vtkhdf", "r+") as file:
        del file["provenance/ledger"]
    assert main(["plot", str(tmp_path / "arm" / "copy.vtkhdf")]) == 0
    done = capsys.readouterr()
    assert "ledger.png" not in done.out and str(tmp_path / "arm" / "figures" / "courses.png") in done.out
    assert done.err.startswith("warning: figure ledger left out") and done.err.count("\n") == 1


def test_info_of_a_pipe_is_one_line(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    assert main(["info", str(tmp_path / "pipe")]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_maps_show_the_middle_plane_masked_outside_the_hexagon_in_micrometres(runs):
    run = runs["standard_care"]
    figure = field_maps(run, "maps", ("oxygen", "absent"), [0.0, 672.0])
    first, last = figure.axes[:2]
    for axes, time_h in ((first, 0.0), (last, 672.0)):
        shown = axes.images[0].get_array()
        assert np.array_equal(shown.mask, run.static["labels"][2] == 0)
        assert np.array_equal(shown.compressed(), run.field_at("oxygen", time_h)[2][~shown.mask])
    assert first.images[0].get_extent() == [-468.0, 468.0, -540.0, 540.0]
    assert first.images[0].get_clim() == last.images[0].get_clim()
    assert "[mmHg]" in figure.axes[-1].get_ylabel()


def test_a_uniform_map_lies_in_the_middle_of_its_scale_and_nan_does_not_count():
    uniform = np.ma.masked_less(np.array([[33.0, 33.0, np.nan, -1.0]]), 0.0)
    low, high, above = colour_limits("oxygen", [uniform])
    assert low + high == pytest.approx(66.0) and 0.01 < high - low < 1.0 and not above
    assert colour_limits("debris", [0.0 * uniform]) == (0.0, 1.0, False)
    assert colour_limits("oxygen", [np.ma.masked_all((1, 2))]) == (0.0, 1.0, False)


def test_the_scale_of_the_blood_speed_ends_below_that_of_the_vessels_and_says_so(runs):
    speeds = np.ma.array(np.append(np.linspace(0.0, 10.0, 99), 1000.0))
    low, high, above = colour_limits("flow_speed", [speeds])
    assert low == 0.0 and 9.0 < high < 12.0 and above
    bar = field_maps(runs["standard_care"], "maps", ("flow_speed",)).axes[-1]
    assert bar.get_ylabel() == "superficial speed of blood [µm/s]\nends at percentile 98"
    assert not colour_limits("hgf", [speeds])[2]


def test_units_are_printed_as_a_reader_writes_them():
    assert [printed(unit) for unit in ("um/s", "cells/mm3", "1e6 cells", "um2")] == [
        "µm/s",
        "cells/mm³",
        "10⁶ cells",
        "µm²",
    ]


def test_a_well_mixed_lobule_shows_a_point_for_each_day(runs):
    run = replace(runs["intravenous"], static={"zone": np.full(runs["intravenous"].shape, 0.5)})
    assert {line.get_marker() for line in zonal_profiles({"arm": run}).axes[0].lines} == {"o"}
    assert {line.get_marker() for line in zonal_profiles(runs).axes[0].lines} == {""}


def test_a_profile_at_rest_is_not_zoomed_into_its_rounding(runs, tmp_path):
    run = runs["intravenous"]
    oxygen = 20.0 + 1e-8 * np.broadcast_to(run.static["zone"].astype(float), (len(run.times_h), *run.shape))
    with h5py.File(tmp_path / "fields.h5", "w") as file:
        resting = replace(run, fields={"oxygen": file.create_dataset("oxygen", data=oxygen)})
        low, high = zonal_profiles({"arm": resting}).axes[0].get_ylim()
    assert high - low == pytest.approx(0.02, rel=1e-3)


def test_a_course_at_rest_is_not_zoomed_into_its_rounding(runs):
    still = {name: np.full_like(values, 20.0) for name, values in runs["intravenous"].series.items()}
    noisy = {name: values + 1e-8 * np.arange(len(values)) for name, values in still.items()}
    control = replace(runs["intravenous"], series=still)
    figure = clinical_courses({"still": control, "noisy": replace(control, series=noisy)})
    for axes in (figure.axes[1], figure.axes[6]):
        low, high = axes.get_ylim()
        assert high - low == pytest.approx(0.02, rel=1e-3)
    assert spanned(1.0, 2.0, 2.0) == (1.0, 2.0)


def test_zonal_mean_of_the_zone_is_the_zone_and_of_a_constant_the_constant(runs):
    run = runs["standard_care"]
    layer, mean = zonal_mean(run, run.static["zone"])
    assert np.max(np.abs(layer - mean)) < 0.5 / 16
    assert np.allclose(zonal_mean(run, np.full(run.shape, 3.0))[1], 3.0, rtol=1e-14)
    inside = tissue(run)
    weights = np.histogram(run.static["zone"][inside], bins=16, range=(0, 1))[0]
    oxygen = run.field_at("oxygen", 0.0)
    mean = zonal_mean(run, oxygen)[1]
    assert np.isclose(np.sum(weights[weights > 0] * mean) / weights.sum(), oxygen[inside].mean(dtype=float))


def test_profiles_have_a_line_for_each_day_and_a_row_for_each_arm(runs):
    figure = zonal_profiles(runs)
    assert len(figure.axes) == 2 * 9
    assert len(figure.axes[0].lines) == 4


def test_courses_show_every_arm_and_its_difference_from_the_first(runs):
    figure = clinical_courses(runs)
    meld, difference = figure.axes[1], figure.axes[6]
    for line, run in zip(meld.lines, runs.values(), strict=False):
        assert np.array_equal(line.get_ydata(), run.series["meld"])
    assert np.all(difference.lines[0].get_ydata() == 0.0)
    wanted = runs["intravenous"].series["meld"] - runs["standard_care"].series["meld"]
    assert np.array_equal(difference.lines[1].get_ydata(), wanted)
    assert infusion_days(runs["intravenous"], "intravenous") == [0.0, 7.0]
    assert infusion_days(runs["standard_care"], "standard_care") == []


def test_no_difference_is_drawn_beyond_the_end_of_the_control(runs):
    whole, treated = runs["standard_care"], runs["intravenous"]
    kept = len(whole.series_times_h) // 2
    series = {name: values[:kept] for name, values in whole.series.items()}
    control = replace(whole, series_times_h=whole.series_times_h[:kept], series=series)
    drawn = clinical_courses({"control": control, "treated": treated}).axes[6].lines[1].get_ydata()
    assert np.array_equal(drawn[:kept], treated.series["meld"][:kept] - whole.series["meld"][:kept])
    assert np.isnan(drawn[kept:]).all()


def test_biodistribution_shows_treated_arms_only_and_cells_per_lobule(runs):
    figure = biodistribution(runs)
    assert len(figure.axes) == 3
    assert np.array_equal(figure.axes[2].lines[0].get_ydata(), runs["intravenous"].series["msc_per_lobule"])


def test_biodistribution_without_an_infusion_is_left_out(runs):
    with pytest.raises(MissingQuantity, match="no arm"):
        biodistribution({"standard_care": runs["standard_care"]})


def test_source_shares_are_ratios_of_time_integrals(runs):
    run = runs["intravenous"]
    shares = source_shares(run, "hgf")
    assert np.isclose(sum(shares.values()), 1.0)
    made = {origin: np.trapezoid(run.series[f"source_hgf_by_{origin}"], run.series_times_h) for origin in shares}
    assert np.isclose(shares["msc"], made["msc"] / sum(made.values()))
    assert sum(source_shares(runs["standard_care"], "regulation").values()) == 0.0


def test_ledger_errors_are_those_of_the_file(runs):
    entries = ledger_of(runs["intravenous"])
    assert relative_error(entries["oxygen"]) == pytest.approx(4e-6 / 9.0)
    dots = ledger(runs).axes[0].lines[1]
    assert dots.get_xdata()[0] == pytest.approx(4e-6 / 9.0)


def test_every_figure_carries_the_disclaimer(runs):
    for figure in (clinical_courses(runs), ledger(runs)):
        assert DISCLAIMER in [text.get_text() for text in figure.texts]


def test_chosen_times_hold_the_first_and_the_last(runs):
    assert list(chosen_times(runs["standard_care"], 3)) == [0.0, 336.0, 672.0]
    assert list(chosen_times(runs["standard_care"], 9)) == [0.0, 168.0, 336.0, 504.0, 672.0]


def test_what_is_missing_is_named_and_the_rest_is_drawn(tmp_path):
    header = RunHeader("bare", (1.0, 1.0, 1.0), (1, 3, 4), {})
    writer = RunWriter(tmp_path / "arm", header)
    writer.append(0.0, {}, Series())
    writer.finish()
    with pytest.warns(UserWarning, match="left out") as warned:
        assert draw_run(tmp_path, tmp_path / "figures") == []
    assert "no series 'functional_mass'" in str(warned[0].message)
    with open_run(tmp_path / "arm") as run, pytest.raises(MissingQuantity, match="oxygen"):
        field_maps(run, "maps", ("oxygen",))
    with pytest.raises(ResultFileError, match="no run"):
        draw_run(tmp_path / "arm" / "empty", tmp_path)


def test_thin_domains_can_be_drawn(tmp_path, runs):
    source = runs["standard_care"]
    for shape in ((1, 1, 12), (1, 1, 1), (1, 30, 26)):
        cut = tuple(slice(0, n) for n in shape)
        quantities = {name: _Unit(unit) for name, unit in source.units.items()}
        header = RunHeader("thin", (500.0, 30.0, 30.0), shape, quantities, {"zone": source.static["zone"][cut]})
        writer = RunWriter(tmp_path / "arm", header)
        writer.append(0.0, {"oxygen": source.fields["oxygen"][0][cut]}, Series())
        writer.finish()
        with open_run(tmp_path / "arm") as run:
            assert middle_plane(run, run.field_at("oxygen", 0.0)).shape == shape[1:]
            field_maps(run, "thin", ("oxygen",)).savefig(tmp_path / "thin.png")
            zonal_profiles({"arm": run}).savefig(tmp_path / "thin.png")


class _Unit:
    def __init__(self, unit):
        self.unit, self.meaning = unit, ""
