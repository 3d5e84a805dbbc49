"""Analytic lobules: a hexagonal prism or a tiling of them, a radial column, and one well-mixed cell.

The hexagon is cut exactly: areas and open edges of every cell are closed formulae, so that no grid has to fit it.
Vessels stay discs of fixed radius at any spacing, see `hepatojax.tissue.wells`. The column and the well-mixed cell
replace the hexagon by a cylinder of equal area, where no map is asked for.

Reference: NUMERICS decisions 1 and 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from hepatojax.numerics.grid import Grid
from hepatojax.tissue import wells
from hepatojax.tissue.geometry import (
    CENTRAL_VEIN,
    OUTSIDE,
    PARENCHYMA,
    PORTAL_TRACT,
    SEPTUM,
    Lobule,
    cell_centres,
    cell_edges,
    extruded,
    porto_central_coordinate,
    prism_grid,
)

ROOT3 = float(np.sqrt(3.0))
SMALLEST_FRACTION = 1e-4  # of a cell; a thinner sliver of tissue is left out


@dataclass(frozen=True)
class _Plan:
    """The plane figure: hexagons with vertices up, on cells that fill their bounding box.

    Attributes:
        radius: circumradius R [um].
        centres: (x, y) of each hexagon [um], (l, 2), counted from the middle of the box.
        width: of the box along x [um].
        height: of the box along y [um].
        nx: cells along x.
        ny: cells along y.
    """

    radius: float
    centres: Float[np.ndarray, "l 2"]
    width: float
    height: float
    nx: int
    ny: int

    @property
    def hx(self) -> float:
        return self.width / self.nx

    @property
    def hy(self) -> float:
        return self.height / self.ny

    @property
    def x(self) -> Float[np.ndarray, " nx"]:
        return cell_centres(self.nx, self.hx)

    @property
    def y(self) -> Float[np.ndarray, " ny"]:
        return cell_centres(self.ny, self.hy)

    @property
    def corners(self) -> Float[np.ndarray, "v 2"]:
        """Vertices of all hexagons [um], shared ones once."""
        angle = np.pi * (np.arange(6) / 3.0 + 0.5)
        offset = self.radius * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        corners = (self.centres[:, None] + offset).reshape(-1, 2)
        _, first = np.unique(np.round(corners / self.radius, 6), axis=0, return_index=True)
        return corners[np.sort(first)]

    def inside(self, x, y):
        """True within any hexagon, at points (x, y) [um] that broadcast."""
        return np.logical_or.reduce([self.border_distance(x - cx, y - cy) >= 0 for cx, cy in self.centres])

    def border_distance(self, x, y):
        """Distance from a point, relative to the centre of a hexagon, to the nearest edge [um]; negative outside."""
        apothem = 0.5 * ROOT3 * self.radius
        return apothem - np.maximum(np.abs(x), 0.5 * np.abs(x) + 0.5 * ROOT3 * np.abs(y))


def hexagonal_lobule(
    cells: tuple[int, int, int],
    radius_um: float,
    height_um: float,
    central_vein_radius_um: float,
    portal_tract_radius_um: float,
    inlet_septa: bool = False,
    tiling: tuple[int, int] = (1, 1),
) -> Lobule:
    """Hexagonal prisms with a portal tract on every vertical edge and a central vein on every axis.

    Cut cells: volumes and open face areas are the exact areas of the figure in each cell, so that pressure and
    diffusion are second order on any spacing.

    Args:
        cells: (nx, ny, nz) of the bounding box.
        radius_um: circumradius, which is the side of the hexagon [um].
        height_um: along z [um].
        central_vein_radius_um: of each central vein [um].
        portal_tract_radius_um: of the portal vessel on each vertical edge [um].
        inlet_septa: True lets portal blood enter along the edges of the hexagon too.
        tiling: lobules (across x, along y); odd rows are shifted by half a lobule.

    Returns:
        Lobule of shape (nz, ny, nx), of permeability 1, with the axes of its vessels.

    Raises:
        ValueError: a size is not positive, or the vessels do not fit into the hexagon.

    Reference: NUMERICS decisions 1 and 2.
    """
    _check(cells, radius_um, height_um, central_vein_radius_um, portal_tract_radius_um, tiling)
    plan = _plan(cells, radius_um, tiling)
    nz = cells[2]
    hz = height_um / nz
    area, open_y, open_x = _figure(plan)
    grid = prism_grid((hz, plan.hy, plan.hx), nz, area, open_y, open_x)
    portal, inlet = _vessels(plan, area, plan.corners, portal_tract_radius_um)
    central, outlet = _vessels(plan, area, plan.centres, central_vein_radius_um)
    to_border = _to_border(plan)
    septum = np.zeros_like(area)
    if inlet_septa:
        septum, along = _septa(plan, area, portal, to_border, portal_tract_radius_um)
        inlet = inlet + along
    to_portal = _distance(plan, plan.corners) - portal_tract_radius_um
    to_central = _distance(plan, plan.centres) - central_vein_radius_um
    zone = porto_central_coordinate(np.minimum(to_portal, to_border) if inlet_septa else to_portal, to_central)
    return Lobule(
        grid=grid,
        inlet=extruded(inlet * hz, nz),
        outlet=extruded(outlet * hz, nz),
        portal_volume=extruded(portal * hz, nz),
        septum_volume=extruded(septum * hz, nz),
        central_volume=extruded(central * hz, nz),
        zone=extruded(zone, nz),
        labels=extruded(_label_map(area, portal, central, septum), nz),
        permeability=np.ones(grid.shape),
        portal_xy_um=plan.corners,
        central_xy_um=plan.centres,
        lobules=float(len(plan.centres)),
        portal_radius_um=float(portal_tract_radius_um),
        central_radius_um=float(central_vein_radius_um),
    )


def hexagon_area(radius_um: float) -> float:
    """Area of a hexagon, 3 sqrt(3) / 2 R^2.

    Args:
        radius_um: circumradius R [um].

    Returns:
        The area [um2].
    """
    return 1.5 * ROOT3 * radius_um**2


def _check(cells, radius_um, height_um, central_um, portal_um, tiling) -> None:
    if min(*cells, *tiling) < 1:
        raise ValueError(f"cells {tuple(cells)} and tiling {tuple(tiling)} must be at least 1 along every axis")
    if min(radius_um, height_um, central_um, portal_um) <= 0:
        raise ValueError("radius, height and vessel radii must be positive")
    if central_um + portal_um >= radius_um or 2 * portal_um >= radius_um:
        raise ValueError(
            f"vessels of radius {central_um:g} and {portal_um:g} um do not fit a hexagon of {radius_um:g} um"
        )


def _plan(cells: tuple[int, int, int], radius: float, tiling: tuple[int, int]) -> _Plan:
    """Hexagons side by side, sqrt(3) R apart along x and 3/2 R along y, and the least box that holds them."""
    across, rows = tiling
    pitch = ROOT3 * radius
    width = pitch * (across + (0.5 if rows > 1 else 0.0))
    height = radius * (1.5 * rows + 0.5)
    i, j = np.meshgrid(np.arange(across), np.arange(rows))
    x = -0.5 * width + pitch * (i + 0.5 + 0.5 * (j % 2))
    y = -0.5 * height + radius * (1.0 + 1.5 * j)
    return _Plan(radius, np.stack([x.ravel(), y.ravel()], axis=-1), width, height, cells[0], cells[1])


def _figure(plan: _Plan) -> tuple[Float[np.ndarray, "ny nx"], Float[np.ndarray, "ny nx"], Float[np.ndarray, "ny nx"]]:
    """Area of the figure in each cell and open length of the upper faces along y and x [um2, um, um]."""
    xe, ye = cell_edges(plan.nx, plan.hx), cell_edges(plan.ny, plan.hy)
    area = np.zeros((plan.ny, plan.nx))
    open_y, open_x = np.zeros_like(area), np.zeros_like(area)
    for cx, cy in plan.centres:
        x, y = xe - cx, ye - cy
        area += np.diff(np.diff(_area_to(x, y[:, None], plan.radius), axis=0), axis=1)
        open_y[:-1] += _overlap(x, _half_width(y[1:-1, None], plan.radius))
        open_x[:, :-1] += _overlap(y, _half_height(x[1:-1, None], plan.radius)).T
    return _without_slivers(plan, area, np.minimum(open_y, plan.hx), np.minimum(open_x, plan.hy))


def _without_slivers(plan: _Plan, area, open_y, open_x):
    """Close the faces of cells that hold no tissue, and drop cells that no face connects."""
    filled = area > SMALLEST_FRACTION * plan.hx * plan.hy
    open_y[:-1] *= filled[:-1] & filled[1:]
    open_x[:, :-1] *= filled[:, :-1] & filled[:, 1:]
    linked = (open_y > 0) | (open_x > 0)
    linked[1:] |= open_y[:-1] > 0
    linked[:, 1:] |= open_x[:, :-1] > 0
    return np.where(filled & (linked | (linked.size == 1)), area, 0.0), open_y, open_x


def _area_to(x, y, radius: float):
    """Area of the hexagon in the rectangle from its centre to (x, y), odd in both [um2]."""
    sign = np.sign(x) * np.sign(y)
    x, y = np.minimum(np.abs(x), 0.5 * ROOT3 * radius), np.abs(y)
    flat = np.minimum(np.maximum(ROOT3 * (radius - y), 0.0), x)  # up to here the rectangle is inside
    return sign * (y * flat + radius * (x - flat) - (x**2 - flat**2) / (2.0 * ROOT3))


def _half_width(y, radius: float):
    """Half the width of the hexagon at height y [um]; 0 outside."""
    return np.minimum(0.5 * ROOT3 * radius, np.maximum(ROOT3 * (radius - np.abs(y)), 0.0))


def _half_height(x, radius: float):
    """Half the height of the hexagon at x [um]; 0 outside."""
    within = np.abs(x) <= 0.5 * ROOT3 * radius * (1.0 + 1e-9)
    return np.where(within, radius - np.abs(x) / ROOT3, 0.0)


def _overlap(edges, half):
    """Length of each interval of `edges` within [-half, half]."""
    return np.diff(np.clip(edges, -half, half), axis=-1)


def _distance(plan: _Plan, points: Float[np.ndarray, "v 2"]) -> Float[np.ndarray, "ny nx"]:
    """Distance from cell centres to the nearest of some points [um]."""
    return np.min([np.hypot(plan.x - px, plan.y[:, None] - py) for px, py in points], axis=0)


def _to_border(plan: _Plan) -> Float[np.ndarray, "ny nx"]:
    """Distance from cell centres to the nearest edge of their own hexagon [um]; negative outside all."""
    return np.max([plan.border_distance(plan.x - cx, plan.y[:, None] - cy) for cx, cy in plan.centres], axis=0)


def _vessels(plan: _Plan, area, axes, radius: float):
    """Area of each cell inside the vessels [um2] and well factor per height of each cell [-]."""
    lumen, factor = np.zeros_like(area), np.zeros_like(area)
    origin = (plan.x[0], plan.y[0])
    for px, py in axes:
        density = wells.exchange_density((px, py), radius, plan.hx, plan.hy, origin)
        lumen += _disc_area(plan, px, py, radius)
        factor += density * _disc_area(plan, px, py, wells.disc_radius(radius, plan.hx, plan.hy))
    return np.minimum(lumen, area), np.where(area > 0, factor, 0.0)


def _disc_area(plan: _Plan, px: float, py: float, radius: float) -> Float[np.ndarray, "ny nx"]:
    """Area of each cell that lies in a disc and in the figure [um2]."""
    result = np.zeros((plan.ny, plan.nx))
    i = np.flatnonzero(np.abs(plan.x - px) < radius + plan.hx)
    j = np.flatnonzero(np.abs(plan.y - py) < radius + plan.hy)

    def inside(x, y):
        return ((x - px) ** 2 + (y - py) ** 2 < radius**2) & plan.inside(x, y)

    result[np.ix_(j, i)] = wells.cell_integral(plan.x[i], plan.y[j], plan.hx, plan.hy, inside)
    return result


def _septa(plan: _Plan, area, portal, to_border, thickness: float):
    """Inlet septa: slabs of thickness `thickness` along the edges, half of it inside, fed across a wall as thick.

    They exchange over a strip along the edges as wide as `thickness`, but at least `CELLS_A_RADIUS` cells. The well
    factor per height of a cell is (its area in the strip) / (width of the strip * thickness), so that each um2 of
    septal wall conducts K/mu over one thickness, however wide the strip.
    """
    spread = np.maximum(thickness, wells.CELLS_A_RADIUS * max(plan.hx, plan.hy))
    step = min(plan.hx, plan.hy)
    share = np.clip((spread - to_border) / step + 0.5, 0.0, 1.0)
    lumen = np.clip((0.5 * thickness - to_border) / step + 0.5, 0.0, 1.0) * area
    return np.minimum(lumen, area - portal), share * area / (spread * thickness)


def _label_map(area, portal, central, septum):
    """Label of each cell, by what fills most of it."""
    parts = np.stack([area - portal - central - septum, portal, central, septum])
    names = np.array([PARENCHYMA, PORTAL_TRACT, CENTRAL_VEIN, SEPTUM], dtype=np.uint8)
    return np.where(area > 0, names[np.argmax(parts, axis=0)], np.uint8(OUTSIDE))


def radial_column(
    cells: int,
    radius_um: float,
    height_um: float,
    central_vein_radius_um: float,
    portal_tract_radius_um: float,
) -> Lobule:
    """One line of cells from the rim of a cylinder to its central vein; the cylinder has the area of the hexagon.

        V = pi H (r_k^2 - r_(k+1)^2),   T = 2 pi r H / dr,   inlet and outlet = 2 pi r H / (dr / 2)

    Cell k holds the ring between two radii; blood enters through the rim and leaves through the wall of the vein, each
    half a cell away: V01 of VALIDATION. The vein itself holds no tissue.

    Args:
        cells: number of cells, portal first.
        radius_um: circumradius of the hexagon that the cylinder replaces [um].
        height_um: H, along z [um].
        central_vein_radius_um: inner radius of the last ring [um].
        portal_tract_radius_um: kept with the lobule; the rim takes the place of the portal vessels [um].

    Returns:
        Lobule of shape (1, 1, cells).
    """
    rim = float(np.sqrt(hexagon_area(radius_um) / np.pi))
    edges = np.linspace(rim, central_vein_radius_um, cells + 1)
    step = edges[0] - edges[1]
    volume = np.pi * height_um * (edges[:-1] ** 2 - edges[1:] ** 2)
    between = np.append(2.0 * np.pi * height_um * edges[1:-1] / step, 0.0)
    closed = np.zeros((1, 1, cells))
    grid = Grid((height_um, step, step), volume[None, None], (closed, closed, between[None, None]))
    wall = 4.0 * np.pi * height_um / step  # 2 pi r H over half a cell, per r
    inlet, outlet = closed.copy(), closed.copy()
    inlet[..., 0], outlet[..., -1] = wall * rim, wall * central_vein_radius_um
    to_rim = rim - 0.5 * (edges[:-1] + edges[1:])
    zone = to_rim / (rim - central_vein_radius_um)
    return _reduced(grid, inlet, outlet, zone[None, None], portal_tract_radius_um, central_vein_radius_um)


def well_mixed(
    radius_um: float,
    height_um: float,
    central_vein_radius_um: float,
    portal_tract_radius_um: float,
) -> Lobule:
    """A whole hexagonal lobule in one cell, with the resistance of the cylinder of equal area.

        inlet = outlet = 4 pi H / ln(R / r_c),   in series 2 pi H / ln(R / r_c),   pi R^2 the area of the hexagon

    Args:
        radius_um: circumradius of the hexagon [um].
        height_um: H, along z [um].
        central_vein_radius_um: r_c, of the vein in the cylinder [um].
        portal_tract_radius_um: kept with the lobule; the rim takes the place of the portal vessels [um].

    Returns:
        Lobule of shape (1, 1, 1); its zone coordinate is 1/2.
    """
    area = hexagon_area(radius_um)
    rim = float(np.sqrt(area / np.pi))
    closed = np.zeros((1, 1, 1))
    grid = Grid((height_um, rim, rim), closed + area * height_um, (closed, closed, closed))
    half = closed + 4.0 * np.pi * height_um / np.log(rim / central_vein_radius_um)
    return _reduced(grid, half, half, closed + 0.5, portal_tract_radius_um, central_vein_radius_um)


def _reduced(grid: Grid, inlet, outlet, zone, portal_um: float, central_um: float) -> Lobule:
    """A lobule without vessel axes: blood enters and leaves where the well factors are."""
    nowhere = np.zeros((0, 2))
    return Lobule(
        grid=grid,
        inlet=inlet,
        outlet=outlet,
        portal_volume=np.zeros(grid.shape),
        septum_volume=np.zeros(grid.shape),
        central_volume=np.zeros(grid.shape),
        zone=zone,
        labels=np.full(grid.shape, PARENCHYMA, np.uint8),
        permeability=np.ones(grid.shape),
        portal_xy_um=nowhere,
        central_xy_um=nowhere,
        lobules=1.0,
        portal_radius_um=float(portal_um),
        central_radius_um=float(central_um),
    )
