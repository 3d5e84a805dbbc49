"""A tracer in the blood: the age of blood in every cell, and the curve that leaves after a pulse at the inlet.

Both look at a flow as an experiment would. The mean age at the outlet and the mean transit time of a pulse are the
volume that the carrier fills over its flow, phi V / Q, in any geometry: a test of the flow that needs no solution.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hepatojax.mechanism import pytree
from hepatojax.numerics.grid import Grid
from hepatojax.numerics.multigrid import build_hierarchy, coarsening_plan
from hepatojax.numerics.operators import Faces
from hepatojax.tissue.carried import Fluxes, Verified, default_tolerance, positive_solution, solve_transport, total
from hepatojax.tissue.flow import Flow
from hepatojax.tissue.transport import conductances, exponential, upwind


@pytree
class Pulse:
    """The answer of the outlet to a unit pulse at the inlet.

    Attributes:
        times_s: ends of the steps [s], (t,).
        outflow_per_s: share of the dose that leaves per time, mean of the step [1/s], (t,).
        amount: share of the dose in each cell at the end [-], (nz, ny, nx).
        recovered: share of the dose that has left [-].
        mean_transit_s: time spent inside, averaged over the whole dose up to the end of the run [s].
        converged: whether the solve of every step was.
    """

    times_s: Float[Array, " t"]
    outflow_per_s: Float[Array, " t"]
    amount: Float[Array, "nz ny nx"]
    recovered: Float[Array, ""]
    mean_transit_s: Float[Array, ""]
    converged: Array


def blood_age(grid: Grid, flow: Flow, volume_fraction: ArrayLike, guess_s: Float[Array, "nz ny nx"]) -> Verified:
    """Mean time since entry of the blood in each cell.

        div(q age) = phi,   age = 0 in the inlet

    Its flow-weighted mean over the outlet is phi V / Q in any geometry.

    Args:
        grid: tissue volumes.
        flow: q [um3/s].
        volume_fraction: phi, share of tissue that the carrier fills [-].
        guess_s: start [s], (nz, ny, nx); its dtype is that of the solve.

    Returns:
        The age [s] in `value`, with the evidence of the solve.

    Reference: Stewart (1893), Danckwerts (1953), Chem. Eng. Sci. 2:1.
    """
    dtype = guess_s.dtype
    filled = jnp.asarray(volume_fraction, dtype) * jnp.asarray(grid.volume, dtype)
    plan = coarsening_plan(grid.shape, grid.spacing_um)
    return positive_solution(_age_equations, (flow.astype(dtype), filled), guess_s, plan)


def _age_equations(parameters: tuple[Flow, Array]) -> tuple[Fluxes, Array]:
    """Upwind transport with the outflow as sink [um3/s]; the volume that is filled ages [um3]."""
    flow, filled = parameters
    closed = tuple(jnp.zeros_like(q) for q in flow.flux)
    return (*upwind(flow.flux, closed), flow.outflow), filled


def unit_pulse(
    grid: Grid,
    flow: Flow,
    volume_fraction: Float[Array, "nz ny nx"],
    diffusivity_um2_s: ArrayLike,
    end_s: ArrayLike,
    steps: int,
) -> Pulse:
    """Follow a unit pulse through the block.

        phi dc/dt + div(q c - D grad c) = 0

    Exponential fluxes and backward Euler: no negative concentration at any step, the dose is conserved, and the mean
    transit time is phi V / Q whatever the step, once all has left; the step broadens the curve by its own length.

    Args:
        grid: tissue volumes and faces.
        flow: q [um3/s].
        volume_fraction: phi > 0 in tissue, (nz, ny, nx) [-]; its dtype is that of the run.
        diffusivity_um2_s: D [um2/s].
        end_s: length of the run [s].
        steps: number of equal steps.

    Returns:
        The curve at the outlet, what is left inside, and the first moment of the curve; look at `converged`.
    """
    dtype = volume_fraction.dtype
    step = jnp.asarray(end_s, dtype) / steps
    filled = volume_fraction * jnp.asarray(grid.volume, dtype)
    flow = flow.astype(dtype)
    faces: tuple[Faces, Faces] = exponential(flow.flux, conductances(grid, diffusivity_um2_s, dtype))
    matrix = build_hierarchy(*faces, flow.outflow + filled / step, coarsening_plan(grid.shape, grid.spacing_um))

    def advance(concentration: Array, _: None) -> tuple[Array, tuple[Array, Array, Array]]:
        rhs = filled * concentration / step
        new = solve_transport(matrix, rhs, concentration, tolerance=0.1 * default_tolerance(dtype))
        return new.value, (total(flow.outflow * new.value), total(filled * new.value), new.converged)

    dose = jnp.where(filled > 0, flow.inflow / jnp.where(filled > 0, filled, 1.0), 0.0) / jnp.sum(flow.inflow)
    last, (outflow, inside, converged) = lax.scan(advance, dose, length=steps)
    wide = step.astype(jnp.float64)
    return Pulse(
        times_s=wide * jnp.arange(1, steps + 1, dtype=jnp.float64),
        outflow_per_s=outflow,
        amount=filled * last,
        recovered=wide * jnp.sum(outflow),
        mean_transit_s=wide * jnp.sum(inside),
        converged=jnp.all(converged),
    )
