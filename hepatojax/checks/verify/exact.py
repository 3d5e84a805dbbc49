"""Exact solutions and measures of error that the checks share.

A manufactured solution is a formula of (z, y, x); its derivatives are taken by JAX, so that no source term is worked
out by hand. Cylinders, spheres and slabs are lines of cells with the volumes and faces of their shells, so that the
solvers for boxes run them unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hepatojax.numerics.grid import Grid

ROOT3 = float(np.sqrt(3.0))
_SECOND_PERIOD = np.exp(1j * np.pi / 3.0)  # of the lattice of lobules, over the first


def observed_order(cells: Sequence[int], errors: Sequence[float]) -> float:
    """Order of convergence: least-squares slope of log error against log cell size.

    Args:
        cells: number of cells along an axis, or of steps, of each grid.
        errors: on each of them, in any one unit.

    Returns:
        The order [-], positive where errors fall with refinement.
    """
    return float(-np.polyfit(np.log(cells), np.log(errors), 1)[0])


def root_mean_square(error: ArrayLike, weight: ArrayLike) -> float:
    """Weighted L2 norm of an error, in its unit.

        sqrt(sum w e^2 / sum w)

    Args:
        error: e, of any shape.
        weight: w, of the same shape; cell volumes [um3], or 0 where the error does not count.

    Returns:
        The norm, in the unit of the error.
    """
    error, weight = jnp.asarray(error), jnp.asarray(weight)
    return float(jnp.sqrt(jnp.sum(weight * error**2) / jnp.sum(weight)))


def box_grid(cells: tuple[int, int, int], size_um: tuple[float, float, float]) -> Grid:
    """A closed box of equal cells.

    Args:
        cells: their number along (z, y, x).
        size_um: edge lengths along (z, y, x) [um].

    Returns:
        The grid, every cell full of tissue.
    """
    spacing = tuple(length / n for length, n in zip(size_um, cells, strict=True))
    volume = float(np.prod(spacing))
    faces = []
    for axis, h in enumerate(spacing):
        face = np.full(cells, volume / h**2)
        face[(slice(None),) * axis + (-1,)] = 0.0
        faces.append(jnp.asarray(face))
    return Grid(spacing, jnp.full(cells, volume), tuple(faces))


def points(grid: Grid) -> tuple[Array, Array, Array]:
    """Coordinates of cell centres from the corner of the box.

    Args:
        grid: of a box.

    Returns:
        z, y and x [um], each (nz, ny, nx).
    """
    axes = (jnp.arange(0.5, n) * h for n, h in zip(grid.shape, grid.spacing_um, strict=True))
    return tuple(jnp.meshgrid(*axes, indexing="ij"))


def shells(edges_um: Float[np.ndarray, " m"], dimension: int) -> Grid:
    """Nested cylinders (dimension 2) or spheres (3) of unit height, or slabs of unit area (1), as one line of cells.

    Args:
        edges_um: radii of the m - 1 shells' walls, rising [um].
        dimension: of the space.

    Returns:
        The grid of shape (1, 1, m - 1), closed at both ends.
    """
    content = {1: 1.0, 2: np.pi, 3: 4.0 * np.pi / 3.0}[dimension]
    volume = content * np.diff(edges_um**dimension)
    centre = 0.5 * (edges_um[:-1] + edges_um[1:])
    between = np.append(dimension * content * edges_um[1:-1] ** (dimension - 1) / np.diff(centre), 0.0)
    closed = jnp.zeros((1, 1, centre.size))
    return Grid((1.0, 1.0, 1.0), jnp.asarray(volume)[None, None], (closed, closed, jnp.asarray(between)[None, None]))


def derivative(function: Callable[..., Array], axis: int) -> Callable[..., Array]:
    """d/dz, d/dy or d/dx of a function of the coordinates that acts point by point.

    Args:
        function: of z, y and x [um], arrays of one shape.
        axis: 0, 1 or 2 for z, y or x.

    Returns:
        The derivative as a function of the same coordinates [unit of the function per um].
    """

    def slope(*place: Array) -> Array:
        tangent = [jnp.ones_like(x) if k == axis else jnp.zeros_like(x) for k, x in enumerate(place)]
        return jax.jvp(function, place, tuple(tangent))[1]

    return slope


def diffusion(
    function: Callable[..., Array], coefficients: Sequence[Callable[..., Array] | float]
) -> Callable[..., Array]:
    """The exact  sum over axes of d/da (k_a df/da)  of functions of (z, y, x).

    Args:
        function: f, acting point by point.
        coefficients: k_a per axis (z, y, x), numbers or functions of the coordinates.

    Returns:
        The sum as a function of z, y and x [um].
    """

    def flux(axis: int) -> Callable[..., Array]:
        k, slope = coefficients[axis], derivative(function, axis)
        return lambda *place: (k(*place) if callable(k) else k) * slope(*place)

    return lambda *place: sum((derivative(flux(a), a)(*place) for a in range(3)), jnp.zeros_like(place[0]))


def lattice_pressure(
    x: Float[np.ndarray, "*n"], y: Float[np.ndarray, "*n"], radius_um: float
) -> Float[np.ndarray, "*n"]:
    """p K H / (mu Q) in an endless lattice of hexagonal lobules, up to a constant.

        p = G(z) - (G(z - iR) + G(z + iR)) / 2,  over 2 pi;   G(z) = ln |theta_1(pi w)| - pi / Im(tau) Im(w)^2,
        w = z / (sqrt(3) R)

    Point sources in the vertices, a point sink in each centre. Outside round vessels of radius a it is exact but for
    terms of the order (a/R)^6.

    Args:
        x: across, from the centre of a hexagon with vertices at (0, +-R) [um].
        y: along, from the same centre [um].
        radius_um: circumradius R [um].

    Returns:
        The pressure, relative to mu Q / (K H), of the shape of x and y [-].

    Reference: doubly periodic Green's function by Jacobi's theta function.
    """
    z = np.asarray(x) + 1j * np.asarray(y)
    portal = 0.5 * (_green(z - 1j * radius_um, radius_um) + _green(z + 1j * radius_um, radius_um))
    return (_green(z, radius_um) - portal) / (2.0 * np.pi)


def _green(z: np.ndarray, radius_um: float) -> np.ndarray:
    """G of `lattice_pressure`; twelve terms of the series of theta_1 are more than float64 resolves."""
    w, orders = z / (ROOT3 * radius_um), np.arange(12)
    nome = np.exp(1j * np.pi * _SECOND_PERIOD)
    terms = (-1.0) ** orders * nome ** ((orders + 0.5) ** 2) * np.sin((2 * orders + 1) * np.pi * w[..., None])
    return np.log(np.abs(2.0 * np.sum(terms, axis=-1))) - np.pi / _SECOND_PERIOD.imag * w.imag**2
