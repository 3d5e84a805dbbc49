"""Infusions and products: laws of windows at any partition of time, and of potency, plugging and batches."""

import dataclasses
import itertools
import math

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from hepatojax.parameters.registry import load_parameters
from hepatojax.scenario import CELL_SOURCES, ROUTES, InfusionSpec, ProductSpec
from hepatojax.therapy.product import cell_product
from hepatojax.therapy.schedule import passed_of, schedule_of, windows

SUBJECT = load_parameters().product
TIMES = st.floats(0.0, 48.0)


def one(start_h=5.0, cells_per_kg=1e6, route="portal", duration_h=3.0):
    return InfusionSpec(start_h=start_h, cells_per_kg=cells_per_kg, route=route, duration_h=duration_h)


@settings(max_examples=25, deadline=None)
@given(start=st.floats(0.0, 40.0), duration=st.floats(0.05, 60.0), cuts=st.lists(TIMES, max_size=4))
def test_any_partition_of_time_infuses_each_cell_once(start, duration, cuts):
    """Windows of the parts of 0..48 h sum to the overlap of the infusion with the whole."""
    schedule = schedule_of((one(start, 1e6, "portal", duration),))
    edges = sorted({0.0, 48.0, *cuts})
    parts = [windows(schedule, jnp.asarray(a), b - a) for a, b in itertools.pairwise(edges)]
    total = sum(float(w.cells_per_kg[0]) for w in parts)
    overlap = max(min(start + duration, 48.0) - start, 0.0)
    np.testing.assert_allclose(total, 1e6 * overlap / duration, rtol=1e-9, atol=1e-6)
    for (a, b), w in zip(itertools.pairwise(edges), parts, strict=True):
        assert 0.0 <= float(w.begin_h[0]) <= float(w.end_h[0]) <= b - a


def test_windows_move_with_the_clock_and_scale_with_the_dose():
    plain, later = schedule_of((one(),)), schedule_of((one(start_h=105.0),))
    near, far = windows(plain, jnp.asarray(4.0), 6.0), windows(later, jnp.asarray(104.0), 6.0)
    jax.tree.map(np.testing.assert_array_equal, near, far)
    double = windows(schedule_of((one(cells_per_kg=2e6),)), jnp.asarray(4.0), 6.0)
    np.testing.assert_array_equal(double.cells_per_kg, 2.0 * near.cells_per_kg)
    np.testing.assert_array_equal(double.begin_h, near.begin_h)


def test_a_longer_infusion_of_the_same_cells_is_a_slower_one():
    """d rate / d duration = -rate / duration, at a constant number of cells."""
    schedule = schedule_of((one(),))

    def rate(duration_h):
        return windows(dataclasses.replace(schedule, duration_h=duration_h), jnp.asarray(0.0), 24.0).rate[0]

    slope = jax.grad(rate)(schedule.duration_h)[0]
    np.testing.assert_allclose(slope, -1e6 / 3.0 / 3.0, rtol=1e-14)


@pytest.mark.parametrize(
    ("time_h", "passed", "slope"), [(1.0, 0.0, 0.0), (4.0, 0.0, 1.0), (7.0, 3.0, 1.0), (11.0, 6.0, 0.0)]
)
def test_time_that_has_passed_of_an_interval_rises_with_slope_one_inside_it(time_h, passed, slope):
    """From 4 h to 10 h; the edge belongs to the interval that begins there."""
    found = jax.value_and_grad(lambda t: passed_of(t, jnp.asarray(4.0), 6.0))(jnp.asarray(time_h))
    np.testing.assert_array_equal(found, (passed, slope))


@pytest.mark.parametrize("route", ROUTES)
def test_a_route_is_one_of_the_shares_and_padding_holds_no_cells(route):
    schedule = schedule_of((one(route=route),), 4)
    np.testing.assert_array_equal(schedule.route_mix[0], [float(name == route) for name in ROUTES])
    np.testing.assert_array_equal(jnp.sum(schedule.route_mix, axis=1), 1.0)
    np.testing.assert_array_equal(schedule.cells_per_kg, [1e6, 0.0, 0.0, 0.0])
    assert np.all(np.asarray(schedule.duration_h) > 0.0)
    assert schedule_of(()).start_h.shape == (1,)


def test_a_cell_as_wide_as_a_sinusoid_blocks_it_half_of_the_times():
    """H(d, 8.5, 12): 1/2 at 8.5 um, 2^12 to one at twice that; red cells of 7 um pass nine times of ten."""
    at = {d: float(cell_product(ProductSpec(), {**SUBJECT, "diameter_um": d}).plugging) for d in (7.0, 8.5, 17.0)}
    assert at[8.5] == pytest.approx(0.5, rel=1e-12)
    assert at[17.0] / (1.0 - at[17.0]) == pytest.approx(2.0**12, rel=1e-9)
    assert at[7.0] < 0.1


@pytest.mark.parametrize("source", CELL_SOURCES)
@pytest.mark.parametrize("batch", [-2.0, -0.5, 1.0])
def test_a_batch_moves_every_pathway_by_the_same_factor(source, batch):
    """g^z for all four; batches of z and -z balance about the median, and the derivative by z is ln g times potency."""
    spec = ProductSpec(source=source, potency_hgf=1.3, potency_vegf=0.7, potency_contact=2.0, batch=batch)
    product = cell_product(spec, SUBJECT)
    found, median = product.potencies(), dataclasses.replace(product, batch=0.0).potencies()
    other = dataclasses.replace(product, batch=-batch).potencies()
    for name, value in median.items():
        assert found[name] == pytest.approx(value * 1.8**batch, rel=1e-12)
        assert found[name] * other[name] == pytest.approx(value**2, rel=1e-12)
        slope = jax.grad(lambda z, name=name: dataclasses.replace(product, batch=z).potencies()[name])(batch)
        assert float(slope) == pytest.approx(found[name] * math.log(1.8), rel=1e-12)
    assert median["potency_hgf"] == 1.3 * SUBJECT.hgf_by_source[source]
    assert median["potency_education"] == 1.0  # the source changes HGF only


def test_a_batch_changes_strength_and_neither_living_cells_nor_homing_nor_size():
    strong, usual = (cell_product(ProductSpec(batch=z, viability=0.8, homing=1.5), SUBJECT) for z in (3.0, 0.0))
    for name in ("viability", "homing", "licensed", "diameter_um", "plugging"):
        assert getattr(strong, name) == getattr(usual, name)
