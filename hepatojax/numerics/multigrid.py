"""Geometric multigrid for seven-point operators of diffusion and flow: one V-cycle as a preconditioner.

The plan (which axes are halved on which level) is static, so that a jitted solve compiles once per grid shape. Transfer
is piecewise constant. What a coarse face lets through in one direction net is the sum over its fine faces, as a flow
is; what it lets through both ways is half of that sum where the distance doubles, as a conductance is. The smoother is
red-black Gauss-Seidel with the order reversed after the correction, so that the cycle is symmetric where the operator
is. Each sweep is one trip of a loop, since XLA would otherwise compute a stencil of a stencil.

Reference: Braess (1995), Computing 55:379 (over-correction of piecewise-constant transfer, here the factor one half).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from hepatojax.mechanism import pytree, static
from hepatojax.numerics.fusion import computed_once
from hepatojax.numerics.grid import AXES
from hepatojax.numerics.linear_solve import LinearSolution, conjugate_gradient
from hepatojax.numerics.operators import Faces, Operator, assemble
from hepatojax.numerics.red_black import RED, Checkerboard, checkerboard, join, split

Plan = tuple[tuple[int, ...], ...]

COARSEST_CELLS = 1500  # with 1000, and 8 sweeps there, the default grid took a level more and as many iterations
SEMI_COARSENING = 2.0  # an axis is halved where its coupling is within this factor of the strongest
SWEEPS = 3  # with 8 on the coarsest level, at 64^3: two take 14 iterations, three 11, four 10, in equal time
COARSEST_SWEEPS = 32  # at 1200 cells as cheap as 8; of a signal they leave a tenth a cycle, where 8 left up to a half
MAX_ITERATIONS = 300


def coarsening_plan(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    conductivity: tuple[float, float, float] = (1.0, 1.0, 1.0),
    coarsest_cells: int = COARSEST_CELLS,
) -> Plan:
    """Axes to halve on each level, strongest couplings k / h^2 first; empty where the grid is already small.

    Args:
        shape: cells (nz, ny, nx).
        spacing: (hz, hy, hx) [um]; only ratios count.
        conductivity: k along each axis (z, y, x), relative to each other [-].
        coarsest_cells: coarsening stops at this number of cells or below.

    Returns:
        For each level, finest first, the axes (0, 1, 2 for z, y, x) along which the next one has half the cells.

    Reference: NUMERICS decision 3.
    """
    cells, h, plan = list(shape), list(spacing), []
    while math.prod(cells) > coarsest_cells:
        coupling = [conductivity[a] / h[a] ** 2 if cells[a] > 1 else 0.0 for a in AXES]
        axes = tuple(a for a in AXES if coupling[a] * SEMI_COARSENING >= max(coupling) and cells[a] > 1)
        for a in axes:
            cells[a], h[a] = (cells[a] + 1) // 2, 2.0 * h[a]
        plan.append(axes)
    return tuple(plan)


@pytree
class Hierarchy:
    """Operators of all levels, finest first, plain and by colour.

    Attributes:
        operators: A of each level, in the unit of the finest.
        boards: the same operators by colour, for the smoother.
        plan: `plan[k]` are the axes halved below level k.
    """

    operators: tuple[Operator, ...]
    boards: tuple[Checkerboard, ...]
    plan: Plan = static()

    @property
    def finest(self) -> Operator:
        """The operator itself."""
        return self.operators[0]

    @property
    def coarser(self) -> Hierarchy:
        """The hierarchy without its finest level."""
        return Hierarchy(self.operators[1:], self.boards[1:], self.plan[1:])

    @property
    def transposed(self) -> Hierarchy:
        """The hierarchy of the transposed operator."""
        return _by_colour([operator.transposed for operator in self.operators], self.plan)


@partial(jax.jit, static_argnames="plan")  # traced once for all solves of a shape
def build_hierarchy(forward: Faces, backward: Faces | None, sink: Float[Array, "nz ny nx"], plan: Plan) -> Hierarchy:
    """Operators of all levels of fluxes  F = forward u_i - backward u_j  and a sink; see `assemble`.

        net = forward - backward,   both = min(forward, backward)
        forward = both + max(net, 0),   backward = both + max(-net, 0)

    On the next level net is its sum over the fine faces, and so is both, half of it along an axis that is halved.

    Args:
        forward: per axis (z, y, x), coefficient of the cell below its upper face, >= 0, each (nz, ny, nx).
        backward: of the cell above that face; None for diffusion, where it is `forward`.
        sink: s >= 0, first-order loss of each cell, same unit, (nz, ny, nx).
        plan: from `coarsening_plan`.

    Returns:
        The operators, one more than the plan has levels.
    """
    operators = [assemble(forward, forward if backward is None else backward, sink)]
    both, net = (forward, None) if backward is None else _both_and_net(forward, backward)
    for axes in plan:
        both = tuple(face * (0.5 if a in axes else 1.0) for a, face in enumerate(_coarse_faces(both, axes)))
        net = None if net is None else _coarse_faces(net, axes)
        both, net, sink = computed_once((both, net, restrict(sink, axes)))  # else every level sums up all finer ones
        operators.append(assemble(*_forward_and_backward(both, net), sink))
    return _by_colour(operators, plan)


def _both_and_net(forward: Faces, backward: Faces) -> tuple[Faces, Faces]:
    """What passes faces both ways, and the net flow."""
    pairs = tuple(zip(forward, backward, strict=True))
    return tuple(jnp.minimum(f, b) for f, b in pairs), tuple(f - b for f, b in pairs)


def _forward_and_backward(both: Faces, net: Faces | None) -> tuple[Faces, Faces]:
    """Coefficients of faces, of what passes both ways and of the net flow, if there is one."""
    if net is None:
        return both, both
    pairs = tuple(zip(both, net, strict=True))
    forward = tuple(b + jnp.where(n > 0, n, 0.0) for b, n in pairs)
    return forward, tuple(b + jnp.where(n < 0, -n, 0.0) for b, n in pairs)


def _coarse_faces(faces: Faces, axes: tuple[int, ...]) -> Faces:
    """Sum over the fine faces of each coarse face: along a halved axis every second one, across it all of them."""
    kept = [_last_of_pairs(face, axis) if axis in axes else face for axis, face in enumerate(faces)]
    return tuple(restrict(face, tuple(a for a in axes if a != axis)) for axis, face in enumerate(kept))


def _by_colour(operators: list[Operator], plan: Plan) -> Hierarchy:
    return Hierarchy(tuple(operators), tuple(checkerboard(operator) for operator in operators), plan)


def restrict(field: Array, axes: tuple[int, ...]) -> Array:
    """Sum over the fine cells of each coarse cell; odd sizes are padded by an empty cell.

    Args:
        field: amount or coefficient of each fine cell [any unit], (nz, ny, nx).
        axes: those to halve, 0, 1, 2 for z, y, x.

    Returns:
        The sums [same unit], with half the cells, rounded up, along those axes.
    """
    for axis in axes:
        field = lax.slice_in_dim(field, 0, None, 2, axis) + _last_of_pairs(field, axis)
    return field


def _last_of_pairs(field: Array, axis: int) -> Array:
    """Every second fine cell or upper face along an axis; zero where an odd size leaves the last one alone."""
    odd = [(0, field.shape[a] % 2 if a == axis else 0) for a in AXES]
    return jnp.pad(lax.slice_in_dim(field, 1, None, 2, axis), odd)


def prolong(field: Array, axes: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    """The value of its coarse cell in each fine cell; the transpose of `restrict`.

    Args:
        field: on the coarse cells [any unit].
        axes: those that were halved.
        shape: of the fine grid (nz, ny, nx); cuts off the padding of an odd size.

    Returns:
        The values on the fine cells [same unit].
    """
    for axis in axes:
        field = lax.slice_in_dim(jnp.repeat(field, 2, axis=axis), 0, shape[axis], axis=axis)
    return field


@partial(jax.jit, static_argnames="sweeps")  # traced once, as above
def v_cycle(hierarchy: Hierarchy, rhs: Float[Array, "nz ny nx"], sweeps: int = SWEEPS) -> Float[Array, "nz ny nx"]:
    """One V-cycle from zero: an approximate A^-1 rhs, linear in rhs; symmetric if A is.

    Sweeps from zero, red first; the residual summed to the coarse cells; its correction spread; sweeps, black first.

    Args:
        hierarchy: of A.
        rhs: b [any unit], (nz, ny, nx).
        sweeps: before and after the correction of each level; a coarsest one that is small has its own number, and one
            that is not has no coarser one because what it solves is local.

    Returns:
        x [unit of b over that of A], (nz, ny, nx).
    """
    board = hierarchy.boards[0]
    load = board.scaled(rhs)
    if not hierarchy.plan:
        zero = jax.tree.map(jnp.zeros_like, load)
        alone = COARSEST_SWEEPS if rhs.size <= COARSEST_CELLS else sweeps
        return join(board.black_red(load, board.red_black(load, zero, alone), alone), board.cells_x)
    axes = hierarchy.plan[0]
    (red, black), residual = board.red_black_from_zero(load, sweeps)
    correction = v_cycle(hierarchy.coarser, _restrict_red(board, residual, axes), sweeps)
    pair = board.black_red(load, (red + _prolong_red(board, correction, axes), black), sweeps)
    return join(pair, board.cells_x)


def _restrict_red(board: Checkerboard, red: Array, axes: tuple[int, ...]) -> Array:
    """`restrict` of a field that is zero on black; packing has already joined the pairs along x."""
    if 2 in axes:
        return restrict(red, tuple(a for a in axes if a != 2))
    return restrict(join((red, jnp.zeros_like(red)), board.cells_x), axes)


def _prolong_red(board: Checkerboard, field: Array, axes: tuple[int, ...]) -> Array:
    """`prolong` to the red cells; the two cells of a pair along x have the same coarse cell."""
    shape = board.red.diagonal.shape
    if 2 in axes:
        return prolong(field, tuple(a for a in axes if a != 2), shape)
    return split(prolong(field, axes, (*shape[:2], board.cells_x)))[RED]


def preconditioner(
    conductance: Faces, sink: Float[Array, "nz ny nx"], plan: Plan, size: Float[Array, ""]
) -> Callable[[Float[Array, "nz ny nx"]], Float[Array, "nz ny nx"]]:
    """Residual -> one V-cycle of it, computed in float32 on the residual over `size`, which keeps it in range.

    A preconditioner needs no more digits, and half the memory traffic is half the time; the answer keeps the digits of
    the conjugate gradients around it.

    Args:
        conductance: T per axis (z, y, x) of the upper face of each cell, each (nz, ny, nx).
        sink: s >= 0 in the unit of T, (nz, ny, nx).
        plan: from `coarsening_plan`.
        size: what residuals are divided by, > 0 [their unit]; that of the right-hand side.

    Returns:
        r -> approximate A^-1 r, both (nz, ny, nx) in the precision of r.
    """
    single = tuple(t.astype(jnp.float32) for t in conductance)
    hierarchy = build_hierarchy(single, None, sink.astype(jnp.float32), plan)

    def precondition(residual: Float[Array, "nz ny nx"]) -> Float[Array, "nz ny nx"]:
        return v_cycle(hierarchy, (residual * (1 / size)).astype(jnp.float32)).astype(residual.dtype) * size

    return precondition


def multigrid_solve(
    conductance: Faces,
    sink: Float[Array, "nz ny nx"],
    rhs: Float[Array, "nz ny nx"],
    guess: Float[Array, "nz ny nx"],
    plan: Plan,
    *,
    tolerance: float,
    scale: Array | Callable[[Array], Array] | None = None,
) -> LinearSolution:
    """Solve  sum of T (u_i - u_j) + s_i u_i = b_i  by conjugate gradients with one V-cycle.

    Args:
        conductance: T per axis (z, y, x) of the upper face of each cell [any unit], each (nz, ny, nx).
        sink: s >= 0 in the unit of T, (nz, ny, nx).
        rhs: b [unit of T times that of u], (nz, ny, nx).
        guess: u to start from, (nz, ny, nx).
        plan: from `coarsening_plan`.
        tolerance: relative to `scale` [-].
        scale: as for `conjugate_gradient`; |b| by default.

    Returns:
        u with the evidence of the solve; 300 iterations leave `converged` False.

    Reference: NUMERICS decision 3.
    """
    largest = jnp.max(jnp.abs(rhs))
    size = jnp.where(largest > 0, largest, jnp.ones_like(largest))
    return conjugate_gradient(
        assemble(conductance, conductance, sink),
        preconditioner(conductance, sink, plan, size),
        rhs,
        guess,
        tolerance=tolerance,
        max_iterations=MAX_ITERATIONS,
        scale=scale,
    )
