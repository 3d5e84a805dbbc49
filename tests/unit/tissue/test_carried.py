"""Solves of carried species: the residual that counts is the true one, also where Krylov methods break down."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.numerics.multigrid import build_hierarchy, coarsening_plan
from hepatojax.tissue.carried import inner_tolerance, positive_solution, solve_transport
from hepatojax.tissue.transport import conductances, exponential, upwind
from tests.reference.flows import channel, corner_to_corner

solve = jax.jit(solve_transport, static_argnames="tolerance")


@pytest.mark.parametrize("cells", [8, 400])
def test_a_row_without_diffusion_is_solved(cells):
    grid, flow = channel(cells)
    matrix = build_hierarchy(*upwind(flow.flux, tuple(0.0 * q for q in flow.flux)), flow.outflow, ())
    age = solve(matrix, grid.volume, jnp.zeros(grid.shape), tolerance=1e-10)
    assert bool(age.converged)
    np.testing.assert_allclose(age.value[0, 0], 300.0 / 40.0 * np.arange(1, cells + 1) / cells, rtol=1e-9)


@pytest.mark.parametrize(("dtype", "transposed"), [(jnp.float32, False), (jnp.float64, True)])
def test_reported_residual_is_the_true_one(dtype, transposed):
    grid, flow = corner_to_corner((2, 8, 8), (20.0, 20.0, 20.0), seed=6)
    flow = flow.astype(dtype)
    plan = coarsening_plan(grid.shape, grid.spacing_um, coarsest_cells=40)
    matrix = build_hierarchy(*exponential(flow.flux, conductances(grid, 1.0, dtype)), flow.outflow, plan)
    matrix = matrix.transposed if transposed else matrix
    rhs = jnp.asarray(np.random.default_rng(0).random(grid.shape), dtype)
    found = solve(matrix, rhs, jnp.zeros_like(rhs), tolerance=1e-5)
    true = float(jnp.linalg.norm((rhs - matrix.finest(found.value)).ravel()) / jnp.linalg.norm(rhs.ravel()))
    assert bool(found.converged)
    assert float(found.residual) == pytest.approx(true, rel=0.3)
    assert true < 2e-5


def test_inner_tolerance_stays_between_its_bounds():
    one = jnp.ones(())
    asked = [float(inner_tolerance(share * one, one)) for share in (0.0, 1e-9, 0.1, 10.0)]
    assert asked == pytest.approx([1e-2, 1e-2, 3e-2, 1e-1])
    assert float(inner_tolerance(1e-9 * one, one, 1e-3)) == pytest.approx(1e-3)


def test_positive_solution_is_differentiated_by_its_equations():
    grid, flow = channel(5)

    def equations(loss):
        return (*upwind(flow.flux, tuple(0.0 * q for q in flow.flux)), flow.outflow + loss), flow.inflow

    last = jax.jit(jax.grad(lambda loss: positive_solution(equations, loss, grid.volume, ()).value[0, 0, 4]))
    slope = last(jnp.zeros(grid.shape))
    np.testing.assert_allclose(slope, -1.0 / float(flow.total), rtol=1e-9)
