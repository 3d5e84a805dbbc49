"""Darcy flow against exact solutions.

An annulus and a lattice of hexagons have closed forms; a box with wells chosen for it gives a smooth, anisotropic,
heterogeneous case. All go through `solve_perfusion` with a tolerance of 1e-12, so that only the discretisation speaks.
"""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from hepatojax.checks.records import Check, Record, at_least, at_most, within
from hepatojax.checks.verify.exact import (
    ROOT3,
    box_grid,
    diffusion,
    lattice_pressure,
    observed_order,
    points,
    root_mean_square,
)
from hepatojax.numerics.grid import Grid
from hepatojax.tissue.geometry import Lobule
from hepatojax.tissue.heterogeneity import fibrotic_septa, random_permeability
from hepatojax.tissue.hexagon import hexagonal_lobule, radial_column, well_mixed
from hepatojax.tissue.perfusion import Perfusion, PerfusionParameters, solve_perfusion

ORDER_2D = 1.8
RADIUS_UM, CENTRAL_UM, PORTAL_UM = 500.0, 40.0, 35.0  # a human lobule
HEXAGON, HEIGHT_UM = (20, 24, 4), 80.0  # one grid for many checks, so that a solve compiles once
TIGHT = 1e-12


@jax.jit
def solved(lobule: Lobule, parameters: PerfusionParameters) -> Perfusion:
    """`solve_perfusion` as the model calls it, with a tight tolerance.

    Args:
        lobule: with its relative permeability; no further factor acts on it.
        parameters: permeability [um2], axial ratio [-], viscosity [Pa s].

    Returns:
        Pressure over the drop [-], flow at a total of 1 um3/s, and resistance [Pa s/um3].
    """
    return solve_perfusion(lobule, 1.0, parameters, tolerance=TIGHT)


def block(grid: Grid, inlet: Array, outlet: Array, permeability: Array) -> Lobule:
    """A block of tissue of any shape with given wells and permeability, without vessels of its own.

    Args:
        grid: its cells and faces.
        inlet: well factors of the portal side [um], (nz, ny, nx).
        outlet: well factors of the central side [um], (nz, ny, nx).
        permeability: relative to that of the parameters [-], (nz, ny, nx).

    Returns:
        The lobule, all of it tissue.
    """
    plain = jax.tree.map(jnp.asarray, well_mixed(RADIUS_UM, 1.0, CENTRAL_UM, PORTAL_UM))
    empty = dict.fromkeys(("portal_volume", "septum_volume", "central_volume", "zone"), jnp.zeros(grid.shape))
    tissue = jnp.ones(grid.shape, jnp.uint8)
    return plain.replace(grid=grid, inlet=inlet, outlet=outlet, permeability=permeability, labels=tissue, **empty)


def annulus() -> Iterator[Record]:
    """V01: pressure and flow between two circles.

        p = ln(r/rc) / ln(R/rc),   Q/H = 2 pi K dp / (mu ln(R/rc)),   R = 400 um, rc = 40 um

    The order in L2 must be 1.8 or more; at 10 um pressure and flow must be right to 1 %.

    Yields:
        Observed order, error of the pressure over the drop, relative error of the flow [-].

    Reference: VALIDATION V01.
    """
    rim, vein, height = 400.0, 40.0, 1.0
    blood = PerfusionParameters(1.5e-2, 1.0, 3.5e-3)
    exact_flow = 2.0 * np.pi * 1.5e-2 / 3.5e-3 * height / np.log(rim / vein)
    hexagon = rim * float(np.sqrt(np.pi / (1.5 * ROOT3)))  # circumradius of the hexagon of the cylinder's area
    grids, errors, flow_errors = (18, 36, 72, 144), [], []
    for cells in grids:
        lobule = radial_column(cells, hexagon, height, vein, PORTAL_UM)
        perfusion = solved(lobule, blood)
        radius = rim - jnp.arange(0.5, cells) * (rim - vein) / cells
        exact = jnp.log(radius / vein) / np.log(rim / vein)
        errors.append(root_mean_square(perfusion.pressure[0, 0] - exact, lobule.grid.volume[0, 0]))
        flow_errors.append(abs(1.0 / float(perfusion.resistance) / exact_flow - 1.0))
    source = "V01, exact"
    yield at_least("V01", "order of the pressure in an annulus", observed_order(grids, errors), ORDER_2D, "-", source)
    yield at_most("V01", "pressure at 10 um, L2 over the drop", errors[1], 1e-2, "-", source)
    yield at_most("V01", "flow at 10 um, relative error", flow_errors[1], 1e-2, "-", source)


