"""Seven-point operators on a cut-cell grid.

The flux from cell i to cell i + 1 along an axis is  F = forward u_i - backward u_(i+1)  with both coefficients >= 0.
Diffusion has forward = backward = T, so that the operator is symmetric. A row of the operator is

    (A u)_i = d_i u_i - sum over faces of (coefficient of the neighbour) u_neighbour

and an inactive cell is an identity row (d = 1, all faces closed).
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from hepatojax.mechanism import pytree
from hepatojax.numerics.grid import AXES

Faces = tuple[Any, ...]


def lower_neighbour(field: Array, axis: int) -> Array:
    """Value in the cell below along an axis; zero enters at the wall.

    Args:
        field: u [any unit], (nz, ny, nx).
        axis: 0, 1, 2 for z, y, x.

    Returns:
        u_(i-1) in cell i, (nz, ny, nx).
    """
    return lax.pad(field, jnp.zeros((), field.dtype), [(1, -1, 0) if a == axis else (0, 0, 0) for a in AXES])


def upper_neighbour(field: Array, axis: int) -> Array:
    """Value in the cell above along an axis; zero enters at the wall.

    Args:
        field: u [any unit], (nz, ny, nx).
        axis: 0, 1, 2 for z, y, x.

    Returns:
        u_(i+1) in cell i, (nz, ny, nx).
    """
    return lax.pad(field, jnp.zeros((), field.dtype), [(-1, 1, 0) if a == axis else (0, 0, 0) for a in AXES])


@pytree
class Operator:
    """An M-matrix on the grid: face coefficients and diagonal, in the dtype of the fields and one unit, mostly um3/s.

    Attributes:
        forward: per axis (z, y, x), coefficient of u_i in the flux through the upper face of cell i, each (nz, ny, nx).
        backward: coefficient of u_(i+1) in that flux, each (nz, ny, nx).
        diagonal: row diagonal; 1 in inactive cells.
    """

    forward: Faces
    backward: Faces
    diagonal: Float[Array, "nz ny nx"]

    @property
    def transposed(self) -> Operator:
        """The transposed operator: the roles of the two face coefficients are exchanged."""
        return Operator(self.backward, self.forward, self.diagonal)

    def __call__(self, field: Array) -> Array:
        """A u, what leaves each cell.

        Args:
            field: u [any unit], (nz, ny, nx).

        Returns:
            A u [unit of the coefficients times that of u], (nz, ny, nx).
        """
        return self.diagonal * field - neighbour_sum(self, field)


def neighbour_sum(operator: Operator, field: Array) -> Array:
    """Weighted sum of the six neighbours of each cell.

        sum over axes of  backward_i u_(i+1) + forward_(i-1) u_(i-1)

    Args:
        operator: whose face coefficients are the weights.
        field: u [any unit], (nz, ny, nx).

    Returns:
        The sum [unit of the coefficients times that of u], (nz, ny, nx).
    """
    total = jnp.zeros_like(field)
    for axis in AXES:
        total = total + operator.backward[axis] * upper_neighbour(field, axis)
        total = total + lower_neighbour(operator.forward[axis], axis) * lower_neighbour(field, axis)
    return total


def assemble(forward: Faces, backward: Faces, sink: Array) -> Operator:
    """Operator of conservative fluxes and a sink.

        d_i = s_i + sum over axes of (forward_i + backward_(i-1)),   1 where that is zero

    Args:
        forward: per axis (z, y, x), coefficient of the cell below its upper face, >= 0, each (nz, ny, nx).
        backward: of the cell above that face, >= 0, each (nz, ny, nx).
        sink: s, first-order loss of each cell, same unit as the face coefficients, (nz, ny, nx).

    Returns:
        The operator; the columns of its fluxes sum to zero, so that only the sink takes matter out.
    """
    diagonal = sink
    for axis in AXES:
        diagonal = diagonal + forward[axis] + lower_neighbour(backward[axis], axis)
    return Operator(tuple(forward), tuple(backward), jnp.where(diagonal > 0, diagonal, jnp.ones_like(diagonal)))


def divergence(flux: Faces) -> Array:
    """Net outflow of each cell, sum over axes of F_i - F_(i-1).

    Args:
        flux: F per axis (z, y, x) through the upper face of each cell [any unit], each (nz, ny, nx).

    Returns:
        The outflow [unit of the flux], (nz, ny, nx); its sum over all cells is zero where the walls are closed.
    """
    total = jnp.zeros_like(flux[0])
    for axis in AXES:
        total = total + flux[axis] - lower_neighbour(flux[axis], axis)
    return total
