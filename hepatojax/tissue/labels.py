"""A lobule from a label image: the voxels of a segmented block of liver become the cells of the grid.

A voxel is tissue or it is not, so the border is a staircase and first order there; vessels are found as connected sets
of labelled voxels in the projection along z, and exchange as the discs of the hexagon do. The rest of the solver sees
no difference to an analytic lobule.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Integer
from scipy import ndimage

from hepatojax.tissue import wells
from hepatojax.tissue.geometry import (
    CENTRAL_VEIN,
    OUTSIDE,
    PORTAL_TRACT,
    SEPTUM,
    Lobule,
    porto_central_coordinate,
    prism_grid,
)


def lobule_from_labels(
    labels: Integer[np.ndarray, "nz ny nx"],
    spacing_um: tuple[float, float, float],
    central_vein_radius_um: float,
    portal_tract_radius_um: float,
    lobules: float = 1.0,
) -> Lobule:
    """A lobule whose cells are the voxels of a label image, whole or not at all (first order at the border).

    Vessels run along z. Each exchanges over its labelled voxels with the exchange density of a disc of its radius.

    Args:
        labels: 0 outside, 1 parenchyma, 2 portal tract, 3 central vein, 4 inlet septum; (nz, ny, nx).
        spacing_um: (hz, hy, hx) [um].
        central_vein_radius_um: of every central vein, for its exchange and not for its shape [um].
        portal_tract_radius_um: of every portal vessel, likewise, and width and wall of inlet septa [um].
        lobules: how many lobules the image shows, to scale it to a liver [-].

    Returns:
        Lobule of shape (nz, ny, nx), of permeability 1; axes of vessels are counted from the middle of the image.

    Raises:
        ValueError: a label is unknown, inlet or outlet is missing, or a voxel is more than half a vessel radius.

    Reference: NUMERICS decision 2.
    """
    labels = np.asarray(labels)
    _check(labels, spacing_um, min(central_vein_radius_um, portal_tract_radius_um))
    hz, hy, hx = spacing_um
    grid = _voxel_grid(labels != OUTSIDE, spacing_um)
    inlet, portal_xy = _wells(labels == PORTAL_TRACT, spacing_um, portal_tract_radius_um)
    outlet, central_xy = _wells(labels == CENTRAL_VEIN, spacing_um, central_vein_radius_um)
    voxel = hx * hy * hz
    septum = np.where(labels == SEPTUM, voxel, 0.0)
    to_portal = _distance((labels == PORTAL_TRACT) | (labels == SEPTUM), spacing_um)
    return Lobule(
        grid=grid,
        inlet=inlet + septum / portal_tract_radius_um**2,
        outlet=outlet,
        portal_volume=np.where(labels == PORTAL_TRACT, voxel, 0.0),
        septum_volume=septum,
        central_volume=np.where(labels == CENTRAL_VEIN, voxel, 0.0),
        zone=porto_central_coordinate(to_portal, _distance(labels == CENTRAL_VEIN, spacing_um)),
        labels=labels.astype(np.uint8),
        permeability=np.ones(labels.shape),
        portal_xy_um=portal_xy,
        central_xy_um=central_xy,
        lobules=float(lobules),
        portal_radius_um=float(portal_tract_radius_um),
        central_radius_um=float(central_vein_radius_um),
    )


def _check(labels: np.ndarray, spacing_um: tuple[float, float, float], radius_um: float) -> None:
    unknown = sorted(set(np.unique(labels).tolist()) - set(range(SEPTUM + 1)))
    if unknown:
        raise ValueError(f"label image: unknown label {unknown[0]}; allowed are 0 to {SEPTUM}")
    if not np.isin(labels, (PORTAL_TRACT, SEPTUM)).any() or not (labels == CENTRAL_VEIN).any():
        raise ValueError("label image: it needs a portal tract (2) or inlet septum (4), and a central vein (3)")
    if radius_um < wells.CELLS_A_RADIUS * max(spacing_um[1:]):
        raise ValueError(
            f"label image: voxels of {max(spacing_um[1:]):g} um are too coarse for a vessel of {radius_um:g} um"
        )


def _voxel_grid(active: np.ndarray, spacing_um: tuple[float, float, float]):
    """Grid of whole voxels; a face is open where both sides hold tissue."""
    _, hy, hx = spacing_um
    grid = prism_grid(spacing_um, active.shape[0], *(np.full(active.shape[1:], v) for v in (hx * hy, hx, hy)))
    faces = tuple(f * active * _above(active, axis) for axis, f in enumerate(grid.faces))
    return type(grid)(spacing_um, grid.volume * active, faces)


def _above(active: np.ndarray, axis: int) -> np.ndarray:
    """Whether the next cell along an axis holds tissue; False at the wall."""
    shifted = np.roll(active, -1, axis)
    np.moveaxis(shifted, axis, 0)[-1] = False
    return shifted


def _wells(mask: np.ndarray, spacing_um, radius_um: float) -> tuple[Float[np.ndarray, "nz ny nx"], np.ndarray]:
    """Well factor of each labelled voxel [um] and the axes of the vessels (v, 2) [um], centred on the image."""
    hz, hy, hx = spacing_um
    _, ny, nx = mask.shape
    names, count = ndimage.label(mask.any(axis=0), np.ones((3, 3)))  # type: ignore
    centres = np.array(ndimage.center_of_mass(names > 0, names, range(1, count + 1))).reshape(-1, 2)
    xy = (centres[:, ::-1] - 0.5 * (np.array([nx, ny]) - 1.0)) * np.array([hx, hy])
    density = wells.exchange_density((0.0, 0.0), radius_um, hx, hy, (0.5 * hx, 0.5 * hy))
    return np.where(mask, density * hx * hy * hz, 0.0), xy


def _distance(mask: np.ndarray, spacing_um) -> Float[np.ndarray, "nz ny nx"]:
    """Distance from each voxel to the wall of the labelled set [um], 0 inside; the wall is half a voxel away."""
    return np.maximum(ndimage.distance_transform_edt(~mask, spacing_um) - 0.5 * min(spacing_um[1:]), 0.0)
