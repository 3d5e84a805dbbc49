"""A scan of nonlinear steps has the derivatives of its closed form, whatever its reverse pass keeps.

y_(k+1) = y_k / (1 + r y_k)   has   y_n = y_0 / (1 + n r y_0)
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.numerics.adjoint import scan_steps
from hepatojax.numerics.segments import segments_of

STEPS = 12
DIVISORS = [1, 2, 3, 4, 6, 12]
WAYS = [("none", None), ("saved", None), ("two-level", None), *(("two-level", n) for n in DIVISORS)]
START, RATE = np.asarray([0.3, 1.0, 2.5]), np.asarray([0.2, 0.05, 0.4])
every_way = pytest.mark.parametrize(("adjoint", "checkpoints"), WAYS)


def course(start, rate, adjoint="saved", checkpoints=None, steps=STEPS):
    """The last value, and those on the way."""

    def step(carry):
        y, r = carry
        y = y / (1.0 + r * y)
        return (y, r), y

    (end, _), on_the_way = scan_steps(step, (start, rate), steps, adjoint, checkpoints)
    return end, on_the_way


def exact(start, rate, n):
    """y_n and its derivatives by y_0 and r."""
    below = 1.0 + n * rate * start
    return start / below, 1.0 / below**2, -n * start**2 / below**2


def end_and_path(start, rate, adjoint, checkpoints):
    end, path = course(start, rate, adjoint, checkpoints)
    return jnp.sum(end) + 0.1 * jnp.sum(path)


@every_way
def test_values_on_the_way_are_the_closed_form(adjoint, checkpoints):
    end, path = course(jnp.asarray(START), jnp.asarray(RATE), adjoint, checkpoints)
    assert path.shape == (STEPS, 3)
    for k in range(STEPS):
        np.testing.assert_allclose(path[k], exact(START, RATE, k + 1)[0], rtol=1e-14)
    np.testing.assert_array_equal(end, path[-1])


@every_way
def test_reverse_mode_is_the_derivative_of_the_closed_form(adjoint, checkpoints):
    gradient = jax.jit(jax.grad(partial(end_and_path, adjoint=adjoint, checkpoints=checkpoints), (0, 1)))
    by_start, by_rate = gradient(jnp.asarray(START), jnp.asarray(RATE))
    on_the_way = [exact(START, RATE, k) for k in range(1, STEPS + 1)]
    for found, which in ((by_start, 1), (by_rate, 2)):
        wanted = on_the_way[-1][which] + 0.1 * sum(terms[which] for terms in on_the_way)
        np.testing.assert_allclose(found, wanted, rtol=1e-13)


@pytest.mark.parametrize(("adjoint", "checkpoints"), [("saved", None), ("two-level", 3)])
def test_second_derivatives_are_those_of_the_closed_form(adjoint, checkpoints):
    """d2 y_n / dr2 = 2 n^2 y_0^3 / (1 + n r y_0)^3, forward over reverse and forward over forward."""
    start, rate = jnp.asarray(0.7), jnp.asarray(0.2)
    end = lambda r: course(start, r, adjoint, checkpoints)[0]  # noqa: E731
    wanted = 2 * STEPS**2 * 0.7**3 / (1 + STEPS * 0.2 * 0.7) ** 3
    np.testing.assert_allclose(jax.jit(jax.jacfwd(jax.grad(end)))(rate), wanted, rtol=1e-12)
    np.testing.assert_allclose(jax.jit(jax.jacfwd(jax.jacfwd(end)))(rate), wanted, rtol=1e-12)


@pytest.mark.parametrize("segments", DIVISORS)
def test_two_levels_keep_one_start_for_each_segment(segments):
    start = jnp.linspace(0.1, 2.0, 200)
    rate = jnp.asarray(0.1)
    kept = jax.vjp(lambda y: course(y, rate, "two-level", segments)[0], start)[1]
    fields = sum(np.size(leaf) for leaf in jax.tree.leaves(kept)) / start.size
    assert segments <= fields < segments + 1


@pytest.mark.parametrize("adjoint", ["none", "saved", "two-level"])
def test_one_step_is_a_course_and_courses_join(adjoint):
    start, rate = jnp.asarray(START), jnp.asarray(RATE)
    np.testing.assert_allclose(course(start, rate, adjoint, steps=1)[0], exact(START, RATE, 1)[0], rtol=1e-15)
    first = course(start, rate, adjoint, steps=4)[0]
    np.testing.assert_array_equal(course(first, rate, adjoint, steps=8)[0], course(start, rate, adjoint)[0])


def test_the_default_number_of_segments_is_the_divisor_of_least_memory_below_the_root():
    for count in range(1, 130):
        segments = segments_of(count)
        assert count % segments == 0 and segments**2 <= count
        better = [s for s in range(1, segments) if count % s == 0 and s + count // s < segments + count // segments]
        assert not better
    for segments in DIVISORS:
        assert segments_of(STEPS, segments) == segments


@pytest.mark.parametrize("checkpoints", [0, -1, 5, 24])
def test_segments_that_do_not_divide_are_refused(checkpoints):
    with pytest.raises(ValueError, match=f"checkpoints is {checkpoints}; 12 macro-steps allow 1, 2, 3, 4, 6, 12"):
        course(jnp.asarray(START), jnp.asarray(RATE), "two-level", checkpoints)
