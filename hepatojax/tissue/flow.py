"""The blood flow through a lobule: the record that perfusion writes and every carried species reads.

The fluxes that balance the pressure are the fluxes that carry oxygen, signals and cells; nobody interpolates a velocity
of its own, so that what enters a cell with the blood leaves it again to the residual of the pressure solve.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from hepatojax.mechanism import pytree
from hepatojax.numerics.grid import AXES, Grid
from hepatojax.numerics.operators import Faces, divergence, lower_neighbour
from hepatojax.numerics.safe_math import safe_power, safe_ratio


@pytree
class Flow:
    """Volumetric flow on the grid; the same numbers serve every species, so that mass closes to round-off.

    Attributes:
        flux: per axis (z, y, x), flow through the upper face of each cell [um3/s], each (nz, ny, nx).
        inflow: flow from the inlet vessels into each cell [um3/s], >= 0.
        outflow: flow from each cell into the central vein [um3/s], >= 0.
    """

    flux: Faces
    inflow: Float[Array, "nz ny nx"]
    outflow: Float[Array, "nz ny nx"]

    def times(self, factor: Array | float) -> Flow:
        """The flow of a carrier that is a fixed share of the blood, or the same flow at another rate.

        Args:
            factor: on every flux, inflow and outflow [-]; a total [um3/s] where this flow is that of a unit total.

        Returns:
            The flow [um3/s].
        """
        return Flow(tuple(f * factor for f in self.flux), self.inflow * factor, self.outflow * factor)

    def astype(self, dtype: DTypeLike) -> Flow:
        """The flow in the dtype of the fields that it carries.

        Args:
            dtype: float32 or float64; the pressure solve itself gives float64.

        Returns:
            The flow [um3/s], each array (nz, ny, nx).
        """
        return Flow(tuple(f.astype(dtype) for f in self.flux), self.inflow.astype(dtype), self.outflow.astype(dtype))

    @property
    def total(self) -> Float[Array, ""]:
        """Flow through the lobule [um3/s]."""
        return jnp.sum(self.inflow)

    @property
    def imbalance(self) -> Float[Array, "nz ny nx"]:
        """Residual of the pressure solve in each cell, div q + q_out - q_in [um3/s], (nz, ny, nx)."""
        return divergence(self.flux) + self.outflow - self.inflow


def superficial_speed(grid: Grid, flow: Flow, linear_scale: Float[Array, ""] | float = 1.0) -> Float[Array, "nz ny nx"]:
    """Speed of the blood at the cell centres, per area of tissue; zero outside the tissue.

        u_a = (q_i + q_(i-1)) / (A_i + A_(i-1)) along axis a,   |u| = sqrt(sum of u_a^2) / s^2

    Along each axis the flow through both faces of a cell over their open area.

    Args:
        grid: at its size at rest; its faces give the open areas A [um2].
        flow: q [um3/s].
        linear_scale: s, length of the tissue now over rest [-]; areas grow by its square.

    Returns:
        |u| [um/s], (nz, ny, nx).
    """
    square = jnp.zeros_like(flow.inflow)
    for axis in AXES:
        area = jnp.asarray(grid.faces[axis]) * grid.spacing_um[axis]
        through, open_area = (a + lower_neighbour(a, axis) for a in (flow.flux[axis], area))
        square = square + safe_ratio(through, open_area) ** 2
    return safe_power(square, 0.5) / linear_scale**2
