"""Quasi-steady signals in two phases: plasma that recirculates through the body, and tissue that cells read.

Concentrations are solved as excess over the inlet, y = c - c_in. Recirculation then drops out of the transport
(a constant is carried unchanged), and the body enters only through

    CL c_in = Q (c_out - c_in) + S = sum q_out y_p + S

Both phases are unknowns of one fixed-point iteration, whose matrix holds the rate of uptake at the last iterate; a
derivative takes the slope of the uptake in its place. Cells take up from the whole concentration, so that the inlet,
which an excess raises, stands in the matrix as one more product of two fields.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hepatojax.mechanism import pytree, static
from hepatojax.numerics.adjoint import unstacked
from hepatojax.numerics.fusion import computed_once
from hepatojax.numerics.grid import Grid
from hepatojax.numerics.linear_solve import LinearSolution, best_start
from hepatojax.numerics.multigrid import Hierarchy, Plan, build_hierarchy, coarsening_plan
from hepatojax.numerics.operators import Faces, Operator, assemble
from hepatojax.numerics.quasi_steady import implicit_solution
from hepatojax.numerics.safe_math import safe_ratio
from hepatojax.tissue.carried import (
    INNER,
    LINEAR,
    adjoint_tolerance,
    default_tolerance,
    inner_tolerance,
    krylov,
    one_cycle,
    size_of,
    total,
)
from hepatojax.tissue.flow import Flow
from hepatojax.tissue.transport import by_differences, conductances, exponential

MAX_SWEEPS = 30
Phases = tuple[Array, Array]  # a field of tissue and one of plasma


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
    """One signal and the evidence for it; from a loop over signals every entry has the species leading.

    Attributes:
        tissue_nM: concentration that cells read [nM], (nz, ny, nx).
        plasma_nM: concentration in the blood's plasma [nM], (nz, ny, nx).
        excess_nM: tissue and plasma over the inlet [nM], (2, nz, ny, nx), the guess of the next solve; without
            derivative.
        inlet_nM: plasma that enters [nM].
        outlet_nM: plasma that leaves, flow-weighted [nM].
        secreted: into tissue, a ledger term like the next three, each on its own, in float64 [nM um3/s].
        taken_up: by cells, from plasma [nM um3/s].
        cleared: by the body [nM um3/s].
        supplied: by the body [nM um3/s]; secreted and supplied equal taken up and cleared.
        sweeps: outer iterations.
        iterations: half-steps of BiCGStab in all of them.
        residual: 1-norm of the imbalance of both phases over all that is secreted and supplied [-].
        converged: the imbalance is within tolerance, or what rounding of the solution makes.
        worst_cell: flat index of the largest imbalance.
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
    worst_cell: Array


@pytree
class _Problem:
    """The discrete equations in the dtype of the fields; unknown: excess of tissue and of plasma, each a field."""

    flow: Flow
    tissue_conductance: Faces
    plasma_conductance: Faces
    exchange: Array  # V / tau [um3/s]
    secretion: Array  # V s [nM um3/s]
    uptake: Array  # V k [um3/s]
    parameters: SignalParameters
    body: BodyClosure
    plan: Plan = static()

    @property
    def outside(self) -> Array:
        """One where a cell holds no tissue, so that its rows are those of the identity."""
        return jnp.where(self.exchange > 0, 0.0, jnp.ones_like(self.exchange))

    def inlet(self, plasma_excess: Array) -> Array:
        """c_in = (sum q_out y_p + S) / CL [nM]."""
        gained = jnp.sum(self.flow.outflow * plasma_excess) + self.body.source_nM_um3_s
        return gained / self.body.clearance_um3_s

    def uptake_rate(self, plasma: Array) -> Array:
        """V k (lo + (1 - lo) / (1 + c/K)) [um3/s]; times c it is what cells take up."""
        lo = self.parameters.uptake_floor
        return self.uptake * (lo + (1.0 - lo) / (1.0 + plasma / self.parameters.uptake_half_saturation_nM))

    def uptake_slope(self, plasma: Array) -> Array:
        """Derivative of what cells take up with respect to c [um3/s]."""
        lo = self.parameters.uptake_floor
        return self.uptake * (lo + (1.0 - lo) / (1.0 + plasma / self.parameters.uptake_half_saturation_nM) ** 2)


