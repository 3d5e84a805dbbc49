"""Signals in two phases against exact solutions.

Tissue diffuses and plasma is carried, so that each phase has its own order; one cell with the body has algebra alone,
which a root of one equation solves. Balances and the constant state hold for any grid, to the tolerance of the solve.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import brentq
from scipy.special import k0

from hepatojax.checks.records import Check, Record, at_least, at_most, largest, smallest
from hepatojax.checks.verify.exact import (
    box_grid,
    derivative,
    diffusion,
    observed_order,
    points,
    root_mean_square,
    shells,
)
from hepatojax.checks.verify.oxygen import PLAIN, oxygenated, still, swirl
from hepatojax.checks.verify.perfusion import ORDER_2D
from hepatojax.checks.verify.transport import hexagon_with_flow
from hepatojax.numerics.grid import Grid
from hepatojax.tissue.flow import Flow
from hepatojax.tissue.signals import BodyClosure, Signal, SignalParameters, solve_signal


@jax.jit
def signalled(
    grid: Grid,
    flow: Flow,
    secretion_nM_s: Float[Array, "nz ny nx"],
    uptake_per_s: Float[Array, "nz ny nx"],
    p: SignalParameters,
    body: BodyClosure,
) -> Signal:
    """`solve_signal` from nothing, to 1e-12 of what is secreted.

    Args:
        grid: tissue volumes and faces.
        flow: of plasma [um3/s].
        secretion_nM_s: into tissue [nM/s], (nz, ny, nx).
        uptake_per_s: of the plasma phase at low concentration [1/s], (nz, ny, nx).
        p: diffusivities, exchange time and saturation of the uptake.
        body: clearance [um3/s] and source [nM um3/s] outside the liver.

    Returns:
        Both phases with inlet, outlet and ledger.
    """
    return solve_signal(grid, flow, secretion_nM_s, uptake_per_s, p, body, jnp.zeros((2, *grid.shape)), tolerance=1e-12)


def manufactured_signal() -> Iterator[Record]:
    """Smooth fields in both phases round a vortex, with saturable uptake and a body; sources make them exact.

    The order in L2 must be 1.8 or more in either phase, and no source may be negative.

    Yields:
        The orders [-], and the smallest source: secretion [nM/s] or uptake [1/s].

    Reference: NUMERICS decision 6, and verification tests of the first round.
    """
    size, speed, renewal, tau, inlet = (100.0, 300.0, 300.0), 20.0, 0.1, 20.0, 0.9
    p = SignalParameters(60.0, 400.0, tau, 0.2, 2.0)
    wave = [np.pi / length for length in size]

    def in_tissue(z, y, x):
        return 4.0 + jnp.cos(wave[2] * x) * jnp.cos(wave[1] * y) + 0.5 * jnp.cos(wave[0] * z)

    def in_plasma(z, y, x):
        return 1.0 + 0.2 * jnp.cos(wave[2] * x) + 0.1 * jnp.cos(wave[1] * y)

    def secretion(*place):
        gained = (in_tissue(*place) - in_plasma(*place)) / tau
        return gained - diffusion(in_tissue, (p.diffusivity_tissue_um2_s,) * 3)(*place)

    def uptake(z, y, x):
        place, c = (z, y, x), in_plasma(z, y, x)
        u = speed * jnp.sin(wave[2] * x) * jnp.cos(wave[1] * y)
        v = -speed * jnp.cos(wave[2] * x) * jnp.sin(wave[1] * y)
        carried = u * derivative(in_plasma, 2)(*place) + v * derivative(in_plasma, 1)(*place)
        spread = diffusion(in_plasma, (p.diffusivity_plasma_um2_s,) * 3)(*place)
        taken = (in_tissue(*place) - c) / tau + spread - carried - renewal * (c - inlet)
        return taken / (0.2 + 0.8 / (1.0 + c / 2.0)) / c

    grids, errors, sources = (8, 12, 16, 24), ([], []), []
    for n in grids:
        grid = box_grid((n // 4, n, n), size)
        place = points(grid)
        through = renewal * float(grid.total_volume)  # plasma flow; the body clears as much
        body = BodyClosure(through, through * (inlet - (1.0 - inlet)))
        signal = signalled(grid, swirl(grid, speed, renewal), secretion(*place), uptake(*place), p, body)
        for error, phase, exact in zip(
            errors, (signal.tissue_nM, signal.plasma_nM), (in_tissue, in_plasma), strict=True
        ):
            error.append(root_mean_square(phase - exact(*place), grid.volume))
        sources += [secretion(*place), uptake(*place)]
    for error, phase in zip(errors, ("tissue (diffusion)", "plasma (exponential fluxes)"), strict=True):
        order = observed_order(grids, error)
        yield at_least("manufactured-signal", f"order in {phase}, L2", order, ORDER_2D, "-", "manufactured solution")
    yield at_least("manufactured-signal", "smallest source used", smallest(sources), 0.0, "-", "manufactured solution")


PROFILES: dict[int, Callable[[float], float]] = {1: lambda r: np.exp(-r), 2: k0, 3: lambda r: np.exp(-r) / r}


def diffusion_decay() -> Iterator[Record]:
    """V06: tissue signal round a source falls with the length l = sqrt(D tau).

        slab exp(-x/l),   cylinder K0(r/l),   sphere exp(-r/l) / r,   D = 50 um2/s, half-lives of 4, 30 and 240 min

    Plasma is renewed so fast that it takes all it gets, so that exchange is a first-order decay.

    Yields:
        Largest relative error of the fitted length in each dimension [-]; 1e-2 is accepted.

    Reference: VALIDATION V06.
    """
    diffusivity = 50.0
    for dimension, profile in PROFILES.items():
        errors = []
        for minutes in (4.0, 30.0, 240.0):
            tau = minutes * 60.0 / np.log(2.0)
            length = np.sqrt(diffusivity * tau)
            edges = np.linspace(0.0, 10.0 * length, 301)
            grid = shells(edges, dimension)
            source = jnp.zeros(grid.shape).at[0, 0, 0].set(1e-3)
            p = SignalParameters(diffusivity, diffusivity, tau, 1.0, 1.0)
            flow = still(1e3 / tau * 1e3 * grid.volume)
            body = BodyClosure(1e6 * float(flow.total), 0.0)
            field = signalled(grid, flow, source, jnp.zeros(grid.shape), p, body).tissue_nM[0, 0]
            errors.append(abs(_fitted_length(edges, field, profile, length) / length - 1.0))
        quantity = f"decay length in {dimension}D, relative error"
        yield at_most("V06", quantity, largest(errors), 1e-2, "-", "V06, exact")


def _fitted_length(edges: np.ndarray, field: Array, profile: Callable[[float], float], guess: float) -> float:
    """The decay length with which the profile has the field's ratio between about one and three lengths."""
    r = 0.5 * (edges[:-1] + edges[1:])
    near, far = 30, 90
    ratio = float(field[near] / field[far])
    return brentq(lambda a: profile(r[near] / a) / profile(r[far] / a) - ratio, 0.5 * guess, 2.0 * guess)


