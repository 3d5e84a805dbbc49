"""Seven-point operators are their dense twins: transposes, M-matrices, conservation, comparison of solutions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.numerics.operators import assemble, divergence, lower_neighbour, neighbour_sum, upper_neighbour
from hepatojax.tissue.hexagon import hexagonal_lobule
from tests.reference import dense

SHAPES = [(1, 1, 1), (1, 1, 6), (4, 1, 3), (3, 4, 5)]
MAIN = (3, 4, 5)


compiled = jax.jit(assemble)


def case(shape=MAIN, seed=0, open_share=0.8):
    """Random nonsymmetric faces, some closed, and a sink that is zero in half of the cells."""
    forward, backward = (dense.random_faces(shape, seed + k, open_share) for k in (0, 100))
    closed = [b * (f > 0) for f, b in zip(forward, backward, strict=True)]
    rng = np.random.default_rng(seed + 7)
    sink = rng.uniform(0.1, 1.0, shape) * (rng.random(shape) < 0.5)
    return forward, closed, sink


def built(forward, backward, sink):
    return compiled(dense.as_jax(forward), dense.as_jax(backward), jnp.asarray(sink))


def field(seed, shape=MAIN):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("open_share", [1.0, 0.5])
def test_operator_and_its_transpose_are_the_matrix_of_all_faces(shape, open_share):
    faces = case(shape, 3, open_share)
    operator, twin = built(*faces), dense.with_identity_rows(dense.flux_matrix(*faces))
    np.testing.assert_allclose(dense.columns_of(operator, shape), twin, rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(dense.columns_of(operator.transposed, shape), twin.T, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("seed", range(4))
def test_transpose_moves_to_the_other_side_of_the_product(seed):
    operator, u, v = built(*case(seed=seed)), field(seed), field(seed + 50)
    np.testing.assert_allclose(np.vdot(v, operator(u)), np.vdot(operator.transposed(v), u), rtol=1e-12)
    assert abs(np.vdot(v, operator(u)) - np.vdot(operator(v), u)) > 1e-3  # it is not symmetric


def test_transposing_twice_changes_nothing():
    operator = built(*case())
    np.testing.assert_array_equal(operator.transposed.transposed(field(1)), operator(field(1)))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_neighbours_above_and_below_are_transposes(axis):
    u, v = field(1), field(2)
    np.testing.assert_allclose(np.vdot(v, upper_neighbour(u, axis)), np.vdot(lower_neighbour(v, axis), u), rtol=1e-13)
    there_and_back = upper_neighbour(lower_neighbour(u, axis), axis)
    kept = np.moveaxis(np.array(u), axis, 0)
    kept[-1] = 0.0
    np.testing.assert_array_equal(there_and_back, np.moveaxis(kept, 0, axis))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_nothing_enters_through_the_walls(axis):
    ones = jnp.ones(MAIN)
    assert not np.moveaxis(np.asarray(upper_neighbour(ones, axis)), axis, 0)[-1].any()
    assert not np.moveaxis(np.asarray(lower_neighbour(ones, axis)), axis, 0)[0].any()


def test_columns_sum_to_the_sink_so_that_what_leaves_a_cell_enters_another():
    forward, backward, sink = case()
    operator = built(forward, backward, sink)
    inactive = np.diag(dense.flux_matrix(forward, backward, sink)).reshape(MAIN) == 0.0
    left = np.sum(operator(field(4)))
    np.testing.assert_allclose(left, np.sum((sink + inactive) * np.asarray(field(4))), rtol=1e-12)


def test_divergence_telescopes_to_the_flux_through_any_cut():
    flux = dense.as_jax(dense.random_faces(MAIN, 5))
    spread = divergence(flux)
    np.testing.assert_allclose(spread, dense.divergence(flux), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(jnp.sum(spread), 0.0, atol=1e-13)
    for axis in range(3):
        planes, through = np.moveaxis(np.asarray(spread), axis, 0), np.moveaxis(np.asarray(flux[axis]), axis, 0)
        for cut in range(1, MAIN[axis]):
            np.testing.assert_allclose(planes[:cut].sum(), through[cut - 1].sum(), rtol=1e-12)


def test_energy_of_a_symmetric_operator_is_the_sum_of_squared_differences():
    faces, _, sink = case(seed=2)
    u = np.asarray(field(6))
    energy = np.sum(sink * u**2)
    for axis in range(3):
        for below, above in dense.inner_faces(MAIN, axis):
            energy += faces[axis][below] * (u[below] - u[above]) ** 2
    operator = built(faces, faces, sink)
    idle = np.diag(dense.flux_matrix(faces, faces, sink)).reshape(MAIN) == 0.0
    np.testing.assert_allclose(np.vdot(u, operator(jnp.asarray(u))), energy + np.sum(u[idle] ** 2), rtol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_inverse_of_an_operator_with_a_sink_everywhere_is_positive_and_bounded_by_it(seed):
    """Diagonally dominant by columns: A^-1 >= 0, and a unit load leaves through the sinks, whole."""
    forward, backward, sink = case(seed=seed)
    sink = sink + 0.05
    matrix = dense.columns_of(built(forward, backward, sink), MAIN)
    off = matrix - np.diag(np.diag(matrix))
    assert off.max() <= 0.0
    assert (np.diag(matrix) + off.sum(0)).min() > 0.0
    inverse = np.linalg.inv(matrix)
    assert inverse.min() >= -1e-15
    np.testing.assert_allclose(sink.ravel() @ inverse, 1.0, rtol=1e-12)


def test_more_supply_is_more_of_everything_everywhere():
    forward, backward, sink = case(seed=8)
    matrix = dense.columns_of(built(forward, backward, sink + 0.02), MAIN)
    rng = np.random.default_rng(0)
    less = rng.random(matrix.shape[0])
    more = less + rng.random(matrix.shape[0]) * (rng.random(matrix.shape[0]) < 0.2)
    assert (np.linalg.solve(matrix, more) - np.linalg.solve(matrix, less)).min() >= 0.0


def test_a_field_pulled_to_a_target_stays_within_its_extremes():
    """T lap u = s (u - g) has min g <= u <= max g: the discrete maximum principle."""
    faces, _, _ = case(seed=9, open_share=1.0)
    sink = np.random.default_rng(1).uniform(0.01, 1.0, MAIN)
    target = np.asarray(field(3)).ravel()
    u = np.linalg.solve(dense.columns_of(built(faces, faces, sink), MAIN), sink.ravel() * target)
    assert target.min() < u.min() <= u.max() < target.max()
    assert np.ptp(u) < np.ptp(target)


def test_cells_without_tissue_are_rows_of_the_identity():
    tissue = hexagonal_lobule((9, 10, 2), 500.0, 200.0, 60.0, 60.0)
    faces = dense.as_jax(tissue.grid.faces)
    operator = compiled(faces, faces, jnp.asarray(tissue.outlet))
    empty = np.asarray(tissue.grid.volume) == 0.0
    assert empty.any()
    u = field(5, empty.shape)
    np.testing.assert_array_equal(operator(u)[empty], u[empty])
    assert not np.asarray(neighbour_sum(operator, jnp.where(empty, u, 0.0)))[~empty].any()  # and nobody reads them
    assert np.asarray(operator.diagonal).min() > 0.0


def test_single_precision_operator_stays_single_and_is_the_same_operator():
    forward, backward, sink = case()
    single = compiled(dense.as_jax(forward, jnp.float32), dense.as_jax(backward, jnp.float32), jnp.asarray(sink, "f4"))
    found = single(field(1).astype(jnp.float32))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, built(forward, backward, sink)(field(1)), rtol=1e-4, atol=1e-5)
