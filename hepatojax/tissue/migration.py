"""Motion of cells on the slow clock: random motility and drift up a potential, implicit, positive, conservative.

Hepatocytes give way down crowding, MSC spread at random and climb CXCL12. Both are a flux n grad(phi) - D grad n with a
potential phi that is frozen over the step, so that each motion is one linear solve with an M-matrix. Crowding is eased
by a diffusion of its own first, since with the old one as potential the step would be an explicit diffusion.

Reference: BIOLOGY A5; MODEL 6.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hepatojax.mechanism import pytree
from hepatojax.numerics.fusion import cotangents_computed_once
from hepatojax.numerics.grid import AXES, Grid
from hepatojax.numerics.operators import Faces, upper_neighbour
from hepatojax.numerics.safe_math import safe_ratio
from hepatojax.tissue.carried import Fluxes, Verified, positive_solution, total
from hepatojax.tissue.transport import conductances, exponential

ONE_LEVEL = ()  # in a macro-step cells move a little way: smoothing preconditions enough, and compiles faster


@pytree
class MigrationParameters:
    """Registry subject `migration`: how hepatocytes give way to each other, and how MSC move once they adhere."""

    crowding_diffusivity: ArrayLike  # of hepatocytes down crowding [um2/h]
    msc_motility: ArrayLike  # random motility of MSC [um2/s]
    msc_chemotactic_sensitivity: ArrayLike  # drift of MSC per gradient of receptor occupancy [um2/h]
    msc_drift_half_saturation: ArrayLike  # CXCL12 at half occupancy [nM]


@pytree
class Motion:
    """Cells after a step of motion, and the evidence of the solve.

    Attributes:
        density: n [unit of the input], (nz, ny, nx), of unchanged amount.
        iterations: half-steps of BiCGStab.
        residual: 2-norm of the imbalance over that of what the step starts from [-].
        converged: residual within tolerance, or what rounding of the solution leaves.
        worst_cell: flat index of the largest imbalance.
    """

    density: Float[Array, "nz ny nx"]
    iterations: Array
    residual: Float[Array, ""]
    converged: Array
    worst_cell: Array


def chemotactic_potential(
    attractant_nM: Float[Array, "nz ny nx"], sensitivity_um2_h: ArrayLike, half_saturation_nM: ArrayLike
) -> Float[Array, "nz ny nx"]:
    """Potential whose gradient is the drift of cells that sense occupied receptors, phi = chi S / (K + S).

    Args:
        attractant_nM: S [nM], (nz, ny, nx).
        sensitivity_um2_h: chi, drift per gradient of occupancy [um2/h].
        half_saturation_nM: K, attractant at half occupancy [nM].

    Returns:
        phi [um2/h], (nz, ny, nx); saturates at chi, so that cells in plenty stop drifting.

    Reference: Lapidus and Schiller (1976), Biophys. J. 16:779.
    """
    return sensitivity_um2_h * attractant_nM / (half_saturation_nM + attractant_nM)


def crowding_potential(occupancy: Float[Array, "nz ny nx"], motility_um2_h: ArrayLike) -> Float[Array, "nz ny nx"]:
    """Potential that moves cells down crowding with flux -D n grad(o), phi = -D o.

    Args:
        occupancy: o, volume of cells, debris and new matrix over that of healthy cells [-], (nz, ny, nx).
        motility_um2_h: D [um2/h].

    Returns:
        phi [um2/h], (nz, ny, nx).

    Reference: BIOLOGY A5.
    """
    return -motility_um2_h * occupancy


def relaxed_occupancy(
    grid: Grid,
    occupancy: Float[Array, "nz ny nx"],
    mobile: Float[Array, "nz ny nx"],
    motility_um2_h: ArrayLike,
    step_h: ArrayLike,
    *,
    tolerance: float | None = None,
) -> Verified:
    """Occupancy after a step in which mobile cells give way to it; its gradient drives their motion at any step.

        (o - o0) / dt = div(D m grad o)

    With the old occupancy as potential the motion is an explicit diffusion, unstable for D m dt > h^2 / 2.

    Args:
        grid: tissue volumes and faces.
        occupancy: o0 [-], (nz, ny, nx).
        mobile: volume of the cells that move, m >= 0 [-], (nz, ny, nx).
        motility_um2_h: D [um2/h].
        step_h: dt [h].
        tolerance: see `positive_solution`.

    Returns:
        o [-], (nz, ny, nx), with the evidence of its solve.

    Reference: BIOLOGY A5.
    """
    dtype = occupancy.dtype
    inertia = jnp.asarray(grid.volume, dtype) / jnp.asarray(step_h, dtype)
    parameters = (conductances(grid, motility_um2_h, dtype), mobile, inertia, occupancy)
    return positive_solution(_relaxation, parameters, occupancy, ONE_LEVEL, tolerance=tolerance)


def _relaxation(parameters: tuple[Faces, Array, Array, Array]) -> tuple[Fluxes, Array]:
    """Diffusion of occupancy through the mean of what is mobile on both sides of a face, and V / dt as sink."""
    conductance, mobile, inertia, occupancy = parameters
    eased = tuple(conductance[a] * 0.5 * (mobile + upper_neighbour(mobile, a)) for a in AXES)
    return (eased, eased, inertia), inertia * occupancy


def migrate(
    grid: Grid,
    density: Float[Array, "nz ny nx"],
    potential_um2_h: Float[Array, "nz ny nx"],
    motility_um2_h: ArrayLike,
    step_h: ArrayLike,
    *,
    tolerance: float | None = None,
) -> Motion:
    """One backward-Euler step of motility and drift in a closed block.

        (n - n0) / dt + div(n grad(phi) - D grad n) = 0

    with exponentially fitted fluxes (upwind where D = 0): the matrix is an M-matrix with column sums V/dt, so that no
    step makes a density negative or loses a cell. First order in time, once a macro-step.

    Args:
        grid: tissue volumes and faces.
        density: n0 >= 0, any unit per volume, (nz, ny, nx).
        potential_um2_h: phi [um2/h], frozen over the step, (nz, ny, nx); see `chemotactic_potential`,
            `crowding_potential`.
        motility_um2_h: D >= 0 [um2/h].
        step_h: dt [h].
        tolerance: see `positive_solution`.

    Returns:
        The new density; what the solve leaves open is spread in proportion, so that the number of cells is kept.

    Reference: Scharfetter and Gummel (1969).
    """
    dtype = density.dtype
    volume = jnp.asarray(grid.volume, dtype)
    parameters = (
        tuple(jnp.asarray(face, dtype) for face in grid.faces),
        conductances(grid, motility_um2_h, dtype),
        potential_um2_h,
        volume / jnp.asarray(step_h, dtype),
        density,
    )
    solution = positive_solution(_equations, parameters, density, ONE_LEVEL, tolerance=tolerance)
    before, after = total(volume * density), total(volume * solution.value)
    kept = jnp.where(after > 0, safe_ratio(before, after), 1.0).astype(dtype)  # 1, so that no cells have a derivative
    return Motion(kept * solution.value, *solution[1:])


def _equations(parameters: tuple[Faces, Faces, Array, Array, Array]) -> tuple[Fluxes, Array]:
    """Drift through each face, (A/h)(phi_(i+1) - phi_i), with the motility fitted to it; V / dt as sink."""
    faces, conductance, potential, inertia, density = parameters
    drift = tuple(faces[a] * (upper_neighbour(potential, a) - potential) for a in AXES)
    return (*exponential(cotangents_computed_once(drift), conductance), inertia), inertia * density


def carried_label(
    label: Float[Array, "nz ny nx"], before: Float[Array, "nz ny nx"], after: Float[Array, "nz ny nx"]
) -> Float[Array, "nz ny nx"]:
    """Label after living cells have moved, l - s a + s a' with s the label of a living cell.

    s is 1, but where living cells came to outnumber their label it is the lowest l / a of the tissue, so that label
    stays positive and its amount is that of before.

    Args:
        label: l [cells/mm3], (nz, ny, nx).
        before: living cells a [cells/mm3], (nz, ny, nx).
        after: living cells a' [cells/mm3], (nz, ny, nx), of equal amount.

    Returns:
        Label [cells/mm3], (nz, ny, nx).
    """
    carrying = before > 0
    each = jnp.where(carrying, label / jnp.where(carrying, before, 1.0), 1.0)
    share = jnp.min(jnp.where(each < 1.0, each, 1.0))
    return (label - share * before) + share * after
