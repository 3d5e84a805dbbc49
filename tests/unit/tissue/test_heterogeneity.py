"""The random field has its moments and its realisation on any grid; septa resist and leave gaps."""

import jax
import numpy as np
import pytest

from hepatojax.io.scenario.rules import neighbours_of_tiling
from hepatojax.tissue.heterogeneity import fibrotic_septa, gaussian_field, neighbouring_vessels, random_permeability
from hepatojax.tissue.hexagon import hexagonal_lobule, well_mixed
from hepatojax.tissue.perfusion import PerfusionParameters, solve_perfusion


def lobule(nx=30, nz=8):
    return hexagonal_lobule((nx, round(nx * 2 / 3**0.5), nz), 500.0, 600.0, 40.0, 35.0)


def test_field_has_unit_variance_and_the_stated_correlation():
    samples = [gaussian_field(lobule(), 60.0, np.random.default_rng(seed)) for seed in range(20)]
    fields = np.stack(samples)
    assert abs(fields.mean()) < 0.05
    assert abs(fields.std() - 1.0) < 0.05
    hz, hy, hx = lobule().grid.spacing_um
    for axis, h in ((1, hz), (2, hy), (3, hx)):
        here, there = np.delete(fields, -1, axis), np.delete(fields, 0, axis)
        assert abs(np.mean(here * there) - np.exp(-(h**2) / (2 * 60.0**2))) < 0.06


def test_same_seed_same_field_on_any_grid():
    coarse, fine = lobule(10, 3), hexagonal_lobule((30, 36, 9), 500.0, 600.0, 40.0, 35.0)
    one = gaussian_field(coarse, 60.0, np.random.default_rng(5))
    two = gaussian_field(fine, 60.0, np.random.default_rng(5))
    np.testing.assert_allclose(two[1::3, 1::3, 1::3], one, atol=1e-10)
    np.testing.assert_array_equal(one, gaussian_field(coarse, 60.0, np.random.default_rng(5)))


def test_permeability_varies_along_every_axis_with_geometric_mean_one():
    field = np.log(random_permeability(lobule(), 0.5, 60.0, seed=0).permeability)
    for axis in range(3):
        assert np.abs(np.diff(field, axis=axis)).max() > 0.01
    assert abs(field.mean()) < 0.2
    assert 0.3 < field.std() < 0.7


def test_septa_raise_the_resistance_the_more_the_denser_they_are():
    human = PerfusionParameters(3.4e-2, 2.3, 3.5e-3)
    solve = jax.jit(solve_perfusion)
    values = [
        float(solve(fibrotic_septa(lobule(), 6, contrast, 30.0, seed=1, gap_fraction=0.1), 1.0, human).resistance)
        for contrast in (1.0, 10.0, 100.0)
    ]
    assert values[0] < values[1] < values[2]
    np.testing.assert_allclose(values[0], solve(lobule(), 1.0, human).resistance, rtol=1e-9)


def test_gaps_pierce_the_septa():
    closed = fibrotic_septa(lobule(), 12, 100.0, 60.0, seed=1, gap_fraction=0.0).permeability
    pierced = fibrotic_septa(lobule(), 12, 100.0, 60.0, seed=1, gap_fraction=0.3).permeability
    opened = np.mean(pierced[closed < 0.05] == 1.0)
    assert 0.1 < opened < 0.5


@pytest.mark.parametrize("tiling", [(1, 1), (3, 1), (1, 3), (2, 2), (3, 4)])
def test_a_scenario_counts_the_pairs_of_a_tiling_as_the_geometry_has_them(tiling):
    cells = (12 * tiling[0], 12 * tiling[1], 1)
    tiled = hexagonal_lobule(cells, 500.0, 100.0, 40.0, 35.0, tiling=tiling)
    assert len(neighbouring_vessels(tiled)) == neighbours_of_tiling(*tiling)


def test_a_hexagon_has_twelve_pairs_of_neighbours():
    assert len(neighbouring_vessels(lobule())) == 12
    with pytest.raises(ValueError, match="12 pairs"):
        fibrotic_septa(lobule(), 13, 10.0, 30.0, seed=0, gap_fraction=0.1)
    with pytest.raises(ValueError, match="0 pairs"):
        fibrotic_septa(well_mixed(500.0, 300.0, 40.0, 35.0), 1, 10.0, 30.0, seed=0, gap_fraction=0.1)
