"""Small blocks of tissue with a balanced flow, built by hand, for tests of everything that the blood carries."""

import jax.numpy as jnp
import numpy as np
from scipy import sparse
from scipy.sparse.linalg import spsolve

from hepatojax.numerics.grid import AXES, Grid
from hepatojax.tissue.flow import Flow


def block(
    shape: tuple[int, int, int], spacing_um: tuple[float, float, float], tissue: np.ndarray | None = None
) -> Grid:
    """A box of cells; `tissue` is 1 where a cell holds tissue."""
    tissue = np.ones(shape) if tissue is None else tissue
    cell = float(np.prod(spacing_um))
    faces = []
    for axis in AXES:
        face = np.zeros(shape)
        inner = tuple(slice(0, -1) if a == axis else slice(None) for a in AXES)
        both = np.take(tissue, range(1, shape[axis]), axis) * np.take(tissue, range(shape[axis] - 1), axis)
        face[inner] = both * cell / spacing_um[axis] ** 2
        faces.append(jnp.asarray(face))
    return Grid(spacing_um, jnp.asarray(tissue * cell), tuple(faces))


def channel(cells: int, length_um: float = 300.0, speed_um_s: float = 40.0) -> tuple[Grid, Flow]:
    """Uniform flow along x in a row of cells of 20 x 20 um section."""
    grid = block((1, 1, cells), (20.0, 20.0, length_um / cells))
    inflow, outflow, flux = np.zeros((3, 1, 1, cells))
    rate = speed_um_s * 400.0
    inflow[0, 0, 0] = outflow[0, 0, -1] = rate
    flux[0, 0, :-1] = rate
    zero = jnp.zeros((1, 1, cells))
    return grid, Flow((zero, zero, jnp.asarray(flux)), jnp.asarray(inflow), jnp.asarray(outflow))


def corner_to_corner(
    shape: tuple[int, int, int],
    spacing_um: tuple[float, float, float],
    turnover_per_s: float = 0.02,
    seed: int | None = None,
) -> tuple[Grid, Flow]:
    """Darcy flow from one vertical edge of a box to the opposite one, by a direct solve.

    turnover_per_s: flow over volume. seed: of a log-normal permeability, with a column of cells without tissue.
    """
    tissue, permeability = np.ones(shape), np.ones(shape)
    if seed is not None:
        permeability = np.exp(np.random.default_rng(seed).standard_normal(shape))
        tissue[:, shape[1] // 2, shape[2] // 2] = 0.0
    grid = block(shape, spacing_um, tissue)
    side = spacing_um[2] * shape[2], spacing_um[1] * shape[1]
    x, y = ((np.arange(4 * n) + 0.5) * h / 4 for n, h in zip(shape[:0:-1], spacing_um[:0:-1], strict=True))
    y, x = np.meshgrid(y, x, indexing="ij")
    reach = 0.125 * side[0]

    def well(distance: np.ndarray) -> np.ndarray:
        covered = (distance < reach).reshape(shape[1], 4, shape[2], 4).mean((1, 3))
        return 50.0 / reach**2 * np.asarray(grid.volume) * covered

    well_in, well_out = well(np.hypot(x, y)), well(np.hypot(side[0] - x, side[1] - y))

    index = np.arange(tissue.size).reshape(shape)
    matrix = sparse.diags((well_in + well_out + (tissue == 0)).ravel())
    conductance = []
    for axis in AXES:
        ahead = np.roll(permeability, -1, axis)
        face = np.asarray(grid.faces[axis]) * 2 * permeability * ahead / (permeability + ahead)
        conductance.append(face)
        rows, columns, t = index.ravel(), np.roll(index, -1, axis).ravel(), face.ravel()
        matrix += sparse.diags(t + np.roll(face, 1, axis).ravel())
        matrix -= sparse.coo_matrix((np.tile(t, 2), (np.r_[rows, columns], np.r_[columns, rows])), matrix.shape)
    pressure = spsolve(matrix.tocsc(), well_in.ravel()).reshape(shape)
    flux = tuple(jnp.asarray(t * (pressure - np.roll(pressure, -1, a))) for a, t in enumerate(conductance))
    flow = Flow(flux, jnp.asarray(well_in * (1 - pressure)), jnp.asarray(well_out * pressure))
    return grid, flow.times(turnover_per_s * grid.total_volume / flow.total)


def coarsened(grid: Grid, flow: Flow, ratio: int) -> tuple[Grid, Flow]:
    """The same flow in a plane of cells `ratio` times as wide: every flux is the sum of the fine ones it covers."""
    _, ny, nx = grid.shape
    hz, hy, hx = grid.spacing_um
    coarse = block((1, ny // ratio, nx // ratio), (hz, hy * ratio, hx * ratio))

    def pairs(a: np.ndarray, axis: int) -> np.ndarray:
        return np.add.reduceat(a, range(0, a.shape[axis], ratio), axis)

    along_y = pairs(np.asarray(flow.flux[1])[:, ratio - 1 :: ratio], 2)
    along_x = pairs(np.asarray(flow.flux[2])[:, :, ratio - 1 :: ratio], 1)
    wells = (jnp.asarray(pairs(pairs(np.asarray(w), 1), 2)) for w in (flow.inflow, flow.outflow))
    return coarse, Flow((jnp.zeros(coarse.shape), jnp.asarray(along_y), jnp.asarray(along_x)), *wells)