class _System(NamedTuple):
    """The operators of a problem that do not depend on its uptake."""

    tissue: Hierarchy  # diffusion and exchange
    plasma: Operator  # transport alone, nothing in the inlet


def _system(problem: _Problem) -> _System:
    """The matrices that serve all sweeps: uptake alone changes from one to the next."""
    diffusion = problem.tissue_conductance
    return _System(
        tissue=build_hierarchy(diffusion, None, problem.exchange, problem.plan),
        plasma=assemble(*exponential(problem.flow.flux, problem.plasma_conductance), problem.flow.outflow),
    )


def _diffuse(problem: _Problem, tissue: Array) -> Array:
    """Diffusion in tissue [nM um3/s], by differences; identity rows outside."""
    return by_differences(problem.tissue_conductance, problem.tissue_conductance, problem.outside, tissue)


def _residual(problem: _Problem, plasma_operator: Operator, excess: Phases) -> Phases:
    """Imbalance of both phases; carried by differences, since the inflow is the row sum of balanced transport."""
    tissue, plasma = excess
    concentration = plasma + problem.inlet(plasma)
    gained = problem.exchange * (tissue - plasma)
    carried = by_differences(
        plasma_operator.forward, plasma_operator.backward, problem.flow.inflow + problem.outside, plasma
    )
    of_plasma = carried - gained + problem.uptake_rate(concentration) * concentration
    return _diffuse(problem, tissue) + gained - problem.secretion, of_plasma


class _Loss(NamedTuple):
    """First-order uptake of an excess and of the inlet that it raises: a diagonal and a product of two fields."""

    rate: Array  # [um3/s]
    leaving: Array  # q_out / CL [-]

    def of_inlet(self, plasma: Array, transposed: bool) -> Array:
        """u (v y); a branch, skipped without uptake, which XLA does not fuse into stencils."""
        spread, gathered = (self.leaving, self.rate) if transposed else (self.rate, self.leaving)
        zero = jnp.zeros((), plasma.dtype)
        raised = lax.cond(jnp.any(self.rate > 0), lambda y: jnp.sum(gathered * y), lambda _: zero, plasma)
        return spread * raised


def _loss(problem: _Problem, rate: Array) -> _Loss:
    """Uptake at a rate [um3/s], and what the inlet gains from each cell's excess."""
    return _Loss(rate, problem.flow.outflow / problem.body.clearance_um3_s)


def _jacobian(problem: _Problem, system: _System, loss: _Loss, change: Phases, transposed: bool) -> Phases:
    """Linear balance of both phases for a change of the excess; tissue and exchange are their own transpose."""
    tissue, plasma = change
    gained = problem.exchange * (tissue - plasma)
    carried = (system.plasma.transposed if transposed else system.plasma)(plasma)
    taken = loss.rate * plasma + loss.of_inlet(plasma, transposed)
    return _diffuse(problem, tissue) + gained, carried - gained + taken


def _answer(
    problem: _Problem, system: _System, loss: _Loss, rhs: Phases, tolerance: Array, transposed: bool
) -> LinearSolution:
    """Change of both phases that answers a right-hand side, up to a tolerance relative to its 2-norm.

    The preconditioner is one V-cycle of each phase: tissue, where all is secreted, then plasma with what tissue passes
    on. Of what plasma gives to tissue it leaves a share of V/tau / (q + V/tau), 3 to 11 % at normal flow.
    """
    sink = problem.flow.outflow + problem.exchange + loss.rate
    mixed = build_hierarchy(system.plasma.forward, system.plasma.backward, sink, problem.plan)
    mixed = mixed.transposed if transposed else mixed

    def precondition(rest: Phases) -> Phases:
        tissue = one_cycle(system.tissue, rest[0])
        return tissue, one_cycle(mixed, rest[1] + problem.exchange * tissue)

    solve = krylov(lambda x: _jacobian(problem, system, loss, x, transposed), precondition)
    return solve(rhs, size_of(rhs, tolerance))


class _Progress(NamedTuple):
    """Where an iteration over both phases stands; norms are 1-norms of the imbalance [nM um3/s]."""

    excess: Phases
    imbalance: Phases
    norm: Array
    target: Array
    sweeps: Array
    iterations: Array


def _one_norm(phases: Phases) -> Array:
    tissue, plasma = phases
    return jnp.sum(jnp.abs(tissue)) + jnp.sum(jnp.abs(plasma))


