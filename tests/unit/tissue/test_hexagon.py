"""The cut-cell hexagon against geometry, symmetry and the closed form of its pressure."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from hepatojax.checks.verify.exact import lattice_pressure
from hepatojax.numerics.multigrid import coarsening_plan, multigrid_solve
from hepatojax.tissue.geometry import CENTRAL_VEIN, OUTSIDE, PORTAL_TRACT, SEPTUM, cell_centres
from hepatojax.tissue.hexagon import hexagon_area, hexagonal_lobule, radial_column, well_mixed
from hepatojax.tissue.perfusion import PerfusionParameters, solve_perfusion
from hepatojax.tissue.wells import cell_integral

RADIUS, HEIGHT, CENTRAL, PORTAL = 500.0, 300.0, 40.0, 35.0
UNIT = PerfusionParameters(1.0, 1.0, 1.0)
GRIDS = (24, 36, 54, 81)
solve = jax.jit(solve_perfusion, static_argnames="tolerance")
solve_load = jax.jit(multigrid_solve, static_argnames=("plan", "tolerance"))


def lobule(nx, nz=1, **options):
    cells = (nx, round(nx * 2 / 3**0.5), nz)
    return hexagonal_lobule(cells, RADIUS, HEIGHT, CENTRAL, PORTAL, **options)


def slope(errors):
    return -np.polyfit(np.log(GRIDS), np.log(errors), 1)[0]


@lru_cache
def smooth_pressure(nx, spread=80.0):
    """Pressure at unit flow between parabolic sources about the vertices and the centre, and the lobule."""
    tissue = lobule(nx)
    _, hy, hx = tissue.grid.spacing_um
    x, y = cell_centres(nx, hx), cell_centres(tissue.grid.shape[1], hy)

    def bump(cx, cy):
        def parabola(u, v):
            inside = np.maximum(np.abs(u), np.abs(u) / 2 + np.abs(v) * 3**0.5 / 2) <= RADIUS * 3**0.5 / 2
            return inside * np.maximum(1.0 - ((u - cx) ** 2 + (v - cy) ** 2) / spread**2, 0.0)

        return cell_integral(x, y, hx, hy, parabola) * (tissue.grid.volume[0] > 0)

    source, sink = sum(bump(*corner) for corner in tissue.portal_xy_um), bump(0.0, 0.0)
    load = jnp.asarray(source / source.sum() - sink / sink.sum())[None]
    plan = coarsening_plan(load.shape, tissue.grid.spacing_um)
    zero = jnp.zeros(load.shape)
    faces = tuple(jnp.asarray(f) for f in tissue.grid.faces)
    solution = solve_load(faces, zero, load, zero, plan, tolerance=1e-11)
    return np.asarray(solution.value)[0] * HEIGHT, tissue


def sample(plane, tissue, x, y):
    _, hy, hx = tissue.grid.spacing_um
    ny, nx = plane.shape
    return map_coordinates(plane, [y / hy + (ny - 1) / 2, x / hx + (nx - 1) / 2], order=3)


def sampling_points(clear=120.0):
    """Points inside the hexagon, away from its border and from the vessels."""
    x, y = np.meshgrid(np.linspace(-350, 350, 71), np.linspace(-400, 400, 81))
    keep = (np.abs(x) < 310) & (np.abs(x) / 3**0.5 + np.abs(y) < 400) & (np.hypot(x, y) > clear)
    for angle in np.pi / 2 + np.arange(6) * np.pi / 3:
        keep &= np.hypot(x - RADIUS * np.cos(angle), y - RADIUS * np.sin(angle)) > clear
    return x[keep], y[keep]


def test_cells_add_up_to_the_exact_volume():
    tissue = lobule(31, 3)
    np.testing.assert_allclose(np.sum(tissue.grid.volume), hexagon_area(RADIUS) * HEIGHT, rtol=1e-12)
    np.testing.assert_allclose(np.sum(tissue.portal_volume), 2 * np.pi * PORTAL**2 * HEIGHT, rtol=5e-3)
    np.testing.assert_allclose(np.sum(tissue.central_volume), np.pi * CENTRAL**2 * HEIGHT, rtol=5e-3)


@pytest.mark.parametrize("mirror", [np.s_[:, :, ::-1], np.s_[:, ::-1, :]])
def test_mirror_symmetry_to_round_off(mirror):
    tissue = lobule(26, inlet_septa=True)
    perfusion = solve(tissue, 1.0, UNIT, tolerance=1e-13)
    for field in (tissue.grid.volume, tissue.inlet, tissue.outlet, tissue.zone):
        np.testing.assert_allclose(field, field[mirror], rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(perfusion.pressure, perfusion.pressure[mirror], atol=1e-11)


def test_pressure_converges_at_second_order_to_the_closed_form():
    x, y = sampling_points()
    exact = lattice_pressure(x, y, RADIUS)
    errors = []
    for nx in GRIDS:
        error = sample(*smooth_pressure(nx), x, y) - exact
        errors.append(np.std(error) / np.ptp(exact))
    assert slope(errors) >= 1.8
    assert errors[-1] < 3e-4


def test_rotation_by_60_degrees_converges_at_second_order():
    x, y = sampling_points()
    u, v = 0.5 * x - 3**0.5 / 2 * y, 3**0.5 / 2 * x + 0.5 * y
    errors = []
    for nx in GRIDS:
        plane, tissue = smooth_pressure(nx)
        errors.append(np.std(sample(plane, tissue, x, y) - sample(plane, tissue, u, v)))
    assert slope(errors) >= 1.8


def test_a_tiling_repeats_the_single_lobule():
    one = solve(lobule(24), 1.0, UNIT)
    four = solve(hexagonal_lobule((60, 49, 1), RADIUS, HEIGHT, CENTRAL, PORTAL, tiling=(2, 2)), 1.0, UNIT)
    np.testing.assert_allclose(4.0 * four.resistance, one.resistance, rtol=5e-3)
    tissue = hexagonal_lobule((60, 49, 1), RADIUS, HEIGHT, CENTRAL, PORTAL, tiling=(2, 2))
    assert tissue.lobules == 4.0
    np.testing.assert_allclose(np.sum(tissue.grid.volume), 4 * hexagon_area(RADIUS) * HEIGHT, rtol=1e-12)
    x, y = sampling_points()
    px, py = tissue.central_xy_um[0]
    difference = sample(np.asarray(four.pressure)[0], tissue, x + px, y + py) - sample(
        np.asarray(one.pressure)[0], lobule(24), x, y
    )
    assert np.sqrt(np.mean(difference**2)) < 5e-3


def test_zone_runs_from_the_portal_tracts_to_the_central_vein():
    tissue = lobule(40, inlet_septa=True)
    assert np.all((tissue.zone >= 0) & (tissue.zone <= 1))
    assert np.all(tissue.zone[tissue.labels == PORTAL_TRACT] < 0.05)
    assert np.all(tissue.zone[tissue.labels == CENTRAL_VEIN] > 0.95)
    assert set(np.unique(tissue.labels)) == {OUTSIDE, 1, PORTAL_TRACT, CENTRAL_VEIN, SEPTUM}


def test_growth_scales_volume_and_resistance():
    tissue = lobule(20)
    small, large = solve(tissue, 1.0, UNIT), solve(tissue.scaled(1.1), 1.0, UNIT)
    np.testing.assert_allclose(np.sum(tissue.scaled(1.1).grid.volume) / np.sum(tissue.grid.volume), 1.1**3)
    np.testing.assert_allclose(large.resistance * 1.1, small.resistance, rtol=1e-8)


def test_column_is_the_annulus_of_v01():
    """p(r) = ln(r / rc) / ln(R / rc) and Q = 2 pi K H dp / (mu ln(R / rc)), second order in the cells."""
    errors = []
    for n in GRIDS:
        tissue = radial_column(n, RADIUS, HEIGHT, CENTRAL, PORTAL)
        perfusion = solve(tissue, 1.0, UNIT, tolerance=1e-12)
        rim = np.sqrt(hexagon_area(RADIUS) / np.pi)
        r = rim + (CENTRAL - rim) * (np.arange(n) + 0.5) / n
        errors.append(np.sqrt(np.mean((perfusion.pressure[0, 0] - np.log(r / CENTRAL) / np.log(rim / CENTRAL)) ** 2)))
    np.testing.assert_allclose(perfusion.resistance, np.log(rim / CENTRAL) / (2 * np.pi * HEIGHT), rtol=1e-3)
    assert slope(errors) >= 1.8
    assert errors[1] < 1e-2


def test_one_cell_has_the_resistance_of_the_cylinder():
    tissue = well_mixed(RADIUS, HEIGHT, CENTRAL, PORTAL)
    rim = np.sqrt(hexagon_area(RADIUS) / np.pi)
    perfusion = solve(tissue, 1.0, UNIT)
    np.testing.assert_allclose(perfusion.resistance, np.log(rim / CENTRAL) / (2 * np.pi * HEIGHT), rtol=1e-12)
    np.testing.assert_allclose(perfusion.flow.outflow[0, 0, 0], 1.0)


def test_vessels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        hexagonal_lobule((8, 8, 1), 60.0, HEIGHT, CENTRAL, PORTAL)
