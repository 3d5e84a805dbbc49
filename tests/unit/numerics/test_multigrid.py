"""One V-cycle is a symmetric positive preconditioner, and its count of iterations does not grow with the grid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.numerics.multigrid import build_hierarchy, coarsening_plan, multigrid_solve, prolong, restrict, v_cycle
from hepatojax.numerics.operators import assemble

solve = jax.jit(multigrid_solve, static_argnames=("plan", "tolerance", "scale"))


def problem(shape, seed=0, dtype=jnp.float64):
    """Faces of a random medium with closed walls, a sink in one corner, and a random load."""
    rng = np.random.default_rng(seed)
    faces = []
    for axis in range(3):
        face = np.exp(rng.standard_normal(shape))
        np.moveaxis(face, axis, 0)[-1] = 0.0
        faces.append(jnp.asarray(face, dtype))
    sink = np.zeros(shape)
    sink[0, 0, 0] = 1.0
    return tuple(faces), jnp.asarray(sink, dtype), jnp.asarray(rng.standard_normal(shape), dtype)


def test_plan_halves_the_strong_axes_first_and_stops_at_the_coarsest():
    plan = coarsening_plan((8, 64, 64), (80.0, 10.0, 10.0))
    assert plan == ((1, 2), (1, 2), (1, 2))
    assert coarsening_plan((1, 1, 12), (1.0, 1.0, 1.0)) == ()
    assert coarsening_plan((1, 1, 1), (1.0, 1.0, 1.0)) == ()
    assert len(coarsening_plan((64, 64, 64), (1.0, 1.0, 1.0))) == 3


def test_prolongation_is_the_transpose_of_restriction():
    rng = np.random.default_rng(1)
    fine, coarse = jnp.asarray(rng.standard_normal((5, 6, 7))), jnp.asarray(rng.standard_normal((5, 3, 4)))
    up = prolong(coarse, (1, 2), fine.shape)
    np.testing.assert_allclose(jnp.vdot(restrict(fine, (1, 2)), coarse), jnp.vdot(fine, up), rtol=1e-13)


@pytest.mark.parametrize("shape", [(6, 9, 11), (1, 1, 12)])
def test_cycle_is_symmetric_and_positive(shape):
    faces, sink, u = problem(shape)
    plan = coarsening_plan(shape, (1.0, 1.0, 1.0), coarsest_cells=40)
    hierarchy = jax.jit(build_hierarchy, static_argnames="plan")(faces, None, sink, plan=plan)
    v = jnp.asarray(np.random.default_rng(2).standard_normal(shape))
    cycle = jax.jit(v_cycle)
    np.testing.assert_allclose(jnp.vdot(v, cycle(hierarchy, u)), jnp.vdot(u, cycle(hierarchy, v)), rtol=1e-10)
    assert jnp.vdot(u, cycle(hierarchy, u)) > 0


def test_diffusion_given_once_is_as_given_both_ways():
    faces, sink, _ = problem((6, 9, 11))
    plan = coarsening_plan((6, 9, 11), (1.0, 1.0, 1.0), coarsest_cells=40)
    build = jax.jit(build_hierarchy, static_argnames="plan")
    once, twice = (build(faces, other, sink, plan=plan) for other in (None, faces))
    for one, other in zip(jax.tree.leaves(once), jax.tree.leaves(twice), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 12), (1, 17, 23), (9, 10, 11)])
def test_solves_any_shape_to_the_true_residual(shape):
    faces, sink, rhs = problem(shape)
    plan = coarsening_plan(shape, (1.0, 1.0, 1.0), coarsest_cells=100)
    solution = solve(faces, sink, rhs, jnp.zeros(shape), plan, tolerance=1e-11)
    residual = rhs - assemble(faces, faces, sink)(solution.value)
    assert bool(solution.converged)
    assert jnp.linalg.norm(residual) <= 1e-10 * jnp.linalg.norm(rhs)


def test_iterations_hardly_grow_from_16_to_32_cells_an_axis():
    def iterations(n):
        shape = (n, n, n)
        faces, sink, rhs = problem(shape)
        plan = coarsening_plan(shape, (1.0, 1.0, 1.0), coarsest_cells=600)
        return int(solve(faces, sink, rhs, jnp.zeros(shape), plan, tolerance=1e-8).iterations)

    coarse, fine = iterations(16), iterations(32)
    assert fine <= coarse + 3 <= 20


def test_single_precision_stays_single():
    faces, sink, rhs = problem((4, 6, 8), dtype=jnp.float32)
    plan = coarsening_plan((4, 6, 8), (1.0, 1.0, 1.0), coarsest_cells=50)
    solution = solve(faces, sink, rhs, jnp.zeros_like(rhs), plan, tolerance=1e-5)
    assert solution.value.dtype == jnp.float32
    assert bool(solution.converged)


def test_scale_of_the_iterate_replaces_the_norm_of_the_load():
    faces, sink, rhs = problem((4, 6, 8))
    solution = solve(faces, sink, rhs, jnp.zeros_like(rhs), (), tolerance=1e-6, scale=lambda x: jnp.max(jnp.abs(x)))
    residual = rhs - assemble(faces, faces, sink)(solution.value)
    expected = jnp.linalg.norm(residual) / jnp.max(jnp.abs(solution.value))
    np.testing.assert_allclose(solution.residual, expected, rtol=1e-4)
