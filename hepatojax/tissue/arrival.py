"""Where cells that come with the blood settle: one unit-arrival solve per flow field.

Cells pass the lobule in about ten seconds, far below the slow clock, so that their capture is a steady balance with the
flow. It is linear in the cells: one solve for a unit inflow serves any dose. What comes out is an expected density over
many lobules, a fraction of a cell in each voxel, and no picture of one lobule.

Reference: MODEL 0 and 6.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hepatojax.mechanism import pytree
from hepatojax.numerics.grid import Grid
from hepatojax.numerics.multigrid import coarsening_plan
from hepatojax.numerics.safe_math import safe_ratio
from hepatojax.tissue.carried import Fluxes, positive_solution, total
from hepatojax.tissue.flow import Flow
from hepatojax.tissue.transport import upwind


@pytree
class Capture:
    """Where carried cells are captured.

    Attributes:
        density: captured cells per volume relative to the volume mean, (nz, ny, nx) [-].
        carried: cells left in the blood relative to the inlet, (nz, ny, nx) [-]; the guess of the next solve.
        captured_share: of the cells that enter, captured in one pass [-].
        iterations: half-steps of BiCGStab.
        residual: 2-norm of the imbalance over that of what enters [-].
        converged: residual within tolerance, or what rounding of the solution leaves.
        worst_cell: flat index of the largest imbalance.
    """

    density: Float[Array, "nz ny nx"]
    carried: Float[Array, "nz ny nx"]
    captured_share: Float[Array, ""]
    iterations: Array
    residual: Float[Array, ""]
    converged: Array
    worst_cell: Array


def unit_arrival(
    grid: Grid,
    flow: Flow,
    affinity: Float[Array, "nz ny nx"],
    adhesion: ArrayLike,
    guess: Float[Array, "nz ny nx"],
    *,
    tolerance: float | None = None,
) -> Capture:
    """First-order capture of cells carried by blood, in seconds and so algebraic for the slow model.

        div(q a) + k f a = 0,  a = 1 in the inlet,  k = adhesion Q / V;   arrival = f a / mean(f a)

    The shape does not depend on how many cells come: scale it by the amounts. Upwind fluxes, so that a >= 0.

    Args:
        grid: tissue volumes [um3], of which only ratios count.
        flow: of blood [um3/s].
        affinity: f, capture relative to the lobule's own, (nz, ny, nx) [-], >= 0; ones where nothing is known.
        adhesion: expected captures of one cell during one mean transit [-].
        guess: `carried` of an earlier solve, or ones, (nz, ny, nx) [-].
        tolerance: see `positive_solution`.

    Returns:
        The density of arrivals, of volume mean 1, with the evidence of its solve.

    Reference: MODEL 6 and 0 (expected density, Poisson occupancy).
    """
    dtype = affinity.dtype
    volume = jnp.asarray(grid.volume, dtype)
    rate = jnp.asarray(adhesion, dtype) * (total(flow.inflow) / grid.total_volume).astype(dtype)
    capture = rate * volume * affinity
    flow = flow.astype(dtype)
    plan = coarsening_plan(grid.shape, grid.spacing_um)
    solution = positive_solution(_equations, (flow, capture), jnp.asarray(guess, dtype), plan, tolerance=tolerance)
    settling = affinity * solution.value
    mean = grid.mean(settling).astype(dtype)
    return Capture(
        density=safe_ratio(settling, mean),
        carried=solution.value,
        captured_share=safe_ratio(total(capture * solution.value), total(flow.inflow)),
        iterations=solution.iterations,
        residual=solution.residual,
        converged=solution.converged,
        worst_cell=solution.worst_cell,
    )


def _equations(parameters: tuple[Flow, Array]) -> tuple[Fluxes, Array]:
    """Upwind transport with outflow and capture as sinks [um3/s], and the inflow at a concentration of 1."""
    flow, capture = parameters
    closed = tuple(jnp.zeros_like(q) for q in flow.flux)
    return (*upwind(flow.flux, closed), flow.outflow + capture), flow.inflow
