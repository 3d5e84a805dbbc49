import math

import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.biology.stem_cells import msc_turnover, poisson_saturation, sinusoid_blocking
from hepatojax.mechanism import Fields
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


def test_engraftment_and_differentiation_are_off_by_default(p):
    rates = msc_turnover(draw(1), p.stem_cells)
    assert all(np.all(np.asarray(move.rate) == 0) for move in rates.transfers)
    assert np.all(np.asarray(rates.production["msc_derived"]) == 0)
