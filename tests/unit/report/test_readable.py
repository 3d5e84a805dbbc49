"""Figures a reader can read: labels with units, no empty panel, finite limits, one scale a row, also for poor data."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from hepatojax.endpoints import ENDPOINTS
from hepatojax.io.results import RunFile, RunWriter, open_run
from hepatojax.io.vtkhdf import Quantity, RunHeader, Series
from hepatojax.report.figures.biodistribution import biodistribution
from hepatojax.report.figures.courses import CLINICAL, clinical_courses
from hepatojax.report.figures.gallery import arm_files
from hepatojax.report.figures.ledger import ledger, relative_error
from hepatojax.report.figures.maps import CAPPED, CELLS, FLOATING, SUPPLY, cell_maps, colour_limits, supply_maps
from hepatojax.report.figures.profiles import zonal_mean, zonal_profiles
from hepatojax.report.figures.sources import signal_sources, source_shares
from hepatojax.report.figures.style import COLOURS, LINES, chosen_times, printed, short_name, spanned, with_unit
from hepatojax.report.figures.window import _dose, limit_label

DRAWN: dict[str, Callable[[dict[str, RunFile]], Figure]] = {
    "courses": clinical_courses,
    "profiles": zonal_profiles,
    "biodistribution": biodistribution,
    "sources": signal_sources,
    "ledger": ledger,
    "supply": lambda runs: supply_maps(runs["intravenous"], "intravenous"),
    "cells": lambda runs: cell_maps(runs["intravenous"], "intravenous"),
}
UNITS = {
    "courses": {"[mg/dl]", "[g/l]"},
    "profiles": {"[Pa]", "[µm/s]", "[mmHg]", "[nM]", "[cells/mm³]"},
    "biodistribution": {"[10⁶ cells]"},
    "sources": {"[nmol/h]", "[1/h]"},
    "ledger": set(),
    "supply": {"[µm]", "[Pa]", "[µm/s]", "[mmHg]", "[nM]"},
    "cells": {"[µm]", "[cells/mm³]"},
}


@pytest.fixture
def runs(study: Path) -> Iterator[dict[str, RunFile]]:
    opened = {arm: open_run(path) for arm, path in arm_files(study).items()}
    yield opened
    for run in opened.values():
        run.close()


def said(figure: Figure) -> list[str]:
    """Every text that says what is shown."""
    texts = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        texts += [axes.get_title(where) for where in ("left", "center", "right")]
        texts += [axes.get_xlabel(), axes.get_ylabel()]
    return texts


def assert_readable(figure: Figure) -> None:
    """No panel without something in it, no limit that is no number, every panel under a name or beside one."""
    for axes in figure.axes:
        if not axes.axison:
            continue
        assert axes.lines or axes.images or axes.patches or axes.collections, axes
        limits = (*axes.get_xlim(), *axes.get_ylim())
        assert np.isfinite(limits).all() and limits[0] != limits[1] and limits[2] != limits[3]
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_scale() == "log":
                assert min(axis.get_view_interval()) > 0
        legend = axes.get_legend()
        labels = [] if legend is None else [text.get_text() for text in legend.get_texts()]
        assert len(labels) == len(set(labels)) and all(labels)
    assert all(" nan" not in text and "None" not in text for text in said(figure))


@pytest.mark.parametrize("name", DRAWN)
def test_every_panel_is_filled_named_and_in_its_unit(name: str, runs: dict[str, RunFile]):
    figure = DRAWN[name](runs)
    assert_readable(figure)
    texts = said(figure)
    shown = set(re.findall(r"\[[^\]\n]+\]", " ".join(texts)))
    assert shown == UNITS[name]
    columns = {axes.get_subplotspec().colspan.start for axes in figure.axes if axes.get_subplotspec()}
    for column in columns:  # of a grid of panels each column has a heading or a name below
        panels = [a for a in figure.axes if a.get_subplotspec() and a.get_subplotspec().colspan.start == column]
        assert any(a.get_title() or a.get_xlabel() or a.get_ylabel() for a in panels)
    assert figure._suptitle.get_text()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("draw", "names"), [(supply_maps, SUPPLY), (cell_maps, CELLS)])
def test_maps_of_one_field_share_a_scale_that_its_bar_shows(draw: Callable, names: tuple, runs: dict[str, RunFile]):
    run = runs["standard_care"]
    figure = draw(run, "standard_care")
    maps = [axes for axes in figure.axes if axes.images]
    bars = [axes for axes in figure.axes if not axes.images]
    assert len(maps) == len(names) * len(chosen_times(run)) and len(bars) == len(names)
    for row, (name, bar) in enumerate(zip(names, bars, strict=True)):
        across = maps[row * len(maps) // len(names) : (row + 1) * len(maps) // len(names)]
        scales = {axes.images[0].get_clim() for axes in across}
        assert len(scales) == 1 and bar.get_ylim() == pytest.approx(scales.pop())
        assert {axes.images[0].get_cmap().name for axes in across} == {across[0].images[0].get_cmap().name}
        assert bar.get_ylabel().startswith(with_unit(name, run.units[name]))
    assert [axes.get_title() for axes in maps[:4]] == [f"day {t / 24:g}" for t in chosen_times(run)]


@pytest.mark.parametrize("arms", [1, 2, 7, 9])
def test_arms_are_told_apart_by_colour_and_line_and_by_name(arms: int, runs: dict[str, RunFile]):
    many = {f"arm_{number}": runs["intravenous"] for number in range(arms)}
    figure = clinical_courses(many)
    assert_readable(figure)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [f"arm {number}" for number in range(arms)]
    looks = {
        (line.get_color(), str(line.get_linestyle()), str(line._dash_pattern)) for line in figure.axes[0].lines[:arms]
    }  # type: ignore
    assert len(looks) == arms
    assert len({to_hex(colour) for colour in COLOURS}) == len(COLOURS) and np.gcd(len(COLOURS), len(LINES)) == 1


def with_series(run: RunFile, change: Callable[[np.ndarray], np.ndarray]) -> RunFile:
    return replace(run, series={name: change(values) for name, values in run.series.items()})


POOR: dict[str, Callable[[RunFile], RunFile]] = {
    "all zero": lambda run: with_series(run, np.zeros_like),
    "huge": lambda run: with_series(run, lambda values: 1e30 * (1.0 + values)),
    "some no number": lambda run: with_series(run, lambda v: np.where(np.arange(len(v)) % 5 == 1, np.nan, v)),
    "one time": lambda run: replace(
        run, series_times_h=run.series_times_h[:1], series={name: values[:1] for name, values in run.series.items()}
    ),
}


@pytest.mark.parametrize("kind", POOR)
@pytest.mark.parametrize("name", ["courses", "biodistribution", "sources"])
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_poor_series_are_drawn_with_finite_limits(kind: str, name: str, runs: dict[str, RunFile]):
    poor = {arm: POOR[kind](run) for arm, run in runs.items()}
    if name == "biodistribution" and kind in ("all zero", "some no number"):
        label = poor["intravenous"].series["label_liver"]
        poor["intravenous"].series["label_liver"][:] = np.where(np.isnan(label), np.nan, label + 1.0)
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Attempting to set identical low and high xlims", category=UserWarning
        )
        assert_readable(DRAWN[name](poor))


def test_what_is_unknown_is_a_gap_in_the_whole_stack_and_a_share_that_nobody_prints(runs: dict[str, RunFile]):
    """Of the origins one is unknown at the third time: no height may be read there."""
    known = np.asarray([1.0, 1.0, np.nan, 1.0, 1.0])
    run = replace(
        runs["intravenous"],
        series_times_h=24.0 * np.arange(5.0),
        series={"source_hgf_by_msc": known, "source_hgf_by_body": np.full(5, 2.0)},
    )
    assert np.isnan(list(source_shares(run, "hgf").values())).all()
    axes = signal_sources({"cells": run}).axes[0]
    for stack in axes.collections:
        days = [np.asarray(path.vertices)[:, 0] for path in stack.get_paths()]
        assert sorted((each.min(), each.max()) for each in days) == [(0.0, 1.0), (3.0, 4.0)]
    legend = axes.get_legend()
    assert legend is not None and [text.get_text() for text in legend.get_texts()] == ["MSC", "body"]
    assert 3.0 < axes.get_ylim()[1] < 6.0


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 5), (1, 6, 5)], ids=str)
@pytest.mark.parametrize("level", [0.0, 1e30, np.nan])
def test_a_field_of_one_value_on_any_grid_is_a_map_and_a_profile(tmp_path: Path, shape: tuple, level: float):
    quantities = {name: Quantity("nM") for name in (*SUPPLY, *CELLS, "zone", "labels")}
    static = {"zone": np.full(shape, 0.5, np.float32), "labels": np.ones(shape, np.uint8)}
    writer = RunWriter(tmp_path, RunHeader("t", (10.0, 10.0, 10.0), shape, quantities, static))
    writer.append(
        0.0, {name: np.full(shape, level, np.float32) for name in ("oxygen", "debris", "flow_speed")}, Series()
    )
    with open_run(writer.finish()) as run, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No contour levels", category=UserWarning)
        for figure in (supply_maps(run, "a"), cell_maps(run, "a"), zonal_profiles({"a": run})):
            assert_readable(figure)


def test_a_lobule_without_tissue_has_a_map_and_no_numbers(tmp_path: Path):
    shape = (1, 4, 4)
    header = RunHeader("t", (1.0, 1.0, 1.0), shape, dict.fromkeys(("zone", "labels", "oxygen"), Quantity("-")), {
        "zone": np.zeros(shape), "labels": np.zeros(shape, np.uint8),
    })  # fmt: skip
    writer = RunWriter(tmp_path, header)
    writer.append(0.0, {"oxygen": np.ones(shape)}, Series())
    with open_run(writer.finish()) as run:
        assert zonal_mean(run, run.field_at("oxygen", 0.0))[0].size == 0
        figure = supply_maps(run, "a")
        assert figure.axes[0].images[0].get_clim() == (0.0, 1.0)


@settings(deadline=None, max_examples=25)
@given(
    name=st.sampled_from(("pressure", "oxygen", "hgf", "debris", "flow_speed")),
    values=st.lists(st.floats(0.0, 1e30) | st.sampled_from((np.nan, np.inf, -np.inf)), min_size=1, max_size=20),
    hidden=st.integers(0, 3),
)
def test_a_scale_is_finite_holds_every_value_and_never_shrinks_to_a_point(name: str, values: list, hidden: int):
    plane = np.ma.array([values], mask=[[number % 4 == hidden for number in range(len(values))]])
    low, high, above = colour_limits(name, [plane])
    counted = plane.compressed()[np.isfinite(plane.compressed())]
    assert np.isfinite((low, high)).all() and low < high
    assert name in FLOATING or low <= 0.0
    if counted.size:
        assert low <= counted.min()
        assert above == bool(counted.max() > high) and (not above or name in CAPPED)


@settings(deadline=None, max_examples=25)
@given(low=st.floats(-1e6, 1e6), width=st.floats(0.0, 1e6))
def test_limits_are_widened_about_their_middle_and_never_narrowed(low: float, width: float):
    high = low + width
    value = max(abs(low), abs(high))
    found = spanned(low, high, value)
    assert found[0] <= low and found[1] >= high and found[1] > found[0]
    assert 0.5 * sum(found) == pytest.approx(low + 0.5 * width, abs=1e-9 * (1 + value))
    assert found[1] - found[0] >= 1e-3 * value * (1 - 1e-9)
    assert spanned(*found, value) == pytest.approx(found, rel=1e-9, abs=1e-9)  # wide enough the first time


@pytest.mark.parametrize("count", range(1, 9))
def test_chosen_times_are_saved_ones_in_order_each_once(count: int, runs: dict[str, RunFile]):
    for kept in range(1, 6):
        run = replace(runs["standard_care"], times_h=runs["standard_care"].times_h[:kept])
        times = chosen_times(run, count)
        assert len(times) == min(count, kept) == len(set(times)) and set(times) <= set(run.times_h)
        assert times[0] == run.times_h[0] and list(times) == sorted(times)
        assert count == 1 or times[-1] == run.times_h[-1]


def test_units_of_every_endpoint_are_printed_without_a_letter_for_micro():
    for name, endpoint in ENDPOINTS.items():
        label = with_unit(name, endpoint.unit)
        assert label.startswith(short_name(name)) and "_" not in label.replace("pO$_2$", "") and "[-]" not in label
        assert not re.search(r"\bum|m2\b|m3\b|1e6", printed(endpoint.unit))
    assert {name for name in CLINICAL if name not in ENDPOINTS} == set()


def test_shares_of_a_source_count_unequal_steps_by_their_length(runs: dict[str, RunFile]):
    """A source that is on for a tenth of the time gives a tenth, however many points lie in it."""
    times = np.asarray([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 5.0, 50.0])
    early = np.asarray([1.0] * 6 + [0.0, 0.0])
    series = {"source_hgf_by_msc": early, "source_hgf_by_body": np.ones(8)}
    run = replace(runs["intravenous"], series_times_h=times, series=series)
    assert source_shares(run, "hgf") == pytest.approx({"msc": 5.0 / 55.0, "body": 50.0 / 55.0})


@pytest.mark.parametrize(
    ("gained", "error", "shown"), [(4.0, 1.0, 0.25), (0.0, 1e-9, 1e-9), (4.0, -1.0, -0.25), (0.0, 0.0, 0.0)]
)
def test_an_error_of_a_balance_is_relative_to_what_entered(gained: float, error: float, shown: float):
    assert relative_error({"gained": gained, "error": error}) == shown


def test_limits_and_doses_are_said_in_words():
    assert limit_label("blocked_peak peak most") == "plugged sinusoids, peak"
    assert limit_label("bilirubin_mg_dl end most") == "bilirubin, end"
    assert limit_label("failed simulation") == "failed simulation"
    for dose, text in ((1e4, "1.0"), (2.345e6, "2.3"), (9.94e7, "9.9")):
        assert _dose(dose) == rf"${text}\times10^{{{int(np.log10(dose))}}}$"


def test_no_mantissa_is_ten():
    assert _dose(9.96e6) == r"$1.0\times10^{7}$"
