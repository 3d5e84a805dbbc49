"""Levels of multigrid: what a plan halves, what transfers keep, and how far one V-cycle contracts an error."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepatojax.numerics.multigrid import build_hierarchy, coarsening_plan, multigrid_solve, prolong, restrict, v_cycle
from tests.reference import dense

SHAPE, COARSE, PLAN = (3, 5, 6), (2, 3, 3), ((0, 1, 2),)
MEDIA = {"even": 0.0, "uneven": 1.0, "very uneven": 2.0}
solve = jax.jit(multigrid_solve, static_argnames=("plan", "tolerance"))


def medium(spread, seed=0):
    """Log-normal faces with closed walls, and a weak sink in a corner that alone holds the level."""
    rng = np.random.default_rng(seed)
    faces = [np.exp(spread * rng.standard_normal(SHAPE)) * (f > 0) for f in dense.random_faces(SHAPE, seed)]
    sink = np.zeros(SHAPE)
    sink[0, 0, 0] = 0.5
    return dense.as_jax(faces), jnp.asarray(sink)


@pytest.fixture(scope="module")
def matrices():
    """Matrices of the two finest levels and of one V-cycle, one compilation for all media."""

    def of(linear, shape):
        return jax.vmap(linear)(jnp.eye(math.prod(shape)).reshape(-1, *shape)).reshape(math.prod(shape), -1).T

    @jax.jit
    def all_three(faces, sink):
        hierarchy = build_hierarchy(faces, None, sink, PLAN)
        fine, coarse = hierarchy.operators[:2]
        return of(fine, SHAPE), of(coarse, COARSE), of(partial(v_cycle, hierarchy), SHAPE)

    return lambda name: tuple(np.asarray(m) for m in all_three(*medium(MEDIA[name])))


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(*(st.integers(1, 90),) * 3),
    st.tuples(*(st.sampled_from([1.0, 5.0, 10.0, 40.0]),) * 3),
    st.integers(1, 1500),
)
def test_a_plan_ends_small_and_halves_nothing_that_is_one_cell(shape, spacing, coarsest):
    cells = list(shape)
    plan = coarsening_plan(shape, spacing, coarsest_cells=coarsest)
    for axes in plan:
        assert math.prod(cells) > coarsest  # no level more than needed
        assert axes == tuple(sorted(set(axes))) and axes
        for axis in axes:
            assert cells[axis] > 1
            cells[axis] = (cells[axis] + 1) // 2
    assert math.prod(cells) <= coarsest


@pytest.mark.parametrize("factor", [0.1, 3.0, 1e4])
def test_a_plan_knows_no_unit_of_length_or_of_conductivity(factor):
    shape, spacing, k = (20, 33, 48), (30.0, 10.0, 8.0), (2.0, 1.0, 1.5)
    plan = coarsening_plan(shape, spacing, k)
    assert plan == coarsening_plan(shape, tuple(factor * h for h in spacing), k)
    assert plan == coarsening_plan(shape, spacing, tuple(factor * x for x in k))


@pytest.mark.parametrize(
    ("spacing", "conductivity", "first"),
    [
        ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), (0, 1, 2)),
        ((4.0, 1.0, 1.0), (1.0, 1.0, 1.0), (1, 2)),
        ((4.0, 1.0, 1.0), (16.0, 1.0, 1.0), (0, 1, 2)),  # k / h^2 is what counts
        ((1.0, 1.0, 1.0), (100.0, 1.0, 1.0), (0,)),
        ((10.0, 1.0, 3.0), (1.0, 1.0, 1.0), (1,)),
    ],
)
def test_the_strongest_couplings_are_halved_first(spacing, conductivity, first):
    assert coarsening_plan((64, 64, 64), spacing, conductivity)[0] == first


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("shape", [(3, 5, 6), (2, 4, 7), (1, 1, 5)])
def test_restriction_and_prolongation_are_transposed_matrices(shape, axes):
    """Each fine cell belongs to one coarse cell: one 1 in each column, on odd sizes too."""
    coarse = tuple((n + 1) // 2 if a in axes else n for a, n in enumerate(shape))
    down = dense.columns_of(partial(restrict, axes=axes), shape)
    up = dense.columns_of(partial(prolong, axes=axes, shape=shape), coarse)
    np.testing.assert_array_equal(down, up.T)
    np.testing.assert_array_equal(down.sum(0), 1.0)
    assert down.shape == (math.prod(coarse), math.prod(shape))


@pytest.mark.parametrize("name", MEDIA)
def test_a_coarse_level_is_symmetric_and_leaks_what_the_finest_leaks(matrices, name):
    """A constant costs only the sink, and half of every crossing face is left where the distance doubles."""
    fine, coarse, _ = matrices(name)
    down = dense.columns_of(partial(restrict, axes=PLAN[0]), SHAPE)
    np.testing.assert_allclose(coarse, coarse.T, rtol=1e-14)
    np.testing.assert_allclose(coarse.sum(1), down @ fine.sum(1), atol=1e-11)
    galerkin = down @ fine @ down.T
    off = ~np.eye(len(coarse), dtype=bool)
    np.testing.assert_allclose(coarse[off], 0.5 * galerkin[off], atol=1e-11)


@pytest.mark.parametrize("name", MEDIA)
def test_a_cycle_is_a_symmetric_positive_definite_matrix(matrices, name):
    inverse = matrices(name)[2]
    np.testing.assert_allclose(inverse, inverse.T, atol=1e-11 * np.abs(inverse).max())
    assert np.linalg.eigvalsh(0.5 * (inverse + inverse.T)).min() > 0.0


@pytest.mark.parametrize("name", MEDIA)
def test_one_cycle_contracts_every_error_and_the_average_one_to_a_fifth(matrices, name):
    """All eigenvalues of 1 - B A lie in (-1, 1), so that cycles alone converge; their mean says how fast."""
    fine, _, inverse = matrices(name)
    rates = np.linalg.eigvals(np.eye(len(fine)) - inverse @ fine)
    assert np.abs(rates.imag).max() < 1e-6
    assert np.abs(rates).max() < 1.0
    assert np.abs(rates).mean() < 0.2


@pytest.mark.parametrize("size", [1e-60, 1.0, 1e60])
def test_a_solve_has_the_same_answer_at_any_size_of_its_load(size):
    """The preconditioner works in single precision on a load brought to size one."""
    faces, sink = medium(1.0)
    load = np.random.default_rng(4).standard_normal(SHAPE)
    exact = np.linalg.solve(dense.flux_matrix(faces, faces, sink), load.ravel()).reshape(SHAPE)
    found = solve(faces, sink, jnp.asarray(size * load), jnp.zeros(SHAPE), (), tolerance=1e-11)
    assert bool(found.converged)
    np.testing.assert_allclose(np.asarray(found.value) / size, exact, rtol=1e-7, atol=1e-8 * np.abs(exact).max())
