"""Oxygen against exact solutions.

Classical cases (Krogh, Thiele, plug flow) hold without haemoglobin or at one order of the uptake, so their parameters
are set to that limit: a half saturation of 1e7 mmHg makes uptake first-order, one of 1e-9 mmHg constant. The S-shaped
content enters by a manufactured solution, a hypoxic five-spot and the balance of a hexagon.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hepatojax.checks.records import Check, Record, at_least, at_most, reported, smallest
from hepatojax.checks.verify.exact import (
    box_grid,
    derivative,
    diffusion,
    observed_order,
    points,
    root_mean_square,
    shells,
)
from hepatojax.checks.verify.perfusion import (
    CENTRAL_UM,
    HEIGHT_UM,
    HEXAGON,
    ORDER_2D,
    PORTAL_UM,
    RADIUS_UM,
    block,
    solved,
)
from hepatojax.numerics.grid import Grid
from hepatojax.parameters.registry import from_registry, load_parameters
from hepatojax.tissue.flow import Flow
from hepatojax.tissue.hexagon import hexagonal_lobule, radial_column
from hepatojax.tissue.oxygen import Oxygen, OxygenParameters, content, content_slope, pressure_of, solve_oxygen
from hepatojax.tissue.perfusion import PerfusionParameters

START_MMHG = 40.0
LINEAR_MMHG = 1e7  # half saturation at which uptake is of first order
PLAIN = OxygenParameters(  # no haemoglobin
    solubility_mM_mmHg=1.35e-3,
    capacity_mM=0.0,
    p50_mmHg=27.0,
    hill_exponent=2.7,
    diffusivity_um2_s=1800.0,
    uptake_half_saturation_mmHg=1.0,
)
BLOOD = dataclasses.replace(PLAIN, capacity_mM=8.5)
HUMAN_FLOW = PerfusionParameters(3.4e-2, 2.3, 3.5e-3)


@partial(jax.jit, static_argnames=("transport", "tolerance"))
def oxygenated(
    grid: Grid,
    flow: Flow,
    demand_mM_s: Float[Array, "nz ny nx"],
    inlet_mmHg: ArrayLike,
    p: OxygenParameters,
    transport: str = "limited",
    tolerance: float = 1e-10,
) -> Oxygen:
    """`solve_oxygen` as the model calls it, from 40 mmHg everywhere.

    Args:
        grid: tissue volumes and faces.
        flow: of blood [um3/s].
        demand_mM_s: largest uptake per tissue volume [mM/s], (nz, ny, nx); its dtype is that of the solve.
        inlet_mmHg: of the blood that enters [mmHg].
        p: of blood and tissue.
        transport: "limited" or "upwind".
        tolerance: imbalance over the inflow of oxygen [-].

    Returns:
        Pressure [mmHg], content and uptake, with the ledger of the solve.
    """
    start = jnp.full(grid.shape, START_MMHG)
    return solve_oxygen(grid, flow, demand_mM_s, inlet_mmHg, p, start, transport=transport, tolerance=tolerance)


def still(inflow: Array) -> Flow:
    """Blood that passes each cell on its own, without flow between cells.

    Args:
        inflow: of each cell, which is its outflow too [um3/s], (nz, ny, nx).

    Returns:
        The flow, balanced in every cell.
    """
    return Flow(tuple(jnp.zeros_like(inflow) for _ in range(3)), inflow, inflow)


def swirl(grid: Grid, speed_um_s: float, renewal_1_s: float) -> Flow:
    """A closed vortex in the (y, x) plane, oblique to the grid, and blood that passes each cell on its own.

        u = U (X/Y) sin(pi x/X) cos(pi y/Y),   v = -U cos(pi x/X) sin(pi y/Y)

    Fluxes are differences of a stream function, so that they balance to round-off.

    Args:
        grid: a box of edges X and Y.
        speed_um_s: U [um/s].
        renewal_1_s: blood that enters and leaves each cell, per volume [1/s].

    Returns:
        The flow [um3/s].
    """
    _, ny, nx = grid.shape
    hz, _, hx = grid.spacing_um
    y, x = jnp.linspace(0.0, 1.0, ny + 1), jnp.linspace(0.0, 1.0, nx + 1)
    stream = speed_um_s * hx * nx / np.pi * hz * jnp.outer(jnp.sin(np.pi * y), jnp.sin(np.pi * x))
    along_x = jnp.broadcast_to(jnp.diff(stream, axis=0)[:, 1:], grid.shape)
    along_y = jnp.broadcast_to(-jnp.diff(stream, axis=1)[1:, :], grid.shape)
    passing = renewal_1_s * grid.volume
    return Flow((jnp.zeros(grid.shape), along_y, along_x), passing, passing)


def manufactured_oxygen() -> Iterator[Record]:
    """A smooth field carried by haemoglobin round a vortex; the demand is chosen to make it exact.

        demand = (Km + p) / p (w (C_in - C(p)) - u . grad C(p) + alpha D lap p)

    The order in L2 must be 1.8 or more with limited advection, the error on the finest grid at most 0.05 mmHg, and no
    demand negative.

    Yields:
        Observed order [-], error [mmHg] and smallest demand [mM/s].

    Reference: NUMERICS decision 5, and verification tests of the first round.
    """
    size, speed, renewal, inlet = (100.0, 300.0, 300.0), 60.0, 2.0, 95.0
    wave = [np.pi / length for length in size]
    p = dataclasses.replace(BLOOD, uptake_half_saturation_mmHg=5.6)

    def pressure(z, y, x):
        return 32.0 + 6.0 * jnp.cos(wave[2] * x) + 5.0 * jnp.cos(wave[1] * y) + 2.0 * jnp.cos(wave[0] * z)

    def demand(z, y, x):
        carried = lambda *place: content(pressure(*place), p)  # noqa: E731
        u = speed * jnp.sin(wave[2] * x) * jnp.cos(wave[1] * y)
        v = -speed * jnp.cos(wave[2] * x) * jnp.sin(wave[1] * y)
        transport = u * derivative(carried, 2)(z, y, x) + v * derivative(carried, 1)(z, y, x)
        spread = diffusion(pressure, (p.diffusivity_um2_s * p.solubility_mM_mmHg,) * 3)(z, y, x)
        uptake = renewal * (content(inlet, p) - carried(z, y, x)) - transport + spread
        return uptake * (p.uptake_half_saturation_mmHg + pressure(z, y, x)) / pressure(z, y, x)

    grids, errors, needed = (8, 16, 24, 32), [], []
    for n in grids:
        grid = box_grid((n // 4, n, n), size)
        place = points(grid)
        oxygen = oxygenated(grid, swirl(grid, speed, renewal), demand(*place), inlet, p)
        errors.append(root_mean_square(oxygen.mmHg - pressure(*place), grid.volume))
        needed.append(demand(*place))
    order, source = observed_order(grids, errors), "manufactured solution"
    yield at_least("manufactured-oxygen", "order, limited advection, L2", order, ORDER_2D, "-", source)
    yield at_most("manufactured-oxygen", "error on the finest grid, L2", errors[-1], 0.05, "mmHg", source)
    yield at_least("manufactured-oxygen", "smallest demand used", smallest(needed), 0.0, "mM/s", source)


def five_spot() -> Iterator[Record]:
    """Hypoxic blood across a square from corner to corner; coarse fluxes are sums of the fine ones.

    The same limited scheme at 4 um, averaged over each coarse cell, stands for the exact field. At 20 um the error may
    be 0.6 mmHg at a Peclet number of the cell of 0.2, and 0.85 mmHg at 1.

    Yields:
        Root mean square error [mmHg], and the hypoxic share of the fine field [-], reported.

    Reference: NUMERICS, second round 5.
    """
    fine, coarse, edge = 80, 16, 320.0
    flow = _corner_flow(fine, edge)
    p = OxygenParameters(1.35e-3, 8.5, 26.8, 2.7, 2000.0, 1.0)
    for peclet, bound in ((0.2, 0.6), (1.0, 0.85)):
        scaled = flow.times(peclet * 2000.0 / 20.0 / _mean_speed(flow, edge / fine))
        demand = 0.8 * float(scaled.total) * content(65.0, p) / edge**2
        mean, outlet = {}, {}
        for cells, carried in ((fine, scaled), (coarse, coarsened(scaled, fine // coarse))):
            grid = box_grid((1, cells, cells), (1.0, edge, edge))
            oxygen = oxygenated(grid, carried, jnp.full(grid.shape, demand), 65.0, p, tolerance=1e-8)
            mean[cells] = oxygen.mmHg[0].reshape(coarse, cells // coarse, coarse, cells // coarse).mean((1, 3))
            outlet[cells] = oxygen.mmHg
        error = float(jnp.sqrt(jnp.mean((mean[coarse] - mean[fine]) ** 2)))
        hypoxic = float(jnp.mean(outlet[fine] < 10.0))
        source = "NUMERICS, second round 5"
        yield at_most("five-spot", f"pO2 at 20 um, rms, Pe {peclet:g}", error, bound, "mmHg", source)
        yield reported("five-spot", f"share below 10 mmHg, Pe {peclet:g}", hypoxic, "-", source)


def _corner_flow(cells: int, edge_um: float) -> Flow:
    """Flow from a disc of 40 um in one corner of a square to one in the opposite corner, 1 um3/s in all.

    A well follows the area of its disc in each cell, counted on 4 x 4 points.
    """
    grid, sub, radius = box_grid((1, cells, cells), (1.0, edge_um, edge_um)), 4, 40.0
    line = jnp.arange(0.5, cells * sub) * edge_um / (cells * sub)
    y, x = jnp.meshgrid(line, line, indexing="ij")

    def well(distance: Array) -> Array:
        share = (distance < radius).astype(float).reshape(cells, sub, cells, sub).mean((1, 3))
        return 50.0 * grid.volume * share[None] / radius**2

    inlet, outlet = well(jnp.hypot(x, y)), well(jnp.hypot(edge_um - x, edge_um - y))
    return solved(block(grid, inlet, outlet, jnp.ones(grid.shape)), PerfusionParameters(1.0, 1.0, 1.0)).flow


def _mean_speed(flow: Flow, spacing_um: float) -> float:
    """Mean speed of a plane flow of unit thickness [um/s]."""
    ny, nx = flow.inflow.shape[1:]
    along_y = jnp.sum(jnp.abs(flow.flux[1])) / ((ny - 1) * nx)
    along_x = jnp.sum(jnp.abs(flow.flux[2])) / (ny * (nx - 1))
    return float((along_x + along_y) / 2.0 * np.sqrt(2.0) / spacing_um)


def coarsened(flow: Flow, factor: int) -> Flow:
    """A plane flow on a coarser grid: the sums of its fluxes over each coarse face.

    Args:
        flow: on (1, ny, nx) cells [um3/s].
        factor: cells of the fine grid along an edge of a coarse cell; it divides ny and nx.

    Returns:
        The flow on (1, ny / factor, nx / factor) cells [um3/s], as well balanced as the fine one.
    """
    _, ny, nx = flow.inflow.shape
    y, x = ny // factor, nx // factor

    def cells(field: Array) -> Array:
        return field.reshape(1, y, factor, x, factor).sum((2, 4))

    along_y = flow.flux[1][:, factor - 1 :: factor].reshape(1, y, x, factor).sum(-1)
    along_x = flow.flux[2][..., factor - 1 :: factor].reshape(1, y, factor, x).sum(2)
    return Flow((jnp.zeros((1, y, x)), along_y, along_x), cells(flow.inflow), cells(flow.outflow))


def beside_blood(tissue: Grid, wall_um: float) -> Grid:
    """A line of tissue cells behind one cell of blood, which holds no tissue resistance of its own.

    Args:
        tissue: a line of n cells, its first one beside the blood.
        wall_um: open area over half that cell [um].

    Returns:
        The grid of shape (1, 1, n + 1), blood first.
    """

    def behind(first: float, rest: Array) -> Array:
        return jnp.concatenate([jnp.full((1, 1, 1), first), rest], axis=-1)

    volume = behind(float(tissue.volume[0, 0, 0]), tissue.volume)
    faces = (behind(0.0, tissue.faces[0]), behind(0.0, tissue.faces[1]), behind(wall_um, tissue.faces[2]))
    return Grid(tissue.spacing_um, volume, faces)


def _behind_blood(tissue: Grid, wall_um: float, demand_mM_s: float, p: OxygenParameters, supply: float) -> Oxygen:
    """Oxygen of tissue with uniform demand beside a cell of blood at 60 mmHg with a flow of `supply` [um3/s]."""
    grid = beside_blood(tissue, wall_um)
    first = jnp.zeros(grid.shape).at[0, 0, 0].set(1.0)
    return oxygenated(grid, still(supply * first), demand_mM_s * (1.0 - first), 60.0, p, tolerance=1e-12)


def krogh() -> Iterator[Record]:
    """V07: oxygen round a capillary, with constant uptake M and solubility a.

        P(r) = Pc + M / (4 D a) (r^2 - rc^2) - M R^2 / (2 D a) ln(r/rc),   rc = 5 um, R = 25 um, M = 4.2e-2 mM/s

    The drop to the rim, -6.2 mmHg, must be right to 1 %, and the order in L2 be 1.8 or more.

    Yields:
        Relative error of the drop, and observed order [-].

    Reference: VALIDATION V07.
    """
    inner, outer, demand = 5.0, 25.0, 4.2e-2
    p = dataclasses.replace(PLAIN, uptake_half_saturation_mmHg=1e-9, solubility_mM_mmHg=1e-5 * 133.322)
    scale = demand / (p.diffusivity_um2_s * p.solubility_mM_mmHg)
    grids, errors = (10, 16, 25, 40), []
    for cells in grids:
        edges = np.linspace(inner, outer, cells + 1)
        oxygen = _behind_blood(shells(edges, 2), 4.0 * np.pi * inner * cells / (outer - inner), demand, p, 1e5)
        r = 0.5 * (edges[:-1] + edges[1:])
        exact = scale * (0.25 * (r**2 - inner**2) - 0.5 * outer**2 * np.log(r / inner))
        drop = oxygen.mmHg[0, 0, 1:] - oxygen.mmHg[0, 0, 0]
        errors.append(root_mean_square(drop - exact, jnp.diff(edges**2)))
    lowest = float(scale * (0.25 * (outer**2 - inner**2) - 0.5 * outer**2 * np.log(outer / inner)))
    at_rim = float(drop[-1])  # the profile is flat at the rim
    yield at_most("V07", "drop to the rim, error over -6.2 mmHg", abs(at_rim / lowest - 1.0), 1e-2, "-", "V07, exact")
    yield at_least("V07", "order of the Krogh profile", observed_order(grids, errors), ORDER_2D, "-", "V07, exact")


def thiele() -> Iterator[Record]:
    """First-order uptake in a slab beside blood.

        p/ps = cosh(phi (1 - x/L)) / cosh(phi),   effectiveness = tanh(phi) / phi,   phi = L sqrt(k/D) = 2

    The order in L2 must be 1.8 or more, and the effectiveness right to 1e-3.

    Yields:
        Observed order, and relative error of the effectiveness [-].

    Reference: NUMERICS, verification tests of the first round.
    """
    depth, phi = 100.0, 2.0
    p = dataclasses.replace(PLAIN, uptake_half_saturation_mmHg=LINEAR_MMHG)
    rate = phi**2 * p.diffusivity_um2_s / depth**2
    grids, errors, shares = (10, 16, 25, 40), [], []
    for cells in grids:
        edges = np.linspace(0.0, depth, cells + 1)
        slab, wall = shells(edges, 1), 2.0 * cells / depth
        oxygen = _behind_blood(slab, wall, rate * p.solubility_mM_mmHg * LINEAR_MMHG, p, 1e5)
        surface = oxygen.mmHg[0, 0, 0]
        exact = np.cosh(phi * (1.0 - 0.5 * (edges[:-1] + edges[1:]) / depth)) / np.cosh(phi)
        errors.append(root_mean_square(oxygen.mmHg[0, 0, 1:] / surface - exact, slab.volume[0, 0]))
        full = rate * p.solubility_mM_mmHg * surface * depth
        shares.append(float(oxygen.uptake / full) / (np.tanh(phi) / phi))
    yield at_least("Thiele", "order of the profile", observed_order(grids, errors), ORDER_2D, "-", "exact")
    yield at_most("Thiele", "effectiveness factor, relative error", abs(shares[-1] - 1.0), 1e-3, "-", "exact")


def extraction() -> Iterator[Record]:
    """V05: E = 1 - exp(-k V/Q) for first-order uptake along the lobule's column, without dispersion.

    Yields:
        Error of the extraction at k V/Q = 0.2, 1 and 3 [-]; 0.01 is accepted.

    Reference: VALIDATION V05.
    """
    lobule = radial_column(64, RADIUS_UM, 10.0, CENTRAL_UM, PORTAL_UM)
    lobule = jax.tree.map(jnp.asarray, lobule)
    p = dataclasses.replace(PLAIN, uptake_half_saturation_mmHg=LINEAR_MMHG, diffusivity_um2_s=1e-3)
    unit = solved(lobule, HUMAN_FLOW).flow.times(float(lobule.grid.total_volume))  # Q/V = 1/s
    for number in (0.2, 1.0, 3.0):
        demand = jnp.full(lobule.grid.shape, number * p.solubility_mM_mmHg * LINEAR_MMHG)
        oxygen = oxygenated(lobule.grid, unit, demand, 60.0, p)
        error = abs(float(oxygen.uptake / oxygen.inflow) - (1.0 - np.exp(-number)))
        yield at_most("V05", f"extraction at k V/Q = {number:g}, error", error, 1e-2, "-", "V05, exact")


def oxygen_balance() -> Iterator[Record]:
    """V08: inflow - outflow = uptake in a hypoxic hexagon, in both precisions and transports; the content inverts.

    The gap may be 1e-9 of the inflow in float64 and 1e-4 in float32; the inverse of the content must be right to 1e-9,
    and its slope, against that of JAX, to 1e-12, from 1e-3 to 100 mmHg.

    Yields:
        The gaps and the relative errors [-].

    Reference: VALIDATION V08; the bounds here are tighter than its own.
    """
    p = from_registry(OxygenParameters, load_parameters().oxygen)
    lobule = jax.tree.map(jnp.asarray, hexagonal_lobule(HEXAGON, RADIUS_UM, HEIGHT_UM, CENTRAL_UM, PORTAL_UM))
    flow = solved(lobule, HUMAN_FLOW).flow
    flow = flow.times(float(lobule.grid.total_volume) / 60.0)
    for transport, precision, bound in (("limited", "float64", 1e-9), ("upwind", "float32", 1e-4)):
        demand = jnp.full(lobule.grid.shape, 0.12, precision)
        oxygen = oxygenated(lobule.grid, flow, demand, 55.0, p, transport, 1e-11 if bound < 1e-6 else 1e-6)
        gap = float(jnp.abs(oxygen.inflow - oxygen.outflow - oxygen.uptake) / oxygen.inflow)
        yield at_most("V08", f"oxygen balance over the inflow, {transport}, {precision}", gap, bound, "-", "V08, exact")
    mmHg = jnp.geomspace(1e-3, 100.0, 200)
    inverted = jnp.max(jnp.abs(pressure_of(content(mmHg, p), p) / mmHg - 1.0))
    slope = jax.vmap(jax.grad(lambda x: content(x, p)))(mmHg)
    differs = jnp.max(jnp.abs(content_slope(mmHg, p) / slope - 1.0))
    yield at_most("V08", "inverse of the oxygen content, relative error", float(inverted), 1e-9, "-", "V08, exact")
    yield at_most("V08", "slope of the oxygen content, relative error", float(differs), 1e-12, "-", "V08, exact")


CHECKS = (
    Check("V05", "extraction in plug flow", extraction),
    Check("V07", "Krogh cylinder", krogh),
    Check("V08", "oxygen balance", oxygen_balance),
    Check("Thiele", "first-order uptake in a slab", thiele),
    Check("manufactured-oxygen", "oxygen with limited advection, manufactured solution", manufactured_oxygen),
    Check("five-spot", "hypoxic blood oblique to the grid", five_spot),
)
