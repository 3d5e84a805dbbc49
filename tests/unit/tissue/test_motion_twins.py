"""Motion of cells and capture from the blood against dense twins, superposition and equilibrium."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.tissue.arrival import unit_arrival
from hepatojax.tissue.migration import chemotactic_potential, crowding_potential, migrate, relaxed_occupancy
from tests.reference import dense
from tests.reference.flows import block, corner_to_corner

SHAPE, SPACING = (2, 4, 5), (20.0, 15.0, 10.0)
move = jax.jit(migrate, static_argnames="tolerance")
relax = jax.jit(relaxed_occupancy, static_argnames="tolerance")
arrive = jax.jit(unit_arrival, static_argnames="tolerance")


def patchy(seed=0):
    rng = np.random.default_rng(seed)
    tissue = (rng.random(SHAPE) > 0.2) * rng.uniform(0.3, 1.0, SHAPE)
    grid = block(SHAPE, SPACING, tissue)
    density, potential = rng.random(SHAPE) * (tissue > 0), 2e3 * rng.random(SHAPE)
    return grid, jnp.asarray(density), jnp.asarray(potential)


def one_step(grid, density, potential, motility, step):
    """Backward Euler with exponential fluxes, face by face."""
    forward, backward = np.zeros((2, 3, *SHAPE))
    density, potential = np.asarray(density), np.asarray(potential)
    for axis in range(3):
        face = np.asarray(grid.faces[axis])
        for below, above in dense.inner_faces(SHAPE, axis):
            drift = face[below] * (potential[above] - potential[below])
            pair = dense.exponential_coefficients(float(drift), float(motility * face[below]))
            forward[axis][below], backward[axis][below] = pair
    inertia = np.asarray(grid.volume) / step
    matrix = dense.with_identity_rows(dense.flux_matrix(forward, backward, inertia))
    return np.linalg.solve(matrix, (inertia * density).ravel()).reshape(SHAPE)


@pytest.mark.parametrize(("motility", "step"), [(400.0, 0.5), (50.0, 6.0), (0.0, 6.0), (2.0, 100.0)])
def test_a_step_of_motion_is_the_dense_step(motility, step):
    grid, density, potential = patchy()
    motion = move(grid, density, potential, motility, step)
    twin = one_step(grid, density, potential, motility, step)
    assert bool(motion.converged)
    np.testing.assert_allclose(motion.density, twin, atol=1e-8 * twin.max())


def test_motion_is_linear_in_the_cells_and_blind_to_the_level_of_the_potential():
    grid, density, potential = patchy()
    other = jnp.asarray(np.random.default_rng(9).random(SHAPE)) * (grid.volume > 0).astype(float)
    steps = [move(grid, n, potential, 100.0, 4.0).density for n in (density, other, 2.0 * density + 3.0 * other)]
    np.testing.assert_allclose(steps[2], 2.0 * steps[0] + 3.0 * steps[1], atol=1e-8)
    np.testing.assert_allclose(move(grid, density, potential + 5e4, 100.0, 4.0).density, steps[0], atol=1e-7)


def test_motion_depends_on_rates_times_step_alone():
    grid, density, potential = patchy()
    one, two = move(grid, density, potential, 100.0, 4.0), move(grid, density, 4.0 * potential, 400.0, 1.0)
    np.testing.assert_allclose(one.density, two.density, atol=1e-9)


@pytest.mark.parametrize("drift", [-3.0, 0.0, 0.5, 8.0])
def test_every_start_ends_in_the_boltzmann_distribution(drift):
    """n ~ exp(phi / D) in each connected block, whatever the start."""
    grid = block(SHAPE, SPACING)
    rng = np.random.default_rng(1)
    potential = jnp.asarray(100.0 * drift * rng.random(SHAPE))
    weight = np.exp(np.asarray(potential) / 100.0)
    for seed in (2, 3):
        density = jnp.asarray(np.random.default_rng(seed).random(SHAPE))
        ended = np.asarray(move(grid, density, potential, 100.0, 1e9).density)
        wanted = weight * float(density.sum()) / weight.sum()
        np.testing.assert_allclose(ended, wanted, rtol=1e-4)


def test_potentials_are_those_of_receptors_and_of_crowding():
    """Half the sensitivity at half saturation; slope chi / K at nothing; crowding is linear and points down."""
    amount = jnp.asarray([[[0.0, 0.5, 1e9]]])
    np.testing.assert_allclose(chemotactic_potential(amount, 40.0, 0.5)[0, 0], [0.0, 20.0, 40.0], rtol=1e-8)
    slope = jax.jvp(lambda a: chemotactic_potential(a, 40.0, 0.5), (amount,), (jnp.ones((1, 1, 3)),))[1]
    np.testing.assert_allclose(slope[0, 0, :2], [80.0, 20.0], rtol=1e-13)
    np.testing.assert_allclose(crowding_potential(amount, 30.0)[0, 0], [0.0, -15.0, -3e10])


def test_relaxed_occupancy_is_the_dense_implicit_diffusion():
    """Faces carry the mean of the mobile shares of both cells; nothing is gained, nothing leaves the range."""
    grid, occupancy, _ = patchy()
    mobile = jnp.asarray(np.random.default_rng(5).random(SHAPE))
    solution = relax(grid, occupancy, mobile, 80.0, 6.0)
    faces = np.zeros((3, *SHAPE))
    moves = np.asarray(mobile)
    for axis in range(3):
        face = np.asarray(grid.faces[axis])
        for below, above in dense.inner_faces(SHAPE, axis):
            faces[axis][below] = 80.0 * face[below] * 0.5 * (moves[below] + moves[above])
    inertia = np.asarray(grid.volume) / 6.0
    matrix = dense.with_identity_rows(dense.flux_matrix(faces, faces, inertia))
    twin = np.linalg.solve(matrix, (inertia * np.asarray(occupancy)).ravel()).reshape(SHAPE)
    np.testing.assert_allclose(solution.value, twin, atol=1e-9)
    np.testing.assert_allclose(grid.integral(solution.value), grid.integral(occupancy), rtol=1e-8)
    inside = np.asarray(grid.active)
    before, after = np.asarray(occupancy)[inside], np.asarray(solution.value)[inside]
    assert before.min() <= after.min() <= after.max() <= before.max()


def test_nothing_gives_way_where_nothing_is_mobile():
    grid, occupancy, _ = patchy()
    np.testing.assert_allclose(relax(grid, occupancy, jnp.zeros(SHAPE), 80.0, 6.0).value, occupancy, atol=1e-10)


@pytest.mark.parametrize("adhesion", [1e-6, 0.7, 30.0])
def test_capture_is_the_dense_balance_and_what_is_not_caught_leaves(adhesion):
    grid, flow = corner_to_corner(SHAPE, SPACING, seed=4)
    affinity = np.random.default_rng(2).uniform(0.0, 2.0, SHAPE)
    arrival = arrive(grid, flow, jnp.asarray(affinity), adhesion, jnp.ones(SHAPE))
    pairs = [[dense.upwind_coefficients(float(q), 0.0) for q in np.asarray(axis).ravel()] for axis in flow.flux]
    forward, backward = ([np.asarray(axis)[:, k].reshape(SHAPE) for axis in pairs] for k in (0, 1))
    taken = adhesion * float(flow.total / grid.total_volume) * np.asarray(grid.volume) * affinity
    matrix = dense.with_identity_rows(dense.flux_matrix(forward, backward, np.asarray(flow.outflow) + taken))
    carried = np.linalg.solve(matrix, np.asarray(flow.inflow).ravel()).reshape(SHAPE)
    np.testing.assert_allclose(arrival.carried, carried, atol=1e-8)
    caught = np.sum(taken * carried) / float(flow.total)
    np.testing.assert_allclose(arrival.captured_share, caught, rtol=1e-6)
    left = np.sum(np.asarray(flow.outflow) * np.asarray(arrival.carried)) / float(flow.total)
    np.testing.assert_allclose(float(arrival.captured_share) + left, 1.0, rtol=1e-8)
    settled = affinity * carried
    mean = np.average(settled, weights=np.asarray(grid.volume))
    np.testing.assert_allclose(arrival.density, settled / mean, atol=1e-6)


def test_weak_capture_settles_by_affinity_alone_and_stronger_capture_catches_more():
    grid, flow = corner_to_corner(SHAPE, SPACING, seed=4)
    affinity = jnp.asarray(np.random.default_rng(2).uniform(0.0, 2.0, SHAPE))
    arrivals = [arrive(grid, flow, affinity, k, jnp.ones(SHAPE)) for k in (1e-7, 0.1, 1.0, 10.0)]
    active = np.asarray(grid.active)
    wanted = np.asarray(affinity / grid.mean(affinity))[active]
    np.testing.assert_allclose(np.asarray(arrivals[0].density)[active], wanted, rtol=1e-4)
    shares = [float(a.captured_share) for a in arrivals]
    assert np.all(np.diff(shares) > 0.0) and shares[-1] < 1.0
    np.testing.assert_allclose(shares[0], 1e-7 * float(grid.mean(affinity)), rtol=1e-4)
