"""Signals: exact one-cell balances, an independent dense twin, ledgers, groups and derivatives."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

from hepatojax.checks.verify.gradient import QUICK_TO_COMPILE
from hepatojax.numerics.adjoint import one_by_one
from hepatojax.numerics.grid import AXES, Grid
from hepatojax.tissue.flow import Flow
from hepatojax.tissue.signals import BodyClosure, SignalParameters, solve_signal
from tests.reference.flows import block, corner_to_corner

TAU = 900.0
FLOOR, HALF = 0.4, 0.02
SIGNAL = SignalParameters(50.0, 100.0, TAU, FLOOR, HALF)

solve = jax.jit(solve_signal, static_argnames="tolerance")


def nothing(grid: Grid) -> jax.Array:
    return jnp.zeros((2, *grid.shape))


def left_over(signal) -> float:
    made = signal.secreted + signal.supplied
    return float(jnp.max(jnp.abs(made - signal.taken_up - signal.cleared) / made))


def test_one_cell_has_a_closed_form():
    grid = block((1, 1, 1), (10.0, 10.0, 10.0))
    rate, zero = jnp.full((1, 1, 1), 20.0), jnp.zeros((1, 1, 1))
    signal = solve(
        grid, Flow((zero, zero, zero), rate, rate), zero + 1e-5, zero, SIGNAL, BodyClosure(2.0, 0.03), nothing(grid)
    )
    inlet = (1000.0 * 1e-5 + 0.03) / 2.0
    assert float(signal.inlet_nM) == pytest.approx(inlet)
    assert float(signal.plasma_nM[0, 0, 0]) == pytest.approx(inlet + 1e-2 / 20.0)
    assert float(signal.tissue_nM[0, 0, 0]) == pytest.approx(inlet + 1e-2 / 20.0 + 1e-5 * TAU)
    assert float(signal.outlet_nM) == pytest.approx(float(signal.plasma_nM[0, 0, 0]))


def test_one_cell_with_saturable_uptake():
    grid = block((1, 1, 1), (10.0, 10.0, 10.0))
    rate, zero = jnp.full((1, 1, 1), 20.0), jnp.zeros((1, 1, 1))
    flow = Flow((zero, zero, zero), rate, rate)
    signal = solve(grid, flow, zero, zero + 0.01, SIGNAL, BodyClosure(2.0, 0.3), nothing(grid))

    def balance(c: float) -> float:
        inlet = (0.3 + 20.0 * c) / 22.0
        return 20.0 * (inlet - c) - 1000.0 * 0.01 * c * (FLOOR + (1 - FLOOR) / (1 + c / HALF))

    assert float(signal.plasma_nM[0, 0, 0]) == pytest.approx(brentq(balance, 0.0, 1.0, xtol=1e-14), rel=1e-8)


def test_the_worst_cell_is_that_of_the_largest_imbalance():
    grid, flow = corner_to_corner((2, 4, 3), (20.0, 20.0, 20.0), seed=4)
    secretion = jnp.ones(grid.shape).at[1, 2, 0].set(2.0)
    body = BodyClosure(2.0, 0.0)
    signal = solve(grid, flow, secretion, 0.0 * secretion, SIGNAL, body, nothing(grid), tolerance=10.0)
    assert int(signal.sweeps) == 0 and bool(signal.converged)  # the guess of nothing will do
    assert jnp.unravel_index(signal.worst_cell, grid.shape) == (1, 2, 0)


def dense_twin(grid: Grid, flow: Flow, secretion, uptake, body: BodyClosure) -> tuple[np.ndarray, np.ndarray]:
    """Tissue and plasma by Picard on dense matrices of both phases and the inlet, written face by face."""
    n = grid.volume.size
    volume = np.asarray(grid.volume).ravel()
    index = np.arange(n).reshape(grid.shape)
    diffusion, transport = np.zeros((2, n, n))
    for axis in AXES:
        face, q = np.asarray(grid.faces[axis]), np.asarray(flow.flux[axis])
        for i in np.argwhere(face > 0):
            here, there = index[tuple(i)], index[tuple(i + np.eye(3, dtype=int)[axis])]
            t, rate = face[tuple(i)], q[tuple(i)]
            peclet = rate / (100.0 * t)
            forward = 100.0 * t * peclet / -np.expm1(-peclet)
            for matrix, out, back in ((diffusion, 50.0 * t, 50.0 * t), (transport, forward, forward - rate)):
                matrix[here, here] += out
                matrix[here, there] -= back
                matrix[there, here] -= out
                matrix[there, there] += back
    inflow, outflow = np.asarray(flow.inflow).ravel(), np.asarray(flow.outflow).ravel()
    exchange = np.diag(volume / TAU + (volume == 0))
    plasma = np.zeros(n)
    for _ in range(200):
        taken = np.diag(volume * uptake * (FLOOR + (1 - FLOOR) / (1 + plasma / HALF)))
        system = np.zeros((2 * n + 1, 2 * n + 1))
        system[:n, :n] = diffusion + exchange
        system[:n, n:-1] = -exchange
        system[n:-1, :n] = -exchange
        system[n:-1, n:-1] = transport + np.diag(outflow) + exchange + taken + np.diag(volume == 0.0)
        system[n:-1, -1] = -inflow
        system[-1, n:-1] = -outflow
        system[-1, -1] = float(flow.total) + body.clearance_um3_s
        rhs = np.concatenate([volume * secretion, np.zeros(n), [body.source_nM_um3_s]])
        answer = np.linalg.solve(system, rhs)
        plasma = answer[n:-1]
    return answer[:n].reshape(grid.shape), plasma.reshape(grid.shape)


@pytest.mark.parametrize("uptake_per_s", [0.0, 4e-3])
def test_both_phases_equal_a_dense_twin(uptake_per_s):
    grid, flow = corner_to_corner((2, 4, 5), (20.0, 15.0, 18.0), turnover_per_s=8e-3, seed=3)
    random = np.random.default_rng(0)
    secretion, uptake = random.random((2, *grid.shape)) * np.asarray([1e-5, uptake_per_s])[:, None, None, None]
    body = BodyClosure(0.2 * float(flow.total), 2e-3 * float(flow.total))
    signal = solve(grid, flow, jnp.asarray(secretion), jnp.asarray(uptake), SIGNAL, body, nothing(grid))
    tissue, plasma = dense_twin(grid, flow, secretion.ravel(), uptake.ravel(), body)
    active = np.asarray(grid.active)
    np.testing.assert_allclose(signal.tissue_nM[active], tissue[active], rtol=1e-8)
    np.testing.assert_allclose(signal.plasma_nM[active], plasma[active], rtol=1e-8)
    assert left_over(signal) < 1e-9
    assert bool(signal.converged)


def group(dtype=jnp.float64):
    grid, flow = corner_to_corner((2, 8, 8), (20.0, 20.0, 20.0), turnover_per_s=8e-3, seed=5)
    random = np.random.default_rng(1)
    secretion, uptake = (jnp.asarray(a, dtype) for a in random.random((2, 3, *grid.shape)))
    on = jnp.asarray([1e-5, 3e-6, 0.0], dtype)[:, None, None, None]
    rate = jnp.asarray([0.0, 5e-3, 0.0], dtype)[:, None, None, None]
    parameters = jax.tree.map(lambda a: jnp.asarray([a, 1.5 * a, a], dtype), SIGNAL)
    body = BodyClosure(jnp.asarray([0.1, 0.2, 0.3], dtype), jnp.asarray([0.0, 2e-3, 0.0], dtype))
    body = jax.tree.map(lambda a: a * flow.total.astype(dtype), body)
    return grid, flow, on * secretion, rate * uptake, parameters, body, jnp.zeros((3, 2, *grid.shape), dtype)


def each_solved(grid, flow, secretion, uptake, parameters, body, guess, tolerance=None):
    """One after the other in one loop, species leading."""
    return one_by_one(
        lambda species: solve_signal(grid, flow, *species, tolerance=tolerance),
        (secretion, uptake, parameters, body, guess),
    )


def test_group_in_float32_keeps_its_ledger_and_a_silent_species_is_zero():
    arguments = group(jnp.float32)
    run = jax.jit(each_solved)
    signals = run(*arguments)
    assert bool(signals.converged.all())
    assert signals.tissue_nM.dtype == jnp.float32
    assert float(signals.plasma_nM[:2].min()) >= 0.0
    assert not signals.tissue_nM[2].any()
    assert left_over(jax.tree.map(lambda a: a[:2], signals)) < 1e-6
    again = run(*arguments[:-1], signals.excess_nM)
    assert int(again.sweeps.max()) <= 1
    warm = run(*arguments[:2], 1.03 * arguments[2], *arguments[3:-1], signals.excess_nM)
    assert (warm.iterations < signals.iterations)[:2].all()


def test_both_modes_of_differentiation_agree_with_differences():
    grid, flow, *arguments, guess = group()

    def objective(x):
        scaled = jax.tree.map(lambda a: a * (1.0 + 0.3 * x), tuple(arguments))
        signals = each_solved(grid, flow.times(1.0 - 0.2 * x), *scaled, guess, tolerance=1e-13)
        return jnp.sum(signals.tissue_nM) + jnp.sum(signals.plasma_nM**2) + jnp.sum(signals.taken_up)

    zero = jnp.zeros(())
    compiled = partial(jax.jit, compiler_options=QUICK_TO_COMPILE)
    value = compiled(jax.value_and_grad(objective))
    reverse = float(value(zero)[1])
    forward = float(compiled(lambda x: jax.jvp(objective, (x,), (jnp.ones(()),))[1])(zero))
    difference = float(value(zero + 1e-5)[0] - value(zero - 1e-5)[0]) / 2e-5
    assert forward == pytest.approx(reverse, rel=1e-8)
    assert difference == pytest.approx(reverse, rel=1e-7)


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
def test_what_no_cell_takes_up_reaches_the_inlet_from_everywhere_alike(dtype):
    """CL c_in is all that is secreted, so that the derivative of the inlet is V/CL in each cell, to rounding."""
    grid, flow = corner_to_corner((4, 20, 20), (20.0, 20.0, 20.0), turnover_per_s=8e-3, seed=5)
    secretion = jnp.asarray(np.random.default_rng(2).random(grid.shape), dtype)
    clearance = 0.1 * float(flow.total)

    def inlet(secretion):
        body = BodyClosure(clearance, 0.0)
        return solve_signal(grid, flow, secretion, 0.0 * secretion, SIGNAL, body, nothing(grid)).inlet_nM

    active = np.asarray(grid.active)
    gradient = np.asarray(jax.jit(jax.grad(inlet))(secretion))[active]
    expected = np.asarray(grid.volume)[active] / clearance
    np.testing.assert_allclose(gradient, expected, rtol=50 * float(jnp.finfo(dtype).eps))


@pytest.mark.parametrize("alone", ["secretion", "uptake", "source"])
def test_one_input_alone_has_its_derivative_in_both_modes(alone):
    """It reaches the balance of one phase only, and the other phase has a tangent that is known to be zero."""
    grid, flow = corner_to_corner((2, 3, 4), (20.0, 15.0, 18.0), turnover_per_s=8e-3, seed=3)
    rng, blood = np.random.default_rng(0), float(flow.total)
    inputs = {
        "secretion": jnp.asarray(1e-5 * rng.random(grid.shape)),
        "uptake": jnp.asarray(4e-3 * rng.random(grid.shape)),
        "source": jnp.asarray(2e-3 * blood),
    }

    def told(value):
        given = {**inputs, alone: value}
        body = BodyClosure(0.2 * blood, given["source"])
        signal = solve_signal(
            grid, flow, given["secretion"], given["uptake"], SIGNAL, body, nothing(grid), tolerance=1e-12
        )
        return jnp.sum(signal.tissue_nM**2) + jnp.sum(signal.plasma_nM)

    compiled = partial(jax.jit, compiler_options=QUICK_TO_COMPILE)
    way = inputs[alone]
    forward = compiled(lambda way: jax.jvp(told, (inputs[alone],), (way,))[1])(way)
    reverse = jnp.sum(compiled(jax.grad(told))(inputs[alone]) * way)
    assert float(reverse) == pytest.approx(float(forward), rel=1e-9)
