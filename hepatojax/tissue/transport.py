"""Fluxes of what the blood carries: upwind, exponential and limited, for every species the same.

A scheme gives the two coefficients of the flux  F = forward u_i - backward u_(i+1)  through a face, from the flow q
[um3/s] and the conductance T = D A / h [um3/s]. The limited scheme adds to the upwind flux a correction that is not
linear in u, so that the upwind M-matrix stays the heart of its solver.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float

from hepatojax.mechanism import pytree
from hepatojax.numerics.fusion import computed_once
from hepatojax.numerics.grid import AXES, Grid
from hepatojax.numerics.operators import Faces, Operator, lower_neighbour, upper_neighbour

SERIES_BELOW = 1e-2  # cell Peclet number under which an exponential flux is its Taylor series
FLAT_BELOW = 1e-24  # product of two differences under which a profile counts as flat


def conductances(grid: Grid, diffusivity: ArrayLike, dtype: DTypeLike) -> Faces:
    """Diffusive conductance of each face, T = D A / h.

    Args:
        grid: faces are A / h [um].
        diffusivity: D [um2/s], scalar; T is per time or per pressure where D is ([um2/h], or with a solubility).
        dtype: of the carried field.

    Returns:
        Per axis (z, y, x), T [um3/s], each (nz, ny, nx).
    """
    return tuple(jnp.asarray(diffusivity, dtype) * jnp.asarray(face, dtype) for face in grid.faces)


def upwind(flux: Faces, conductance: Faces) -> tuple[Faces, Faces]:
    """First-order upwind flux.

        forward = T + max(q, 0),   backward = T + max(-q, 0)

    Args:
        flux: q per axis (z, y, x) through the upper face of each cell [um3/s], each (nz, ny, nx).
        conductance: T of the same faces [um3/s]; zeros for pure advection.

    Returns:
        The forward and backward face coefficients [um3/s].
    """
    forward = tuple(t + _downstream(q) for q, t in zip(flux, conductance, strict=True))
    backward = tuple(t + _downstream(-q) for q, t in zip(flux, conductance, strict=True))
    return forward, backward


def _downstream(flux: Array) -> Array:
    return jnp.where(flux > 0, flux, 0.0)


def exponential(flux: Faces, conductance: Faces) -> tuple[Faces, Faces]:
    """Exponentially fitted flux: exact for steady one-dimensional advection and diffusion between two cells.

        forward = T B(-q/T),  backward = T B(q/T),  B(x) = x / (e^x - 1);  upwind where T = 0

    Args:
        flux: q per axis (z, y, x) through the upper face of each cell [um3/s], each (nz, ny, nx).
        conductance: T of the same faces [um3/s], >= 0.

    Returns:
        The forward and backward face coefficients [um3/s], smooth through q = 0 where T > 0.

    Reference: Scharfetter and Gummel (1969), IEEE Trans. Electron Devices 16:64.
    """
    forward, backward = zip(*(_fitted(q, t) for q, t in zip(flux, conductance, strict=True)), strict=True)
    return forward, backward


def _fitted(flux: Array, conductance: Array) -> tuple[Array, Array]:
    """Both coefficients of the faces along one axis: a conductance that they share, and the flow on top of it.

    With x = q/T, B(-x) = B(x) + x: fast flow adds max(q, 0) and max(-q, 0) to T B(|x|), where nothing cancels, and
    slow flow adds q/2 and -q/2 to the Taylor series of their mean.
    """
    diffuses = conductance > 0
    peclet = flux / jnp.where(diffuses, conductance, 1)
    slow = jnp.abs(peclet) < SERIES_BELOW
    square, magnitude = jnp.where(slow, peclet, 0.0) ** 2, jnp.where(slow, 1.0, jnp.abs(peclet))  # none overflows
    decayed = jnp.exp(-magnitude)
    fitted = jnp.where(slow, 1.0 + square / 12.0 - square * square / 720.0, magnitude * decayed / (1.0 - decayed))
    shared = jnp.where(diffuses, conductance * fitted, 0.0)
    halved = diffuses & slow
    along, against = (jnp.where(halved, 0.5 * q, _downstream(q)) for q in (flux, -flux))
    return shared + along, shared + against


def face_flux(forward: Faces, backward: Faces, field: Array) -> Faces:
    """Flux through the upper face of each cell, F = forward u_i - backward u_(i+1).

    Args:
        forward: per axis (z, y, x), coefficient of the cell below the face [um3/s], each (nz, ny, nx).
        backward: of the cell above it [um3/s].
        field: u [any unit], (nz, ny, nx).

    Returns:
        F per axis [unit of u times um3/s], each (nz, ny, nx); zero through the walls.
    """
    return tuple(forward[a] * field - backward[a] * upper_neighbour(field, a) for a in AXES)


def by_differences(forward: Faces, backward: Faces, row_sum: Array, field: Array) -> Array:
    """A u of an operator with known row sums, from differences of neighbours, so that no large terms cancel in float32.

        (A u)_i = r_i u_i + sum over neighbours of a_ij (u_i - u_j)

    For a carrier with balanced flow and zero inlet the row sums are its inflow plus any first-order loss.

    Args:
        forward: per axis (z, y, x), coefficient of the cell below the upper face [um3/s], each (nz, ny, nx).
        backward: of the cell above that face [um3/s].
        row_sum: r [um3/s], (nz, ny, nx).
        field: u [any unit], (nz, ny, nx).

    Returns:
        A u [unit of u times um3/s], (nz, ny, nx).
    """
    result = row_sum * field
    for a in AXES:
        result = result + backward[a] * (field - upper_neighbour(field, a))
        result = result + lower_neighbour(forward[a], a) * (field - lower_neighbour(field, a))
    return result


def van_albada(first: Array, second: Array) -> tuple[Array, Array, Array]:
    """Limited mean of two neighbouring differences, and its two derivatives; zero where they disagree in sign.

        psi(a, b) = a b (a + b) / (a^2 + b^2)

    Args:
        first: a [any unit], any shape.
        second: b, same shape and unit.

    Returns:
        psi [unit of a], and its derivatives with respect to a and b [-].

    Reference: van Albada, van Leer, Roberts (1982), Astron. Astrophys. 108:76.
    """
    agree = first * second > FLAT_BELOW
    swapped = jnp.abs(first) > jnp.abs(second)
    big = jnp.where(agree, jnp.where(swapped, first, second), 1.0)
    ratio = jnp.where(agree, jnp.where(swapped, second, first), 0.0) / big
    square = 1.0 + ratio * ratio
    mean = ratio * (1.0 + ratio) / square
    by_small = jnp.where(agree, (1.0 + 2.0 * ratio - ratio * ratio) / (square * square), 0.0)
    by_big = mean - ratio * by_small
    return big * mean, jnp.where(swapped, by_big, by_small), jnp.where(swapped, by_small, by_big)


def limited_correction(flux: Faces, conductance: Faces, field: Float[Array, "nz ny nx"]) -> Faces:
    """What the limited second-order flux adds to the upwind one, |q| psi(behind, across) / 2.

    `across` is the difference u_(i+1) - u_i over the face and `behind` the next one upstream; a difference across a
    closed face (T = 0) counts as zero, which leaves upwind there.

    Args:
        flux: q per axis (z, y, x) [um3/s], each (nz, ny, nx).
        conductance: T of the same faces, which only says whether they are open.
        field: u, (nz, ny, nx).

    Returns:
        Per axis, the added flux, positive upward [unit of u times um3/s], each (nz, ny, nx).
    """
    means = (van_albada(*_differences(flux[a], conductance[a], field, a))[0] for a in AXES)
    return tuple(0.5 * jnp.abs(q) * mean for q, mean in zip(flux, means, strict=True))


def _differences(flux: Array, conductance: Array, field: Array, axis: int) -> tuple[Array, Array]:
    """The differences `behind` and `across` of each upper face along an axis, see `limited_correction`."""
    across = jnp.where(conductance > 0, upper_neighbour(field, axis) - field, 0.0)
    return jnp.where(flux > 0, lower_neighbour(across, axis), upper_neighbour(across, axis)), across


@pytree
class WideOperator:
    """A seven-point operator and the six cells two steps away, which the limited flux reaches.

        (A u)_i = (near u)_i + sum over axes of (below_i u_(i-2) + above_i u_(i+2))

    Attributes:
        near: the seven points; no M-matrix any more [um3/s].
        below: per axis (z, y, x), coefficient of the cell two steps below [um3/s], each (nz, ny, nx).
        above: per axis, coefficient of the cell two steps above [um3/s], each (nz, ny, nx).
    """

    near: Operator
    below: Faces
    above: Faces

    @property
    def transposed(self) -> WideOperator:
        """The transposed operator."""
        below = tuple(_shifted(self.above[a], a, 2) for a in AXES)
        above = tuple(_shifted(self.below[a], a, -2) for a in AXES)
        return WideOperator(self.near.transposed, below, above)

    def __call__(self, field: Array) -> Array:
        """A u, what leaves each cell.

        Args:
            field: u [any unit], (nz, ny, nx).

        Returns:
            A u [unit of u times um3/s], (nz, ny, nx).
        """
        total, padded = self.near.diagonal * field, jnp.pad(field, 2)  # half the time of twelve shifts of the field
        for a in AXES:
            total = total - self.near.backward[a] * _beyond(padded, a, 1)
            total = total - lower_neighbour(self.near.forward[a], a) * _beyond(padded, a, -1)
            total = total + self.below[a] * _beyond(padded, a, -2) + self.above[a] * _beyond(padded, a, 2)
        return total


def _beyond(padded: Array, axis: int, cells: int) -> Array:
    """The cells some cells further up an axis, from a field padded by two."""
    first = [2 + cells if a == axis else 2 for a in AXES]
    return lax.slice(padded, first, [f + n - 4 for f, n in zip(first, padded.shape, strict=True)])


def _shifted(field: Array, axis: int, cells: int) -> Array:
    window = [(cells, -cells, 0) if a == axis else (0, 0, 0) for a in AXES]
    return lax.pad(field, jnp.zeros((), field.dtype), window)


def with_limiter(upwind_operator: Operator, flux: Faces, conductance: Faces, field: Array) -> WideOperator:
    """True Jacobian of the limited scheme: the upwind operator plus the derivative of `limited_correction`.

    Args:
        upwind_operator: its linear part [um3/s].
        flux: q per axis (z, y, x) [um3/s], each (nz, ny, nx).
        conductance: T of the same faces, which only says whether they are open.
        field: u at which the correction is differentiated, (nz, ny, nx).

    Returns:
        The operator du -> change of what leaves each cell [um3/s].

    Reference: NUMERICS decision 5.
    """
    forward, backward, below, above = [], [], [], []
    diagonal = upwind_operator.diagonal
    slopes = computed_once([van_albada(*_differences(flux[a], conductance[a], field, a))[1:] for a in AXES])
    for axis in AXES:
        q, (by_behind, by_across) = flux[axis], slopes[axis]
        straight = 0.5 * jnp.abs(q) * by_across
        from_below = jnp.where(q > 0, 0.5 * jnp.abs(q) * by_behind, 0.0)
        from_above = jnp.where(q > 0, 0.0, 0.5 * jnp.abs(q) * by_behind)
        diagonal = diagonal + from_below - straight + lower_neighbour(from_above - straight, axis)
        near = from_below - straight + upper_neighbour(from_below, axis)
        forward.append(upwind_operator.forward[axis] + near)
        near = from_above - straight + lower_neighbour(from_above, axis)
        backward.append(upwind_operator.backward[axis] + near)
        below.append(lower_neighbour(from_below, axis))
        above.append(from_above)
    return WideOperator(Operator(tuple(forward), tuple(backward), diagonal), tuple(below), tuple(above))