def hexagon() -> Iterator[Record]:
    """Pressure of the hexagonal lobule against the lattice sum, outside the vessels.

    The order in L2 must be 1.8 or more over 24 to 192 cells across, the error on the finest grid at most 1e-4 of the
    range. The wells may add 5 % to the resistance between the walls of the vessels, and the same on every grid to 1 %.

    Yields:
        Observed order, error, what the wells add to the resistance, and its spread over the grids [-].

    Reference: NUMERICS decision 2, and verification tests of the first round (closed form of the hexagonal lattice).
    """
    grids, errors, resistances = (24, 48, 96, 192), [], []
    for nx in grids:
        lobule = hexagonal_lobule((nx, round(2 * nx / ROOT3), 1), RADIUS_UM, 10.0, CENTRAL_UM, PORTAL_UM)
        perfusion = solved(lobule, PerfusionParameters(1.0, 1.0, 1.0))
        x, y, outside = _outside_vessels(lobule, 2.0 * ROOT3 * RADIUS_UM / grids[0])
        exact = lattice_pressure(x, y, RADIUS_UM)
        error = np.asarray(perfusion.pressure[0]) * float(perfusion.resistance) * 10.0 - exact
        weight = lobule.grid.volume[0] * outside
        error = error - np.sum(weight * error) / np.sum(weight)
        errors.append(root_mean_square(error, weight) / np.ptp(exact[weight > 0]))
        resistances.append(10.0 * float(perfusion.resistance))
    order = observed_order(grids, errors)
    between = _resistance_between_walls()
    added = np.asarray(resistances) / between - 1.0
    most = added[np.argmax(np.abs(added))]  # a NaN counts as the largest
    source = "doubly periodic Green's function"
    yield at_least("hexagon", "order of the pressure of the hexagon, L2", order, ORDER_2D, "-", source)
    yield at_most("hexagon", "pressure on the finest grid, L2 over the range", errors[-1], 1e-4, "-", source)
    yield within("hexagon", "resistance that the wells add", most, 0.0, 0.05, "-", "NUMERICS 2")
    yield at_most("hexagon", "spread of the resistance over the grids", np.ptp(added), 0.01, "-", "NUMERICS 2")


