"""Cells stored by colour are the same cells, and their sweeps are Gauss-Seidel of the plain operator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.numerics.operators import assemble, neighbour_sum
from hepatojax.numerics.red_black import checkerboard, join, split

SHAPES = [(3, 4, 6), (3, 4, 5), (1, 1, 1)]


def problem(shape):
    """A nonsymmetric M-matrix with closed walls, and a right-hand side."""
    rng = np.random.default_rng(0)
    forward, backward = [], []
    for axis in range(3):
        for faces in (forward, backward):
            face = rng.uniform(0.5, 2.0, shape)
            np.moveaxis(face, axis, 0)[-1] = 0.0
            faces.append(jnp.asarray(face))
    sink = jnp.asarray(rng.uniform(0.1, 1.0, shape))
    return assemble(tuple(forward), tuple(backward), sink), jnp.asarray(rng.standard_normal(shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_joining_undoes_splitting(shape):
    _, field = problem(shape)
    np.testing.assert_array_equal(join(split(field), shape[2]), field)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("first", [0, 1])
def test_sweeps_are_gauss_seidel(shape, first):
    operator, rhs = problem(shape)
    colour = np.indices(shape).sum(0) % 2
    expected = rhs
    for half in range(4):
        solved = (rhs + neighbour_sum(operator, expected)) / operator.diagonal
        expected = jnp.where(colour == (half + first) % 2, solved, expected)

    @jax.jit
    def sweeps(operator, rhs):
        board = checkerboard(operator)
        step = board.black_red if first else board.red_black
        return join(step(board.scaled(rhs), split(rhs), 2), shape[2])

    np.testing.assert_allclose(sweeps(operator, rhs), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_sweeps_from_zero_leave_the_residual_on_red(shape):
    operator, rhs = problem(shape)
    board = checkerboard(operator)
    load = board.scaled(rhs)
    pair, red = board.red_black_from_zero(load, 2)
    expected = board.red_black(load, split(jnp.zeros(shape)), 2)
    residual = rhs - operator(join(pair, shape[2]))
    np.testing.assert_allclose(join(pair, shape[2]), join(expected, shape[2]), atol=1e-12)
    np.testing.assert_allclose(join((red, jnp.zeros_like(red)), shape[2]), residual, atol=1e-12)
