"""The grid counts volumes, means and growth as integrals do."""

import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.numerics.grid import Grid
from tests.reference.flows import block

SPACING = (30.0, 20.0, 10.0)


def patchy():
    tissue = np.random.default_rng(0).uniform(0.0, 1.0, (3, 4, 5))
    tissue[0, 0, :2] = 0.0
    return block((3, 4, 5), SPACING, tissue)


def test_integral_is_linear_and_that_of_one_is_the_volume():
    grid, rng = patchy(), np.random.default_rng(1)
    u, v = (jnp.asarray(rng.standard_normal(grid.shape)) for _ in range(2))
    expected = 2.0 * grid.integral(u) - 3.0 * grid.integral(v)
    np.testing.assert_allclose(grid.integral(2.0 * u - 3.0 * v), expected, rtol=1e-12)
    np.testing.assert_allclose(grid.integral(jnp.ones(grid.shape)), grid.total_volume, rtol=1e-15)
    np.testing.assert_allclose(grid.mean(u), np.average(u, weights=np.asarray(grid.volume)), rtol=1e-13)


def test_mean_of_a_constant_is_the_constant_and_no_mean_leaves_the_range():
    grid = patchy()
    np.testing.assert_allclose(grid.mean(jnp.full(grid.shape, 0.3)), 0.3, rtol=1e-15)
    u = jnp.asarray(np.random.default_rng(2).random(grid.shape))
    inside = np.asarray(u)[np.asarray(grid.volume) > 0]
    assert inside.min() < float(grid.mean(u)) < inside.max()


def test_what_stands_outside_the_tissue_does_not_count():
    grid = patchy()
    u = jnp.where(grid.active, 1.0, 1e30)
    np.testing.assert_allclose(grid.mean(u), 1.0, rtol=1e-15)
    assert int(grid.active.sum()) == 3 * 4 * 5 - 2


def test_single_precision_fields_are_summed_in_double_precision():
    """2^24 + 1 is no float32: a sum in single precision would lose every small cell."""
    grid = Grid((1.0, 1.0, 1.0), np.ones((1, 1, 1001)), (np.zeros((1, 1, 1001)),) * 3)
    field = jnp.ones((1, 1, 1001), jnp.float32).at[0, 0, 0].set(2.0**24)
    assert float(grid.integral(field)) == 2.0**24 + 1000.0


@pytest.mark.parametrize("scale", [0.7, 1.0, 1.26])
def test_growth_is_a_similarity(scale):
    """Volumes go by the cube, A / h by the first power; growing twice is growing by the product."""
    grid = patchy()
    grown = grid.scaled(scale)
    np.testing.assert_allclose(grown.total_volume, scale**3 * grid.total_volume, rtol=1e-14)
    spacing = tuple(scale * h for h in SPACING)
    again = block(grid.shape, spacing, np.asarray(grid.volume) / np.prod(SPACING))
    np.testing.assert_allclose(grown.volume, again.volume, rtol=1e-14)
    for mine, theirs in zip(grown.faces, again.faces, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-14)
    np.testing.assert_allclose(grown.scaled(1.0 / scale).volume, grid.volume, rtol=1e-14)
