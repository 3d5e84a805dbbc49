"""The finite-volume grid: cell volumes and face conductances of a box in which a body of any shape is cut.

A cut cell holds the volume of tissue in it and the open area of its faces; where these are exact, a curved border costs
neither cells nor order. Whatever the geometry, solvers see no more than these numbers; a cell without tissue has volume
zero and closed faces. Fields stand in the cell centres, fluxes on the faces.

Reference: NUMERICS decision 1.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from hepatojax.mechanism import pytree, static

AXES = (0, 1, 2)  # z, y, x


@pytree
class Grid:
    """Cut-cell grid of a tissue block; arrays are (nz, ny, nx), float64.

    Attributes:
        spacing_um: cell size (hz, hy, hx) [um].
        volume: tissue volume in each cell [um3]; zero outside the tissue.
        faces: per axis (z, y, x), open area over distance [um] of the face between cell i and cell i + 1 along that
            axis; the last plane is zero (closed wall).
    """

    spacing_um: tuple[float, float, float] = static()
    volume: Float[Array | np.ndarray, "nz ny nx"]
    faces: tuple[Float[Array | np.ndarray, "nz ny nx"], ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of cells (nz, ny, nx)."""
        return self.volume.shape  # type: ignore[return-value]

    @property
    def active(self) -> Bool[Array, "nz ny nx"]:
        """True where a cell holds tissue, (nz, ny, nx)."""
        return self.volume > 0

    @property
    def total_volume(self) -> Float[Array, ""]:
        """Tissue volume of the whole grid [um3]."""
        return jnp.sum(self.volume)

    def scaled(self, linear_scale: Array | float) -> Grid:
        """The same tissue grown by a linear scale: volumes by its cube, face conductances by its first power.

            V -> s^3 V,   A / h -> s A / h

        Args:
            linear_scale: s, length now over length at rest [-].

        Returns:
            The grown grid, on which `spacing_um` still says the size at rest.
        """
        volume = self.volume * linear_scale**3
        return Grid(self.spacing_um, volume, tuple(f * linear_scale for f in self.faces))

    def astype(self, dtype: DTypeLike) -> Grid:
        """The same grid in the precision of a solve; its cotangents are then of that precision too.

        Args:
            dtype: of volumes and faces.

        Returns:
            The grid; sums over many of its cells belong to the one in float64.
        """
        return jax.tree.map(lambda a: jnp.asarray(a, dtype), self)

    def integral(self, field: Array) -> Float[Array, ""]:
        """Volume integral of a field, sum_i V_i f_i, summed in float64.

        Args:
            field: f [any unit], (nz, ny, nx), in any precision.

        Returns:
            The integral [unit of f times um3].
        """
        return jnp.sum(self.volume * field.astype(jnp.float64))

    def mean(self, field: Array) -> Float[Array, ""]:
        """Volume mean of a field, sum_i V_i f_i / sum_i V_i, summed in float64.

        Args:
            field: f [any unit], (nz, ny, nx), in any precision; what stands outside the tissue has no weight.

        Returns:
            The mean [unit of f].
        """
        return self.integral(field) / self.total_volume
