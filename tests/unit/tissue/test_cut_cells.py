"""Cut cells of the hexagon against clipped polygons, its moments in closed form, and maps of reduced lobules."""

import numpy as np
import pytest

from hepatojax.checks.verify.exact import observed_order
from hepatojax.tissue.geometry import PORTAL_TRACT, cell_centres, cell_edges, porto_central_coordinate
from hepatojax.tissue.hexagon import hexagon_area, hexagonal_lobule, radial_column, well_mixed
from tests.reference import polygon

RADIUS, HEIGHT, CENTRAL, PORTAL = 500.0, 200.0, 60.0, 50.0
COUNTS = [(8, 9), (11, 10), (13, 16)]


def lobule(nx, ny, nz=1, **options):
    return hexagonal_lobule((nx, ny, nz), RADIUS, HEIGHT, CENTRAL, PORTAL, **options)


def edges_of(tissue):
    _, ny, nx = tissue.grid.shape
    _, hy, hx = tissue.grid.spacing_um
    return cell_edges(nx, hx), cell_edges(ny, hy)


@pytest.mark.parametrize(("nx", "ny"), COUNTS)
def test_every_cell_holds_the_clipped_polygon(nx, ny):
    """But for slivers below 1e-4 of a cell, which are left out."""
    tissue = lobule(nx, ny)
    x, y = edges_of(tissue)
    corners = polygon.hexagon(RADIUS)
    clipped = [
        [polygon.area(polygon.in_cell(corners, x[i], x[i + 1], y[j], y[j + 1])) for i in range(nx)] for j in range(ny)
    ]
    cell = (x[1] - x[0]) * (y[1] - y[0])
    np.testing.assert_allclose(tissue.grid.volume[0] / HEIGHT, clipped, rtol=1e-10, atol=1.01e-4 * cell)
    np.testing.assert_allclose(np.sum(tissue.grid.volume), hexagon_area(RADIUS) * HEIGHT, rtol=1e-4)


@pytest.mark.parametrize(("nx", "ny"), COUNTS)
def test_every_face_is_open_over_the_chord_of_the_polygon(nx, ny):
    tissue = lobule(nx, ny)
    x, y = edges_of(tissue)
    _, hy, hx = tissue.grid.spacing_um
    corners = polygon.hexagon(RADIUS)
    both = tissue.grid.volume[0] > 0
    for j in range(ny):
        for i in range(nx - 1):
            if both[j, i] and both[j, i + 1]:
                open_um = tissue.grid.faces[2][0, j, i] * hx / HEIGHT
                np.testing.assert_allclose(open_um, polygon.chord(corners, 0, x[i + 1], y[j], y[j + 1]), atol=1e-9)
    for j in range(ny - 1):
        for i in range(nx):
            if both[j, i] and both[j + 1, i]:
                open_um = tissue.grid.faces[1][0, j, i] * hy / HEIGHT
                np.testing.assert_allclose(open_um, polygon.chord(corners, 1, y[j + 1], x[i], x[i + 1]), atol=1e-9)


def test_second_moment_of_the_area_converges_at_second_order():
    """Sum of A (x^2 + y^2) tends to 5 sqrt(3) R^4 / 8, the polar moment of a hexagon."""
    exact, grids, errors = 5.0 * 3**0.5 / 8.0 * RADIUS**4, (10, 20, 40, 80), []
    for nx in grids:
        tissue = lobule(nx, nx)
        _, hy, hx = tissue.grid.spacing_um
        square = cell_centres(nx, hx) ** 2 + cell_centres(nx, hy)[:, None] ** 2
        errors.append(abs(np.sum(tissue.grid.volume[0] / HEIGHT * square) / exact - 1.0))
    assert observed_order(grids, errors) == pytest.approx(2.0, abs=0.2)
    assert errors[-1] < 1e-3


@pytest.mark.parametrize("tiling", [(1, 1), (2, 1), (1, 2), (2, 3)])
def test_a_tiling_has_the_area_and_the_vertices_of_its_hexagons(tiling):
    """Rows of a hexagons have 2 a + 1 vertices above and below, and 2 a + 2 between two rows."""
    across, rows = tiling
    tissue = hexagonal_lobule((12 * across, 12 * rows, 1), RADIUS, HEIGHT, CENTRAL, PORTAL, tiling=tiling)
    assert tissue.lobules == across * rows == len(tissue.central_xy_um)
    np.testing.assert_allclose(np.sum(tissue.grid.volume), across * rows * hexagon_area(RADIUS) * HEIGHT, rtol=1e-3)
    assert len(tissue.portal_xy_um) == 2 * (2 * across + 1) + (rows - 1) * (2 * across + 2)
    distance = np.hypot(*(tissue.portal_xy_um[:, None] - tissue.central_xy_um).T)
    np.testing.assert_allclose(np.sort(distance, axis=1)[:, :6], RADIUS, rtol=1e-9)  # six corners round every vein


