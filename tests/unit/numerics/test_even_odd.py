"""Even-odd elimination: the reduced system is that of two Jacobi sweeps, and its answer that of the whole one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.numerics.even_odd import even_odd
from hepatojax.numerics.grid import AXES
from hepatojax.numerics.operators import Operator, assemble
from hepatojax.numerics.red_black import join, split

SHAPES = [(3, 4, 6), (3, 4, 5), (2, 3, 1), (1, 1, 1)]


def problem(shape):
    """A nonsymmetric M-matrix with some inactive cells, and a right-hand side."""
    rng = np.random.default_rng(1)
    active = rng.random(shape) > 0.2
    forward, backward = [], []
    for axis in AXES:
        above = np.roll(active, -1, axis)
        np.moveaxis(above, axis, 0)[-1] = False
        for faces in (forward, backward):
            faces.append(jnp.asarray(rng.uniform(0.0, 2.0, shape) * (active & above)))
    sink = jnp.asarray(rng.uniform(0.1, 1.0, shape) * active)
    return assemble(tuple(forward), tuple(backward), sink), jnp.asarray(rng.standard_normal(shape))


def dense(apply, shape):
    """The matrix of a linear function of fields."""
    columns = jax.vmap(apply)(jnp.eye(np.prod(shape, dtype=int)).reshape(-1, *shape))
    return np.asarray(columns).reshape(len(columns), -1).T


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("transposed", [False, True])
def test_solution_is_that_of_a_dense_solve(shape, transposed):
    operator, rhs = problem(shape)
    matrix = dense(operator, shape)
    operator, matrix = (operator.transposed, matrix.T) if transposed else (operator, matrix)
    solve = jax.jit(lambda a, b: even_odd(a).solve(b, target=jnp.asarray(1e-12), max_iterations=100))
    found = solve(operator, rhs)
    exact = np.linalg.solve(matrix, np.asarray(rhs).ravel())
    assert bool(found.converged)
    np.testing.assert_allclose(np.ravel(found.value), exact, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("shape", SHAPES)
def test_residual_is_all_on_red_cells_and_the_one_told(shape):
    operator, rhs = problem(shape)
    target = jnp.asarray(0.05)
    found = even_odd(operator).solve(rhs, target=target, max_iterations=100)
    red, black = split(rhs - operator(found.value))
    np.testing.assert_allclose(black, 0.0, atol=1e-13)
    assert float(jnp.linalg.norm(red.ravel())) == pytest.approx(float(found.residual * target), abs=1e-12)


def test_reduced_system_is_that_of_two_jacobi_sweeps():
    shape = (3, 4, 6)
    operator, _ = problem(shape)
    diagonal = np.diag(np.ravel(operator.diagonal))
    gathered = np.eye(len(diagonal)) - dense(operator, shape) @ np.linalg.inv(diagonal)
    twice = dense(operator, shape) @ np.linalg.inv(diagonal) @ (np.eye(len(diagonal)) + gathered)
    np.testing.assert_allclose(twice, np.eye(len(diagonal)) - gathered @ gathered, atol=1e-13)
    board = even_odd(operator)

    def on_red(field):
        red, _ = split(field)
        return join((board.reduced(red), jnp.zeros_like(red)), shape[2])

    red = np.indices(shape).sum(0).ravel() % 2 == 0
    np.testing.assert_allclose(dense(on_red, shape)[np.ix_(red, red)], twice[np.ix_(red, red)], atol=1e-13)


def test_cells_without_neighbours_are_divided_by_their_diagonal():
    closed = (jnp.zeros((2, 2, 3)),) * 3
    operator = Operator(closed, closed, jnp.full((2, 2, 3), 4.0))
    found = even_odd(operator).solve(jnp.ones((2, 2, 3)), target=jnp.asarray(0.0), max_iterations=5)
    np.testing.assert_array_equal(found.value, 0.25)


def test_a_batch_keeps_the_wall_between_the_two_colours():
    """A branch in the compiled program of a CPU; without it XLA makes a stencil of a stencil, here 16 times as slow."""
    field = jnp.asarray(np.random.default_rng(5).uniform(0.1, 1.0, (2, 4, 6)))

    def reduced(factor, red):
        return even_odd(assemble((factor * field,) * 3, (field,) * 3, field)).reduced(red)

    batch = jnp.arange(1.0, 5.0), jnp.ones((4, 2, 4, 3))
    for program, arguments in ((reduced, (jnp.asarray(1.0), batch[1][0])), (jax.vmap(reduced), batch)):
        assert "conditional(" in jax.jit(program).lower(*arguments).compile().as_text()
