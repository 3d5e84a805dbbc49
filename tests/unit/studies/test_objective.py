"""Aims and limits: the smooth peak between its bounds, what is refused, and sums of a schedule."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepatojax.endpoints import ENDPOINTS, Readings
from hepatojax.scenario import InfusionSpec
from hepatojax.studies.objective import SMOOTH_INSTEAD, Aim, Course, Limit, StudyError, smooth_peak
from hepatojax.therapy.schedule import schedule_of

SERIES = st.lists(st.floats(-5.0, 5.0), min_size=12, max_size=12).map(np.asarray)
SCHEDULE = schedule_of(
    (
        InfusionSpec(5.0, 1e6, "portal", duration_h=2.0),
        InfusionSpec(50.0, 3e6, "intravenous", duration_h=1.0),
        InfusionSpec(120.0, 2e6, "portal"),
    ),
    4,
)


def course(rows=(0, 1, 2), **endpoints):
    return Course({name: jnp.asarray(values) for name, values in endpoints.items()}, SCHEDULE, rows)


@settings(deadline=None, max_examples=30)
@given(SERIES, st.floats(1e-3, 1.0))
def test_smooth_peak_lies_between_its_bounds(series, width):
    peak = float(smooth_peak(jnp.asarray(series), width))
    assert series.max() - 1e-12 <= peak <= series.max() + width * np.log(len(series)) + 1e-12


@settings(deadline=None, max_examples=30)
@given(SERIES)
def test_smooth_peak_weighs_entries_with_positive_shares_that_sum_to_one(series):
    slopes = jax.grad(smooth_peak)(jnp.asarray(series), 0.1)
    assert (slopes >= 0.0).all()
    np.testing.assert_allclose(slopes.sum(), 1.0, rtol=1e-12)


def test_smooth_peak_has_a_derivative_where_two_entries_tie():
    slopes = jax.grad(smooth_peak)(jnp.asarray([2.0, 2.0, -1.0]), 0.01)
    np.testing.assert_allclose(slopes, [0.5, 0.5, 0.0], atol=1e-12)


@pytest.mark.parametrize(("at", "value"), [("end", 0.5), ("mean", 0.7), ("peak", 0.9), ("trough", 0.5)])
def test_an_aim_reads_its_time(at, value):
    reading = Aim("survival", at, sharpness=1e4).reading(course(survival=[0.9, 0.7, 0.5]))
    np.testing.assert_allclose(reading, value, atol=1e-9)


@pytest.mark.parametrize("name", [name for name, e in ENDPOINTS.items() if not (e.smooth or e.smooth_peak)])
def test_an_endpoint_without_derivative_is_refused_and_a_smooth_one_named(name):
    for make in (lambda: Aim(name), lambda: Limit(name, most=1.0)):
        with pytest.raises(StudyError, match=f"{name}: it has no derivative .*; use {SMOOTH_INSTEAD[name]}$"):
            make()
    assert ENDPOINTS[SMOOTH_INSTEAD[name]].smooth


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Aim("survivl"), "did you mean survival"),
        (lambda: Aim("survival", "median"), "allowed: end, mean, peak, trough"),
        (lambda: Aim("total_cells", "peak"), "belongs to the schedule"),
        (lambda: Aim("spacing_h"), "neither an endpoint nor"),
        (lambda: Limit("blocked_peak", most=0.1), 'only its peak has a derivative; give at = "peak"'),
        (lambda: Limit("mass"), "either most or least"),
        (lambda: Aim("survival", weight=math.nan), "weight is nan; wants a finite number"),
        (lambda: Aim("survival", "peak", scale=0.0), "scale is 0.0; wants a finite number above zero"),
        (lambda: Aim("survival", "peak", sharpness=-1.0), "sharpness is -1.0; wants a finite number above zero"),
        (lambda: Limit("mass", most=math.inf), "most is inf; wants a finite number"),
        (lambda: Limit("mass", "peak", most=1.0, sharpness=math.nan), "sharpness is nan"),
        (lambda: Limit("mass", most=1.0, least=0.0), "either most or least"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(make, message):
    with pytest.raises(StudyError, match=message) as refusal:
        make()
    assert "\n" not in str(refusal.value)


def test_totals_count_every_infusion_and_routes_their_own():
    np.testing.assert_allclose(Aim("total_cells").reading(course()), 6.0)
    np.testing.assert_allclose(Limit("total_portal", most=2.0).excess(course()), [0.5])
    np.testing.assert_allclose(Limit("each_portal", most=2.0).excess(course()), [-0.5, -1.0, 0.0])


def test_spacing_runs_from_the_end_of_an_infusion_to_the_start_of_the_next():
    limit = Limit("spacing_h", least=50.0)
    np.testing.assert_allclose(limit.excess(course()), [(50.0 - 43.0) / 50.0, (50.0 - 69.0) / 50.0])
    assert limit.names((0, 1, 2)) == ("spacing_h least [1]", "spacing_h least [2]")
    assert limit.excess(course(rows=(1,))).shape == (0,)


def test_an_excess_is_relative_to_its_bound_and_positive_beyond_it():
    most = Limit("portal_gradient", "peak", most=2.0, sharpness=1e4)
    np.testing.assert_allclose(most.excess(course(portal_gradient=[1.0, 2.5])), [0.25], atol=1e-9)
    least = Limit("survival", least=0.8)
    np.testing.assert_allclose(least.excess(course(survival=[1.0, 0.6])), [0.25])


def test_the_peak_of_readings_within_steps_takes_those_that_count():
    readings = Readings(jnp.asarray([[0.3, 0.9], [0.2, 0.1]]), jnp.asarray([[1.0, 0.0], [1.0, 1.0]]))
    course = Course({"blocked_peak": jnp.asarray([0.3, 0.2])}, SCHEDULE, (0,), {"blocked_peak": readings})
    found = float(Limit("blocked_peak", "peak", most=0.5, sharpness=1e3).excess(course)[0])
    assert 0.3 - 1e-12 <= 0.5 * (1.0 + found) <= 0.3 + 0.5e-3 * np.log(3.0)