def test_maps_do_not_depend_on_the_layers_and_volumes_share_them():
    one, three = lobule(9, 10), lobule(9, 10, 3)
    for name in ("zone", "labels", "permeability"):
        np.testing.assert_array_equal(getattr(three, name), np.repeat(getattr(one, name), 3, 0))
    for name in ("inlet", "outlet", "portal_volume", "central_volume"):
        np.testing.assert_allclose(getattr(three, name).sum(0), getattr(one, name)[0], rtol=1e-13)
    np.testing.assert_allclose(three.grid.faces[0][0], 3.0 * one.grid.volume[0] / HEIGHT**2, rtol=1e-13)
    assert not three.grid.faces[0][-1].any()


@pytest.mark.parametrize("septa", [False, True])
def test_vessels_fill_parts_of_cells_and_exchange_only_with_tissue(septa):
    tissue = lobule(16, 18, inlet_septa=septa)
    parts = tissue.portal_volume + tissue.central_volume + tissue.septum_volume
    assert np.all(parts <= tissue.grid.volume * (1 + 1e-12))
    empty = tissue.grid.volume == 0
    for factor in (tissue.inlet, tissue.outlet):
        assert factor.min() >= 0.0 and not factor[empty].any() and factor.any()
    assert not np.any((tissue.inlet > 0) & (tissue.outlet > 0))
    assert bool(tissue.septum_volume.any()) is septa


def test_inlet_septa_only_add_to_the_inlet_and_bring_the_portal_end_nearer():
    plain, with_septa = lobule(16, 18), lobule(16, 18, inlet_septa=True)
    assert np.all(with_septa.inlet >= plain.inlet) and with_septa.inlet.sum() > plain.inlet.sum()
    np.testing.assert_array_equal(with_septa.outlet, plain.outlet)
    assert np.all(with_septa.zone <= plain.zone + 1e-14)


def test_zone_is_a_half_where_both_vessels_are_equally_far_and_turns_with_them():
    random = np.random.default_rng(0)
    portal, central = random.uniform(0.0, 300.0, (2, 50))
    zone = porto_central_coordinate(portal, central)
    np.testing.assert_allclose(zone + porto_central_coordinate(central, portal), 1.0, rtol=1e-14)
    np.testing.assert_allclose(porto_central_coordinate(7.0 * portal, 7.0 * central), zone, rtol=1e-14)
    np.testing.assert_allclose(porto_central_coordinate(portal, portal), 0.5, rtol=1e-14)
    assert np.all(porto_central_coordinate(portal + 1.0, central) > zone)
    ends = porto_central_coordinate(np.asarray([-5.0, 0.0, 200.0, 200.0]), np.asarray([200.0, 200.0, 0.0, -5.0]))
    np.testing.assert_array_equal(ends, [0.0, 0.0, 1.0, 1.0])


def test_portal_tracts_are_labelled_at_every_vertex():
    tissue = lobule(20, 22)
    x, y = cell_centres(20, tissue.grid.spacing_um[2]), cell_centres(22, tissue.grid.spacing_um[1])
    for px, py in tissue.portal_xy_um:
        i, j = np.argmin(np.abs(x - 0.97 * px)), np.argmin(np.abs(y - 0.97 * py))
        assert tissue.labels[0, j, i] == PORTAL_TRACT


@pytest.mark.parametrize("cells", [1, 7, 40])
def test_rings_of_a_column_fill_the_cylinder_of_equal_area(cells):
    """Rings telescope to pi (R^2 - rc^2) H; the zone falls from the rim in equal steps."""
    tissue = radial_column(cells, RADIUS, HEIGHT, CENTRAL, PORTAL)
    exact = (hexagon_area(RADIUS) - np.pi * CENTRAL**2) * HEIGHT
    np.testing.assert_allclose(np.sum(tissue.grid.volume), exact, rtol=1e-13)
    np.testing.assert_allclose(tissue.zone[0, 0], (np.arange(cells) + 0.5) / cells, rtol=1e-12)
    assert np.count_nonzero(tissue.inlet) == np.count_nonzero(tissue.outlet) == 1
    assert tissue.inlet[0, 0, 0] > 0 < tissue.outlet[0, 0, -1]
    assert well_mixed(RADIUS, HEIGHT, CENTRAL, PORTAL).grid.total_volume == pytest.approx(hexagon_area(RADIUS) * HEIGHT)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cells": (0, 8, 1)}, "at least 1"),
        ({"tiling": (1, 0)}, "at least 1"),
        ({"radius_um": -1.0}, "must be positive"),
        ({"central_vein_radius_um": 0.0}, "must be positive"),
        ({"central_vein_radius_um": 460.0}, "do not fit"),
        ({"portal_tract_radius_um": 250.0}, "do not fit"),
    ],
)
def test_impossible_lobules_are_refused(change, message):
    usual = dict(cells=(8, 8, 1), radius_um=RADIUS, height_um=HEIGHT)
    usual |= dict(central_vein_radius_um=CENTRAL, portal_tract_radius_um=PORTAL)
    with pytest.raises(ValueError, match=message):
        hexagonal_lobule(**(usual | change))
