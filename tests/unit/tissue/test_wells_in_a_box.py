"""A well that drains a closed rectangle has the mean drawdown of its shape factor, on any grid."""

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import spsolve

from hepatojax.tissue.geometry import cell_centres
from hepatojax.tissue.wells import WALL_SKIN, cell_integral, disc_radius, exchange_density

SIDE, VESSEL = 1000.0, 40.0
SHAPE_FACTOR = 30.8828  # of a square drained at its centre, Dietz (1965), J. Pet. Technol. 17:955


def drawdown(nx, ny, vessel=VESSEL):
    """K H / (mu Q) times the mean pressure of an evenly fed square above that of the vessel at its centre."""
    hx, hy = SIDE / nx, SIDE / ny
    x, y = cell_centres(nx, hx), cell_centres(ny, hy)
    wide = disc_radius(vessel, hx, hy)
    area = cell_integral(x, y, hx, hy, lambda u, v: u**2 + v**2 < wide**2)
    well = exchange_density((0.0, 0.0), vessel, hx, hy, (x[0], y[0])) * area

    def line(n):
        return sparse.diags_array(
            [-np.ones(n - 1), np.r_[1.0, np.full(n - 2, 2.0), 1.0], -np.ones(n - 1)], offsets=(-1, 0, 1)
        )

    matrix = sparse.kron(sparse.eye_array(ny), line(nx) * hy / hx) + sparse.kron(
        line(ny) * hx / hy, sparse.eye_array(nx)
    )
    pressure = spsolve((matrix + sparse.diags_array(well.ravel())).tocsc(), np.full(nx * ny, 1.0 / (nx * ny)))
    np.testing.assert_allclose(well.ravel() @ pressure, 1.0, rtol=1e-9)
    return pressure.mean()


def exact(vessel=VESSEL):
    """(ln(4 A / (e^gamma C a^2)) / 2 + skin) / 2 pi."""
    inside = 4.0 * SIDE**2 / (np.exp(np.euler_gamma) * SHAPE_FACTOR * vessel**2)
    return (0.5 * np.log(inside) + WALL_SKIN) / (2.0 * np.pi)


@pytest.mark.parametrize(
    ("nx", "ny", "error"), [(20, 20, 1.5e-2), (21, 21, 1.5e-2), (40, 41, 6e-3), (80, 80, 4e-3), (121, 120, 4e-3)]
)
def test_mean_drawdown_is_the_closed_form_on_coarse_and_fine_grids(nx, ny, error):
    """With the axis in the middle of a cell, on an edge and on a corner."""
    np.testing.assert_allclose(drawdown(nx, ny), exact(), rtol=error)


@pytest.mark.parametrize(("nx", "ny"), [(30, 60), (75, 50)])
def test_oblong_cells_do_no_harm(nx, ny):
    np.testing.assert_allclose(drawdown(nx, ny), exact(), rtol=1e-2)


@pytest.mark.parametrize("vessel", [10.0, 20.0, 80.0])
def test_resistance_goes_with_the_logarithm_of_the_radius(vessel):
    """Vessels of half a cell and of four cells radius on the same grid."""
    np.testing.assert_allclose(drawdown(50, 50, vessel) - drawdown(50, 50), exact(vessel) - exact(), atol=4e-3)


def test_density_has_the_dimension_of_one_over_area_and_falls_with_the_spacing_of_a_narrow_vessel():
    one = exchange_density((3.0, 4.0), VESSEL, 30.0, 20.0, (5.0, 5.0))
    ten = exchange_density((30.0, 40.0), 10 * VESSEL, 300.0, 200.0, (50.0, 50.0))
    np.testing.assert_allclose(ten, one / 100.0, rtol=1e-9)
    narrow = [exchange_density((0.0, 0.0), 5.0, h, h) for h in (10.0, 20.0, 40.0)]
    assert narrow[0] > narrow[1] > narrow[2] > 0.0


def test_density_does_not_change_when_the_vessel_moves_by_whole_cells():
    here = exchange_density((3.0, 4.0), VESSEL, 30.0, 20.0, (5.0, 5.0))
    np.testing.assert_allclose(exchange_density((93.0, -56.0), VESSEL, 30.0, 20.0, (5.0, 5.0)), here, rtol=1e-9)
    np.testing.assert_allclose(exchange_density((3.0, 4.0), VESSEL, 30.0, 20.0, (-55.0, 65.0)), here, rtol=1e-9)
    turned = exchange_density((4.0, 3.0), VESSEL, 20.0, 30.0, (5.0, 5.0))
    np.testing.assert_allclose(turned, here, rtol=1e-9)


def test_cell_integrals_are_exact_for_straight_functions_and_add_up():
    x, y = np.asarray([0.0, 10.0, 20.0]), np.asarray([-8.0, 0.0])
    straight = cell_integral(x, y, 10.0, 8.0, lambda u, v: 2.0 + 3.0 * u - v)
    np.testing.assert_allclose(straight, 80.0 * (2.0 + 3.0 * x - y[:, None]), rtol=1e-12)
    square = cell_integral(x, y, 10.0, 8.0, lambda u, v: u * u + 0.0 * v)
    wanted = 8.0 * ((x + 5.0) ** 3 - (x - 5.0) ** 3) / 3.0
    np.testing.assert_allclose(square, np.broadcast_to(wanted, (2, 3)), rtol=5e-3, atol=5.0)
