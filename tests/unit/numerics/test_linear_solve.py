"""Krylov solvers against dense solves, and their word on whether they converged against the true residual."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepatojax.numerics.linear_solve import best_start, bicgstab, conjugate_gradient

SIZE = 12
SOLVERS = {"conjugate gradients": conjugate_gradient, "bicgstab": bicgstab}
both = pytest.mark.parametrize("solver", SOLVERS)


@partial(jax.jit, static_argnames=("solver", "tolerance", "max_iterations"))
def solve(solver, matrix, inverse, rhs, guess, tolerance=1e-9, max_iterations=200):
    return SOLVERS[solver](
        lambda x: matrix @ x,
        lambda r: inverse @ r,
        rhs,
        guess,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )


def plain(solver, matrix, rhs, guess=None, **options):
    """Without preconditioner, from zero."""
    guess = np.zeros(len(rhs)) if guess is None else guess
    arrays = (jnp.asarray(a) for a in (matrix, np.eye(len(rhs)), rhs, guess))
    return solve(solver, *arrays, **options)


def true_residual(matrix, rhs, solution):
    return np.linalg.norm(rhs - matrix @ np.asarray(solution.value)) / np.linalg.norm(rhs)


def symmetric(eigenvalues, seed=0):
    """A matrix with those eigenvalues in a random orthonormal basis."""
    basis, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((SIZE, SIZE)))
    return basis @ np.diag(eigenvalues) @ basis.T


def load(seed=1):
    return np.random.default_rng(seed).standard_normal(SIZE)


def drifting(drift):
    """Diffusion, decay and a drift along a line: positive definite, not symmetric."""
    return 2.3 * np.eye(SIZE) - (1 - drift) * np.eye(SIZE, k=1) - (1 + drift) * np.eye(SIZE, k=-1)


@pytest.mark.parametrize("ratio", [1.0, 10.0, 1e4])
@both
def test_positive_definite_systems_are_solved(solver, ratio):
    matrix, rhs = symmetric(np.geomspace(1.0, ratio, SIZE)), load()
    found = plain(solver, matrix, rhs)
    assert bool(found.converged)
    exact = np.linalg.solve(matrix, rhs)
    np.testing.assert_allclose(found.value, exact, atol=1e-8 * ratio * np.abs(exact).max())
    assert true_residual(matrix, rhs, found) < 1e-8


@pytest.mark.parametrize("drift", [-0.9, 0.2, 0.9])
def test_nonsymmetric_systems_are_solved_by_bicgstab(drift):
    matrix, rhs = drifting(drift), load()
    found = plain("bicgstab", matrix, rhs)
    assert bool(found.converged)
    np.testing.assert_allclose(found.value, np.linalg.solve(matrix, rhs), rtol=1e-6)


def test_indefinite_systems_are_solved_by_bicgstab():
    matrix, rhs = symmetric(np.r_[-3.0, -2.0, np.linspace(1.0, 4.0, SIZE - 2)]), load()
    found = plain("bicgstab", matrix, rhs)
    assert bool(found.converged)
    np.testing.assert_allclose(found.value, np.linalg.solve(matrix, rhs), rtol=1e-6)


def test_half_steps_of_bicgstab_are_those_of_the_textbook():
    """Against the whole steps of van der Vorst, written out in NumPy."""
    matrix, rhs = drifting(0.4), load()
    x, r, p, shadow = np.zeros(SIZE), rhs.copy(), rhs.copy(), rhs.copy()
    for step in range(4):
        v = matrix @ p
        alpha = shadow @ r / (shadow @ v)
        s = r - alpha * v
        half = plain("bicgstab", matrix, rhs, tolerance=1e-30, max_iterations=2 * step + 1)
        np.testing.assert_allclose(half.value, x + alpha * p, rtol=1e-9)
        t = matrix @ s
        omega = t @ s / (t @ t)
        x = x + alpha * p + omega * s
        before, r = shadow @ r, s - omega * t
        p = r + shadow @ r / before * alpha / omega * (p - omega * v)
        whole = plain("bicgstab", matrix, rhs, tolerance=1e-30, max_iterations=2 * step + 2)
        np.testing.assert_allclose(whole.value, x, rtol=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([-2.0, -1.0, 0.5, 1.0, 3.0]), min_size=SIZE, max_size=SIZE), st.integers(0, 99))
@both
def test_no_solver_claims_what_it_has_not_reached(solver, eigenvalues, seed):
    """Any regular symmetric matrix, indefinite ones too: a claim of convergence is a small true residual."""
    matrix, rhs = symmetric(np.asarray(eigenvalues)), load(seed)
    found = plain(solver, matrix, rhs)
    assert np.isfinite(np.asarray(found.value)).all()
    if found.converged:
        assert true_residual(matrix, rhs, found) < 1e-6


@both
def test_a_breakdown_is_an_unconverged_solve_and_no_nan(solver):
    """On a skew matrix p' A p is zero at once."""
    skew = np.kron(np.eye(SIZE // 2), [[0.0, 1.0], [-1.0, 0.0]])
    found = plain(solver, skew, load())
    assert not found.converged
    assert np.isfinite(np.asarray(found.value)).all()
    assert float(found.residual) > 1e-3


@both
def test_a_capped_solve_says_so_and_tells_how_far_it_came(solver):
    matrix, rhs = symmetric(np.geomspace(1.0, 3.0, SIZE)), load()
    found = plain(solver, matrix, rhs, max_iterations=3)  # close, and not there
    assert 1e-8 < float(found.residual) < 0.1
    assert int(found.iterations) == 3
    assert not found.converged
    np.testing.assert_allclose(found.residual, true_residual(matrix, rhs, found), rtol=1e-8)


@both
def test_nothing_to_solve_is_solved_and_a_nan_is_not(solver):
    matrix, zero = symmetric(np.linspace(1.0, 2.0, SIZE)), np.zeros(SIZE)
    found = plain(solver, matrix, zero)
    assert bool(found.converged)
    assert float(found.residual) == 0.0
    assert not np.asarray(found.value).any()
    assert not plain(solver, matrix, zero + np.nan).converged


@both
def test_a_load_whose_square_overflows_is_not_solved(solver):
    matrix = symmetric(np.linspace(1.0, 2.0, SIZE))
    assert not plain(solver, matrix, 1e200 * load()).converged


@both
def test_the_solution_as_guess_is_left_as_it_is(solver):
    matrix = symmetric(np.linspace(1.0, 2.0, SIZE))
    exact = load(3)
    found = plain(solver, matrix, matrix @ exact, exact)
    assert int(found.iterations) == 0
    np.testing.assert_array_equal(found.value, exact)


@both
def test_a_guess_does_not_change_what_the_tolerance_means(solver):
    """Stopped against the load and not against the first residual: a good guess gives no better and no worse end."""
    matrix, rhs = symmetric(np.geomspace(1.0, 30.0, SIZE)), load()
    near = np.linalg.solve(matrix, rhs) * (1.0 + 1e-12 * load(5))
    found = plain(solver, matrix, rhs, near)
    assert int(found.iterations) == 0
    assert bool(found.converged)


@both
def test_a_load_larger_by_a_power_of_two_has_the_same_digits(solver):
    matrix, rhs = symmetric(np.geomspace(1.0, 30.0, SIZE)), load()
    one, two = plain(solver, matrix, rhs), plain(solver, matrix, 2.0**40 * rhs)
    np.testing.assert_array_equal(2.0**40 * one.value, two.value)
    assert float(one.residual) == float(two.residual)


@both
def test_the_preconditioner_changes_the_way_and_not_the_answer(solver):
    scales = np.geomspace(1.0, 1e3, SIZE)
    matrix = symmetric(np.linspace(1.0, 2.0, SIZE)) * np.sqrt(scales)[:, None] * np.sqrt(scales)
    rhs = load()
    exact = np.linalg.solve(matrix, rhs)
    for inverse in (np.eye(SIZE), np.diag(1.0 / np.diag(matrix)), np.linalg.inv(matrix)):
        found = solve(solver, *(jnp.asarray(a) for a in (matrix, inverse, rhs, np.zeros(SIZE))))
        assert bool(found.converged)
        np.testing.assert_allclose(found.value, exact, atol=1e-5 * np.abs(exact).max())
    assert int(found.iterations) <= 2  # the exact inverse


@pytest.mark.parametrize("distinct", [1, 2, 3, 5])
def test_conjugate_gradients_end_after_one_step_for_each_distinct_eigenvalue(distinct):
    eigenvalues = np.resize(np.linspace(1.0, 9.0, distinct), SIZE)
    found = plain("conjugate gradients", symmetric(eigenvalues), load())
    assert int(found.iterations) == distinct


def test_the_energy_of_the_error_falls_with_every_step_of_conjugate_gradients():
    matrix, rhs = symmetric(np.geomspace(1.0, 1e3, SIZE)), load()
    exact = np.linalg.solve(matrix, rhs)
    errors = [np.asarray(plain("conjugate gradients", matrix, rhs, max_iterations=k).value) - exact for k in (1, 3)]
    energies = [e @ matrix @ e for e in (-exact, *errors)]
    assert np.all(np.diff(energies) < 0.0)


@both
def test_single_precision_stays_single(solver):
    matrix, rhs = symmetric(np.linspace(1.0, 3.0, SIZE)), load()
    single = (jnp.asarray(a, jnp.float32) for a in (matrix, np.eye(SIZE), rhs, np.zeros(SIZE)))
    found = solve(solver, *single, tolerance=1e-5)
    assert found.value.dtype == found.residual.dtype == jnp.float32
    assert bool(found.converged)
    np.testing.assert_allclose(found.value, np.linalg.solve(matrix, rhs), rtol=1e-3, atol=1e-4)


def test_two_fields_are_solved_together_as_the_one_that_joins_them():
    matrix = symmetric(np.linspace(1.0, 5.0, SIZE)) + 0.3 * np.random.default_rng(3).standard_normal((SIZE, SIZE))
    half, rhs = SIZE // 3, jnp.asarray(load())

    def parted(field):
        return field[:half], field[half:]

    pair = bicgstab(
        lambda fields: parted(jnp.asarray(matrix) @ jnp.concatenate(fields)),
        lambda fields: fields,
        parted(rhs),
        parted(jnp.zeros(SIZE)),
        tolerance=1e-12,
        max_iterations=200,
    )
    assert bool(pair.converged)
    np.testing.assert_allclose(jnp.concatenate(pair.value), np.linalg.solve(matrix, rhs), rtol=1e-9, atol=1e-10)


@pytest.fixture(scope="module")
def skew():
    rng = np.random.default_rng(3)
    return rng.standard_normal((6, 6)) + 4.0 * np.eye(6), rng.standard_normal((4, 6)), rng.standard_normal(6)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_start_is_the_least_squares_combination_of_its_directions(skew, count):
    a, directions, rhs = skew
    directions = directions[:count]
    weights = np.linalg.lstsq(a @ directions.T, rhs, rcond=None)[0]
    found = best_start(lambda x: jnp.asarray(a) @ x, tuple(jnp.asarray(directions)), jnp.asarray(rhs))
    np.testing.assert_allclose(found, weights @ directions, rtol=1e-12)


def test_a_direction_that_adds_nothing_is_left_out(skew):
    """A second one that is a multiple of the first but for rounding, and one of zeros."""
    a, (first, *_), rhs = skew
    single = [jnp.asarray(v, jnp.float32) for v in (first, first * (1.0 + 1e-7), 0.0 * first)]
    apply = lambda x: jnp.asarray(a, jnp.float32) @ x  # noqa: E731
    alone = best_start(apply, single[:1], jnp.asarray(rhs, jnp.float32))
    np.testing.assert_allclose(best_start(apply, single, jnp.asarray(rhs, jnp.float32)), alone, rtol=1e-5)
    assert (np.asarray(best_start(apply, single[2:], jnp.asarray(rhs, jnp.float32))) == 0.0).all()


def test_a_start_of_two_fields_that_are_solved_together(skew):
    """The answer itself among the directions is found."""
    a, (one, two, *_), _ = skew
    apply = lambda x: (jnp.asarray(a) @ x[0] + x[1], jnp.asarray(a.T) @ x[1])  # noqa: E731
    answer = (jnp.asarray(one), jnp.asarray(two))
    found = best_start(apply, ((jnp.ones(6), jnp.ones(6)), jax.tree.map(lambda v: 3.0 * v, answer)), apply(answer))
    for got, wanted in zip(found, answer, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12)
