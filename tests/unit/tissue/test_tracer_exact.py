"""Tracer: tanks in series in closed form, superposition of inlets, reversed flow, transit times of odd geometries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import nbinom

from hepatojax.numerics.operators import assemble
from hepatojax.tissue.flow import Flow
from hepatojax.tissue.tracer import blood_age, unit_pulse
from hepatojax.tissue.transport import conductances, exponential, upwind
from tests.reference import dense
from tests.reference.flows import channel, corner_to_corner

SHAPE, STEPS = (1, 6, 5), 60
age_of = jax.jit(blood_age)
follow = jax.jit(unit_pulse, static_argnames="steps")


def odd(seed=3):
    """A hole in the tissue, uneven flow, and an uneven share that the carrier fills."""
    grid, flow = corner_to_corner(SHAPE, (20.0, 15.0, 10.0), turnover_per_s=0.05, seed=seed)
    share = np.random.default_rng(seed).uniform(0.05, 0.4, SHAPE)
    return grid, flow, jnp.asarray(share)


def reversed_flow(flow):
    return Flow(tuple(-q for q in flow.flux), flow.outflow, flow.inflow)


@pytest.mark.parametrize("step_s", [0.05, 0.5, 4.0])
def test_a_channel_without_diffusion_is_a_row_of_tanks(step_s):
    """Backward Euler lets a share leave n tanks at step k like the k-th trial of a negative binomial law."""
    grid, flow = channel(5)
    share = jnp.full(grid.shape, 0.15)
    tank_s = 0.15 * float(grid.volume[0, 0, 0] / flow.total)
    pulse = follow(grid, flow, share, 0.0, 40 * step_s, 40)
    leaves = step_s / tank_s / (1.0 + step_s / tank_s)
    np.testing.assert_allclose(step_s * pulse.outflow_per_s, nbinom.pmf(np.arange(40), 5, leaves), atol=1e-9)
    np.testing.assert_allclose(pulse.recovered, nbinom.cdf(39, 5, leaves), rtol=1e-8)


def test_a_pulse_is_the_dense_march_with_diffusion():
    grid, flow, share = odd()
    step, curve = 0.4, []
    pulse = follow(grid, flow, share, 60.0, STEPS * step, STEPS)
    filled = (np.asarray(share) * np.asarray(grid.volume)).ravel()
    still = conductances(grid, 60.0, jnp.float64)
    pairs = [
        [dense.exponential_coefficients(float(q), float(t)) for q, t in zip(qs.ravel(), ts.ravel(), strict=True)]
        for qs, ts in zip(map(np.asarray, flow.flux), map(np.asarray, still), strict=True)
    ]
    forward, backward = ([np.asarray(axis)[:, k].reshape(SHAPE) for axis in pairs] for k in (0, 1))
    outflow = np.asarray(flow.outflow).ravel()
    matrix = dense.with_identity_rows(dense.flux_matrix(forward, backward, (outflow + filled / step).reshape(SHAPE)))
    inside = filled > 0
    content = np.asarray(flow.inflow).ravel() / float(flow.total)
    for _ in range(STEPS):
        level = np.linalg.solve(matrix, content / step)
        content = filled * level * inside
        curve.append(outflow @ level)
    np.testing.assert_allclose(pulse.outflow_per_s, curve, rtol=1e-7, atol=1e-11)
    np.testing.assert_allclose(np.asarray(pulse.amount).ravel(), content, atol=1e-10)


def test_pulses_of_two_inlets_add_by_their_flows():
    """The equation is linear: the answer to both inlets is the flow-weighted mean of the answers to each."""
    grid, flow, share = odd()
    parts = flow.inflow, jnp.zeros(SHAPE).at[0, 4, 1].set(0.7 * flow.total)
    whole, *single = (
        follow(grid, Flow(flow.flux, q, flow.outflow), share, 60.0, 24.0, STEPS) for q in (sum(parts), *parts)
    )
    weights = [1.0 / 1.7, 0.7 / 1.7]
    for name in ("outflow_per_s", "amount", "mean_transit_s", "recovered"):
        mixed = sum(w * np.asarray(getattr(p, name)) for w, p in zip(weights, single, strict=True))
        np.testing.assert_allclose(getattr(whole, name), mixed, rtol=1e-7, atol=1e-10)
    assert abs(float(single[0].mean_transit_s / single[1].mean_transit_s) - 1.0) > 0.01


def test_time_scales_with_the_flow():
    """Twice the flow and twice the diffusivity over half the time is the same course."""
    grid, flow, share = odd()
    slow, fast = follow(grid, flow, share, 60.0, 24.0, STEPS), follow(grid, flow.times(2.0), share, 120.0, 12.0, STEPS)
    np.testing.assert_allclose(fast.amount, slow.amount, atol=1e-9)
    np.testing.assert_allclose(fast.outflow_per_s, 2.0 * slow.outflow_per_s, rtol=1e-6, atol=1e-10)
    np.testing.assert_allclose(2.0 * fast.mean_transit_s, slow.mean_transit_s, rtol=1e-7)


@pytest.mark.parametrize("diffusivity", [0.0, 300.0])
@pytest.mark.parametrize("seed", [3, 8])
def test_mean_transit_time_is_the_filled_volume_over_the_flow(seed, diffusivity):
    """With a hole, uneven flow and an uneven volume fraction; the long run leaves nothing behind."""
    grid, flow, share = odd(seed)
    pulse = follow(grid, flow, share, diffusivity, 2000.0, STEPS)
    exact = float(grid.integral(share) / flow.total)
    left = float(jnp.sum(pulse.amount))
    assert left < 1e-3
    np.testing.assert_allclose(pulse.mean_transit_s, exact, rtol=max(20 * left, 1e-7))


@pytest.mark.parametrize("seed", [3, 8])
def test_age_is_additive_in_what_the_carrier_fills(seed):
    grid, flow, share = odd(seed)
    other = jnp.zeros(SHAPE).at[..., :2].set(0.3)
    zero = jnp.zeros(SHAPE)
    ages = [np.asarray(age_of(grid, flow, fill, zero).value) for fill in (share, other, share + other)]
    np.testing.assert_allclose(ages[2], ages[0] + ages[1], rtol=1e-7, atol=1e-9)
    assert min(a.min() for a in ages) >= 0.0


@pytest.mark.parametrize("seed", [3, 8])
def test_blood_is_as_old_on_average_when_it_flows_backwards(seed):
    """Upwind transport of balanced flow has its transpose for its reverse, so the mean age over the volume stays."""
    grid, flow, share = odd(seed)
    back = reversed_flow(flow)
    closed = tuple(jnp.zeros_like(q) for q in flow.flux)
    there, here = (dense.columns_of(assemble(*upwind(f.flux, closed), f.outflow), SHAPE) for f in (flow, back))
    np.testing.assert_allclose(here, there.T, atol=1e-9 * np.abs(there).max())
    zero = jnp.zeros(SHAPE)
    ages = [age_of(grid, f, share, zero).value for f in (flow, back)]
    means = [float(grid.integral(share * age)) for age in ages]
    np.testing.assert_allclose(means[0], means[1], rtol=1e-8)
    assert float(jnp.abs(ages[0] - ages[1]).max()) > 0.1 * float(ages[0].max())


def test_leaving_blood_has_the_mean_transit_time_and_no_cell_is_older_than_all_the_volume_over_its_flow():
    grid, flow, share = odd()
    age = np.asarray(age_of(grid, flow, share, jnp.zeros(SHAPE)).value)
    filled = np.asarray(share) * np.asarray(grid.volume)
    leaving = np.sum(np.asarray(flow.outflow) * age) / float(flow.total)
    np.testing.assert_allclose(leaving, filled.sum() / float(flow.total), rtol=1e-8)
    through = np.asarray(flow.inflow) + sum(
        np.maximum(np.roll(np.asarray(q), 1, a), 0) + np.maximum(-np.asarray(q), 0) for a, q in enumerate(flow.flux)
    )
    passed = through > 0
    assert np.all(age[passed] <= filled.sum() / through[passed] * (1 + 1e-9))


def test_exponential_fluxes_of_a_balanced_flow_lose_nothing_but_at_the_outlet():
    grid, flow, _ = odd()
    faces = exponential(flow.flux, conductances(grid, 60.0, jnp.float64))
    matrix = dense.columns_of(assemble(*faces, flow.outflow), SHAPE)
    active = np.asarray(grid.active).ravel()
    np.testing.assert_allclose(matrix.sum(0)[active], np.asarray(flow.outflow).ravel()[active], atol=1e-9)
    np.testing.assert_allclose(matrix.sum(1)[active], np.asarray(flow.inflow).ravel()[active], atol=1e-9)
