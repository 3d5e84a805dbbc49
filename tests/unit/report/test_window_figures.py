"""Figures of windows: what a reader must find in them, for open windows and for empty ones."""

import dataclasses

import jax.numpy as jnp
import pytest

from hepatojax.report.figures.about import pareto
from hepatojax.report.figures.window import window_bars, window_curves
from hepatojax.status import Status
from hepatojax.studies.interval import WindowVerdict
from hepatojax.studies.program import Outcome, Program
from hepatojax.studies.variables import Variable
from hepatojax.studies.window import Factor, therapeutic_window

AMOUNT = Variable("cells_per_kg[0]", 1e4, 1e8, "log")


def study(name, most):
    """A gain p d / (d + 1e6) under d <= most q; the factor q moves the upper edge, p the lower one."""

    def function(x, inputs):
        potency, tolerance = inputs
        d = AMOUNT.value(x[0])
        return Outcome(potency * d / (d + 1e6), (d / (most * tolerance) - 1.0)[None], jnp.asarray(int(Status.OK)))

    factors = [
        Factor("amplification.licensing", "-", 1.0, 0.9, 1.1, lambda given, value: (value, given[1])),
        Factor("amplification.relay_rate", "1/d", 1.0, 0.1, 3.0, lambda given, value: (given[0], value)),
    ]
    program = Program(function, (1.0, 1.0), ("x0",), ("blocked_fraction peak most",))
    return therapeutic_window(program, 0.1, factors, variable=AMOUNT, name=name, doses=9)


@pytest.fixture(scope="module")
def studies():
    return [study("intravenous", 5e7), study("portal", 3e6), study("arterial", 5e4)]


def texts(figure):
    every = [text.get_text() for axes in figure.axes for text in axes.texts]
    titles = [axes.get_title() for axes in figure.axes]
    legends = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return " | ".join([*every, *titles, *legends])


def test_curves_name_what_ends_each_window(studies):
    figure = window_curves(studies, "MELD")
    said = texts(figure)
    assert "blocked fraction, peak" in said
    assert "arterial\nempty: a limit is broken first" in said
    assert "least gain worth having, 0.1" in said
    assert "where factors move its lower edge" in said
    assert "where factors move its upper edge" in said
    assert figure.axes[0].get_xscale() == "log"
    assert "MELD" in figure.axes[0].get_ylabel()


def test_titles_say_that_a_band_is_not_known(studies):
    """A window that failed at one end of a factor: the band may be wider than it is drawn."""
    whole = studies[0]
    failed = dataclasses.replace(whole.window, verdict=WindowVerdict.FAILED_DOSES, lower=None, upper=None, best=None)
    partly = dataclasses.replace(whole, band=(whole.band[0]._replace(at_low=failed), *whole.band[1:]))
    for draw in (window_curves, window_bars):
        assert "the band may be wider: 1 of 4 windows not known" in texts(draw([partly]))
        assert "may be wider" not in texts(draw([whole]))
    assert "unknown: some simulations failed" in texts(window_bars([partly]))


def test_bars_order_factors_by_how_far_they_move_an_edge(studies):
    figure = window_bars(studies)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[0] == "as assumed"
    assert labels[1].startswith("relay rate\n0.1 to 3 1/d")
    assert labels[2].startswith("licensing")
    assert "empty: a limit is broken first" in texts(figure)


def test_bars_span_the_windows(studies):
    bars = window_bars(studies).axes[0].patches
    nominal, low = bars[0], studies[0].window.lower.dose
    assert nominal.get_x() == pytest.approx(low)
    assert nominal.get_x() + nominal.get_width() == pytest.approx(studies[0].window.upper.dose)


@pytest.mark.parametrize(
    ("values", "moves"), [((-22.5767267, -22.576726, -22.576726), False), ((-23.0, -22.5, -22.4), True)]
)
def test_a_front_that_does_not_move_is_drawn_as_a_level_line(values, moves):
    points = [
        {"verdict": "converged", "bound": bound, "objective": value, "slope": 0.0, "active": ["blocked_peak peak most"]}
        for bound, value in zip((2.3, 2.4, 2.5), values, strict=True)
    ]
    top = pareto({"limit": "portal_gradient", "at": "peak", "unit": "-", "points": points}).axes[0]
    low, high = top.get_ylim()
    rise = (max(values) - min(values)) / (high - low)
    assert low < min(values) <= max(values) < high
    assert rise > 0.5 if moves else rise < 1e-3
