"""Arrivals: capture along a channel in closed form, volume mean one, derivative of the capture."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.tissue.arrival import unit_arrival
from tests.reference.flows import channel, corner_to_corner

arrive = jax.jit(unit_arrival)


def test_capture_along_a_channel_is_geometric():
    grid, flow = channel(10)
    ones = jnp.ones(grid.shape)
    arrival = arrive(grid, flow, ones, 2.0, ones)
    share = 1.0 / (1.0 + 2.0 / 10)  # of what enters a cell, what leaves it
    np.testing.assert_allclose(arrival.carried[0, 0], share ** np.arange(1, 11), rtol=1e-9)
    assert float(arrival.captured_share) == pytest.approx(1 - share**10)
    assert float(grid.mean(arrival.density)) == pytest.approx(1.0)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_density_has_mean_one_and_follows_affinity(dtype):
    grid, flow = corner_to_corner((2, 6, 6), (20.0, 20.0, 20.0), seed=2)
    affinity = jnp.asarray(np.random.default_rng(0).random(grid.shape), dtype).at[0, 3, 2].set(0.0)
    arrival = arrive(grid, flow, affinity, 0.5, jnp.ones(grid.shape, dtype))
    assert bool(arrival.converged)
    assert float(grid.mean(arrival.density)) == pytest.approx(1.0, rel=1e-6)
    assert float(arrival.density.min()) >= 0.0
    assert arrival.density[0, 3, 2] == 0.0
    assert 0.0 < float(arrival.captured_share) < 1.0


def test_the_worst_cell_is_that_of_the_largest_imbalance():
    grid, flow = channel(6)
    ones = jnp.ones(grid.shape)
    arrival = unit_arrival(grid, flow, ones.at[0, 0, 4].set(3.0), 0.5, ones, tolerance=10.0)  # the guess will do
    assert int(arrival.iterations) == 0 and bool(arrival.converged)
    assert int(arrival.worst_cell) == 4


def test_derivative_of_the_capture():
    grid, flow = channel(6)
    ones = jnp.ones(grid.shape)
    slope = jax.grad(lambda adhesion: arrive(grid, flow, ones, adhesion, ones).captured_share)(jnp.asarray(2.0))
    assert float(slope) == pytest.approx((1 + 2.0 / 6) ** -7, rel=1e-8)
