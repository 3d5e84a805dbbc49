"""Motion of cells: conserved, positive at any step, exact decay, exact equilibrium; label goes along."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.tissue.migration import carried_label, chemotactic_potential, crowding_potential, migrate
from tests.reference.flows import block

move = jax.jit(migrate, static_argnames="tolerance")


def patchy(dtype=jnp.float64):
    random = np.random.default_rng(0)
    tissue = (random.random((3, 6, 7)) > 0.15) * random.uniform(0.3, 1.0, (3, 6, 7))
    grid = block((3, 6, 7), (20.0, 15.0, 10.0), tissue)
    density = np.zeros(grid.shape)
    density[0, 0, :3] = 100.0
    return grid, jnp.asarray(density * (tissue > 0), dtype), jnp.asarray(random.random(grid.shape), dtype)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize(("motility", "step"), [(400.0, 3.0), (50.0, 1e4), (0.0, 6.0)])
def test_no_cell_is_lost_or_negative(dtype, motility, step):
    grid, density, attractant = patchy(dtype)
    motion = move(grid, density, chemotactic_potential(attractant, 3e3, 0.5), motility, step)
    assert bool(motion.converged)
    assert motion.density.dtype == dtype
    assert float(motion.density.min()) >= 0.0
    assert float(grid.integral(motion.density) / grid.integral(density)) == pytest.approx(1.0, rel=1e-6)


def test_a_cosine_decays_as_backward_euler_says():
    cells, h, motility, step = 16, 10.0, 200.0, 3.0
    grid = block((1, 1, cells), (h, h, h))
    wave = jnp.asarray(np.cos(np.pi * (np.arange(cells) + 0.5) / cells))[None, None, :]
    motion = move(grid, 2.0 + wave, jnp.zeros(grid.shape), motility, step)
    rate = motility * (2 * np.sin(np.pi / (2 * cells)) / h) ** 2
    np.testing.assert_allclose(motion.density, 2.0 + wave / (1 + rate * step), rtol=1e-9)


def test_equilibrium_of_drift_and_motility_is_kept():
    grid, _, potential = patchy()
    density = jnp.exp(300.0 * potential / 200.0)
    motion = move(grid, density, 300.0 * potential, 200.0, 100.0)
    active = np.asarray(grid.active)
    np.testing.assert_allclose(motion.density[active], density[active], rtol=1e-8)


def test_cells_leave_crowded_places_and_climb_the_attractant():
    grid = block((1, 1, 9), (10.0, 10.0, 10.0))
    place = jnp.linspace(0.0, 1.0, 9)[None, None, :]
    even = jnp.ones(grid.shape)

    def centre(potential):
        moved = move(grid, even, potential, 10.0, 5.0).density
        return float(grid.mean(moved * place))

    assert centre(crowding_potential(place, 200.0)) < 0.5 < centre(chemotactic_potential(place, 200.0, 1.0))


def test_derivative_with_respect_to_the_attractant():
    grid, density, attractant = patchy()
    weight = jnp.asarray(np.random.default_rng(3).random(grid.shape))

    def objective(x):
        potential = chemotactic_potential(attractant * (1.0 + x * weight), 3e3, 0.5)
        moved = migrate(grid, density * (1.0 + x), potential, 100.0 * (1.0 + x), 4.0, tolerance=1e-14)
        return jnp.sum(weight * moved.density)

    value = jax.jit(jax.value_and_grad(objective))
    difference = float(value(jnp.asarray(1e-5))[0] - value(jnp.asarray(-1e-5))[0]) / 2e-5
    assert difference == pytest.approx(float(value(jnp.zeros(()))[1]), rel=1e-6)


def test_cells_that_are_not_there_have_a_derivative():
    grid, density, attractant = patchy()
    potential = chemotactic_potential(attractant, 3e3, 0.5)

    def objective(amount):
        return jnp.sum(attractant * migrate(grid, amount * density, potential, 100.0, 4.0, tolerance=1e-14).density)

    slope = jax.jit(jax.grad(objective))
    assert float(slope(0.0)) == pytest.approx(float(slope(1.0)), rel=1e-8)
    assert float(slope(0.0)) > 0


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_label_goes_along_with_living_cells(dtype):
    """Cells that all live keep one label each; what dead cells left stays; nothing is lost or negative."""
    grid, density, attractant = patchy(dtype)
    motion = move(grid, density, chemotactic_potential(attractant, 3e3, 0.5), 400.0, 6.0)
    eps = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(carried_label(density, density, motion.density), motion.density, rtol=4 * eps)
    left = jnp.asarray(grid.active, dtype) * jnp.arange(density.size, dtype=dtype).reshape(density.shape)
    label = carried_label(density + left, density, motion.density)
    np.testing.assert_allclose(label, motion.density + left, rtol=200 * eps, atol=200 * eps)
    bare = carried_label(0.3 * density, density, motion.density)  # cells outnumber their label
    assert float(bare.min()) >= 0.0
    assert float(grid.integral(bare) / grid.integral(density)) == pytest.approx(0.3, rel=1e-6)
