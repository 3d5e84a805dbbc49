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
    """Value in the cell below along an axis; zero enters at the wall."""
    return lax.pad(field, jnp.zeros((), field.dtype), [(1, -1, 0) if a == axis else (0, 0, 0) for a in AXES])


def upper_neighbour(field: Array, axis: int) -> Array:
    """Value in the cell above along an axis; zero enters at the wall."""
    return lax.pad(field, jnp.zeros((), field.dtype), [(-1, 1, 0) if a == axis else (0, 0, 0) for a in AXES])


@pytree
class Operator:
    """An M-matrix on the grid: face coefficients and diagonal, in the dtype of the fields.

    Attributes:
        forward, backward: per axis (z, y, x), coefficients of the flux through the upper face of each cell.
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
        """A u."""
        return self.diagonal * field - neighbour_sum(self, field)


def neighbour_sum(operator: Operator, field: Array) -> Array:
    """Weighted sum of the six neighbours of each cell; the one home of the stencil."""
    total = jnp.zeros_like(field)
    for axis in AXES:
        total = total + operator.backward[axis] * upper_neighbour(field, axis)
        total = total + lower_neighbour(operator.forward[axis], axis) * lower_neighbour(field, axis)
    return total


def assemble(forward: Faces, backward: Faces, sink: Array) -> Operator:
    """Operator of conservative fluxes and a sink: d = sink + forward + backward of the face below.

    Args:
        forward, backward: face coefficients, each (nz, ny, nx).
        sink: first-order loss of each cell, same unit as the face coefficients, (nz, ny, nx).
    """
    diagonal = sink
    for axis in AXES:
        diagonal = diagonal + forward[axis] + lower_neighbour(backward[axis], axis)
    return Operator(tuple(forward), tuple(backward), jnp.where(diagonal > 0, diagonal, jnp.ones_like(diagonal)))


def divergence(flux: Faces) -> Array:
    """Net outflow of each cell [unit of the flux], from the flux through the upper face of each cell."""
    total = jnp.zeros_like(flux[0])
    for axis in AXES:
        total = total + flux[axis] - lower_neighbour(flux[axis], axis)
    return total
