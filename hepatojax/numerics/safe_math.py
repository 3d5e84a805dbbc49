"""Smooth, guarded functions of rates: finite in value and derivative at zero, in float32 and float64.

JAX differentiates both branches of a `where`, and zero times infinity is a NaN. So each guard stands twice, outside for
the value and inside for the argument of the branch that is not taken. A floor in a denominator would not do: it cuts
the derivative, or underflows when squared.

Reference: RELIABILITY 5.1; NUMERICS decision 12.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.scipy.special import logsumexp
from jax.typing import ArrayLike
from jaxtyping import Array, Float


def hill(concentration: ArrayLike, half_saturation: ArrayLike, exponent: ArrayLike = 1.0) -> Array:
    """Hill response (c/K)^n / (1 + (c/K)^n), zero with zero slope at c <= 0 for n > 1.

    Above K it is 1 / (1 + (K/c)^n), the same number without a power that overflows.

    Args:
        concentration: c [any unit], any shape.
        half_saturation: K, same unit, > 0.
        exponent: n [-]; a plain 1 is c / (K + c), without a power and without a guard below zero.

    Returns:
        The response in [0, 1] [-], for c >= 0; it rounds to 1 far above K.

    Reference: BIOLOGY A1.
    """
    concentration = jnp.asarray(concentration)
    if isinstance(exponent, (int, float)) and exponent == 1.0:
        return concentration / (half_saturation + concentration)
    return _hill_traced_once(concentration, jnp.asarray(half_saturation), jnp.asarray(exponent))


@jax.custom_jvp
def _hill(concentration: Array, half_saturation: Array, exponent: Array) -> Array:
    above, ratio = _ratio_below_one(concentration, half_saturation)
    power = safe_power(ratio, exponent)
    return jnp.where(above, 1.0, power) / (1.0 + power)


def _ratio_below_one(concentration: Array, half_saturation: Array) -> tuple[Array, Array]:
    """Whether c > K, and K/c there, c/K elsewhere."""
    above = concentration > half_saturation
    return above, jnp.where(above, half_saturation, concentration) / jnp.where(above, concentration, half_saturation)


def _hill_jvp(primals: tuple[Array, Array, Array], tangents: tuple[Any, Any, Any]) -> tuple[Array, Array]:
    """dH = p / (1 + p)^2 (n dc / c - n dK / K + log(c/K) dn), p the power of the value; AD would take another one."""
    concentration, half_saturation, exponent = primals
    above, ratio = _ratio_below_one(concentration, half_saturation)
    power = safe_power(ratio, exponent)
    empty = power <= 0
    by_logarithm = power / ((1.0 + power) * (1.0 + power))
    slopes = (  # made where they are asked for: K and n are constants mostly
        lambda: by_logarithm * exponent / jnp.where(empty, half_saturation, concentration),
        lambda: -by_logarithm * exponent / half_saturation,
        lambda: by_logarithm * jnp.where(above, -1.0, 1.0) * jnp.log(jnp.where(empty, 1.0, ratio)),
    )
    changes = [slope() * t for slope, t in zip(slopes, tangents, strict=True) if not isinstance(t, SymbolicZero)]
    value = _hill(*primals)
    return value, sum(changes, jnp.zeros_like(value))


_hill.defjvp(_hill_jvp, symbolic_zeros=True)
_hill_traced_once = jax.jit(_hill)  # and differentiated once, for its many uses, as the decay functions below


def positive_part(value: ArrayLike, smoothing: ArrayLike) -> Array:
    """Smooth positive part (y + sqrt(y^2 + e^2)) / 2; at y = 0 it leaks e/2.

    Args:
        value: y [any unit], any shape.
        smoothing: e, same unit, > 0; width of the bend.

    Returns:
        The positive part [unit of y]: near y for y >> e, near e^2 / (4 |y|) for y << -e.

    Reference: BIOLOGY A1.
    """
    value = jnp.asarray(value)
    return 0.5 * (value + jnp.sqrt(value * value + smoothing * smoothing))


def ramp(value: ArrayLike, low: ArrayLike, high: ArrayLike, steepness: ArrayLike) -> Array:
    """y (lo + (hi - lo) sigmoid(b y)): zero at zero, slope lo far below and hi far above.

    Args:
        value: y [any unit], any shape.
        low: lo, the slope of the negative side [unit of the result over that of y].
        high: hi, the slope of the positive side, same unit.
        steepness: b, how sharply one passes into the other [1 over the unit of y].

    Returns:
        The ramp [unit of a slope times that of y].

    Reference: BIOLOGY A1.
    """
    value = jnp.asarray(value)
    return value * (low + (high - low) * jax.nn.sigmoid(steepness * value))


def smooth_peak(
    series: Float[Array, " t"], width: Float[Array, ""] | float, weights: Float[Array, " t"] | None = None
) -> Float[Array, ""]:
    """The one smooth maximum through which peaks enter; it is never below an entry of weight 1.

        w log(sum(a exp(y / w))),   max(y + w log(a)) <= result <= max(y) + w log(sum(a))

    What keeps a limit on it keeps the limit on the peak. It rises with every entry and is convex.

    Args:
        series: y, any unit, (t,).
        width: w, in the same unit.
        weights: a in 0..1 [-], not all zero, (t,); 1 by default.

    Returns:
        The smooth maximum, in the same unit.
    """
    top = lax.stop_gradient(jnp.max(series))  # the result does not depend on it
    return top + width * logsumexp((series - top) / width, b=weights)


def smooth_step(value: ArrayLike) -> Array:
    """y^2 (3 - 2 y) in 0..1, 0 below and 1 above, with a continuous derivative.

    Args:
        value: y [-], any shape.

    Returns:
        The step [-].
    """
    y = jnp.asarray(value)
    return jnp.where(y <= 0, 0.0, jnp.where(y >= 1, 1.0, y * y * (3.0 - 2.0 * y)))


def safe_power(base: ArrayLike, exponent: ArrayLike) -> Array:
    """base^exponent for base >= 0, with value and derivative 0 at base = 0.

    Args:
        base: x [any unit], any shape; below zero it counts as zero.
        exponent: n [-].

    Returns:
        x^n [unit of x to the n].
    """
    base = jnp.asarray(base)
    empty = base <= 0  # a NaN is not, and stays one
    return jnp.where(empty, 0.0, jnp.where(empty, 1.0, base) ** exponent)


def safe_ratio(numerator: ArrayLike, denominator: ArrayLike) -> Array:
    """numerator / denominator, and 0 where the denominator is not positive.

    Args:
        numerator: a [any unit], any shape.
        denominator: b [any unit], any shape.

    Returns:
        a / b, or 0 with zero derivative where b <= 0.
    """
    denominator = jnp.asarray(denominator)
    empty = denominator <= 0  # a NaN is not, and stays one
    return jnp.where(empty, 0.0, numerator / jnp.where(empty, 1.0, denominator))


@jax.jit
def decay_mean(decay: Array) -> Array:
    """Mean of exp(-z s) over s in 0..1: (1 - exp(-z)) / z, 1 at z = 0.

    What is left at the end of a step of an even supply that decays at a constant rate; a series up to z = 1.

    Args:
        decay: z, rate times step [-], any shape.

    Returns:
        The mean [-], in (0, 1] for z >= 0.
    """
    return _mean(decay)


@jax.jit
def decay_deficit(decay: Array) -> Array:
    """Share of an even supply that is lost before the end: 1 - (1 - exp(-z)) / z, without cancellation at small z.

    Args:
        decay: z, rate times step [-], any shape.

    Returns:
        The share [-], in [0, 1) for z >= 0; z / 2 near zero.
    """
    return _deficit(decay)


@jax.custom_jvp
def _mean(decay: Array) -> Array:
    large, safe, small = _by_size(decay)
    return jnp.where(large, _closed_mean(safe), 1.0 - small * _deficit_series(small))


@jax.custom_jvp
def _deficit(decay: Array) -> Array:
    large, safe, small = _by_size(decay)
    return jnp.where(large, 1.0 - _closed_mean(safe), small * _deficit_series(small))


def _deficit_slope(decay: Array) -> Array:
    """Derivative of the deficit d = z s, from the exponential and the series of its value.

    d' = (1 - d - exp(-z)) / z,   which by exp(-z) = 1 - z (1 - d) is 1 - s (1 + z)

    AD would differentiate every term of the series.
    """
    large, safe, small = _by_size(decay)
    closed = (_closed_mean(safe) - jnp.exp(-safe)) / safe
    return jnp.where(large, closed, 1.0 - _deficit_series(small) * (1.0 + small))


_mean.defjvps(lambda tangent, _, decay: -_deficit_slope(decay) * tangent)
_deficit.defjvps(lambda tangent, _, decay: _deficit_slope(decay) * tangent)


def _by_size(decay: Array) -> tuple[Array, Array, Array]:
    """Where the closed form holds, and the arguments of it and of the series, each harmless where the other holds."""
    large = jnp.abs(decay) > 1.0
    return large, jnp.where(large, decay, 1.0), jnp.where(large, 0.0, decay)


def _closed_mean(decay: Array) -> Array:
    return (1.0 - jnp.exp(-decay)) / decay


def _deficit_series(decay: Array) -> Array:
    """s = 1/2! - z/3! + z^2/4! - ..., exact to round-off up to |z| = 1, where the closed form loses a factor 2 / z."""
    terms = 10 if jnp.finfo(decay.dtype).bits == 32 else 18  # the first one left out is 1/12! or 1/20!
    coefficients = [(-1.0) ** k / math.factorial(k + 2) for k in range(terms)]
    series = jnp.full_like(decay, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        series = series * decay + coefficient
    return series