def _iterate(
    system: _System,
    imbalance: Callable[[Phases], Phases],
    answer: Callable[[Phases, Phases, Array], LinearSolution],
    guess: Phases,
    target: Array,
    tightest: float,
) -> _Progress:
    """Repeat x <- x + answer(x, -imbalance(x)) until the 1-norm of the imbalance is under the target.

    The target grows by the imbalance that rounding of x alone makes, sum d |x| times two units of the last place:
    diffusion in float32 cannot do better, and the error it stands for is of the shortest waves and small.
    """
    diagonals = (system.tissue.finest.diagonal, system.plasma.diagonal)

    def at(x: Phases, sweeps: Array, iterations: Array) -> _Progress:
        r = imbalance(x)
        unit = 2.0 * float(jnp.finfo(x[0].dtype).eps)
        rounding = unit * _one_norm(jax.tree.map(jnp.multiply, diagonals, x))
        return _Progress(x, r, _one_norm(r), target + rounding, sweeps, iterations)

    def step(s: _Progress) -> _Progress:
        rest = jax.tree.map(jnp.negative, s.imbalance)
        change = answer(s.excess, rest, inner_tolerance(s.target, s.norm, tightest))
        moved = jax.tree.map(jnp.add, s.excess, change.value)
        return at(moved, s.sweeps + 1, s.iterations + change.iterations)

    zero = jnp.zeros((), jnp.int32)
    start = at(guess, zero, zero)
    return lax.while_loop(lambda s: ~(s.norm <= s.target) & (s.sweeps < MAX_SWEEPS), step, start)


def _closed(problem: _Problem, s: _Progress) -> Phases:
    """The excess shifted by the constant, less than the tolerance, that closes the ledger of the whole domain."""
    tissue, plasma = s.excess
    loss = _loss(problem, problem.uptake_slope(plasma + problem.inlet(plasma)))
    inside = 1.0 - problem.outside
    answer = total(problem.flow.inflow + loss.rate * inside + loss.of_inlet(inside, False))
    left = total(s.imbalance[0]) + total(s.imbalance[1])
    shift = safe_ratio(left, answer).astype(inside.dtype) * inside
    return tissue - shift, plasma - shift


