"""Tracer: the central-volume theorem, conservation of the dose and positivity (V04, V09)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.tissue.tracer import blood_age, unit_pulse
from tests.reference.flows import channel, corner_to_corner

age_of = jax.jit(blood_age)
follow = jax.jit(unit_pulse, static_argnames="steps")


def test_age_in_a_channel_grows_by_the_volume_over_flow_of_each_cell():
    grid, flow = channel(8)
    age = age_of(grid, flow, 0.15, jnp.zeros(grid.shape)).value
    np.testing.assert_allclose(age[0, 0], 0.15 * float(grid.total_volume / flow.total) * np.arange(1, 9) / 8, rtol=1e-9)


def test_age_at_the_outlet_is_volume_over_flow_in_any_geometry():
    grid, flow = corner_to_corner((3, 7, 6), (20.0, 15.0, 10.0), seed=4)
    age = age_of(grid, flow, 0.15, jnp.zeros(grid.shape))
    assert bool(age.converged)
    leaving = jnp.sum(flow.outflow * age.value) / flow.total
    assert float(leaving) == pytest.approx(float(0.15 * grid.total_volume / flow.total), rel=1e-8)


@pytest.mark.parametrize("diffusivity", [0.0, 10.0, 2000.0])
def test_pulse_keeps_its_dose_its_sign_and_its_mean_transit_time(diffusivity):
    grid, flow = corner_to_corner((1, 7, 6), (20.0, 15.0, 10.0), seed=4)
    fraction = jnp.full(grid.shape, 0.15)
    exact = float(0.15 * grid.total_volume / flow.total)
    pulse = follow(grid, flow, fraction, diffusivity, 60.0 * exact, 300)
    assert bool(pulse.converged)
    assert float(pulse.recovered + jnp.sum(pulse.amount)) == pytest.approx(1.0, rel=1e-8)
    assert float(pulse.recovered) > 0.999
    assert float(pulse.outflow_per_s.min()) > -1e-12
    assert float(pulse.amount.min()) > -1e-12
    assert float(pulse.mean_transit_s) == pytest.approx(exact, rel=2e-2)
