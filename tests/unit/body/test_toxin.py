"""One dose of a toxin: the mean response over steps is its exact integral, at any time, with a derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from hepatojax.body.toxin import ToxinParameters, mean_toxin_response
from hepatojax.parameters.registry import from_registry, load_parameters

P = from_registry(ToxinParameters, load_parameters().toxin)
STEP_H, STEPS = 6.0, 8


def total(dose, taken_h):
    """Integral of the response over all steps [h]."""
    starts = [jnp.asarray(STEP_H * n) for n in range(STEPS)]
    return STEP_H * sum(mean_toxin_response(dose, taken_h, start, STEP_H, P) for start in starts)


def level(time_h):
    """Acetaminophen: 350 mg/kg in 0.9 l/kg of 151.16 g/mol, k 0.17 1/h; response to 1 mM with exponent 6."""
    ratio = 350.0 / 0.9 / 151.16 * np.exp(-0.17 * time_h)
    return ratio**6 / (1.0 + ratio**6)


@pytest.mark.parametrize("taken_h", [0.0, 2.5, 6.0, 11.9])
def test_the_response_is_the_integral_over_the_course(taken_h):
    exact = quad(level, 0.0, STEP_H * STEPS - taken_h, epsabs=1e-12)[0]
    np.testing.assert_allclose(total(jnp.asarray(350.0), jnp.asarray(taken_h)), exact, rtol=1e-9)


def test_nothing_before_the_dose_and_without_one():
    start = jnp.asarray(0.0)
    assert float(mean_toxin_response(jnp.asarray(350.0), jnp.asarray(1e5), start, STEP_H, P)) == 0.0
    assert float(mean_toxin_response(jnp.asarray(0.0), jnp.asarray(0.0), start, STEP_H, P)) == 0.0


@pytest.mark.parametrize("taken_h", [0.0, 2.5, 6.0, 1e5])
def test_derivatives_by_dose_and_time(taken_h):
    def late(dose, taken_h):
        return mean_toxin_response(dose, taken_h, jnp.asarray(6.0), STEP_H, P)

    by_dose, by_time = jax.grad(late, (0, 1))(jnp.asarray(150.0), jnp.asarray(taken_h))
    if taken_h > 12.0:
        assert (float(by_dose), float(by_time)) == (0.0, 0.0)
        return
    inside = taken_h if 0.0 < taken_h < 6.0 else taken_h + 1e-3
    by_dose, by_time = jax.grad(late, (0, 1))(jnp.asarray(150.0), jnp.asarray(inside))
    slope_dose = (late(jnp.asarray(150.01), inside) - late(jnp.asarray(149.99), inside)) / 0.02
    slope_time = (late(jnp.asarray(150.0), inside + 1e-4) - late(jnp.asarray(150.0), inside - 1e-4)) / 2e-4
    np.testing.assert_allclose((by_dose, by_time), (slope_dose, slope_time), rtol=1e-5)


def test_derivative_without_a_dose_is_finite():
    assert np.isfinite(jax.grad(total, (0, 1))(jnp.asarray(0.0), jnp.asarray(3.0))).all()
