import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.biology.stem_cells import msc_turnover, plugging_within, poisson_saturation, sinusoid_blocking
from hepatojax.mechanism import Fields
from hepatojax.therapy.schedule import passed_of
from tests.reference.biology_cases import draw


@pytest.mark.parametrize("rivals", [0.75, 1.8, 5.0])
def test_poisson_saturation_against_the_series(rivals):
    for mean in (1e-3, 0.3, 2.0, 10.0, 80.0):
        weights = [math.exp(n * math.log(mean) - mean - math.lgamma(n + 1)) for n in range(400)]
        series = sum(weight * n / (n + rivals) for n, weight in enumerate(weights))
        result = poisson_saturation(jnp.asarray(mean), jnp.asarray(rivals))
        np.testing.assert_allclose(result, series, rtol=0.021)


def test_blocking_of_few_trapped_cells_keeps_its_digits(p):
    fields = Fields({"plugging": jnp.array([0.0, 1e-12, 1.0]).reshape(1, 1, 3)})
    blocked = sinusoid_blocking(fields, p.stem_cells)["blocked"][0, 0]
    np.testing.assert_allclose(blocked, [0.0, 1e-12, 1 - math.exp(-1)], rtol=1e-12)


@pytest.mark.parametrize("at_h", [0.0, 0.7, 1.5, 2.25, 6.0])
@pytest.mark.parametrize("rate", [0.04, 2.0])
def test_plugging_within_a_step_against_small_steps(at_h, rate):
    """Two infusions, of which one overlaps the other's end: dw/dt = q(t) u - k w by 2e5 steps at their middle."""
    inflow, begin, end = np.asarray([3.0, 0.5]), np.asarray([0.5, 1.0]), np.asarray([1.5, 4.0])
    start, caught = np.asarray([[[0.2, 0.0]]]), np.asarray([[[0.1, 0.03]]])
    steps = 200_000
    times = (np.arange(steps) + 0.5) * at_h / steps
    running = ((times[:, None] >= begin) & (times[:, None] < end)) @ inflow
    expected = start * np.exp(-rate * at_h) + caught * np.mean(running * np.exp(-rate * (at_h - times))) * at_h
    given = [jnp.asarray(each) for each in (start, caught, inflow, begin, end)]
    found = plugging_within(*given, at_h=jnp.asarray(at_h), unplug_rate=rate)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize("derivative", [jax.jacfwd, jax.jacrev])
def test_an_infusion_that_has_not_begun_has_no_share_in_the_slope(derivative):
    """One slides and ends with the step; another's window in the step is empty and lies at the end of the step too.

    After one infusion of half an hour that begins at b, w is w0 e^(-k (b + 1/2)) and a constant.
    """
    start, caught, inflow = jnp.asarray([[[0.2]]]), jnp.asarray([[[0.1]]]), jnp.asarray([3.0, 50.0])
    begin, rate, length = 5.5, 0.04, 0.5

    def after(begin_h):
        end_h = begin_h + length
        begins, ends = jnp.stack([begin_h, jnp.asarray(6.0)]), jnp.stack([end_h, jnp.asarray(6.0)])
        return plugging_within(start, caught, inflow, begins, ends, end_h, rate)[0, 0, 0]

    exact = -rate * 0.2 * math.exp(-rate * (begin + length))
    np.testing.assert_allclose(derivative(after)(jnp.asarray(begin)), exact, rtol=1e-12)


@pytest.mark.parametrize("derivative", [jax.jacfwd, jax.jacrev])
@pytest.mark.parametrize("begin", [5.2, 5.5, 5.8, 6.0])
def test_the_slope_over_two_steps_is_that_of_the_convolution_at_an_edge_too(derivative, begin):
    """w(t) = q u int_b^e e^(-k (t - s)) ds moves with the infusion by q u (e^(-k (t - e)) - e^(-k (t - b)))."""
    nothing, caught, inflow = jnp.asarray([[[0.0]]]), jnp.asarray([[[0.1]]]), jnp.asarray([3.0])
    rate, length, step, at = 0.04, 0.5, 6.0, 2.5

    def after(begin_h):
        held = nothing
        for start_h, at_h in ((0.0, step), (step, at)):
            window = [passed_of(jnp.stack([t]), start_h, step) for t in (begin_h, begin_h + length)]
            held = plugging_within(held, caught, inflow, *window, jnp.asarray(at_h), rate)
        return held[0, 0, 0]

    left = np.exp(-rate * (step + at - begin - np.asarray([length, 0.0])))
    np.testing.assert_allclose(derivative(after)(jnp.asarray(begin)), 3.0 * 0.1 * (left[0] - left[1]), rtol=1e-12)


def test_engraftment_and_differentiation_are_off_by_default(p):
    rates = msc_turnover(draw(1), p.stem_cells)
    assert all(np.all(np.asarray(move.rate) == 0) for move in rates.transfers)
    assert np.all(np.asarray(rates.production["msc_derived"]) == 0)