def one_cell() -> Iterator[Record]:
    """One cell with the body and saturable uptake, against the root of the algebra.

        CL c_in = Q (c_p - c_in) + S,   c_t = c_p + tau s
        Q (c_p - c_in) + V k (lo + (1 - lo) / (1 + c_p/K)) c_p = V s

    Yields:
        Largest relative error of plasma, tissue, inlet and outlet [-]; 1e-9 is accepted.

    Reference: BIOLOGY A4.
    """
    volume, flow, clearance, source, tau = 1e6, 2e5, 3e4, 1e4, 60.0
    secretion, k, floor, half = 2e-2, 0.3, 0.1, 0.5
    grid = box_grid((1, 1, 1), (100.0, 100.0, 100.0))
    inlet = lambda c: (flow * c + source) / (flow + clearance)  # noqa: E731

    def excess(c: float) -> float:
        taken = volume * k * (floor + (1.0 - floor) / (1.0 + c / half)) * c
        return flow * (c - inlet(c)) + taken - volume * secretion

    plasma = brentq(excess, 0.0, 1e3, xtol=1e-15)
    signal = signalled(
        grid,
        still(jnp.full(grid.shape, flow)),
        jnp.full(grid.shape, secretion),
        jnp.full(grid.shape, k),
        SignalParameters(50.0, 50.0, tau, floor, half),
        BodyClosure(clearance, source),
    )
    solved = (signal.plasma_nM[0, 0, 0], signal.tissue_nM[0, 0, 0], signal.inlet_nM, signal.outlet_nM)
    exact = (plasma, plasma + tau * secretion, inlet(plasma), plasma)
    error = largest(abs(float(a) / b - 1.0) for a, b in zip(solved, exact, strict=True))
    yield at_most("body-closure", "levels of one cell and its body, relative error", error, 1e-9, "-", "exact algebra")


