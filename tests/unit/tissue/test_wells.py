"""The resistance of a well depends on its radius alone."""

import jax
import numpy as np
import pytest
from scipy.special import i0e, i1e

from hepatojax.tissue.hexagon import hexagonal_lobule
from hepatojax.tissue.perfusion import PerfusionParameters, solve_perfusion
from hepatojax.tissue.wells import WALL_SKIN, cell_integral, disc_radius, exchange_density
from tests.reference.hexagon_pressure import hexagon_resistance

RADIUS, HEIGHT, CENTRAL, PORTAL = 500.0, 300.0, 40.0, 35.0


solve = jax.jit(solve_perfusion)


def resistance(nx, central=CENTRAL, portal=PORTAL):
    tissue = hexagonal_lobule((nx, round(nx * 2 / 3**0.5), 1), RADIUS, HEIGHT, central, portal)
    return float(solve(tissue, 1.0, PerfusionParameters(1.0, 1.0, 1.0)).resistance) * HEIGHT


@pytest.mark.parametrize("nx", [10, 37, 90])
def test_resistance_of_the_lobule_is_the_closed_form_on_any_spacing(nx):
    walls = 1.5 * WALL_SKIN / (2 * np.pi)  # one central vein and two portal tracts side by side
    np.testing.assert_allclose(resistance(nx), hexagon_resistance(RADIUS, CENTRAL, PORTAL) + walls, rtol=1e-2)


def test_the_wall_adds_at_most_five_percent():
    assert 1.5 * WALL_SKIN / (2 * np.pi) <= 0.05 * hexagon_resistance(RADIUS, CENTRAL, PORTAL)


def test_a_narrower_vein_resists_as_its_logarithm():
    expected = np.log(2.0) / (2 * np.pi)
    np.testing.assert_allclose(resistance(26, central=20.0) - resistance(26, central=40.0), expected, rtol=2e-2)


def test_fine_grids_tend_to_the_helmholtz_disc():
    """Inside  lap p = sigma p, so that lambda I0(a/lambda) / (a I1(a/lambda)) = skin with lambda = sigma^-1/2."""
    decay = exchange_density((0.0, 0.0), 40.0, 2.5, 2.5) ** -0.5
    np.testing.assert_allclose(decay * i0e(40 / decay) / (40 * i1e(40 / decay)), WALL_SKIN, rtol=0.3)


@pytest.mark.parametrize("spacing", [(10.0, 10.0), (20.0, 15.0), (40.0, 20.0)])
@pytest.mark.parametrize("centre", [(0.0, 0.0), (5.0, 3.0), (-7.0, 10.0)])
def test_a_density_is_found_for_any_position(spacing, centre):
    density = exchange_density(centre, 40.0, *spacing)
    assert 0 < density < np.inf


def test_cell_integral_of_a_disc_is_its_area():
    x = (np.arange(12) - 5.5) * 10.0
    area = cell_integral(x, x, 10.0, 10.0, lambda u, v: u**2 + v**2 < 40.0**2)
    np.testing.assert_allclose(area.sum(), np.pi * 40.0**2, rtol=2e-3)
    assert disc_radius(40.0, 10.0, 10.0) == 40.0
    assert disc_radius(40.0, 30.0, 10.0) == 60.0
