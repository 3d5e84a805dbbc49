"""Darcy flow of blood through a lobule: pressure, the fluxes that carry every species, and the resistance.

    q = -(K / mu) grad p,   div q = g_in (1 - p) - g_out p

solved for a unit pressure drop between the portal vessels (p = 1) and the central vein (p = 0). The problem is linear
in the flow, so it is solved once per permeability and scaled: `perfusion.flow.times(total)`, drop = resistance x total.
"""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hepatojax.mechanism import pytree
from hepatojax.numerics.fusion import computed_once
from hepatojax.numerics.multigrid import Plan, coarsening_plan, multigrid_solve
from hepatojax.numerics.operators import Faces, assemble, upper_neighbour
from hepatojax.numerics.quasi_steady import implicit_solution
from hepatojax.tissue.flow import Flow
from hepatojax.tissue.geometry import Lobule

USUAL_AXIAL_RATIO = 2.0  # only guides which axes multigrid halves first


@pytree
class PerfusionParameters:
    """Registry subject `perfusion`.

    Attributes:
        permeability_um2: superficial (Darcy) permeability K across the lobule [um2].
        axial_ratio: permeability along the central vein over that across [-].
        viscosity_pa_s: of blood [Pa s].
    """

    permeability_um2: float | Float[Array, ""]
    axial_ratio: float | Float[Array, ""]
    viscosity_pa_s: float | Float[Array, ""]


@pytree
class PressureSystem:
    """Coefficients of the discrete pressure equation, all [um3/(Pa s)], each (nz, ny, nx).

    Attributes:
        conductance: per axis (z, y, x) of the upper face of each cell.
        inlet: g_in, between portal vessel and cell.
        outlet: g_out, between cell and central vein.
    """

    conductance: Faces
    inlet: Float[Array, "nz ny nx"]
    outlet: Float[Array, "nz ny nx"]

    def residual(self, pressure: Float[Array, "nz ny nx"]) -> Float[Array, "nz ny nx"]:
        """Net outflow of each cell at a drop of 1 Pa; the pressure itself in an inactive cell.

            sum over faces of T (p_i - p_j) + (g_in + g_out) p_i - g_in

        Args:
            pressure: p, share of the drop [-], (nz, ny, nx).

        Returns:
            The imbalance [um3/s], (nz, ny, nx).
        """
        return assemble(self.conductance, self.conductance, self.inlet + self.outlet)(pressure) - self.inlet

    def inflow(self, pressure: Float[Array, "nz ny nx"]) -> Float[Array, ""]:
        """Total flow from the portal vessels at a drop of 1 Pa, sum of g_in (1 - p).

        Args:
            pressure: p, share of the drop [-], (nz, ny, nx).

        Returns:
            The flow [um3/s], which is also the conductance of the domain [um3/(Pa s)].
        """
        return jnp.sum(self.inlet * (1.0 - pressure))


@pytree
class Perfusion:
    """Flow through a lobule at rest size or grown.

    Attributes:
        pressure: between 0 (central vein) and 1 (portal vessels) of the drop [-], (nz, ny, nx).
        flow: at a total of 1 um3/s through the domain.
        resistance: pressure drop per flow of the domain [Pa s/um3].
        iterations: of conjugate gradients.
        residual: 2-norm of the imbalance of the cells over the total inflow [-].
        converged: residual within tolerance.
    """

    pressure: Float[Array, "nz ny nx"]
    flow: Flow
    resistance: Float[Array, ""]
    iterations: Int[Array, ""]
    residual: Float[Array, ""]
    converged: Bool[Array, ""]


