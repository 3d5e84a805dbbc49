"""Quasi-steady signals in two phases: plasma that recirculates through the body, and tissue that cells read.

Concentrations are solved as excess over the inlet, y = c - c_in. Recirculation then drops out of the transport
(a constant is carried unchanged), and the body enters only through

    CL c_in = Q (c_out - c_in) + S = sum q_out y_p + S
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hepatojax.mechanism import pytree, static
from hepatojax.numerics.grid import Grid
from hepatojax.numerics.linear_solve import bicgstab, conjugate_gradient
from hepatojax.numerics.multigrid import Hierarchy, Plan, build_hierarchy, coarsening_plan, v_cycle
from hepatojax.numerics.operators import Operator, assemble, neighbour_sum
from hepatojax.numerics.quasi_steady import implicit_solution
from hepatojax.numerics.safe_math import safe_ratio
from hepatojax.tissue.flow import Flow
from hepatojax.tissue.transport import adjoint_tolerance, by_differences, conductances, default_tolerance, exponential, total

MAX_SWEEPS = 30
MAX_LINEAR = 1000
FORCING = (1e-3, 1e-1)  # bounds of the relative tolerance of the solves inside a sweep
FORCING_OF_TARGET = 0.1


@pytree
class SignalParameters:
    """What distinguishes one signal from another."""

    diffusivity_tissue_um2_s: ArrayLike  # in the space of Disse and matrix [um2/s]
    diffusivity_plasma_um2_s: ArrayLike  # [um2/s]
    exchange_time_s: ArrayLike  # tau, between the phases, per bulk tissue volume [s]
    uptake_floor: ArrayLike  # share of the uptake that does not saturate [-]
    uptake_half_saturation_nM: ArrayLike  # [nM], positive


@pytree
class BodyClosure:
    """The rest of the body as this domain sees it: divided by the number of domains in the liver."""

    clearance_um3_s: ArrayLike  # CL, outside the liver [um3/s], positive
    source_nM_um3_s: ArrayLike  # S, made outside the liver [nM um3/s]


@pytree
class Signal:
    """One signal and the evidence for it.

    tissue_nM, plasma_nM: the two phases, (nz, ny, nx). excess_nM: both over the inlet, the guess of the next solve.
    inlet_nM, outlet_nM: plasma that enters and (flow-weighted) leaves.
    secreted, taken_up, cleared, supplied: ledger terms, each on its own, in float64 [nM um3/s]; secreted and supplied
        (by the body) equal taken up and cleared (by the body).
    sweeps, iterations: outer count, and linear iterations of tissue and plasma. residual: 1-norm of the imbalance of
        both phases over all that is secreted and supplied.
    """

    tissue_nM: Float[Array, "*s nz ny nx"]
    plasma_nM: Float[Array, "*s nz ny nx"]
    excess_nM: Float[Array, "*s 2 nz ny nx"]
    inlet_nM: Float[Array, "*s"]
    outlet_nM: Float[Array, "*s"]
    secreted: Float[Array, "*s"]
    taken_up: Float[Array, "*s"]
    cleared: Float[Array, "*s"]
    supplied: Float[Array, "*s"]
    sweeps: Array
    iterations: Array
    residual: Float[Array, "*s"]
    converged: Array


@pytree
class _Problem:
    """The discrete equations in the dtype of the fields; unknown: excess of tissue and plasma, (2, nz, ny, nx)."""

    flow: Flow
    tissue_conductance: tuple
    plasma_conductance: tuple
    exchange: Array  # V / tau [um3/s]
    secretion: Array  # V s [nM um3/s]
    uptake: Array  # V k [um3/s]
    parameters: SignalParameters
    body: BodyClosure
    plan: Plan = static()

    def inlet(self, plasma_excess: Array) -> Array:
        """c_in = (sum q_out y_p + S) / CL [nM]."""
        gained = jnp.sum(self.flow.outflow * plasma_excess) + self.body.source_nM_um3_s
        return gained / self.body.clearance_um3_s

    def open_share(self, plasma: Array) -> Array:
        """Uptake relative to that of a trace: lo + (1 - lo) / (1 + c/K)."""
        lo = self.parameters.uptake_floor
        return lo + (1.0 - lo) / (1.0 + plasma / self.parameters.uptake_half_saturation_nM)

    def open_slope(self, plasma: Array) -> Array:
        """Derivative of c (lo + (1 - lo) / (1 + c/K))."""
        lo = self.parameters.uptake_floor
        return lo + (1.0 - lo) / (1.0 + plasma / self.parameters.uptake_half_saturation_nM) ** 2


class _System(NamedTuple):
    """The assembled operators of a problem."""

    tissue: Hierarchy  # diffusion and exchange
    plasma: Operator  # transport only, zero inlet
    mixed: Operator  # transport, and half the exchange for what tissue does not give back


def _system(problem: _Problem) -> _System:
    still = problem.tissue_conductance
    forward, backward = exponential(problem.flow.flux, problem.plasma_conductance)
    out = problem.flow.outflow
    return _System(
        build_hierarchy(still, problem.exchange, problem.plan),
        assemble(forward, backward, out),
        assemble(forward, backward, out + HALF * problem.exchange),
    )
HALF=0.5

def _residual(problem: _Problem, system: _System, excess: Array) -> Array:
    tissue, plasma = excess
    concentration = plasma + problem.inlet(plasma)
    taken = problem.uptake * problem.open_share(concentration) * concentration
    gained = problem.exchange * (tissue - plasma)
    still = problem.tissue_conductance
    spread = by_differences(still, still, jnp.zeros_like(tissue), tissue)
    carried = by_differences(system.plasma.forward, system.plasma.backward, problem.flow.inflow, plasma)
    return jnp.stack([spread + gained - problem.secretion, carried - gained + taken])


class _Loss(NamedTuple):
    """First-order uptake k (y + inlet(y)): a diagonal and a product of two fields."""

    rate: Array  # V k [um3/s]
    leaving: Array  # q_out / CL [-]

    def apply(self, plasma: Array, transposed: bool) -> Array:
        """Uptake that belongs to a plasma excess."""
        spread, gathered = (self.leaving, self.rate) if transposed else (self.rate, self.leaving)
        return self.rate * plasma + spread * jnp.sum(gathered * plasma)


def _jacobian(problem: _Problem, system: _System, loss: _Loss, change: Array, transposed: bool) -> Array:
    tissue, plasma = change
    carried = (system.plasma.transposed if transposed else system.plasma)(plasma)
    of_plasma = carried + problem.exchange * (plasma - tissue) + loss.apply(plasma, transposed)
    return jnp.stack([system.tissue(tissue) - problem.exchange * plasma, of_plasma])


def _sweep(
    problem: _Problem, system: _System, loss: _Loss, rhs: Array, tolerance: ArrayLike, transposed: bool
) -> tuple[Array, Array]:
    mixed = system.mixed.transposed if transposed else system.mixed
    diagonal = mixed.diagonal + loss.rate
    inv=1/diagonal
    def pre(r):
        if NJ==0: return r*inv
        return lax.fori_loop(0,NJ,lambda _,x: inv*(r+neighbour_sum(mixed,x)), r*inv)
    right = rhs[0] + rhs[1]
    plasma = bicgstab(
        lambda y: mixed(y) + loss.apply(y, transposed),
        pre,
        right,
        jnp.zeros_like(right),
        tolerance=tolerance,
        max_iterations=MAX_LINEAR,
    )
    right = rhs[0] + problem.exchange * plasma.value
    tissue = conjugate_gradient(
        system.tissue.operators[0],
        lambda r: v_cycle(system.tissue, r),
        right,
        jnp.zeros_like(right),
        tolerance=tolerance,
        max_iterations=MAX_LINEAR,
    )
    return jnp.stack([tissue.value, plasma.value]), jnp.stack([tissue.iterations, plasma.iterations])
NJ=0
