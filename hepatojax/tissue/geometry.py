"""The lobule as the solvers see it: a cut-cell grid, its vessels as wells, and static maps of the tissue.

Geometries (hexagon, column, label image) fill one record and solvers read no other, so that each solver works on each
geometry. Everything is built once in NumPy at the size at rest; growth of the lobule is a scale on volumes, faces and
wells and moves no cell.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Array, Float, Shaped, UInt8

from hepatojax.mechanism import pytree, static
from hepatojax.numerics.grid import Grid

OUTSIDE, PARENCHYMA, PORTAL_TRACT, CENTRAL_VEIN, SEPTUM = range(5)  # values of the label map


@pytree
class Lobule:
    """A block of liver tissue on a grid; all maps are (nz, ny, nx), float64, at the rest size of the lobule.

    Attributes:
        grid: volumes and face conductances.
        inlet: well factor of the portal vessels and inlet septa [um]; times mobility K/mu it is the conductance between
            the vessel and the cell, see `hepatojax.tissue.wells`.
        outlet: well factor of the central vein, likewise [um].
        portal_volume: volume of each cell inside the discs of the portal vessels [um3].
        septum_volume: volume of each cell inside the septal slabs [um3].
        central_volume: volume of each cell inside the disc of the central vein [um3].
        zone: porto-central coordinate, 0 at the portal vessels, 1 at the central vein, smooth between [-].
        labels: 0 outside, 1 parenchyma, 2 portal tract, 3 central vein, 4 inlet septum.
        permeability: relative to the healthy mean [-].
        portal_xy_um: axes of the portal vessels, (v, 2) [um]; empty where the geometry has none.
        central_xy_um: axes of the central veins, (w, 2) [um]; empty where the geometry has none.
        lobules: how many lobules the domain holds [-].
        portal_radius_um: radius of a portal vessel [um].
        central_radius_um: radius of the central vein [um].
    """

    grid: Grid
    inlet: Float[Array | np.ndarray, "nz ny nx"]
    outlet: Float[Array | np.ndarray, "nz ny nx"]
    portal_volume: Float[Array | np.ndarray, "nz ny nx"]
    septum_volume: Float[Array | np.ndarray, "nz ny nx"]
    central_volume: Float[Array | np.ndarray, "nz ny nx"]
    zone: Float[Array | np.ndarray, "nz ny nx"]
    labels: UInt8[Array | np.ndarray, "nz ny nx"]
    permeability: Float[Array | np.ndarray, "nz ny nx"]
    portal_xy_um: Float[Array | np.ndarray, "v 2"]
    central_xy_um: Float[Array | np.ndarray, "w 2"]
    lobules: float = static()
    portal_radius_um: float = static()
    central_radius_um: float = static()

    def scaled(self, linear_scale: Array | float) -> Lobule:
        """The same lobule grown by a linear scale: volumes times s^3, conductances times s; maps stay at rest.

        Args:
            linear_scale: s, length now over length at rest [-].

        Returns:
            The grown lobule; coordinates, zone, labels and permeability are those at rest.
        """
        cube = linear_scale**3
        return self.replace(
            grid=self.grid.scaled(linear_scale),
            inlet=self.inlet * linear_scale,
            outlet=self.outlet * linear_scale,
            portal_volume=self.portal_volume * cube,
            septum_volume=self.septum_volume * cube,
            central_volume=self.central_volume * cube,
        )

    def replace(self, **changes: object) -> Lobule:
        """A copy with some fields replaced."""
        names = self.__dataclass_fields__  # type: ignore[attr-defined]
        return Lobule(**{name: changes.get(name, getattr(self, name)) for name in names})


def cell_centres(cells: int, spacing_um: float) -> Float[np.ndarray, " n"]:
    """Centres of equal cells of a line centred on zero, x_i = (i - (n - 1) / 2) h; exactly antisymmetric.

    Args:
        cells: their number n.
        spacing_um: h [um].

    Returns:
        x [um], (n,).
    """
    return (np.arange(cells) - 0.5 * (cells - 1)) * spacing_um


def cell_edges(cells: int, spacing_um: float) -> Float[np.ndarray, " m"]:
    """Edges of equal cells of a line centred on zero, x_i = (i - n / 2) h; exactly antisymmetric.

    Args:
        cells: their number n.
        spacing_um: h [um].

    Returns:
        x [um], (n + 1,).
    """
    return (np.arange(cells + 1) - 0.5 * cells) * spacing_um


def porto_central_coordinate(
    to_portal_um: Float[np.ndarray, "*n"], to_central_um: Float[np.ndarray, "*n"]
) -> Float[np.ndarray, "*n"]:
    """Zone of a place between the vessels, from its distances to their walls.

        xi = d_portal / (d_portal + d_central)

    0 at the wall of a portal vessel and inside it, 1 at the wall of the central vein and inside it.

    Args:
        to_portal_um: distance to the nearest portal wall [um], negative inside the vessel.
        to_central_um: distance to the nearest wall of a central vein [um], negative inside the vein, same shape.

    Returns:
        xi in [0, 1] [-], same shape.
    """
    portal, central = np.maximum(to_portal_um, 0.0), np.maximum(to_central_um, 0.0)
    return portal / np.maximum(portal + central, np.finfo(float).tiny)


def extruded(plane: Shaped[np.ndarray, "ny nx"], layers: int) -> Shaped[np.ndarray, "nz ny nx"]:
    """A plane repeated along z.

    Args:
        plane: map of a layer, (ny, nx).
        layers: number of cells along z.

    Returns:
        The map of the block, (nz, ny, nx).
    """
    return np.repeat(plane[None], layers, axis=0)


def prism_grid(
    spacing_um: tuple[float, float, float],
    layers: int,
    area: Float[np.ndarray, "ny nx"],
    open_y: Float[np.ndarray, "ny nx"],
    open_x: Float[np.ndarray, "ny nx"],
) -> Grid:
    """Grid of a plane figure extruded along z.

        V = a hz,   T_z = a / hz,   T_y = l_y hz / hy,   T_x = l_x hz / hx

    Args:
        spacing_um: (hz, hy, hx) [um].
        layers: number of cells along z.
        area: a, area of the figure in each cell [um2], (ny, nx).
        open_y: l_y, open length of the upper face of each cell along y [um], (ny, nx); last row zero.
        open_x: l_x, open length of the upper face of each cell along x [um], (ny, nx); last column zero.

    Returns:
        Volumes V [um3] and faces T [um], (nz, ny, nx); the top of the block is closed.
    """
    hz, hy, hx = spacing_um
    up = extruded(area / hz, layers)
    up[-1] = 0.0
    faces = (up, extruded(open_y * hz / hy, layers), extruded(open_x * hz / hx, layers))
    return Grid(spacing_um, extruded(area * hz, layers), faces)
