"""Carried species against exact solutions: transit times, moving fronts, capture, motion of cells.

A pulse is followed in time only here, by the tracer, for the model holds what blood carries in balance; it shares the
fluxes of the model and its linear solver. Capture and motion are the very functions that a macro-step calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from hepatojax.checks.records import Check, Record, at_least, at_most, largest, smallest
from hepatojax.checks.verify.exact import box_grid, points, root_mean_square
from hepatojax.checks.verify.oxygen import HUMAN_FLOW
from hepatojax.checks.verify.perfusion import CENTRAL_UM, HEXAGON, PORTAL_UM, RADIUS_UM, solved
from hepatojax.tissue.arrival import unit_arrival
from hepatojax.tissue.flow import Flow
from hepatojax.tissue.geometry import Lobule
from hepatojax.tissue.hexagon import hexagonal_lobule, radial_column
from hepatojax.tissue.migration import migrate
from hepatojax.tissue.tracer import blood_age, unit_pulse

_pulse = jax.jit(partial(unit_pulse, steps=400))


def hexagon_with_flow(cells: tuple[int, int, int] = HEXAGON) -> tuple[Lobule, Flow]:
    """A human lobule at rest, perfused at 1 ml/min per ml.

    Args:
        cells: (nx, ny, nz), each 20 um high.

    Returns:
        The lobule and its blood flow [um3/s].
    """
    lobule = hexagonal_lobule(cells, RADIUS_UM, 20.0 * cells[2], CENTRAL_UM, PORTAL_UM)
    lobule = jax.tree.map(jnp.asarray, lobule)
    return lobule, solved(lobule, HUMAN_FLOW).flow.times(float(lobule.grid.total_volume) / 60.0)


def transit_time() -> Iterator[Record]:
    """V04: the mean transit time of a pulse, and the mean age of the blood that leaves, are phi V/Q.

    The pulse may be off by 2 %, the age by 1e-8, at phi = 0.15 in a hexagon; 0.999 of the dose must have left.

    Yields:
        Both relative errors, and the share that has left [-].

    Reference: VALIDATION V04.
    """
    lobule, flow = hexagon_with_flow()
    grid, share = lobule.grid, 0.15
    exact = share * float(grid.total_volume / flow.total)
    pulse = _pulse(grid, flow, jnp.full(grid.shape, share), 0.0, 12.0 * exact)
    age = jax.jit(blood_age)(grid, flow, share, jnp.zeros(grid.shape)).value
    leaving = float(jnp.sum(flow.outflow * age) / flow.total)
    source = "V04, exact"
    yield at_most(
        "V04", "mean transit time of a pulse, relative error", _off(pulse.mean_transit_s, exact), 0.02, "-", source
    )
    yield at_most("V04", "age of the leaving blood, relative error", _off(leaving, exact), 1e-8, "-", source)
    yield at_least("V04", "share of the dose that has left", float(pulse.recovered), 0.999, "-", source)


def _off(value: Array | float, exact: float) -> float:
    return abs(float(value) / exact - 1.0)


def moving_front() -> Iterator[Record]:
    """V09: a pulse keeps its dose, stays positive and adds no variation at cell Peclet numbers 0.1 to 100.

    Along a line of 60 cells at 50 um/s, looked at three times on its way; the dose must be kept to 1e-6.

    Yields:
        Lowest concentration, dose lost or made, and growth of the total variation [share of the dose].

    Reference: VALIDATION V09.
    """
    cells, spacing, speed = 60, 10.0, 50.0
    grid = box_grid((1, 1, cells), (1.0, 1.0, spacing * cells))
    line = jnp.zeros(grid.shape)
    flow = Flow((line, line, line.at[..., :-1].set(speed)), line.at[0, 0, 0].set(speed), line.at[0, 0, -1].set(speed))
    lowest, gaps, growth = [], [], []
    for peclet in (0.1, 1.0, 10.0, 100.0):
        variation = 2.0  # of the pulse in the first cell
        for passed in (0.1, 0.3, 0.6):
            end = passed * cells * spacing / speed
            pulse = _pulse(grid, flow, jnp.ones(grid.shape), speed * spacing / peclet, end)
            content = pulse.amount[0, 0]
            later = float(jnp.sum(jnp.abs(jnp.diff(content, prepend=0.0, append=0.0))))
            lowest += [content, pulse.outflow_per_s]
            gaps.append(abs(float(jnp.sum(content) + pulse.recovered) - 1.0))
            growth.append(later - variation)
            variation = later
    yield at_least("V09", "lowest concentration of a pulse", smallest(lowest), 0.0, "-", "V09, exact")
    yield at_most("V09", "dose lost or made", largest(gaps), 1e-6, "-", "V09, exact")
    yield at_most("V09", "growth of the total variation", largest(growth), 0.0, "-", "V09, exact")


def arrival() -> Iterator[Record]:
    """Cells of the blood that adhere at first order along a column, in plug flow.

        a(s) = exp(-k s),   caught in a pass: 1 - exp(-k),   s the share of the volume that has been passed

    at k = 1.5 expected captures in a transit. Both may be off by 0.01, the volume mean of the density from 1 by 1e-10.

    Yields:
        These three errors [-].
    """
    lobule = jax.tree.map(jnp.asarray, radial_column(200, RADIUS_UM, 10.0, CENTRAL_UM, PORTAL_UM))
    flow = solved(lobule, HUMAN_FLOW).flow
    ones, adhesion = jnp.ones(lobule.grid.shape), 1.5
    caught = jax.jit(unit_arrival)(lobule.grid, flow, ones, adhesion, ones)
    passed = (jnp.cumsum(lobule.grid.volume) - 0.5 * lobule.grid.volume.ravel()) / lobule.grid.total_volume
    error = caught.carried.ravel() - jnp.exp(-adhesion * passed)
    mean = float(lobule.grid.mean(caught.density))
    share = float(caught.captured_share)
    source = "exact, plug flow"
    yield at_most("arrival", "cells left in the blood, error", float(jnp.max(jnp.abs(error))), 1e-2, "-", source)
    yield at_most("arrival", "share caught in a pass, error", abs(share - 1.0 + np.exp(-adhesion)), 1e-2, "-", source)
    yield at_most("arrival", "volume mean of the density - 1", abs(mean - 1.0), 1e-10, "-", source)


def motion() -> Iterator[Record]:
    """Cells come to rest as exp(phi/D), a cosine spreads as backward Euler has it, and none is lost in a hexagon.

        n = 1 + 0.5 cos(k x) / (1 + D k^2 dt)   after one step from 1 + 0.5 cos(k x)

    The rest may be off by 1e-6 in L2, the cosine by 1e-3, the number of cells by 1e-12.

    Yields:
        These three errors [-].
    """
    grid = box_grid((1, 1, 64), (10.0, 10.0, 200.0))
    x = points(grid)[2]
    potential = 900.0 * jnp.cos(np.pi * x / 200.0)
    rest = jnp.exp(potential / 300.0)
    settled = jax.jit(migrate)(grid, jnp.ones(grid.shape), potential, 300.0, 1e9).density
    error = root_mean_square(settled * grid.mean(rest) / rest - 1.0, grid.volume)
    wave = np.pi / 200.0
    spread = jax.jit(migrate)(grid, 1.0 + 0.5 * jnp.cos(wave * x), jnp.zeros_like(x), 300.0, 0.5).density
    exact = 1.0 + 0.5 * jnp.cos(wave * x) / (1.0 + 300.0 * wave**2 * 0.5)  # backward Euler in time
    yield at_most("motion", "equilibrium exp(phi/D) of drifting cells, L2", error, 1e-6, "-", "exact")
    yield at_most(
        "motion", "spread of a cosine in one step", float(jnp.max(jnp.abs(spread - exact))), 1e-3, "-", "exact"
    )
    yield at_most("motion", "cells lost in a hexagon", _lost_by_motion(), 1e-12, "-", "conservation")


def _lost_by_motion() -> float:
    """Relative change of the number of random cells in a cut hexagon over a step of 6 h along a random potential."""
    lobule, _ = hexagon_with_flow()
    grid, random = lobule.grid, np.random.default_rng(0)
    density, potential = (jnp.asarray(random.uniform(0.0, s, grid.shape)) for s in (1.0, 1e3))
    moved = jax.jit(migrate)(grid, density, potential, 50.0, 6.0).density
    return abs(float(grid.integral(moved) / grid.integral(density)) - 1.0)


CHECKS = (
    Check("V04", "central-volume theorem", transit_time),
    Check("V09", "moving fronts", moving_front),
    Check("arrival", "capture of cells from the blood", arrival),
    Check("motion", "motion of cells", motion),
)
