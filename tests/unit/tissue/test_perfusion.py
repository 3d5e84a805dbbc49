"""Darcy flow conserves blood, follows anisotropy, and has exact derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.numerics.grid import Grid
from hepatojax.tissue.flow import superficial_speed
from hepatojax.tissue.heterogeneity import fibrotic_septa, random_permeability
from hepatojax.tissue.hexagon import hexagonal_lobule
from hepatojax.tissue.perfusion import PerfusionParameters, pressure_driven_flow, pressure_system, solve_perfusion
from tests.reference.flows import channel

HUMAN = PerfusionParameters(3.4e-2, 2.3, 3.5e-3)


def fibrotic_lobule():
    tissue = hexagonal_lobule((16, 18, 6), 500.0, 300.0, 40.0, 35.0)
    return fibrotic_septa(random_permeability(tissue, 0.5, 80.0, seed=1), 4, 100.0, 30.0, seed=2, gap_fraction=0.1)


@pytest.fixture(scope="module")
def tissue():
    return fibrotic_lobule()


@pytest.fixture(scope="module")
def small():
    return hexagonal_lobule((10, 12, 3), 500.0, 300.0, 40.0, 35.0)


@pytest.fixture(scope="module")
def solve():
    return jax.jit(lambda t, factor, p, guess: solve_perfusion(t, factor, p, guess, tolerance=1e-12))


def test_blood_is_conserved_cell_by_cell(tissue, solve):
    """V02: what enters a cell leaves it, and the inflow equals the outflow."""
    perfusion = solve(tissue, 1.0, HUMAN, None)
    assert bool(perfusion.converged)
    np.testing.assert_allclose(perfusion.flow.total, 1.0, rtol=1e-14)
    np.testing.assert_allclose(jnp.sum(perfusion.flow.outflow), 1.0, rtol=1e-10)
    assert jnp.sum(jnp.abs(perfusion.flow.imbalance)) < 1e-10
    assert jnp.min(perfusion.flow.inflow) >= 0
    assert jnp.min(perfusion.flow.outflow) >= 0


def test_pressure_obeys_the_maximum_principle(tissue, solve):
    pressure = solve(tissue, 1.0, HUMAN, None).pressure
    assert -1e-12 <= jnp.min(pressure) <= jnp.max(pressure) <= 1 + 1e-12


def test_flux_follows_the_axial_ratio():
    """V03: under equal gradients in a uniform box the axial flux over the radial flux is kz / kr."""
    ones = np.ones((4, 4, 4))
    box = hexagonal_lobule((4, 4, 4), 500.0, 300.0, 40.0, 35.0)
    box = box.replace(grid=Grid((1.0, 1.0, 1.0), ones, (ones, ones, ones)), permeability=ones)
    z, _, x = jnp.meshgrid(*(jnp.arange(4.0),) * 3, indexing="ij")
    system = pressure_system(box, 1.0, HUMAN)
    axial = pressure_driven_flow(system, -z).flux[0][1, 1, 1]
    radial = pressure_driven_flow(system, -x).flux[2][1, 1, 1]
    np.testing.assert_allclose(axial / radial, 2.3, rtol=1e-12)


def test_stretched_anisotropic_box_is_the_isotropic_one(solve):
    """V03: kz = 4 kr on a lobule twice as tall has twice the flow, with the same pressure."""
    short = hexagonal_lobule((14, 16, 5), 500.0, 300.0, 40.0, 35.0)
    tall = hexagonal_lobule((14, 16, 5), 500.0, 600.0, 40.0, 35.0)
    factor = jnp.asarray(np.random.default_rng(0).uniform(0.5, 2.0, short.grid.shape))
    isotropic = solve(short, factor, PerfusionParameters(1.0, 1.0, 1.0), None)
    stretched = solve(tall, factor, PerfusionParameters(1.0, 4.0, 1.0), None)
    np.testing.assert_allclose(stretched.pressure, isotropic.pressure, atol=1e-9)
    np.testing.assert_allclose(2.0 * stretched.resistance, isotropic.resistance, rtol=1e-9)


def test_resistance_is_inverse_in_permeability(tissue, solve):
    thick, thin = solve(tissue, 1.0, HUMAN, None), solve(tissue, 0.5, HUMAN, None)
    np.testing.assert_allclose(thin.resistance, 2.0 * thick.resistance, rtol=1e-10)
    np.testing.assert_allclose(thin.pressure, thick.pressure, atol=1e-10)


def test_a_warm_start_does_not_freeze(tissue, solve):
    first = solve(tissue, 1.0, HUMAN, None)
    rng = np.random.default_rng(3)
    factor = jnp.asarray(1.0 + 1e-6 * rng.standard_normal(tissue.grid.shape))
    warm, cold = solve(tissue, factor, HUMAN, first.pressure), solve(tissue, factor, HUMAN, None)
    assert int(warm.iterations) > 0
    assert int(solve(tissue, 1.0, HUMAN, first.pressure).iterations) == 0
    change = cold.resistance / first.resistance - 1.0
    np.testing.assert_allclose(warm.resistance / first.resistance - 1.0, change, rtol=1e-3)


def objective(factor, parameters, tissue):
    perfusion = solve_perfusion(tissue, factor, parameters, tolerance=1e-12)
    return 1e3 * perfusion.resistance + 50.0 * jnp.sum(perfusion.flow.flux[2][:, :, 4] ** 2)


def test_gradient_agrees_with_differences(tissue):
    rng = np.random.default_rng(4)
    factor = jnp.asarray(rng.uniform(0.5, 2.0, tissue.grid.shape))
    direction = jnp.asarray(rng.standard_normal(tissue.grid.shape))
    value = jax.jit(lambda f: objective(f, HUMAN, tissue))
    gradient = jax.jit(jax.grad(lambda f, scale: scale * objective(f, HUMAN, tissue)))
    step = 1e-4
    difference = (value(factor + step * direction) - value(factor - step * direction)) / (2 * step)
    np.testing.assert_allclose(jnp.vdot(gradient(factor, 1.0), direction), difference, rtol=1e-6)
    scaled = 1e6 * gradient(factor, 1e-6)
    assert jnp.linalg.norm(scaled - gradient(factor, 1.0)) <= 1e-8 * jnp.linalg.norm(scaled)


def test_both_modes_agree_on_the_parameters(small):
    leaves = PerfusionParameters(*(jnp.asarray(v) for v in (3.4e-2, 2.3, 3.5e-3)))
    factor = jnp.asarray(np.random.default_rng(6).uniform(0.5, 2.0, small.grid.shape))
    reverse = jax.jit(jax.grad(lambda p: objective(factor, p, small)))(leaves)
    tangent = PerfusionParameters(jnp.asarray(0.0), jnp.asarray(1.0), jnp.asarray(0.0))
    forward = jax.jit(lambda p: jax.jvp(lambda q: objective(factor, q, small), (p,), (tangent,))[1])(leaves)
    np.testing.assert_allclose(reverse.axial_ratio, forward, rtol=1e-7)
    assert reverse.axial_ratio != 0
    resistance = jax.jit(lambda f: solve_perfusion(small, f, HUMAN, tolerance=1e-12).resistance)(factor)
    np.testing.assert_allclose(reverse.permeability_um2 * 3.4e-2, -1e3 * resistance, rtol=1e-7)


def test_single_precision_factor_gives_double_precision_flow(small):
    single = jnp.ones(small.grid.shape, jnp.float32)
    pressure = jax.eval_shape(lambda f: solve_perfusion(small, f, HUMAN).pressure, single)
    assert pressure.dtype == jnp.float64
    gradient = jax.jit(jax.grad(lambda f: solve_perfusion(small, f, HUMAN).resistance))(single)
    assert gradient.dtype == jnp.float32
    assert bool(jnp.all(jnp.isfinite(gradient)))


def test_a_batch_of_factors(small):
    factors = jnp.stack([jnp.full(small.grid.shape, v) for v in (1.0, 2.0)])
    batch = jax.jit(jax.vmap(lambda f: solve_perfusion(small, f, HUMAN).resistance))(factors)
    np.testing.assert_allclose(batch[0], 2.0 * batch[1], rtol=1e-9)


def test_residual_is_the_imbalance_over_the_inflow(tissue):
    perfusion = jax.jit(lambda t: solve_perfusion(t, 1.0, HUMAN, tolerance=1e-5))(tissue)
    np.testing.assert_allclose(jnp.linalg.norm(perfusion.flow.imbalance.ravel()), perfusion.residual, rtol=1e-6)
    assert 0 < perfusion.residual <= 1e-5


def test_speed_is_the_flow_over_the_area_it_passes(tissue, solve):
    grid, flow = channel(12, speed_um_s=40.0)
    np.testing.assert_allclose(superficial_speed(grid, flow), 40.0, rtol=1e-12)
    flow = solve(tissue, 1.0, HUMAN, None).flow
    speed = superficial_speed(tissue.grid, flow)
    assert bool((speed[tissue.grid.volume == 0] == 0).all())
    np.testing.assert_allclose(superficial_speed(tissue.grid, flow.times(3.0)), 3.0 * speed, rtol=1e-12)
    grown = superficial_speed(tissue.grid, flow.times(2.0**2), 2.0)  # four times the flow through four times the area
    np.testing.assert_allclose(grown, speed, rtol=1e-12)
    slope = jax.grad(lambda q: jnp.sum(superficial_speed(tissue.grid, flow.times(q))))(1.0)
    np.testing.assert_allclose(slope, jnp.sum(speed), rtol=1e-10)
