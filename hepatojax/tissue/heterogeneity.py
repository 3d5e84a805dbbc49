"""Unequal tissue: a random permeability field and fibrotic septa with gaps, both the same on any grid.

Built once in NumPy, deterministic for a seed. The random field is a sum of plane waves evaluated at the cell centres,
so that refining the grid samples the same realisation.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr

from hepatojax.tissue.geometry import Lobule, cell_centres

WAVES = 512
GAP_CORRELATION = 2.0  # correlation length of the gaps over the thickness of a septum


def random_permeability(lobule: Lobule, log_sd: float, correlation_um: float, seed: int) -> Lobule:
    """The lobule with its permeability multiplied by exp(log_sd g), g a standard Gaussian random field.

    g has the covariance exp(-r^2 / (2 l^2)) in all three directions; the geometric mean of the factor is 1.

    Args:
        lobule: whose cell centres sample the field.
        log_sd: standard deviation of the log permeability [-].
        correlation_um: l [um].
        seed: of the realisation.

    Returns:
        The lobule, its permeability still relative to the healthy mean [-].
    """
    field = gaussian_field(lobule, correlation_um, np.random.default_rng(seed))
    return lobule.replace(permeability=lobule.permeability * np.exp(log_sd * field))


def gaussian_field(
    lobule: Lobule, correlation_um: float, generator: np.random.Generator
) -> Float[np.ndarray, "nz ny nx"]:
    """Standard Gaussian random field at the cell centres, by plane waves.

        g(x) = sqrt(2 / M) sum_m cos(k_m . x + phi_m),   k_m ~ N(0, 1 / l^2)

    Args:
        lobule: whose cell centres are the points x [um], counted from the middle of the block.
        correlation_um: l [um].
        generator: source of the wave vectors and phases.

    Returns:
        g [-], (nz, ny, nx).

    Reference: Shinozuka and Deodatis (1991), Appl. Mech. Rev. 44:191.
    """
    wave = generator.standard_normal((3, WAVES)) / correlation_um
    phase = generator.uniform(0.0, 2.0 * np.pi, WAVES)
    z, y, x = (np.exp(1j * np.outer(axis, k)) for axis, k in zip(_axes(lobule), wave, strict=True))
    zy = (np.exp(1j * phase) * z)[:, None, :] * y
    return np.sqrt(2.0 / WAVES) * np.real(zy @ x.T)


def fibrotic_septa(
    lobule: Lobule,
    count: int,
    contrast: float,
    thickness_um: float,
    seed: int,
    gap_fraction: float,
) -> Lobule:
    """The lobule with `count` fibrotic septa, upright slabs of permeability 1 / contrast, pierced by random gaps.

        K -> K / (1 + (contrast - 1) s),   s the share of the cell inside a closed part of a slab

    Each septum runs from a portal tract to one of its nearest portal tracts or central veins, chosen by the seed
    without repetition. A cell that the slab covers in part has the two permeabilities in series.

    Args:
        lobule: with the axes of its vessels.
        count: number of septa, at most the number of portal-portal and portal-central pairs.
        contrast: permeability beside a septum over that inside it, >= 1 [-].
        thickness_um: of the slab [um].
        seed: of the choice of vessels and of the gaps.
        gap_fraction: share of each septum that is open [-].

    Returns:
        The lobule with a lower permeability [-] in the septa; its labels do not show them.

    Raises:
        ValueError: the geometry has fewer pairs of neighbouring vessels than septa.
    """
    generator = np.random.default_rng(seed)
    pairs = neighbouring_vessels(lobule)
    if count > len(pairs):
        raise ValueError(f"{count} septa asked for, but the geometry has {len(pairs)} pairs of neighbouring vessels")
    closed = _closed(lobule, thickness_um, gap_fraction, generator)
    chosen = [pairs[k] for k in generator.permutation(len(pairs))[:count]]
    none = np.zeros(lobule.grid.shape[1:])
    cover = np.stack([none, *(_cover(lobule, start, end, thickness_um) for start, end in chosen)]).max(axis=0)
    resistance = 1.0 + (contrast - 1.0) * cover * closed
    return lobule.replace(permeability=lobule.permeability / resistance)


def neighbouring_vessels(lobule: Lobule) -> list[tuple[Float[np.ndarray, " 2"], Float[np.ndarray, " 2"]]]:
    """Pairs of axes, portal-portal and portal-central, that are within 1.2 times the least such distance.

    Args:
        lobule: with the axes of its vessels.

    Returns:
        Start and end (x, y) of each pair [um]; none where the geometry has no axes.
    """
    portal, central = np.asarray(lobule.portal_xy_um), np.asarray(lobule.central_xy_um)
    every = np.concatenate([portal, central])
    pairs = [(i, j) for i in range(len(portal)) for j in range(i + 1, len(every))]
    lengths = [float(np.hypot(*(every[i] - every[j]))) for i, j in pairs]
    return [(every[i], every[j]) for (i, j), d in zip(pairs, lengths, strict=True) if d <= 1.2 * min(lengths)]


def _closed(lobule: Lobule, thickness_um: float, gap_fraction: float, generator) -> Float[np.ndarray, "nz ny nx"]:
    """1 where a septum is closed, 0 in its gaps; the edge of a gap is as smooth as the field that cuts it."""
    level = ndtr(gaussian_field(lobule, GAP_CORRELATION * thickness_um, generator))
    return (level >= gap_fraction).astype(float)


def _cover(lobule: Lobule, start, end, thickness_um: float) -> Float[np.ndarray, "ny nx"]:
    """Share of each cell within half a thickness of the segment [-], smeared over one cell."""
    _, y, x = _axes(lobule)
    x, y = x - start[0], y[:, None] - start[1]
    dx, dy = end - start
    along = np.clip((x * dx + y * dy) / (dx * dx + dy * dy), 0.0, 1.0)
    distance = np.hypot(x - along * dx, y - along * dy)
    h = max(lobule.grid.spacing_um[1:])
    lower, upper = (
        np.maximum(distance - 0.5 * h, -0.5 * thickness_um),
        np.minimum(distance + 0.5 * h, 0.5 * thickness_um),
    )
    return np.maximum(upper - lower, 0.0) / h


def _axes(lobule: Lobule) -> tuple[Float[np.ndarray, " nz"], Float[np.ndarray, " ny"], Float[np.ndarray, " nx"]]:
    nz, ny, nx = lobule.grid.shape
    hz, hy, hx = lobule.grid.spacing_um
    return cell_centres(nz, hz), cell_centres(ny, hy), cell_centres(nx, hx)
