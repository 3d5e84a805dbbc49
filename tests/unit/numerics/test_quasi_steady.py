"""The derivative of an implicit solution is linear in the cotangent, however small that is."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.numerics.linear_solve import bicgstab
from hepatojax.numerics.quasi_steady import implicit_solution

COUNT = 40


def balance(parameters, x):
    """Diffusion with drift and decay on a line, r = A(p) x - b."""
    decay, drift, supply = parameters
    ahead, behind = jnp.roll(x, -1), jnp.roll(x, 1)
    return decay * x + 2.0 * x - (1.0 - drift) * ahead - (1.0 + drift) * behind - supply


def matrix(parameters, x, transposed):
    jacobian = jax.jacfwd(lambda y: balance(parameters, y))(x)
    return jacobian.T if transposed else jacobian


def krylov(parameters, x, rhs, transposed, max_iterations=200):
    dense = matrix(parameters, x, transposed)
    s = bicgstab(
        lambda v: dense @ v, lambda r: r, rhs, jnp.zeros_like(rhs), tolerance=1e-6, max_iterations=max_iterations
    )
    return s.value, s.converged


def solution(parameters, guess, max_iterations=200):
    """The solution; `max_iterations` bounds the solves of its derivative alone."""

    def solve(parameters, guess):
        return krylov(parameters, guess, -balance(parameters, jnp.zeros_like(guess)), False)

    return implicit_solution(balance, solve, partial(krylov, max_iterations=max_iterations), parameters, guess)[0]


def place(dtype):
    supply = jnp.asarray(np.random.default_rng(0).uniform(0.5, 1.5, COUNT), dtype)
    return (jnp.asarray(0.3, dtype), jnp.asarray(0.4, dtype), supply), jnp.zeros(COUNT, dtype)


@pytest.mark.parametrize("size", [1e-30, 1e-22, 1.0, 1e22, 1e30])
def test_a_cotangent_of_any_size_has_its_gradient_in_single_precision(size):
    """The squares of its entries leave the range of float32 on either side."""
    parameters, guess = place(jnp.float32)
    weight = jnp.cos(jnp.arange(COUNT, dtype=jnp.float32))
    _, back = jax.vjp(lambda p: solution(p, guess), parameters)
    exact = np.linalg.solve(np.asarray(matrix(parameters, guess, True), float), np.asarray(weight, float))
    found = np.asarray(back(jnp.float32(size) * weight)[0][2], float) / size
    np.testing.assert_allclose(found, exact, atol=1e-4 * np.abs(exact).max())


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_a_tangent_of_any_size_has_its_answer_in_single_precision(size):
    parameters, guess = place(jnp.float32)
    way = (jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32), jnp.float32(size) * parameters[2])
    value, moved = jax.jvp(lambda p: solution(p, guess), (parameters,), (way,))
    np.testing.assert_allclose(moved / size, value, rtol=1e-4)  # the solution is linear in the supply


def test_no_cotangent_has_no_gradient():
    parameters, guess = place(jnp.float32)
    _, back = jax.vjp(lambda p: solution(p, guess), parameters)
    assert all((np.asarray(leaf) == 0.0).all() for leaf in jax.tree.leaves(back(jnp.zeros(COUNT, jnp.float32))))


def test_a_derivative_that_stops_short_of_its_tolerance_is_no_number():
    """Its value is sound all the same, and so is the value beside it."""
    parameters, guess = place(jnp.float64)
    value, back = jax.vjp(lambda p: solution(p, guess, max_iterations=3), parameters)
    np.testing.assert_allclose(balance(parameters, value), 0.0, atol=1e-5)
    assert np.isnan(back(parameters[2])[0][2]).all()
    way = (*jax.tree.map(jnp.zeros_like, parameters[:2]), jnp.cos(jnp.arange(COUNT, dtype=float)))
    assert np.isnan(jax.jvp(lambda p: solution(p, guess, max_iterations=3), (parameters,), (way,))[1]).all()