def solve_signal(
    grid: Grid,
    plasma_flow: Flow,
    secretion_nM_s: Float[Array, "nz ny nx"],
    uptake_per_s: Float[Array, "nz ny nx"],
    parameters: SignalParameters,
    body: BodyClosure,
    guess_nM: Float[Array, "2 nz ny nx"],
    *,
    tolerance: float | None = None,
    handed_on: bool = False,
) -> Signal:
    """One signal in balance between tissue, plasma and the body.

        tissue:  -D_t lap c_t + (c_t - c_p) / tau = s
        plasma:  div(q c_p - D_p grad c_p) = (c_t - c_p) / tau - k (lo + (1 - lo) / (1 + c_p/K)) c_p
        body:    Q (c_out - c_in) + S = CL c_in

    per bulk tissue volume; exponential fluxes in plasma. Positive for positive sources. Differentiable in everything
    but the guess.

    Args:
        grid: tissue volumes and faces.
        plasma_flow: (1 - haematocrit) x blood flow [um3/s].
        secretion_nM_s: s >= 0 into tissue [nM/s], (nz, ny, nx); its dtype is that of the solve.
        uptake_per_s: k >= 0 of the plasma phase [1/s], (nz, ny, nx); zeros where cells take up nothing.
        parameters: D [um2/s], tau [s], lo [-] and K [nM] of the signal.
        body: CL [um3/s] and S [nM um3/s], shared by the domains of the liver.
        guess_nM: `excess_nM` of an earlier solve, or zeros [nM], (2, nz, ny, nx).
        tolerance: 1-norm of the imbalance over all secretion [-]; 1e-10 in float64, 1e-5 in float32, and no less than
            what rounding of the solution alone makes.
        handed_on: true where the guess is `excess_nM` of the solve before and the ends of the chain are cut, see
            `implicit_solution`.

    Returns:
        Both phases with inlet, outlet and ledger; `converged` is False when 30 sweeps did not suffice.

    Reference: BIOLOGY A4; Scharfetter and Gummel (1969); NUMERICS decision 6.
    """
    dtype = secretion_nM_s.dtype
    problem = _problem(grid, plasma_flow, secretion_nM_s, uptake_per_s, parameters, body)
    tolerance = default_tolerance(dtype) if tolerance is None else tolerance

    def residual(problem: _Problem, excess: Phases) -> Phases:
        return _residual(problem, _system(problem).plasma, excess)

    def solve(problem: _Problem, guess: Phases) -> tuple[Phases, tuple]:
        system = _system(problem)
        made = jnp.sum(problem.secretion) + problem.body.source_nM_um3_s

        def answer(excess: Phases, rhs: Phases, forcing: Array) -> LinearSolution:
            loss = _loss(problem, problem.uptake_rate(excess[1] + problem.inlet(excess[1])))
            return _answer(problem, system, loss, rhs, forcing, False)

        guess = jax.tree.map(lambda field: jnp.where(made > 0, field, 0.0), guess)
        s = _iterate(system, lambda x: _residual(problem, system.plasma, x), answer, guess, tolerance * made, INNER[0])
        worst = jnp.argmax(jnp.abs(s.imbalance[0]) + jnp.abs(s.imbalance[1]))
        return _closed(problem, s), (s.sweeps, s.iterations, safe_ratio(s.norm, made), s.norm <= s.target, worst)

    def linear_solve(
        problem: _Problem, excess: Phases, rhs: Phases, start: Phases, transposed: bool
    ) -> tuple[Phases, Array]:
        system, inside = _system(problem), 1.0 - problem.outside
        loss = _loss(problem, problem.uptake_slope(excess[1] + problem.inlet(excess[1])))
        apply = partial(_jacobian, problem, system, loss, transposed=transposed)
        even = (inside, inside)  # all of the answer to a cotangent of the inlet where nothing is taken up
        s = _iterate(
            system,
            lambda x: jax.tree.map(jnp.subtract, apply(x), rhs),
            lambda _, r, forcing: _answer(problem, system, loss, r, forcing, transposed),
            best_start(apply, (even, start), rhs),
            adjoint_tolerance(dtype) * _one_norm(rhs),
            LINEAR,
        )
        return s.excess, s.norm <= s.target

    guess = unstacked(jnp.asarray(guess_nM, dtype))
    excess, following, evidence = implicit_solution(residual, solve, linear_solve, problem, guess, handed_on=handed_on)
    return _report(problem, excess, following, evidence)


def _problem(
    grid: Grid, flow: Flow, secretion: Array, uptake: Array, parameters: SignalParameters, body: BodyClosure
) -> _Problem:
    dtype = secretion.dtype
    p, body = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), (parameters, body))
    volume = jnp.asarray(grid.volume, dtype)
    return _Problem(
        flow=computed_once(flow.astype(dtype)),
        tissue_conductance=computed_once(conductances(grid, p.diffusivity_tissue_um2_s, dtype)),
        plasma_conductance=computed_once(conductances(grid, p.diffusivity_plasma_um2_s, dtype)),
        exchange=volume / p.exchange_time_s,
        secretion=volume * secretion,
        uptake=volume * uptake,
        parameters=p,
        body=body,
        plan=coarsening_plan(grid.shape, grid.spacing_um),
    )


def _report(problem: _Problem, excess: Phases, following: Phases, evidence: tuple) -> Signal:
    """Both phases with their ledger; inlet and sums in float64, each term from the field by itself."""
    sweeps, iterations, residual, converged, worst = evidence
    gained = total(problem.flow.outflow * excess[1])
    source, clearance = (
        jnp.asarray(x, jnp.float64) for x in (problem.body.source_nM_um3_s, problem.body.clearance_um3_s)
    )
    inlet = (gained + source) / clearance
    tissue, plasma = (phase + inlet.astype(phase.dtype) for phase in excess)
    return Signal(
        tissue_nM=tissue,
        plasma_nM=plasma,
        excess_nM=jnp.stack(following),
        inlet_nM=inlet,
        outlet_nM=inlet + safe_ratio(gained, total(problem.flow.outflow)),
        secreted=total(problem.secretion),
        taken_up=total(problem.uptake_rate(plasma) * plasma),
        cleared=clearance * inlet,
        supplied=source,
        sweeps=sweeps,
        iterations=iterations,
        residual=residual,
        converged=converged,
        worst_cell=worst,
    )
