"""The derivative of an implicit solution is linear in the cotangent, however small that is."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.numerics.linear_solve import best_start, bicgstab
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

    return implicit_solution(balance, forward, partial(krylov, max_iterations=max_iterations), parameters, guess)[0]


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


LINKS = 4


def halfway(parameters, x, rhs, start, transposed):
    """Half of the way to the answer from the best multiple of the start, so that starts that are handed on tell."""
    start = best_start(lambda v: 2.0 * x * v, (start,), rhs)
    return 0.5 * (start + rhs / (2.0 * x)), True


def whole(parameters, x, rhs, start, transposed):
    """The exact answer whatever the start, so that what is wrong is a start taken for a derivative."""
    return rhs / (2.0 * x), True


def chain(p, linear_solve, handed_on, looped=True):
    """Square roots of p + k, each solved from the guess that the last one gave, and fed on into the next."""

    def step(carry, k):
        guess, before = carry
        x, following, _ = implicit_solution(
            lambda q, x: x * x - q,
            lambda q, x: (jnp.sqrt(q), ()),
            linear_solve,
            p + k * before,
            guess,
            handed_on=handed_on,
        )
        return (following, x), x

    carry = (jax.lax.stop_gradient(jnp.sqrt(p)), jnp.sqrt(p))
    if looped:
        return jnp.sum(jax.lax.scan(step, carry, FACTORS)[1])
    total = 0.0
    for k in FACTORS:
        carry, x = step(carry, k)
        total = total + x
    return total


FACTORS = np.arange(LINKS) % 2 * 1.0


def plain(p):
    """The same sum in closed form, for AD alone."""
    before, total = jnp.sqrt(p), 0.0
    for k in FACTORS:
        before = jnp.sqrt(p + k * before)
        total = total + before
    return total


@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
@pytest.mark.parametrize("handed_on", [True, False])
def test_tangents_and_cotangents_start_where_the_solve_beside_them_came_to(mode, handed_on):
    """Answers stop half-way where nothing is handed on, and at the first solve alone where the answer of it is."""
    p = jnp.asarray(9.0)

    def same(p):
        def step(guess, _):
            x, following, _ = implicit_solution(
                lambda q, x: x * x - q, lambda q, x: (jnp.sqrt(q), ()), halfway, p, guess, handed_on=handed_on
            )
            return following, x

        return jnp.sum(jax.lax.scan(step, jax.lax.stop_gradient(jnp.sqrt(p)), None, length=LINKS)[1])

    whole_answers = LINKS - 0.5 if handed_on else 0.5 * LINKS
    np.testing.assert_allclose(jax.jit(mode(same))(p), whole_answers * 0.5 / np.sqrt(9.0), rtol=1e-14)


SECOND = {
    "forward over forward": lambda f: jax.jacfwd(jax.jacfwd(f)),
    "forward over reverse": lambda f: jax.jacfwd(jax.jacrev(f)),
    "reverse over forward": lambda f: jax.jacrev(jax.jacfwd(f)),
}


@pytest.mark.parametrize("looped", [True, False])
def test_starts_are_no_derivatives_in_a_loop_or_out_of_it(looped):
    p, exact = 3.0, jax.grad(plain)(3.0)
    for mode in (jax.jacfwd, jax.jacrev, lambda f: lambda q: jax.linear_transpose(jax.linearize(f, q)[1], q)(1.0)[0]):
        np.testing.assert_allclose(mode(lambda q: chain(q, whole, True, looped))(p), exact, rtol=1e-12)


@pytest.mark.parametrize("looped", [True, False])
@pytest.mark.parametrize("mode", SECOND)
def test_second_derivatives_of_a_chain(mode, looped):
    exact = jax.grad(jax.grad(plain))(3.0)
    np.testing.assert_allclose(SECOND[mode](lambda q: chain(q, whole, True, looped))(3.0), exact, rtol=1e-11)


def test_a_tangent_is_linear_in_its_direction():
    along = lambda t: jax.jvp(lambda q: chain(q, whole, True), (3.0,), (t,))[1]  # noqa: E731
    np.testing.assert_allclose(jax.grad(along)(1.0), jax.grad(plain)(3.0), rtol=1e-12)


def test_starts_of_a_batch_stay_apart():
    p = jnp.asarray([0.25, 9.0, 100.0])
    by_each = jax.vmap(jax.grad(lambda q: chain(q, whole, True)))(p)
    np.testing.assert_allclose(by_each, [jax.grad(plain)(q) for q in p], rtol=1e-12)


@pytest.mark.parametrize(("of_rhs", "of_start"), [(1e-35, 1.0), (1e-30, 1e9), (1.0, 1e37), (1e30, 1e-30), (1.0, 0.0)])
def test_a_start_of_any_size_leaves_the_answer_in_single_precision(of_rhs, of_start):
    """The cotangent of the guess that comes back is the start of this one, and its size must not matter."""
    parameters, guess = place(jnp.float32)

    def two(p):
        return implicit_solution(balance, forward, started, p, guess, handed_on=True)[:2]

    def started(parameters, x, rhs, start, transposed):
        dense = matrix(parameters, x, transposed)
        return krylov(parameters, x, rhs, best_start(lambda v: dense @ v, (start,), rhs), transposed)

    weight = jnp.cos(jnp.arange(COUNT, dtype=jnp.float32))
    found = jax.vjp(two, parameters)[1]((jnp.float32(of_rhs) * weight, jnp.float32(of_start) * (weight + 1.0)))[0][2]
    exact = np.linalg.solve(np.asarray(matrix(parameters, guess, True), float), np.asarray(weight, float))
    np.testing.assert_allclose(np.asarray(found, float) / of_rhs, exact, atol=1e-4 * np.abs(exact).max())


def forward(parameters, guess):
    zero = jnp.zeros_like(guess)
    return krylov(parameters, guess, -balance(parameters, zero), zero, False)


def test_a_guess_that_is_not_handed_on_has_no_derivative_whatever_it_depends_on():
    """A start taken for a derivative would be added to it."""

    def of(p, scale):
        guess = scale * p * jnp.ones(COUNT)
        return jnp.sum(solution((p, jnp.asarray(0.4), place(jnp.float64)[0][2]), guess))

    by_both = jax.grad(of, (0, 1))(0.3, 2.0)
    assert by_both[1] == 0.0
    np.testing.assert_allclose(by_both[0], jax.grad(of)(0.3, 0.0), rtol=1e-5)
