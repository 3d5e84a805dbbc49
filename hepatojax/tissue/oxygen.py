"""Quasi-steady oxygen: carried by blood, free and on haemoglobin, diffusing in tissue, consumed by cells.

Blood and tissue are one compartment at one partial pressure; the drop between vessels, a few mmHg, is not resolved.
What is carried is total content, what spreads and is consumed follows pressure. The linear solves are made for a change
of content, in which advection is linear, so that the steep part of the haemoglobin curve cannot make Newton cycle.

Reference: MODEL 3; NUMERICS decision 5.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hepatojax.mechanism import pytree, static
from hepatojax.numerics.grid import AXES, Grid
from hepatojax.numerics.linear_solve import best_start
from hepatojax.numerics.multigrid import Hierarchy, Plan, build_hierarchy, coarsening_plan
from hepatojax.numerics.operators import Faces, Operator, divergence, upper_neighbour
from hepatojax.numerics.quasi_steady import implicit_solution
from hepatojax.numerics.safe_math import hill, safe_ratio
from hepatojax.tissue.carried import (
    Verified,
    adjoint_tolerance,
    default_tolerance,
    inner_tolerance,
    krylov,
    one_cycle,
    solve_verified,
    total,
)
from hepatojax.tissue.flow import Flow
from hepatojax.tissue.transport import (
    WideOperator,
    conductances,
    face_flux,
    limited_correction,
    upwind,
    with_limiter,
)

TRANSPORTS = ("limited", "upwind")
MAX_NEWTON = 40
INVERSE_STEPS = 6
LARGEST_DROP = 0.1  # of a cell's content is left at least by one Newton step
SHORTEST_STEP = 2.0**-6
SUFFICIENT_DECREASE = 1e-4


@pytree
class OxygenParameters:
    """Registry subject `oxygen`."""

    solubility_mM_mmHg: ArrayLike  # free oxygen per partial pressure [mM/mmHg]
    capacity_mM: ArrayLike  # oxygen bound at full saturation [mM of blood]
    p50_mmHg: ArrayLike  # P50 [mmHg]
    hill_exponent: ArrayLike  # n [-]
    diffusivity_um2_s: ArrayLike  # of free oxygen in tissue [um2/s]
    uptake_half_saturation_mmHg: ArrayLike  # pressure of half-maximal uptake [mmHg]


@pytree
class Oxygen:
    """The oxygen field and the evidence for it.

    Attributes:
        mmHg: partial pressure [mmHg], (nz, ny, nx).
        following_mmHg: the same, the guess of the next solve [mmHg], (nz, ny, nx); without derivative.
        content_mM: free and bound [mM], (nz, ny, nx).
        uptake_mM_s: per tissue volume [mM/s], (nz, ny, nx).
        inlet_mM: content of the blood that enters [mM].
        outlet_mM: content of the blood that leaves, flow-weighted [mM].
        inflow: what the blood brings [mM um3/s]; a ledger term like the next two, each summed on its own in float64.
        outflow: what the blood takes away [mM um3/s].
        uptake: what cells consume [mM um3/s].
        newton_iterations: steps taken; halvings are not counted.
        linear_iterations: half-steps of BiCGStab in all of them.
        residual: 1-norm of the imbalance of all cells over the inflow of oxygen [-].
        worst_cell: flat index of the largest imbalance.
        converged: residual within tolerance.
    """

    mmHg: Float[Array, "nz ny nx"]
    following_mmHg: Float[Array, "nz ny nx"]
    content_mM: Float[Array, "nz ny nx"]
    uptake_mM_s: Float[Array, "nz ny nx"]
    inlet_mM: Float[Array, ""]
    outlet_mM: Float[Array, ""]
    inflow: Float[Array, ""]
    outflow: Float[Array, ""]
    uptake: Float[Array, ""]
    newton_iterations: Array
    linear_iterations: Array
    residual: Float[Array, ""]
    worst_cell: Array
    converged: Array


def saturation(mmHg: ArrayLike, p: OxygenParameters) -> Array:
    """Oxygen on haemoglobin over its capacity, H(p) = (p/P50)^n / (1 + (p/P50)^n).

    Args:
        mmHg: p [mmHg], any shape.
        p: P50 [mmHg] and Hill exponent n [-].

    Returns:
        H in [0, 1] [-], same shape; 0 for p <= 0.

    Reference: Hill (1910).
    """
    return hill(mmHg, p.p50_mmHg, p.hill_exponent)


def content(mmHg: ArrayLike, p: OxygenParameters) -> Array:
    """Total oxygen of blood, C = alpha p + capacity H(p).

    Args:
        mmHg: p [mmHg], any shape.
        p: solubility alpha [mM/mmHg], capacity [mM], and the curve H.

    Returns:
        C [mM], same shape.
    """
    return p.solubility_mM_mmHg * jnp.asarray(mmHg) + p.capacity_mM * saturation(mmHg, p)


def content_slope(mmHg: ArrayLike, p: OxygenParameters) -> Array:
    """Slope of the content, dC/dp = alpha + capacity n H (1 - H) / p.

    Args:
        mmHg: p [mmHg], any shape.
        p: as for `content`.

    Returns:
        dC/dp [mM/mmHg], same shape; alpha for p <= 0.
    """
    pressure = jnp.asarray(mmHg)
    bound = saturation(pressure, p)
    positive = pressure > 0
    knee = p.hill_exponent * bound * (1.0 - bound) / jnp.where(positive, pressure, 1.0)
    return p.solubility_mM_mmHg + p.capacity_mM * jnp.where(positive, knee, 0.0)


def pressure_of(content_mM: ArrayLike, p: OxygenParameters) -> Array:
    """The partial pressure that holds a content, the inverse of `content`.

    Newton from a start on the side from which it cannot overshoot: the content is convex below its inflection and
    concave above it, and both terms alone bound the root. Six steps give 1e-2 at 150 mmHg and round-off below 100.

    Args:
        content_mM: C [mM], any shape.
        p: as for `content`.

    Returns:
        The pressure [mmHg], same shape.
    """
    return _invert(jnp.asarray(content_mM), p).mmHg


def mixed_inlet_mmHg(
    portal_mmHg: ArrayLike, arterial_mmHg: ArrayLike, arterial_share: ArrayLike, p: OxygenParameters
) -> Array:
    """Partial pressure of portal and arterial blood once mixed: contents add, pressures do not.

        C(p) = a C(p_arterial) + (1 - a) C(p_portal)

    Args:
        portal_mmHg: of the portal blood [mmHg].
        arterial_mmHg: of the arterial blood [mmHg].
        arterial_share: a, of the inflow [-].
        p: as for `content`.

    Returns:
        p [mmHg].
    """
    arterial = arterial_share * content(arterial_mmHg, p)
    return pressure_of(arterial + (1.0 - arterial_share) * content(portal_mmHg, p), p)


class _Point(NamedTuple):
    """A state of the field: pressure, content and slope held together so that none is computed in a stencil."""

    mmHg: Array
    content: Array
    slope: Array


def _point(mmHg: Array, p: OxygenParameters) -> _Point:
    return _Point(mmHg, content(mmHg, p), content_slope(mmHg, p))


def _invert(target: Array, p: OxygenParameters) -> _Point:
    """The point that holds a content [mM]: Newton, pointwise."""

    def newton(_, x: _Point) -> _Point:
        return _point(x.mmHg - (x.content - target) / x.slope, p)

    return lax.fori_loop(0, INVERSE_STEPS, newton, _point(_safe_start(target, p), p))


def _safe_start(target: Array, p: OxygenParameters) -> Array:
    """Pressure [mmHg] that bounds the root from the side that Newton needs, above in the convex part of the content.

    All oxygen free, or all of it bound, is a bound from above; what is then left for haemoglobin gives one from below.
    """

    def bound_only(content_mM: Array) -> Array:
        share = content_mM / p.capacity_mM
        inside = (share > 0) & (share < 1)
        odds = jnp.where(inside, share, 0.5) / (1.0 - jnp.where(inside, share, 0.5))
        return jnp.where(inside, p.p50_mmHg * odds ** (1.0 / p.hill_exponent), 0.0)

    free_only = target / p.solubility_mM_mmHg
    capped = bound_only(target)
    above = jnp.where(capped > 0, jnp.minimum(free_only, capped), free_only)
    below = bound_only(target - p.solubility_mM_mmHg * above)
    n = p.hill_exponent
    inflection = p.p50_mmHg * ((n - 1.0) / (n + 1.0)) ** (1.0 / n)
    return jnp.where(target > content(inflection, p), jnp.maximum(below, inflection), above)


@pytree
class _Problem:
    """The discrete equations: everything that a gradient may touch, in the dtype of the field."""

    flow: Flow
    conductance: Faces  # D alpha A / h [mM um3/s/mmHg]
    demand: Array  # V Vmax [mM um3/s]
    inlet: Array  # content of the blood that enters [mM]
    parameters: OxygenParameters
    limited: bool = static()
    plan: Plan = static()

    def uptake(self, mmHg: Array) -> Array:
        """V Vmax p / (Km + p) [mM um3/s]."""
        return self.demand * mmHg / (self.parameters.uptake_half_saturation_mmHg + mmHg)

    def balance(self, x: _Point) -> Array:
        """Oxygen that leaves each cell minus what enters it [mM um3/s]."""
        flux = self.flow.flux
        carried = face_flux(*upwind(flux, _closed(flux)), x.content)
        spread = face_flux(self.conductance, self.conductance, x.mmHg)
        through = tuple(c + s for c, s in zip(carried, spread, strict=True))
        if self.limited:
            added = limited_correction(flux, self.conductance, x.content)
            through = tuple(t + a for t, a in zip(through, added, strict=True))
        exchange = self.flow.outflow * x.content - self.flow.inflow * self.inlet
        return divergence(through) + exchange + self.uptake(x.mmHg)

    def jacobian(self, x: _Point) -> tuple[Operator | WideOperator, Hierarchy]:
        """Derivative of the balance with respect to content, and its upwind M-matrix on all levels."""
        ease = 1.0 / x.slope
        half = self.parameters.uptake_half_saturation_mmHg
        flux = self.flow.flux
        forward, backward = upwind(flux, _closed(flux))
        forward = tuple(f + t * ease for f, t in zip(forward, self.conductance, strict=True))
        backward = tuple(backward[a] + self.conductance[a] * upper_neighbour(ease, a) for a in AXES)
        sink = self.flow.outflow + self.demand * half / (half + x.mmHg) ** 2 * ease
        matrix = build_hierarchy(forward, backward, sink, self.plan)
        full = with_limiter(matrix.finest, flux, self.conductance, x.content) if self.limited else matrix.finest
        return full, matrix


def _closed(flux: Faces) -> Faces:
    return tuple(jnp.zeros_like(q) for q in flux)


def _content_change(
    problem: _Problem, x: _Point, rhs: Array, tolerance: ArrayLike, transposed: bool, earlier: Array | None = None
) -> Verified:
    """The content change du that answers (d balance / d content) du = rhs, or the transposed system.

    It starts from the best multiple of an earlier one, or from zero.
    """
    operator, matrix = problem.jacobian(x)
    if transposed:
        operator, matrix = operator.transposed, matrix.transposed
    solve = krylov(operator, partial(one_cycle, matrix))
    start = jnp.zeros_like(rhs) if earlier is None else best_start(operator, (earlier,), rhs)
    return solve_verified(operator, matrix.finest, solve, rhs, start, tolerance=tolerance)


class _State(NamedTuple):
    x: _Point
    imbalance: Array
    norm: Array  # 1-norm of the imbalance
    newton: Array
    linear: Array


def _newton(problem: _Problem, guess: Array, tolerance: float) -> _State:
    """Newton with its update made in content, in which advection is linear: the haemoglobin knee cannot cycle it."""
    target = tolerance * jnp.sum(problem.flow.inflow) * problem.inlet
    zero = jnp.zeros((), jnp.int32)

    def at(x: _Point, newton: Array, linear: Array) -> _State:
        imbalance = problem.balance(x)
        return _State(x, imbalance, jnp.sum(jnp.abs(imbalance)), newton, linear)

    def step(s: _State) -> _State:
        change = _content_change(problem, s.x, -s.imbalance, inner_tolerance(target, s.norm), False)
        linear = s.linear + change.iterations

        def shorter(trial: tuple[Array, _State]) -> tuple[Array, _State]:
            length = 0.5 * trial[0]
            u = jnp.maximum(s.x.content + length * change.value, LARGEST_DROP * s.x.content)
            return length, at(_invert(u, problem.parameters), s.newton + 1, linear)

        def too_long(trial: tuple[Array, _State]) -> Array:
            length, new = trial
            enough = new.norm <= (1.0 - SUFFICIENT_DECREASE * length) * s.norm
            return (length > 1.0) | (~enough & (length > SHORTEST_STEP))

        return lax.while_loop(too_long, shorter, (jnp.full_like(s.norm, 2.0), s))[1]

    start = at(_point(guess, problem.parameters), zero, zero)
    return lax.while_loop(lambda s: ~(s.norm <= target) & (s.newton < MAX_NEWTON), step, start)


def solve_oxygen(
    grid: Grid,
    flow: Flow,
    demand_mM_s: Float[Array, "nz ny nx"],
    inlet_mmHg: ArrayLike,
    parameters: OxygenParameters,
    guess_mmHg: Float[Array, "nz ny nx"],
    *,
    transport: str = "limited",
    tolerance: float | None = None,
    handed_on: bool = False,
) -> Oxygen:
    """Oxygen in balance with flow and uptake.

        div(q C) - div(alpha D grad p) + V Vmax p / (Km + p) = q_in C_in - q_out C,   C = alpha p + capacity H(p)

    Advection of total content is upwind, or van Albada-limited second order. Newton takes its step in content with the
    true Jacobian, by BiCGStab with a V-cycle, halving as guard. Differentiable in everything but the guess.

    Args:
        grid: tissue volumes and faces.
        flow: of blood [um3/s].
        demand_mM_s: Vmax, largest uptake per tissue volume [mM/s], (nz, ny, nx), >= 0; its dtype is that of the solve.
        inlet_mmHg: partial pressure of the blood that enters [mmHg].
        parameters: see `OxygenParameters`.
        guess_mmHg: start [mmHg], (nz, ny, nx); any positive field will do.
        transport: "limited" or "upwind".
        tolerance: 1-norm of the imbalance over the inflow of oxygen [-]; 1e-10 in float64, 1e-5 in float32.
        handed_on: true where the guess is `following_mmHg` of the solve before and the ends of the chain are cut, see
            `implicit_solution`.

    Returns:
        The field with its ledger; `converged` is False when 40 Newton steps did not reach the tolerance.

    Raises:
        ValueError: an unknown transport.

    Reference: NUMERICS, second round 2 and 5; van Albada et al. (1982).
    """
    if transport not in TRANSPORTS:
        raise ValueError(f"transport is {transport!r}; it must be one of {', '.join(TRANSPORTS)}")
    dtype = demand_mM_s.dtype
    problem = _problem(grid, flow, demand_mM_s, inlet_mmHg, parameters, transport == "limited")
    tolerance = default_tolerance(dtype) if tolerance is None else tolerance

    def residual(problem: _Problem, mmHg: Array) -> Array:
        return problem.balance(_point(mmHg, problem.parameters))

    def solve(problem: _Problem, guess: Array) -> tuple[Array, tuple]:
        s = _newton(problem, guess, tolerance)
        supply = jnp.sum(problem.flow.inflow) * problem.inlet
        worst = jnp.argmax(jnp.abs(s.imbalance))
        return s.x.mmHg, (s.newton, s.linear, s.norm / supply, worst, s.norm <= tolerance * supply)

    def linear_solve(problem: _Problem, mmHg: Array, rhs: Array, start: Array, transposed: bool) -> tuple[Array, Array]:
        x = _point(mmHg, problem.parameters)
        rhs, start = (rhs / x.slope, start) if transposed else (rhs, start * x.slope)
        change = _content_change(problem, x, rhs, adjoint_tolerance(dtype), transposed, start)
        return change.value if transposed else change.value / x.slope, change.converged

    guess = jnp.where(grid.active, jnp.asarray(guess_mmHg, dtype), 0.0)
    mmHg, following, evidence = implicit_solution(residual, solve, linear_solve, problem, guess, handed_on=handed_on)
    return _report(problem, grid, mmHg, following, evidence)


def _problem(
    grid: Grid, flow: Flow, demand: Array, inlet_mmHg: ArrayLike, parameters: OxygenParameters, limited: bool
) -> _Problem:
    """Coefficients per cell and face, in the dtype of the demand; what diffuses is alpha p, with D alpha A / h."""
    dtype = demand.dtype
    p = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), parameters)
    conductance = conductances(grid, p.diffusivity_um2_s * p.solubility_mM_mmHg, dtype)
    inlet = content(jnp.asarray(inlet_mmHg, dtype), p)
    demand = jnp.asarray(grid.volume, dtype) * demand
    plan = coarsening_plan(grid.shape, grid.spacing_um)
    return _Problem(flow.astype(dtype), conductance, demand, inlet, p, limited, plan)


def _report(problem: _Problem, grid: Grid, mmHg: Array, following: Array, evidence: tuple) -> Oxygen:
    """The field with its ledger; every term is summed from the field by itself, so that their balance is a test."""
    newton, linear, residual, worst, converged = evidence
    carried = content(mmHg, problem.parameters)
    taken = problem.uptake(mmHg)
    volume = jnp.asarray(grid.volume, mmHg.dtype)
    outflow = total(problem.flow.outflow * carried)
    return Oxygen(
        mmHg=mmHg,
        following_mmHg=following,
        content_mM=carried,
        uptake_mM_s=safe_ratio(taken, volume),
        inlet_mM=problem.inlet,
        outlet_mM=safe_ratio(outflow, total(problem.flow.outflow)),
        inflow=total(problem.flow.inflow * problem.inlet),
        outflow=outflow,
        uptake=total(taken),
        newton_iterations=newton,
        linear_iterations=linear,
        residual=residual,
        worst_cell=worst,
        converged=converged,
    )
