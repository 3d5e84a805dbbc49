"""Implicit solutions have the first and second derivatives of their closed forms, in both modes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from hepatojax.numerics.quasi_steady import implicit_solution


def by_newton(residual, parameters, guess):
    """A solution of a scalar equation, and the number of steps as its evidence."""
    slope = jax.grad(residual, 1)

    def solve(parameters, guess):
        def step(carry):
            x, n = carry
            return x - residual(parameters, x) / slope(parameters, x), n + 1

        return lax.fori_loop(0, 40, lambda _, carry: step(carry), (guess, jnp.zeros((), jnp.int32)))

    def linear_solve(parameters, x, rhs, start, transposed):
        return rhs / slope(parameters, x), True

    x, _, steps = implicit_solution(residual, solve, linear_solve, parameters, guess)
    return x, steps


def root(p, guess=1.0):
    return by_newton(lambda p, x: x * x - p, p, jnp.asarray(guess))[0]


def kepler(p, guess=1.0):
    """E - e sin E = M."""
    return by_newton(lambda p, x: x - p[1] * jnp.sin(x) - p[0], p, jnp.asarray(guess))[0]


MODES = {
    "forward over forward": lambda f: jax.jacfwd(jax.jacfwd(f)),
    "forward over reverse": lambda f: jax.jacfwd(jax.jacrev(f)),
}


@pytest.mark.parametrize("p", [0.04, 1.0, 30.0])
def test_a_root_has_the_slope_of_the_root_in_both_modes(p):
    for mode in (jax.jacfwd, jax.jacrev):
        np.testing.assert_allclose(jax.jit(mode(root))(p), 0.5 / np.sqrt(p), rtol=1e-14)


@pytest.mark.parametrize("mode", MODES)
def test_second_derivative_of_a_root(mode):
    """It is taken through the linear solve of the first derivative: -1/4 p^(-3/2)."""
    second = jax.jit(MODES[mode](root))
    for p in (0.5, 1.0, 30.0):
        np.testing.assert_allclose(second(p), -0.25 * p**-1.5, rtol=1e-12)


SLOPES = [jax.jit(mode(kepler)) for mode in (jax.jacfwd, jax.jacrev)]
CURVATURE = jax.jit(jax.jacfwd(jax.jacfwd(lambda m, e: kepler((m, e)))))


@pytest.mark.parametrize("eccentricity", [0.0, 0.4, 0.9])
def test_derivatives_of_keplers_equation(eccentricity):
    """dE/dM = 1/(1 - e cos E),  dE/de = sin E/(1 - e cos E),  d2E/dM2 = -e sin E/(1 - e cos E)^3."""
    p = (jnp.asarray(1.2), jnp.asarray(eccentricity))
    x = float(kepler(p))
    np.testing.assert_allclose(x - eccentricity * np.sin(x), 1.2, rtol=1e-14)
    below = 1.0 - eccentricity * np.cos(x)
    for slopes in SLOPES:
        by_mean, by_eccentricity = slopes(p)
        np.testing.assert_allclose(by_mean, 1.0 / below, rtol=1e-13)
        np.testing.assert_allclose(by_eccentricity, np.sin(x) / below, rtol=1e-13)
    np.testing.assert_allclose(CURVATURE(*p), -eccentricity * np.sin(x) / below**3, rtol=1e-12, atol=1e-15)


def test_the_guess_and_the_evidence_have_no_derivative():
    def solved(p, guess):
        x, steps = by_newton(lambda p, x: x * x - p, p, guess)
        return x + 0.0 * steps.astype(x.dtype), steps

    by_guess, steps = jax.grad(solved, 1, has_aux=True)(jnp.asarray(2.0), jnp.asarray(1.3))
    assert float(by_guess) == 0.0
    assert int(steps) == 40
    tangent = jax.jvp(lambda p: solved(p, jnp.asarray(1.3))[1], (jnp.asarray(2.0),), (jnp.asarray(1.0),))[1]
    assert tangent.dtype == jax.dtypes.float0


def test_the_branch_of_the_guess_is_the_branch_of_the_derivative():
    below = jax.grad(partial(root, guess=-1.0))
    np.testing.assert_allclose(below(4.0), -0.25, rtol=1e-14)


def test_a_batch_of_equations_has_the_batch_of_slopes():
    p = jnp.asarray([0.3, 1.0, 5.0, 20.0])
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.grad(root)))(p), 0.5 / np.sqrt(p), rtol=1e-13)


@pytest.fixture(scope="module")
def linear():
    """x = A(p)^-1 b with A(p) = A0 + p A1, nonsymmetric, by dense solves."""
    rng = np.random.default_rng(0)
    first, second = jnp.asarray(4.0 * np.eye(5) + rng.standard_normal((5, 5))), jnp.asarray(rng.standard_normal((5, 5)))

    def matrix(p):
        return first + p * second

    def solution(p, load):
        def solve(parameters, guess):
            return jnp.linalg.solve(matrix(parameters[0]), parameters[1]), ()

        def back(parameters, x, rhs, start, transposed):
            a = matrix(parameters[0])
            return jnp.linalg.solve(a.T if transposed else a, rhs), True

        return implicit_solution(lambda q, x: matrix(q[0]) @ x - q[1], solve, back, (p, load), jnp.zeros(5))[0]

    return np.asarray(first), np.asarray(second), solution


def test_a_linear_system_has_the_derivatives_of_the_inverse(linear):
    """dx/dp = -A^-1 A1 x,  dx/db = A^-1,  d2x/dp2 = 2 A^-1 A1 A^-1 A1 x; reverse uses the transposed solve."""
    first, second, solution = linear
    load, p = np.arange(1.0, 6.0), 0.3
    inverse = np.linalg.inv(first + p * second)
    x, turned = inverse @ load, -inverse @ second
    args = jnp.asarray(p), jnp.asarray(load)
    for mode in (jax.jacfwd, jax.jacrev):
        by_p, by_load = jax.jit(mode(solution, (0, 1)))(*args)
        np.testing.assert_allclose(by_p, turned @ x, rtol=1e-10)
        np.testing.assert_allclose(by_load, inverse, rtol=1e-10)
    second = jax.jit(MODES["forward over reverse"](solution))(*args)
    np.testing.assert_allclose(second, 2.0 * turned @ turned @ x, rtol=1e-9)