def _outside_vessels(lobule: Lobule, distance_um: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places x, y from the centre of the hexagon [um], and which are far enough from every vessel axis, (ny, nx)."""
    _, y, x = (np.asarray(axis[0]) for axis in points(lobule.grid))
    x, y = x - 0.5 * ROOT3 * RADIUS_UM, y - RADIUS_UM
    axes = np.concatenate([lobule.portal_xy_um, lobule.central_xy_um])
    return x, y, np.min([np.hypot(x - px, y - py) for px, py in axes], axis=0) > distance_um


def _resistance_between_walls() -> float:
    """K H / (mu Q) times the drop between the mean pressures on the vessel walls."""
    circle = np.exp(2j * np.pi * (np.arange(64) + 0.5) / 64)
    inlet, outlet = 1j * RADIUS_UM + PORTAL_UM * circle, CENTRAL_UM * circle
    drop = lattice_pressure(inlet.real, inlet.imag, RADIUS_UM) - lattice_pressure(outlet.real, outlet.imag, RADIUS_UM)
    return float(np.mean(drop))


def manufactured_pressure() -> Iterator[Record]:
    """A smooth pressure in a box of smooth, anisotropic permeability, fed by wells chosen to make it exact.

        inlet (1 - p) = outlet p - div(k grad p) / k,   well factors per volume, k the relative permeability

    The order in L2 must be 1.8 or more; no well factor may be negative, for then the case would not be a flow.

    Yields:
        Observed order [-] and the smallest well factor [um].

    Reference: NUMERICS, verification tests of the first round.
    """
    size, ratio, leak = (200.0, 300.0, 400.0), 2.3, 1e-3
    wave = [np.pi / length for length in size]

    def pressure(z, y, x):
        return 0.5 + 0.2 * jnp.cos(wave[2] * x) * jnp.cos(2 * wave[1] * y) + 0.1 * jnp.cos(wave[0] * z)

    def permeability(z, y, x):
        return jnp.exp(0.4 * jnp.sin(2 * wave[2] * x + 1.0) * jnp.cos(wave[1] * y + 0.5) + 0.3 * jnp.sin(wave[0] * z))

    spread = diffusion(pressure, (lambda *p: ratio * permeability(*p), permeability, permeability))
    grids, errors = (8, 12, 16, 24), []
    for n in grids:
        grid = box_grid((n // 2, 3 * n // 4, n), size)
        place = points(grid)
        exact, k = pressure(*place), permeability(*place)
        inlet = grid.volume * (leak * exact - spread(*place) / k) / (1.0 - exact)
        perfusion = solved(block(grid, inlet, leak * grid.volume, k), PerfusionParameters(3.4e-2, ratio, 3.5e-3))
        errors.append(root_mean_square(perfusion.pressure - exact, grid.volume))
    order = observed_order(grids, errors)
    source = "manufactured solution"
    yield at_least("manufactured-pressure", "order of the pressure, L2", order, ORDER_2D, "-", source)
    yield at_least("manufactured-pressure", "smallest well factor used", float(jnp.min(inlet)), 0.0, "um", source)


def mass_balance() -> Iterator[Record]:
    """V02: blood that enters a fibrotic hexagon leaves it, and no cell creates any.

    Both must hold to 1e-8, with random permeability and four septa a hundred times tighter.

    Yields:
        Outflow over inflow less 1, and the largest imbalance of a cell over the inflow [-].

    Reference: VALIDATION V02.
    """
    lobule = hexagonal_lobule(HEXAGON, RADIUS_UM, HEIGHT_UM, CENTRAL_UM, PORTAL_UM)
    lobule = fibrotic_septa(random_permeability(lobule, 0.5, 80.0, seed=1), 4, 100.0, 30.0, seed=2, gap_fraction=0.1)
    flow = solved(lobule, PerfusionParameters(3.4e-2, 2.3, 3.5e-3)).flow
    gap = abs(float(jnp.sum(flow.outflow) / flow.total) - 1.0)
    worst = float(jnp.max(jnp.abs(flow.imbalance)) / flow.total)
    yield at_most("V02", "outflow over inflow - 1", gap, 1e-8, "-", "V02, exact")
    yield at_most("V02", "largest imbalance of a cell over the inflow", worst, 1e-8, "-", "V02, exact")


def anisotropy() -> Iterator[Record]:
    """V03: the same box drained along z and along x has resistances in the ratio of the permeabilities.

    Yields:
        Relative error of the axial over the radial flux at a ratio of 2.3 [-]; 1e-6 is accepted.

    Reference: VALIDATION V03.
    """
    ratio, n = 2.3, 6
    grid = box_grid((n, n, n), (60.0, 60.0, 60.0))

    def resistance(axis: int, relative: float) -> float:
        ends = [
            jnp.zeros(grid.shape).at[(slice(None),) * axis + (end,)].set(2.0 * 10.0 * relative) for end in (0, n - 1)
        ]
        lobule = block(grid, ends[0], ends[1], jnp.ones(grid.shape))
        return float(solved(lobule, PerfusionParameters(1.0, ratio, 1.0)).resistance)

    measured = resistance(2, 1.0) / resistance(0, ratio)
    yield at_most("V03", "axial over radial flux, relative error", abs(measured / ratio - 1.0), 1e-6, "-", "V03, exact")


CHECKS = (
    Check("V01", "Darcy flow in an annulus", annulus),
    Check("V02", "mass balance of the hexagon", mass_balance),
    Check("V03", "anisotropic permeability", anisotropy),
    Check("hexagon", "pressure of the hexagonal lobule in closed form", hexagon),
    Check("manufactured-pressure", "pressure, manufactured solution", manufactured_pressure),
)
