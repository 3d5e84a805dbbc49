"""The blood flow through a lobule: the record that perfusion writes and every carried species reads."""

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
        """The flow of a carrier that is a fixed share of the blood, or the same flow at another rate."""
        return Flow(tuple(f * factor for f in self.flux), self.inflow * factor, self.outflow * factor)

    def astype(self, dtype: DTypeLike) -> Flow:
        """The flow in the dtype of the fields that it carries."""
        return Flow(tuple(f.astype(dtype) for f in self.flux), self.inflow.astype(dtype), self.outflow.astype(dtype))

    @property
    def total(self) -> Float[Array, ""]:
        """Flow through the lobule [um3/s]."""
        return jnp.sum(self.inflow)

    @property
    def imbalance(self) -> Float[Array, "nz ny nx"]:
        """Divergence minus sources in each cell [um3/s]; the residual of the pressure solve."""
        return divergence(self.flux) + self.outflow - self.inflow


def superficial_speed(grid: Grid, flow: Flow, linear_scale: Float[Array, ""] | float = 1.0) -> Float[Array, "nz ny nx"]:
    """Speed of the blood at the cell centres, per area of tissue [um/s]; zero outside the tissue.

    Along each axis the flow through both faces of a cell over their open area.

    Args:
        grid: at its size at rest.
        flow: [um3/s].
        linear_scale: of the tissue now over rest [-].
    """
    square = jnp.zeros_like(flow.inflow)
    for axis in AXES:
        area = jnp.asarray(grid.faces[axis]) * grid.spacing_um[axis]
        through, open_area = (a + lower_neighbour(a, axis) for a in (flow.flux[axis], area))
        square = square + safe_ratio(through, open_area) ** 2
    return safe_power(square, 0.5) / linear_scale**2
