"""What the solves of carried species share: tolerances, a preconditioner, and the linear balance A(p) x = b(p).

Species that the blood carries have an M-matrix at their heart, fluxes between cells and a sink, so that a positive
source gives a positive field. The solver is BiCGStab with one V-cycle of that matrix; whether it is done is judged by
the balance itself and not by the residual that the method carries along.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float

from hepatojax.numerics.linear_solve import LinearSolution, Unknown, bicgstab, norm
from hepatojax.numerics.multigrid import Hierarchy, Plan, build_hierarchy, v_cycle
from hepatojax.numerics.operators import Faces, Operator, assemble, neighbour_sum
from hepatojax.numerics.quasi_steady import implicit_solution
from hepatojax.numerics.safe_math import safe_ratio

Fluxes = tuple[Faces, Faces, Array]  # forward and backward coefficients of the faces, and a sink: see `assemble`

SMOOTHING = 2  # sweeps of a V-cycle, which leaves a tenth of a residual; one leaves a quarter, three a twentieth
MAX_LINEAR = 300  # half-steps of BiCGStab in one call
MAX_ROUNDS = 8
INNER = (1e-2, 1e-1)  # bounds of the relative tolerance of a linear solve inside an outer iteration
LINEAR = 1e-3  # the lower one where the outer iteration is linear too: one inner solve in place of two
INNER_OF_TARGET = 0.3


def default_tolerance(dtype: DTypeLike) -> float:
    """Relative tolerance of a forward solve of a carried field [-]: 1e-10 in float64, 1e-5 in float32.

    Args:
        dtype: of the field, float32 or float64.
    """
    return 1e-10 if jnp.dtype(dtype) == jnp.float64 else 1e-5


def adjoint_tolerance(dtype: DTypeLike) -> float:
    """Relative tolerance of a tangent or transposed solve, in its own right-hand side [-]: 1e-11 or 1e-5.

    In float32 that of the solve itself, ten times looser than the decision says: gradients are a tenth cheaper, and
    moved by 3e-6.

    Args:
        dtype: of the cotangent; float64 has the smaller one.

    Reference: NUMERICS decision 4.
    """
    return 1e-11 if jnp.dtype(dtype) == jnp.float64 else 1e-5


def total(field: Array) -> Float[Array, ""]:
    """Sum over all cells in float64, for means and ledgers.

    Args:
        field: amount of each cell [any unit], any shape and precision.

    Returns:
        The sum [unit of the field].
    """
    return jnp.sum(field.astype(jnp.float64))


def inner_tolerance(target: Array, left: Array, tightest: float = INNER[0]) -> Array:
    """Relative tolerance of an inner solve: what is left to do, and neither wasteful nor idle.

        min(max(0.3 target / left, tightest), 0.1)

    Args:
        target: size of the imbalance at which the outer iteration stops [any unit].
        left: size of the imbalance now, same unit and norm.
        tightest: no smaller than this [-]; 0.01 for an outer iteration that is not linear, and gains little by more.

    Returns:
        The tolerance of the linear solve in its right-hand side [-].
    """
    wanted, loosest = INNER_OF_TARGET * safe_ratio(target, left), INNER[1]
    return jnp.where(wanted < tightest, tightest, jnp.where(wanted > loosest, loosest, wanted))


def size_of(fields: Unknown, share: ArrayLike = 1.0) -> Float[Array, ""]:
    """A share of the 2-norm of a field or of a tuple of fields: of a right-hand side, where its solve may stop.

    Args:
        fields: one field or a tuple of them [any unit], each (nz, ny, nx).
        share: of the norm, a tolerance [-].

    Returns:
        share |fields| [unit of the fields].
    """
    return share * norm(fields)


def one_cycle(matrix: Hierarchy, rhs: Array) -> Array:
    """One V-cycle of an M-matrix of transport: an approximate A^-1 rhs.

    Args:
        matrix: hierarchy of A [um3/s].
        rhs: b [um3/s times the unit of the field], (nz, ny, nx).

    Returns:
        x [unit of the field], (nz, ny, nx); linear in b, as a preconditioner must be.
    """
    return v_cycle(matrix, rhs, SMOOTHING)


def krylov(
    apply: Callable[[Unknown], Unknown], precondition: Callable[[Unknown], Unknown]
) -> Callable[[Unknown, Array], LinearSolution]:
    """BiCGStab as `solve_verified` wants it: (rhs, target) -> solution from zero, up to that 2-norm of the residual.

    Args:
        apply: A, a field or a tuple of fields -> what leaves their cells [um3/s times the unit of a field].
        precondition: approximate A^-1.

    Returns:
        The solver; `rhs` and `target` are in the unit of what `apply` gives.
    """

    def solve(rest: Unknown, target: Array) -> LinearSolution:
        return bicgstab(
            apply,
            precondition,
            rest,
            jax.tree.map(jnp.zeros_like, rest),
            tolerance=1.0,
            scale=target,
            max_iterations=MAX_LINEAR,
        )

    return solve


class Verified(NamedTuple):
    """A solution and what its own balance says of it.

    Attributes:
        value: x [unit of the field], (nz, ny, nx).
        iterations: half-steps of BiCGStab in all rounds.
        residual: 2-norm of the imbalance over that of the right-hand side [-].
        converged: the imbalance is within tolerance, or what rounding of the solution leaves.
        worst_cell: flat index of the largest imbalance.
    """

    value: Float[Array, "nz ny nx"]
    iterations: Array
    residual: Array
    converged: Array
    worst_cell: Array  # flat index of the largest imbalance


class _Round(NamedTuple):
    value: Array
    rest: Array  # b - A x
    residual: Array  # its 2-norm
    target: Array
    rounds: Array
    iterations: Array


def solve_verified(
    apply: Callable[[Array], Array],
    matrix: Operator,
    solve: Callable[[Array, Array], LinearSolution],
    rhs: Float[Array, "nz ny nx"],
    guess: Float[Array, "nz ny nx"],
    *,
    tolerance: ArrayLike,
) -> Verified:
    """A Krylov method, started again from where it came until the true residual b - A x is small.

        |b - A x| <= tolerance |b| + 2 eps |d x|

    The residual that BiCGStab carries along can leave the true one by any amount, so its own word does not count. A
    round that brings nothing is replaced by Jacobi sweeps of the M-matrix, enough to cross the grid: exact for a row of
    cells without diffusion. The solve may stop at what rounding of x alone leaves, two units of the last place of d x.

    Args:
        apply: A.
        matrix: an M-matrix near A [um3/s], with d its diagonal.
        solve: (rhs, target) -> solution of A from zero, up to a 2-norm of the residual; see `krylov`.
        rhs: b [um3/s times the unit of the field], (nz, ny, nx).
        guess: x to start from [unit of the field], (nz, ny, nx).
        tolerance: relative to the 2-norm of rhs [-].

    Returns:
        x with its true residual; `converged` is False after 8 rounds that did not suffice.

    Reference: RELIABILITY 0.8 (compute the residual yourself).
    """
    unit = 2.0 * float(jnp.finfo(rhs.dtype).eps)

    def judged(x: Array, rounds: Array, iterations: Array) -> _Round:
        rest = rhs - apply(x)
        target = size_of(rhs, tolerance) + size_of(matrix.diagonal * x, unit)
        return _Round(x, rest, size_of(rest), target, rounds, iterations)

    def improved(s: _Round) -> _Round:
        step = solve(s.rest, 0.5 * s.target)
        new = judged(s.value + step.value, s.rounds + 1, s.iterations + step.iterations)
        return lax.cond(
            new.residual < s.residual,
            lambda: new,
            lambda: judged(s.value + _swept_across(matrix, s.rest), new.rounds, new.iterations),
        )

    zero = jnp.zeros((), jnp.int32)
    start = judged(guess, zero, zero)
    s = lax.while_loop(lambda s: ~(s.residual <= s.target) & (s.rounds < MAX_ROUNDS), improved, start)
    converged = (s.residual <= s.target) & jnp.isfinite(s.residual)
    worst = jnp.argmax(jnp.abs(s.rest))
    return Verified(s.value, s.iterations, safe_ratio(s.residual, size_of(rhs)), converged, worst)


def _swept_across(matrix: Operator, rhs: Array) -> Array:
    """As many Jacobi sweeps from zero as there are cells on the longest path along the axes."""
    return lax.fori_loop(
        0, sum(rhs.shape), lambda _, x: (rhs + neighbour_sum(matrix, x)) / matrix.diagonal, jnp.zeros_like(rhs)
    )


def solve_transport(matrix: Hierarchy, rhs: Array, guess: Array, *, tolerance: ArrayLike) -> Verified:
    """`solve_verified` for a transport operator that is itself an M-matrix.

    Args:
        matrix: hierarchy of A [um3/s].
        rhs: b [um3/s times the unit of the field], (nz, ny, nx).
        guess: x to start from [unit of the field], (nz, ny, nx).
        tolerance: relative to the 2-norm of rhs [-].

    Returns:
        x with its true residual, see `Verified`.
    """
    solve = krylov(matrix.finest, partial(one_cycle, matrix))
    return solve_verified(matrix.finest, matrix.finest, solve, rhs, guess, tolerance=tolerance)


def positive_solution(
    equations: Callable[[Any], tuple[Fluxes, Array]],
    parameters: Any,
    guess: Float[Array, "nz ny nx"],
    plan: Plan,
    *,
    tolerance: float | None = None,
) -> Verified:
    """The solution x >= 0 of A(p) x = b(p), where A is an M-matrix and b >= 0; differentiable in the parameters.

    Negative values within the tolerance of the solve are set to zero; the derivative is that of the equations.

    Args:
        equations: parameters -> (what `assemble` makes A of [um3/s], b); closes over no traced value.
        parameters: any pytree of arrays.
        guess: x to start from, (nz, ny, nx); has no derivative, and its dtype is that of the solve.
        plan: see `coarsening_plan`; an empty one preconditions by smoothing alone.
        tolerance: relative to the 2-norm of b [-]; 1e-10 in float64, 1e-5 in float32.

    Returns:
        x [unit of b over that of A], (nz, ny, nx), with the evidence of its solve.
    """
    tolerance = default_tolerance(guess.dtype) if tolerance is None else tolerance

    def residual(parameters: Any, x: Array) -> Array:
        fluxes, rhs = equations(parameters)
        return assemble(*fluxes)(x) - rhs

    def solve(parameters: Any, guess: Array) -> tuple[Array, tuple]:
        fluxes, rhs = equations(parameters)
        s = solve_transport(build_hierarchy(*fluxes, plan), rhs, guess, tolerance=tolerance)
        return jnp.where(s.value > 0, s.value, 0.0), (s.iterations, s.residual, s.converged, s.worst_cell)

    def linear_solve(parameters: Any, _: Array, rhs: Array, start: Array, transposed: bool) -> tuple[Array, Array]:
        matrix = build_hierarchy(*equations(parameters)[0], plan)
        matrix = matrix.transposed if transposed else matrix
        s = solve_transport(matrix, rhs, start, tolerance=adjoint_tolerance(rhs.dtype))
        return s.value, s.converged

    x, _, evidence = implicit_solution(residual, solve, linear_solve, parameters, guess)
    return Verified(x, *evidence)
