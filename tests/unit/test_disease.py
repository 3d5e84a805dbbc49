"""The course of the cause: a flare at any time, counted once, with a derivative at the edges of steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.model import Disease


def given(start_h, end_h):
    """Integral of the activity above its base over three steps of 6 h."""
    disease = Disease(0.5, 13.0, start_h, end_h)
    steps = [disease.mean_activity(jnp.asarray(6.0 * n), 6.0) - 0.5 for n in range(3)]
    return 6.0 * sum(steps)


@pytest.mark.parametrize(("start_h", "end_h"), [(1.0, 2.5), (0.0, 6.0), (5.0, 13.0), (6.0, 12.0)])
def test_a_flare_is_counted_once(start_h, end_h):
    start, end = jnp.asarray(start_h), jnp.asarray(end_h)
    np.testing.assert_allclose(given(start, end), 13.0 * (end_h - start_h), rtol=1e-14)
    np.testing.assert_allclose(jax.grad(given, (0, 1))(start, end), (-13.0, 13.0), rtol=1e-14)
