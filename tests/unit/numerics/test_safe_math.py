"""Guarded functions against identities and 120 digits, with their derivatives, from zero to the largest numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepatojax.numerics.safe_math import (
    decay_deficit,
    decay_mean,
    hill,
    positive_part,
    ramp,
    safe_power,
    safe_ratio,
    smooth_step,
)
from tests.reference import dense

DTYPES = [jnp.float32, jnp.float64]
PLACES = [0.0, 1e-30, 1e-12, 1e-6, 1e-4, 1.2e-4, 1.3e-4, 1e-2, 0.018, 0.019, 0.5, 1.0, 7.0, 40.0, 80.0, 1e6]
FUNCTIONS = {
    "hill": lambda x: hill(x, 0.3),
    "hill 2": lambda x: hill(x, 0.3, 2.0),
    "hill 4": lambda x: hill(x, 0.3, 4.0),
    "positive part": lambda x: positive_part(x, 1e-3),
    "ramp": lambda x: ramp(x, 0.1, 2.0, 5.0),
    "root": lambda x: safe_power(x, 0.5),
    "ratio": lambda x: safe_ratio(1.0, x),
    "mean": decay_mean,
    "deficit": decay_deficit,
    "step": smooth_step,
}
positive = st.floats(1e-6, 1e6)
mean, deficit, part, power = (jax.jit(f) for f in (decay_mean, decay_deficit, positive_part, safe_power))


def slope(function):
    """Derivative of a function of one array, at every entry."""
    return jax.jit(jax.vmap(jax.grad(function)))


def digits(dtype, lost=8.0):
    return lost * float(jnp.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_decay_functions_have_all_digits_at_every_size(dtype):
    z = jnp.asarray([*PLACES, *np.geomspace(1e-8, 50.0, 200)], dtype)
    exact = [dense.decay_mean(float(v)) for v in z]
    np.testing.assert_allclose(decay_mean(z), [float(m) for m in exact], rtol=digits(dtype, 4.0))
    np.testing.assert_allclose(decay_deficit(z), [float(1 - m) for m in exact], rtol=digits(dtype, 4.0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_slopes_of_the_decay_functions_are_opposite_and_exact(dtype):
    z = jnp.asarray([*PLACES, *np.geomspace(1e-8, 50.0, 200)], dtype)
    exact = np.asarray([float(dense.decay_mean_slope(float(v))) for v in z])
    rtol = digits(dtype, 16.0)
    np.testing.assert_allclose(slope(decay_mean)(z), exact, rtol=rtol, atol=1e-30)
    np.testing.assert_allclose(slope(decay_deficit)(z), -exact, rtol=rtol, atol=1e-30)


@pytest.mark.parametrize("derivative", [jax.grad, jax.jacfwd])
def test_decay_functions_have_their_second_derivative_in_both_modes(derivative):
    z = np.asarray([0.3, 0.999, 1.001, 5.0])
    exact = [1.0 / 3.0, *(2.0 - np.exp(-z) * (z * z + 2.0 * z + 2.0)) / z**3]
    for function, sign in ((decay_mean, 1.0), (decay_deficit, -1.0)):
        second = jax.vmap(derivative(derivative(function)))(jnp.asarray([0.0, *z]))
        np.testing.assert_allclose(sign * second, exact, rtol=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.0, 50.0), st.floats(0.0, 50.0))
def test_mean_and_deficit_complete_each_other_and_decays_follow_one_another(a, b):
    """m + d = 1;  (a + b) m(a + b) = a m(a) + e^-a b m(b): a decay over two stretches is one over both."""
    over_a, over_b, over_both, lost = (
        float(f(jnp.asarray(z))) for f, z in ((mean, a), (mean, b), (mean, a + b), (deficit, a))
    )
    np.testing.assert_allclose(over_a + lost, 1.0, rtol=1e-15)
    np.testing.assert_allclose((a + b) * over_both, a * over_a + np.exp(-a) * b * over_b, rtol=1e-13, atol=1e-300)
    assert 0.0 < over_a <= 1.0 and 0.0 <= lost < 1.0


@pytest.mark.parametrize("exponent", [1.0, 2.7])
def test_hill_is_half_at_half_saturation_and_complementary_in_the_inverse_ratio(exponent):
    """H(K) = 1/2 with slope n / 4K, and H(c/K) + H(K/c) = 1."""
    half, c = 0.3, jnp.asarray(np.geomspace(1e-3, 1e3, 13))
    np.testing.assert_allclose(hill(jnp.asarray(half), half, exponent), 0.5, rtol=1e-15)
    np.testing.assert_allclose(hill(c, 1.0, exponent) + hill(1.0 / c, 1.0, exponent), 1.0, rtol=1e-14)
    at_half = jax.grad(lambda x: hill(x, half, exponent))(half)
    np.testing.assert_allclose(at_half, exponent / (4 * half), rtol=1e-13)
    values = np.asarray(hill(c, 1.0, exponent))
    assert np.all(np.diff(values) > 0.0) and values[0] > 0.0 and values[-1] < 1.0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("exponent", [0.7, 1.5, 4.0])
def test_hill_has_its_slopes_by_all_three_numbers_below_half_saturation(dtype, exponent):
    """log(c/K) has few digits where c is close to K, so that the slope by n has an absolute tolerance."""
    c, half, n = jnp.asarray(np.geomspace(1e-4, 0.3, 51), dtype), jnp.asarray(0.3, dtype), jnp.asarray(exponent, dtype)
    by_all = jax.vmap(jax.grad(lambda *numbers: hill(*numbers), argnums=(0, 1, 2)), in_axes=(0, None, None))
    exact = np.asarray([[float(d) for d in dense.hill_slopes(float(v), float(half), float(n))] for v in c]).T
    for found, slope_of, atol in zip(by_all(c, half, n), exact, (0.0, 0.0, digits(dtype, 2.0)), strict=True):
        np.testing.assert_allclose(found, slope_of, rtol=digits(dtype, 8.0), atol=atol)


@pytest.mark.parametrize("numbers", [[0.2, 0.3, 2.0], [0.9, 0.3, 1.7], [0.3, 0.3, 4.0]])
def test_hill_has_its_second_derivatives_in_both_modes(numbers):
    """Against AD of c^n / (K^n + c^n), which is sound away from zero."""
    numbers, ours = jnp.asarray(numbers), lambda v: hill(v[0], v[1], v[2])
    exact = jax.hessian(lambda v: v[0] ** v[2] / (v[1] ** v[2] + v[0] ** v[2]))(numbers)
    for second in (jax.jacfwd(jax.grad(ours)), jax.jacrev(jax.grad(ours)), jax.jacfwd(jax.jacfwd(ours))):
        np.testing.assert_allclose(second(numbers), exact, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("exponent", "at_zero"), [(1.0, 4.0), (1.5, 0.0), (4.0, 0.0)])
def test_hill_starts_with_the_slope_of_its_power(dtype, exponent, at_zero):
    start = slope(lambda c: hill(c, 0.25, exponent))(jnp.asarray([0.0, 1e-30], dtype))
    np.testing.assert_allclose(start, at_zero, atol=1e-12)
    assert start.dtype == dtype
    by_exponent = jax.grad(lambda n: hill(jnp.zeros((), dtype), 0.25, n))(jnp.asarray(2.0, dtype))
    assert float(by_exponent) == 0.0  # 0^n is 0 at any n


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("exponent", [1.0, 1.5, 2.0, 4.0, 6.0])
def test_hill_saturates_at_any_finite_concentration(dtype, exponent):
    """H -> 1 with slopes n w / c, -n w / K and w ln(c / K), where w = q / (1 + q)^2 and q = (K / c)^n."""
    half, n = jnp.asarray(0.25, dtype), jnp.asarray(exponent, dtype)
    c = jnp.asarray([0.25, 0.5, 1e3, 1e10, 1e25, float(jnp.finfo(dtype).max)], dtype)
    x, tiny = np.asarray(c, float), 1e3 * float(jnp.finfo(dtype).tiny)
    weight = (0.25 / x) ** exponent / (1.0 + (0.25 / x) ** exponent) ** 2
    np.testing.assert_allclose(hill(c, half, n), 1.0 / (1.0 + (0.25 / x) ** exponent), rtol=digits(dtype))
    slopes = exponent * weight / x, -exponent * weight / 0.25, weight * (np.log(x) + np.log(4.0))
    for k, exact in enumerate(slopes):
        found = jax.vmap(jax.grad(hill, k), (0, None, None))(c, half, n)
        np.testing.assert_allclose(found, exact, rtol=digits(dtype, 40.0), atol=tiny)


@pytest.mark.parametrize("dtype", DTYPES)
def test_hill_without_a_power_saturates_with_a_slope_below_that_of_its_logarithm(dtype):
    c = jnp.asarray([1.0, 1e10, 1e25, float(jnp.finfo(dtype).max)], dtype)
    np.testing.assert_allclose(hill(c, 0.25), 1.0 / (1.0 + 0.25 / np.asarray(c, float)), rtol=digits(dtype))
    by_c, by_half = (jax.vmap(jax.grad(hill, k), (0, None))(c, jnp.asarray(0.25, dtype)) for k in (0, 1))
    assert bool(((by_c >= 0.0) & (by_c <= 1.0 / c)).all()) and bool(((by_half <= 0.0) & (by_half >= -4.0)).all())


@settings(max_examples=25, deadline=None)
@given(st.floats(-1e3, 1e3), st.floats(1e-3, 10.0))
def test_smooth_positive_part_splits_a_number(y, e):
    """P(y) - P(-y) = y,  P(y) P(-y) = e^2 / 4,  max(y, 0) <= P(y) <= max(y, 0) + e / 2."""
    up, down = float(part(y, e)), float(part(-y, e))
    np.testing.assert_allclose(up - down, y, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(up * down, e * e / 4, rtol=1e-6, atol=1e-12 * y * y)
    assert max(y, 0.0) - 1e-12 <= up <= max(y, 0.0) + 0.5 * e * (1 + 1e-12)


def test_slope_of_the_positive_part_rises_from_zero_over_a_half_to_one():
    y = jnp.linspace(-50.0, 50.0, 101)
    rising = np.asarray(slope(lambda x: positive_part(x, 0.5))(y))
    assert rising.min() > 0.0 and rising.max() < 1.0
    assert np.all(np.diff(rising) > -1e-15)  # convex
    np.testing.assert_allclose(rising + rising[::-1], 1.0, rtol=1e-12)
    np.testing.assert_allclose(rising[50], 0.5, rtol=1e-15)


def test_ramp_has_its_two_slopes_far_out_and_their_mean_at_zero():
    low, high, steepness = 0.2, 3.0, 4.0
    at = slope(lambda y: ramp(y, low, high, steepness))(jnp.asarray([-50.0, 0.0, 50.0]))
    np.testing.assert_allclose(at, [low, 0.5 * (low + high), high], rtol=1e-12)
    assert float(ramp(0.0, low, high, steepness)) == 0.0
    y = jnp.linspace(-20.0, 20.0, 41)
    np.testing.assert_allclose(ramp(y, 2.0, 2.0, steepness), 2.0 * y, rtol=1e-14)  # equal slopes make a line
    np.testing.assert_allclose(ramp(y, low, high, steepness) - ramp(-y, low, high, steepness), (low + high) * y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("exponent", [0.5, 2.7])
def test_power_and_its_slopes_are_guarded_at_zero_and_true_above(dtype, exponent):
    base = jnp.asarray([0.0, 1e-3, 0.5, 40.0], dtype)
    value = safe_power(base, exponent)
    by_base = slope(lambda b: safe_power(b, exponent))(base)
    by_exponent = jax.vmap(jax.grad(safe_power, 1), (0, None))(base, jnp.asarray(exponent, dtype))
    x = np.asarray(base[1:], float)
    for found, exact in (
        (value, x**exponent),
        (by_base, exponent * x ** (exponent - 1)),
        (by_exponent, x**exponent * np.log(x)),
    ):
        assert float(found[0]) == 0.0
        np.testing.assert_allclose(found[1:], exact, rtol=digits(dtype, 40.0))


@settings(max_examples=25, deadline=None)
@given(positive, positive, st.floats(0.3, 3.0), st.floats(0.3, 3.0))
def test_powers_multiply_and_their_exponents_add(a, b, m, n):
    np.testing.assert_allclose(power(a * b, m), float(power(a, m)) * float(power(b, m)), rtol=1e-12)
    np.testing.assert_allclose(power(a, m + n), float(power(a, m)) * float(power(a, n)), rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_ratio_is_zero_and_flat_where_nothing_divides(dtype):
    numerator, denominator = jnp.asarray([1.0, 2.0, 3.0, 0.0], dtype), jnp.asarray([0.0, -1.0, 4.0, 2.0], dtype)
    np.testing.assert_allclose(safe_ratio(numerator, denominator), [0.0, 0.0, 0.75, 0.0])
    by_numerator, by_denominator = (jax.vmap(jax.grad(safe_ratio, k))(numerator, denominator) for k in (0, 1))
    np.testing.assert_allclose(by_numerator, [0.0, 0.0, 0.25, 0.5])
    np.testing.assert_allclose(by_denominator, [0.0, 0.0, -3.0 / 16.0, 0.0])


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_values_and_slopes_are_finite_in_single_precision(function):
    """At zero, and from 1e-12 to a billion."""
    x = jnp.asarray([0.0, 1e-12, 1e-7, 1.0, 88.0, 1e3, 1e6, 1e9], jnp.float32)
    value, rising = function(x), slope(function)(x)
    assert value.dtype == rising.dtype == jnp.float32
    assert bool(jnp.isfinite(value).all()) and bool(jnp.isfinite(rising).all())


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_what_is_no_number_stays_none(function):
    assert np.isnan(function(jnp.asarray(jnp.nan)))
