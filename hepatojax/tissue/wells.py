"""Vessels as wells: exchange between a vessel of fixed radius and the cells of a grid of any spacing.

A vessel is a disc held at one pressure behind a thin wall. Seen from outside, its pressure drop per flow is

    (p_vessel - p(r)) 2 pi K H / (mu Q) = ln(r / a) + skin

with a the radius and `skin` the wall. On the grid the vessel exchanges g_i = (K/mu) w_i with the cells under its disc,
w_i = sigma A_i H, A_i the area under the disc. The exchange density sigma is found so that the drop above holds on the
lattice itself, whose own well is described by  p_i - p_j ~ ln r_ij  with the equivalent radius r_ii = e^-gamma/4
sqrt(hx^2 + hy^2) of a single cell. A disc is never narrower than two cells; what widening takes off the resistance is
put into sigma. So the resistance of a well depends neither on the spacing nor on where its axis lies in a cell.

Reference: Peaceman (1978), SPE J. 18:183 and (1983), SPE J. 23:531.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq

WALL_SKIN = 0.08  # [-]; adds 4 % to the resistance of a human lobule, near the least that two cells a radius can hold
CELLS_A_RADIUS = 2.0
SAMPLES = 16  # sub-samples along an edge of a cell


def cell_integral(
    x_um: Float[np.ndarray, " nx"],
    y_um: Float[np.ndarray, " ny"],
    hx: float,
    hy: float,
    function: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Float[np.ndarray, "ny nx"]:
    """Integral of a function over each cell, by sub-sampling; of an indicator, the area of its figure.

    Args:
        x_um: centres of the cells along x [um], (nx,).
        y_um: centres of the cells along y [um], (ny,).
        hx: size of the cells along x [um].
        hy: size of the cells along y [um].
        function: of (x, y), which it broadcasts.

    Returns:
        The integrals [unit of the function times um2], (ny, nx), from 16 x 16 points a cell.
    """
    offset = (np.arange(SAMPLES) + 0.5) / SAMPLES - 0.5
    x = x_um[None, :, None, None] + offset * hx
    y = y_um[:, None, None, None] + offset[:, None] * hy
    return function(x, y).mean((-1, -2)) * hx * hy


def disc_radius(radius_um: float, hx: float, hy: float) -> float:
    """Radius of the disc over which a vessel exchanges: its own, but at least two cells.

    Args:
        radius_um: of the vessel [um].
        hx: spacing along x [um].
        hy: spacing along y [um].

    Returns:
        max(a, 2 max(hx, hy)) [um].

    Reference: NUMERICS decision 2.
    """
    return max(radius_um, CELLS_A_RADIUS * max(hx, hy))


def exchange_density(
    centre_um: tuple[float, float], radius_um: float, hx: float, hy: float, origin_um: tuple[float, float] = (0.0, 0.0)
) -> float:
    """Exchange density sigma with which a disc well has the resistance ln(r/a) + skin on an endless lattice.

    Args:
        centre_um: axis of the vessel (x, y) [um].
        radius_um: its radius a [um].
        hx: spacing along x [um].
        hy: spacing along y [um].
        origin_um: centre (x, y) of any one cell of the lattice [um].

    Returns:
        sigma [1/um2], so that sigma times area times height is the well factor of a cell [um].
    """
    wide = disc_radius(radius_um, hx, hy)
    x = _lattice(centre_um[0], origin_um[0], hx, wide)
    y = _lattice(centre_um[1], origin_um[1], hy, wide)
    area = cell_integral(x, y, hx, hy, lambda u, v: u**2 + v**2 < wide**2)
    row, column = np.nonzero(area)
    return _calibrated(x[column], y[row], area[row, column], radius_um, hx, hy)


def _lattice(centre: float, origin: float, h: float, reach: float) -> Float[np.ndarray, " n"]:
    """Cell centres [um], relative to the vessel, of the lattice cells within reach."""
    nearest = (origin - centre) - h * np.round((origin - centre) / h)
    count = int(np.ceil(reach / h)) + 1
    return nearest + h * np.arange(-count, count + 1)


def _calibrated(x, y, area, radius_um: float, hx: float, hy: float) -> float:
    """The sigma for which the lattice well has the skin of the vessel wall; the skin falls with sigma."""
    far = 100.0 * radius_um + 100.0 * max(hx, hy)
    distance = np.hypot(x[:, None] - x, y[:, None] - y)
    np.fill_diagonal(distance, np.exp(-np.euler_gamma) / 4.0 * np.hypot(hx, hy))
    lattice = np.log(far / distance) / (2.0 * np.pi)

    def excess_skin(log_sigma: float) -> float:
        flow = np.linalg.solve(lattice + np.diag(1.0 / (np.exp(log_sigma) * area)), np.ones(area.size))
        return 2.0 * np.pi / flow.sum() - np.log(far / radius_um) - WALL_SKIN

    scale = np.log(hx * hy)
    return float(np.exp(brentq(excess_skin, -20.0 - scale, 20.0 - scale, xtol=1e-12)))  # type: ignore