def signal_balance() -> Iterator[Record]:
    """What a hexagon and the body make of a signal is what both remove; with no uptake all of it leaves with plasma.

        secreted + supplied = taken up + cleared;   without uptake  Q (c_out - c_in) = secreted

    Yields:
        The gaps over what is made, and over what is secreted [-]; 1e-9 is accepted.

    Reference: BIOLOGY A4.
    """
    lobule, flow = hexagon_with_flow()
    grid = lobule.grid
    plasma = flow.times(0.55)
    made = 1e-4 * jnp.asarray(lobule.zone)
    p = SignalParameters(50.0, 50.0, 150.0, 0.1, 0.2)
    body = BodyClosure(0.3 * float(plasma.total), 0.01 * float(plasma.total))
    for uptake, name in ((0.05, "saturable uptake"), (0.0, "no uptake")):
        s = signalled(grid, plasma, made, jnp.full(grid.shape, uptake), p, body)
        gap = abs(float((s.secreted + s.supplied - s.taken_up - s.cleared) / (s.secreted + s.supplied)))
        yield at_most("signal-balance", f"made - removed over made, {name}", gap, 1e-9, "-", "conservation")
    washed = float(plasma.total * (s.outlet_nM - s.inlet_nM) / s.secreted)
    yield at_most("signal-balance", "washed out over secreted - 1", abs(washed - 1.0), 1e-9, "-", "conservation")


def constant_state() -> Iterator[Record]:
    """Without sources inside, every field is what the blood brings: c = S/CL in both phases, p = p_in.

    Yields:
        Largest error over the level of a signal (1e-12 is accepted) and of oxygen (1e-9) [-].

    Reference: NUMERICS, verification tests of the first round.
    """
    lobule, flow = hexagon_with_flow()
    grid, zero = lobule.grid, jnp.zeros(lobule.grid.shape)
    p, body = SignalParameters(50.0, 50.0, 150.0, 1.0, 1.0), BodyClosure(4e4, 2e4)
    signal = signalled(grid, flow, zero, zero, p, body)
    off = jnp.maximum(jnp.max(jnp.abs(signal.tissue_nM - 0.5)), jnp.max(jnp.abs(signal.plasma_nM - 0.5)))
    yield at_most("constant", "signal, error over its level", float(off) / 0.5, 1e-12, "-", "exact")
    oxygen = oxygenated(grid, flow, zero, 60.0, PLAIN, tolerance=1e-13)
    off = jnp.max(jnp.where(grid.active, jnp.abs(oxygen.mmHg - 60.0), 0.0))
    yield at_most("constant", "oxygen, error over its level", float(off) / 60.0, 1e-9, "-", "exact")


CHECKS = (
    Check("V06", "diffusion and decay", diffusion_decay),
    Check("body-closure", "plasma closed with the body", one_cell),
    Check("signal-balance", "balance of a signal", signal_balance),
    Check("constant", "constant state", constant_state),
    Check("manufactured-signal", "signals in two phases, manufactured solution", manufactured_signal),
)
