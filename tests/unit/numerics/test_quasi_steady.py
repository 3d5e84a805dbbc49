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


def krylov(parameters, x, rhs, start, transposed, max_iterations=200):
    dense = matrix(parameters, x, transposed)
    s = bicgstab(lambda v: dense @ v, lambda r: r, rhs, start, tolerance=1e-6, max_iterations=max_iterations)
    return s.value, s.converged


def solution(parameters, guess, max_iterations=200):
    """The solution; `max_iterations` bounds the solves of its derivative alone."""

    def solve(parameters, guess):
        zero = jnp.zeros_like(guess)
        return krylov(parameters, guess, -balance(parameters, zero), zero, False)

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


HALVES = 6


def halving(parameters, x, rhs, start, transposed):
    """Half of the way from the start to the answer, so that only starts that are handed on come near it."""
    return 0.5 * (start + rhs / (2.0 * x)), True


def chain(p, handed_on):
    """The sum of one square root solved again and again, each from the guess that the last one gave."""

    def step(guess, _):
        x, following, _ = implicit_solution(
            lambda q, x: x * x - q, lambda q, x: (jnp.sqrt(q), ()), halving, p, guess, handed_on=handed_on
        )
        return following, x

    start = jax.lax.stop_gradient(jnp.sqrt(p))
    return jnp.sum(jax.lax.scan(step, start, None, length=HALVES)[1])


@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
@pytest.mark.parametrize("handed_on", [True, False])
def test_tangents_and_cotangents_start_where_the_solve_beside_them_came_to(mode, handed_on):
    """Answers short of the true one by a factor 2^-k, k from 1 for the first solved; by 1/2 where none is handed on."""
    p = 9.0
    short = [0.5 ** (k if handed_on else 1) for k in range(1, HALVES + 1)]
    exact = sum(1.0 - s for s in short) * 0.5 / np.sqrt(p)
    np.testing.assert_allclose(jax.jit(mode(chain), static_argnums=1)(p, handed_on), exact, rtol=1e-14)


def test_starts_of_a_batch_stay_apart():
    p = jnp.asarray([0.25, 9.0, 100.0])
    np.testing.assert_allclose(
        jax.vmap(jax.grad(chain), in_axes=(0, None))(p, True), [jax.grad(chain)(q, True) for q in p], rtol=1e-14
    )


def test_a_guess_that_is_not_handed_on_has_no_derivative_whatever_it_depends_on():
    """A start taken for a derivative would be added to it."""

    def of(p, scale):
        guess = scale * p * jnp.ones(COUNT)
        return jnp.sum(solution((p, jnp.asarray(0.4), place(jnp.float64)[0][2]), guess))

    by_both = jax.grad(of, (0, 1))(0.3, 2.0)
    assert by_both[1] == 0.0
    np.testing.assert_allclose(by_both[0], jax.grad(of)(0.3, 0.0), rtol=1e-5)
