"""Oxygen: the dissociation curve and its inverse, exact small cases, hypoxia, conservation and derivatives."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

from hepatojax.checks.verify.gradient import QUICK_TO_COMPILE
from hepatojax.numerics.grid import Grid
from hepatojax.tissue.flow import Flow
from hepatojax.tissue.oxygen import (
    TRANSPORTS,
    OxygenParameters,
    content,
    content_slope,
    mixed_inlet_mmHg,
    pressure_of,
    saturation,
    solve_oxygen,
)
from tests.reference.flows import block, channel, coarsened, corner_to_corner

BLOOD = OxygenParameters(
    solubility_mM_mmHg=1.35e-3,
    capacity_mM=8.4,
    p50_mmHg=26.8,
    hill_exponent=2.7,
    diffusivity_um2_s=2000.0,
    uptake_half_saturation_mmHg=1.0,
)

solve = jax.jit(solve_oxygen, static_argnames=("transport", "tolerance"))


def start(grid: Grid, dtype=jnp.float64) -> jax.Array:
    return jnp.full(grid.shape, 40.0, dtype)


def imbalance(oxygen) -> float:
    return float(abs(oxygen.inflow - oxygen.outflow - oxygen.uptake) / oxygen.inflow)


def test_content_and_its_inverse():
    mmHg = jnp.asarray(10.0 ** np.linspace(-9, 2, 300))
    np.testing.assert_allclose(pressure_of(content(mmHg, BLOOD), BLOOD), mmHg, rtol=1e-5)
    exact = jax.vmap(jax.grad(lambda p: content(p, BLOOD)))(mmHg)
    np.testing.assert_allclose(content_slope(mmHg, BLOOD), exact, rtol=1e-12)
    assert content(0.0, BLOOD) == 0.0
    assert pressure_of(0.0, BLOOD) == 0.0
    assert bool(jnp.isfinite(jax.grad(lambda p: content(p, BLOOD))(jnp.zeros((), jnp.float32))))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_haemoglobin_is_full_at_any_finite_pressure(dtype):
    """Then the content is capacity and what is free, and its slope the solubility."""
    p = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), BLOOD)
    mmHg = jnp.asarray([1e6, 1e15, 1e25], dtype)
    np.testing.assert_allclose(saturation(mmHg, p), 1.0, rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(jax.grad(saturation), (0, None))(mmHg, p), 0.0, atol=1e-12)
    np.testing.assert_allclose(content_slope(mmHg, p), p.solubility_mM_mmHg, rtol=1e-5)


def test_mixed_inlet_adds_contents():
    mixed = mixed_inlet_mmHg(50.0, 95.0, 0.25, BLOOD)
    assert float(content(mixed, BLOOD)) == pytest.approx(0.25 * content(95.0, BLOOD) + 0.75 * content(50.0, BLOOD))
    assert 50.0 < mixed < 0.25 * 95.0 + 0.75 * 50.0  # haemoglobin saturates


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_without_demand_the_inlet_is_everywhere(transport):
    grid, flow = corner_to_corner((2, 12, 12), (20.0, 20.0, 20.0), seed=4)
    oxygen = solve(grid, flow, jnp.zeros(grid.shape), 65.0, BLOOD, start(grid), transport=transport)
    np.testing.assert_allclose(oxygen.mmHg[grid.active], 65.0, rtol=1e-7)
    assert bool(oxygen.converged)


def test_one_cell_is_the_well_mixed_balance():
    grid = block((1, 1, 1), (10.0, 10.0, 10.0))
    rate = jnp.full((1, 1, 1), 20.0)
    zero = jnp.zeros((1, 1, 1))
    oxygen = solve(grid, Flow((zero, zero, zero), rate, rate), zero + 0.1, 65.0, BLOOD, start(grid))

    def balance(p: float) -> float:
        return float(20.0 * (content(65.0, BLOOD) - content(p, BLOOD)) - 1000.0 * 0.1 * p / (1.0 + p))

    assert float(oxygen.mmHg[0, 0, 0]) == pytest.approx(brentq(balance, 0.0, 65.0, xtol=1e-12), rel=1e-8)
    assert float(oxygen.outlet_mM) == pytest.approx(float(oxygen.content_mM[0, 0, 0]))


def test_upwind_plug_flow_is_a_march_from_cell_to_cell():
    grid, flow = channel(12)
    still = BLOOD.__class__(**{**BLOOD.__dict__, "diffusivity_um2_s": 0.0})
    demand = jnp.linspace(0.5, 2.0, 12)[None, None, :]
    found = solve(grid, flow, demand, 65.0, still, start(grid), transport="upwind").mmHg[0, 0]
    entering, rate, volume = float(content(65.0, BLOOD)), float(flow.total), float(grid.volume[0, 0, 0])
    for k in range(12):
        taken = volume * float(demand[0, 0, k]) / rate
        p = brentq(lambda p, e=entering, t=taken: e - float(content(p, BLOOD)) - t * p / (1 + p), 0, 65, xtol=1e-13)
        assert float(found[k]) == pytest.approx(p, rel=1e-6)
        entering = float(content(p, BLOOD))
    assert p < 1.0  # the march ends in hypoxia


@pytest.mark.parametrize(
    ("transport", "dtype"), [("limited", jnp.float32), ("limited", jnp.float64), ("upwind", jnp.float64)]
)
def test_hypoxic_tissue_from_a_cold_start(transport, dtype):
    grid, flow = corner_to_corner((2, 12, 12), (20.0, 20.0, 20.0), seed=4)
    random = np.random.default_rng(5)
    patchy = np.exp(0.5 * random.standard_normal(grid.shape)) * (random.random(grid.shape) > 0.1)
    supply = float(flow.total * content(65.0, BLOOD))
    for ratio in (0.9, 1.5):
        demand = jnp.asarray(ratio * supply * patchy / float(jnp.sum(grid.volume * patchy)), dtype)
        oxygen = solve(grid, flow, demand, 65.0, BLOOD, start(grid, dtype), transport=transport)
        assert bool(oxygen.converged)
        assert oxygen.mmHg.dtype == dtype
        assert int(oxygen.newton_iterations) <= 20
        assert 0.0 < float(oxygen.mmHg[grid.active].min()) < 3.0
        assert float(oxygen.mmHg.max()) <= 65.0 * (1 + 1e-4)
        assert imbalance(oxygen) < (1e-9 if dtype == jnp.float64 else 1e-4)
        again = solve(grid, flow, demand, 65.0, BLOOD, oxygen.mmHg, transport=transport)
        assert int(again.newton_iterations) <= 1


def test_limited_transport_holds_the_hypoxic_map_at_20_um():
    fine_grid, fine = corner_to_corner((1, 64, 64), (20.0, 5.0, 5.0))
    speed = sum(float(jnp.abs(q).mean()) for q in fine.flux[1:]) / np.sqrt(2) / 100.0

    def field(ratio: int, transport: str, peclet: float) -> np.ndarray:
        grid, flow = coarsened(fine_grid, fine.times(peclet * 2000.0 / 20.0 / speed), ratio)
        demand = jnp.full(grid.shape, 0.8 * flow.total * content(65.0, BLOOD) / grid.total_volume)
        oxygen = solve(grid, flow, demand, 65.0, BLOOD, start(grid), transport=transport, tolerance=1e-7)
        assert bool(oxygen.converged)
        return np.asarray(oxygen.mmHg[0])

    for peclet, bound in ((0.2, 0.6), (1.0, 0.85)):
        exact = field(1, "limited", peclet).reshape(16, 4, 16, 4).mean((1, 3))
        limited, upwind = (np.sqrt(((field(4, t, peclet) - exact) ** 2).mean()) for t in TRANSPORTS)
        assert exact.min() < 10.0
        assert limited < bound
        assert upwind > 1.4


def test_both_modes_of_differentiation_agree_with_differences():
    grid, flow = corner_to_corner((1, 6, 6), (20.0, 20.0, 20.0), seed=7)
    random = np.random.default_rng(1)
    demand, direction, weight = (jnp.asarray(a) * (grid.volume > 0).astype(float) for a in random.random((3, 1, 6, 6)))

    def objective(change, dtype=jnp.float64, tolerance=1e-13):
        p = jax.tree.map(lambda a: jnp.asarray(a, dtype), BLOOD)
        p = OxygenParameters(**{**p.__dict__, "hill_exponent": p.hill_exponent + 0.1 * change})
        vmax = (0.15 * demand).astype(dtype) * (1.0 + change * direction.astype(dtype))
        faster = flow.times(1.0 + 0.3 * change.astype(jnp.float64))
        oxygen = solve_oxygen(grid, faster, vmax, 65.0 + 5.0 * change, p, start(grid, dtype), tolerance=tolerance)
        return jnp.sum(weight.astype(dtype) * oxygen.mmHg) + oxygen.outflow.astype(dtype) * 1e-3

    zero = jnp.zeros(())
    compiled = partial(jax.jit, compiler_options=QUICK_TO_COMPILE)
    value = compiled(jax.value_and_grad(objective))
    reverse = float(value(zero)[1])
    difference = float(value(zero + 1e-5)[0] - value(zero - 1e-5)[0]) / 2e-5
    forward = float(compiled(lambda x: jax.jvp(objective, (x,), (jnp.ones(()),))[1])(zero))
    single = float(compiled(jax.grad(partial(objective, dtype=jnp.float32, tolerance=None)))(zero.astype(jnp.float32)))
    assert forward == pytest.approx(reverse, rel=1e-9)
    assert difference == pytest.approx(reverse, rel=1e-6)
    assert single == pytest.approx(reverse, rel=2e-3)


def test_unknown_transport_is_refused():
    grid, flow = channel(3)
    with pytest.raises(ValueError, match="limited, upwind"):
        solve_oxygen(grid, flow, jnp.zeros(grid.shape), 65.0, BLOOD, start(grid), transport="central")


def test_a_guess_that_depends_on_what_is_differentiated_adds_nothing_to_the_derivative():
    """It is no part of a chain, so that no start can come back for it."""
    grid, flow = corner_to_corner((2, 3, 4), (20.0, 15.0, 18.0), turnover_per_s=8e-2, seed=3)
    demand = jnp.asarray(np.random.default_rng(0).random(grid.shape)) * 0.15

    def total(share, of_guess):
        guess = jnp.full(grid.shape, 40.0) * of_guess
        return jnp.sum(solve_oxygen(grid, flow, share * demand, 65.0, BLOOD, guess, tolerance=1e-12).mmHg)

    moved = jax.grad(lambda share: total(share, share))(1.0)
    np.testing.assert_allclose(moved, jax.grad(total)(1.0, 1.0), rtol=1e-9)
    np.testing.assert_allclose(moved, jax.jacfwd(lambda share: total(share, share))(1.0), rtol=1e-9)
