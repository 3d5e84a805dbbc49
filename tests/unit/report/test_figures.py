"""Figures show the numbers of the file, in its units, and say what is missing."""

import matplotlib
import numpy as np
import pytest
from matplotlib.image import imread

from hepatojax.io.provenance import DISCLAIMER
from hepatojax.io.results import ResultFileError, RunWriter, open_run
from hepatojax.io.vtkhdf import RunHeader, Series
from hepatojax.report.figures import draw_run
from hepatojax.report.figures.biodistribution import biodistribution
from hepatojax.report.figures.courses import clinical_courses, infusion_days
from hepatojax.report.figures.gallery import arm_files
from hepatojax.report.figures.ledger import ledger, ledger_of, relative_error
from hepatojax.report.figures.maps import field_maps, middle_plane, tissue
from hepatojax.report.figures.profiles import zonal_mean, zonal_profiles
from hepatojax.report.figures.sources import source_shares
from hepatojax.report.figures.style import MissingQuantity, chosen_times


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


def test_biodistribution_shows_treated_arms_only_and_cells_per_lobule(runs):
    figure = biodistribution(runs)
    assert len(figure.axes) == 3
    assert np.array_equal(figure.axes[2].lines[0].get_ydata(), runs["intravenous"].series["msc_per_lobule"])


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