def solve_perfusion(
    lobule: Lobule,
    conductance_factor: Float[Array, "nz ny nx"] | Float[Array, ""] | float,
    parameters: PerfusionParameters,
    guess: Float[Array, "nz ny nx"] | None = None,
    *,
    tolerance: float = 1e-10,
) -> Perfusion:
    """Pressure and flow of a lobule, always in float64, differentiable in the factor and the parameters.

    Args:
        lobule: geometry with relative permeability, at rest size or `scaled`.
        conductance_factor: further factor on the permeability, from vessels, matrix and plugging [-], (nz, ny, nx) or
            one number.
        parameters: permeability, axial ratio, viscosity.
        guess: pressure of an earlier solve [-], (nz, ny, nx), else zero; it never changes what the tolerance means.
        tolerance: residual over the inflow of the current iterate [-]; the derivative's solves use it against their own
            right-hand side.

    Returns:
        Pressure [-], flow at a total of 1 um3/s, and resistance [Pa s/um3]; look at `converged`.

    Reference: Debbaut et al. (2012), J. Biomech. Eng. 134:011003; NUMERICS decisions 3 and 4.
    """
    system = pressure_system(lobule, conductance_factor, parameters)
    start = jnp.zeros(lobule.grid.shape) if guess is None else guess
    spacing = lobule.grid.spacing_um
    plan = coarsening_plan(lobule.grid.shape, spacing, (USUAL_AXIAL_RATIO, 1.0, 1.0))
    pressure, _, (iterations, residual, converged) = implicit_solution(
        PressureSystem.residual,
        partial(_solve, plan=plan, tolerance=tolerance),
        partial(_linear_solve, plan=plan, tolerance=tolerance),
        system,
        start,
    )
    total = system.inflow(pressure)
    flow = pressure_driven_flow(system, pressure).times(1.0 / total)
    return Perfusion(pressure, flow, 1.0 / total, iterations, residual, converged)


def pressure_system(
    lobule: Lobule,
    conductance_factor: Float[Array, "nz ny nx"] | Float[Array, ""] | float,
    parameters: PerfusionParameters,
) -> PressureSystem:
    """Coefficients from mobility m = K/mu x permeability x factor: faces by the harmonic mean, wells by their cell.

        T_f = (A/h)_f 2 m_i m_j / (m_i + m_j), times the axial ratio along z;   g = well factor x m_i

    Args:
        lobule: faces A/h and well factors [um], relative permeability [-].
        conductance_factor: further factor on the permeability [-]; (nz, ny, nx) or one number.
        parameters: K [um2], mu [Pa s], axial ratio [-].

    Returns:
        Conductances of faces and wells [um3/(Pa s)], each (nz, ny, nx).
    """
    factor = jnp.asarray(conductance_factor).astype(jnp.float64)
    mobility = computed_once(factor * lobule.permeability * (parameters.permeability_um2 / parameters.viscosity_pa_s))
    ratio = (parameters.axial_ratio, 1.0, 1.0)
    conductance = tuple(
        ratio[axis] * faces * _harmonic_mean(mobility, upper_neighbour(mobility, axis))
        for axis, faces in enumerate(lobule.grid.faces)
    )
    return computed_once(PressureSystem(conductance, lobule.inlet * mobility, lobule.outlet * mobility))


def pressure_driven_flow(system: PressureSystem, pressure: Float[Array, "nz ny nx"]) -> Flow:
    """Fluxes and well exchange at a drop of 1 Pa; their imbalance is the residual of the solve.

        q = T (p_i - p_(i+1)),   q_in = g_in (1 - p),   q_out = g_out p

    Args:
        system: T, g_in and g_out [um3/(Pa s)].
        pressure: p, share of the drop [-], (nz, ny, nx).

    Returns:
        The flow [um3/s], each array (nz, ny, nx).
    """
    flux = tuple(t * (pressure - upper_neighbour(pressure, axis)) for axis, t in enumerate(system.conductance))
    return computed_once(Flow(flux, system.inlet * (1.0 - pressure), system.outlet * pressure))


def _solve(system: PressureSystem, guess: Array, *, plan: Plan, tolerance: float) -> tuple[Array, tuple]:
    """Forward solve, stopped on the residual against the inflow of the current iterate."""
    sink = system.inlet + system.outlet
    solution = multigrid_solve(
        system.conductance, sink, system.inlet, guess, plan, tolerance=tolerance, scale=system.inflow
    )
    return solution.value, (solution.iterations, solution.residual, solution.converged)


def _linear_solve(
    system: PressureSystem, _: Array, rhs: Array, start: Array, transposed: bool, *, plan: Plan, tolerance: float
) -> tuple[Array, Array]:
    """A^-1 rhs; the operator is its own transpose."""
    sink = system.inlet + system.outlet
    s = multigrid_solve(system.conductance, sink, rhs, start, plan, tolerance=tolerance)
    return s.value, s.converged


def _harmonic_mean(a: Array, b: Array) -> Array:
    """2 a b / (a + b), the series of two half cells; zero where both are."""
    total = a + b
    positive = total > 0
    return jnp.where(positive, 2.0 * a * b / jnp.where(positive, total, 1.0), 0.0)
