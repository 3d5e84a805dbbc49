"""Fields that are the solution of r(parameters, x) = 0, differentiated by the implicit function theorem.

The loop of a solver is never differentiated: a tangent is one more linear solve, a cotangent one with the transposed
operator, each with a tolerance in its own right-hand side; what stops short of it is no number. The solution carries a
name by which a reverse pass of many steps keeps it.

Reference: NUMERICS decisions 4 and 9.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array

from hepatojax.numerics.fusion import computed_once
from hepatojax.numerics.linear_solve import Unknown

SOLUTION = "quasi_steady"  # name under which a checkpoint policy keeps solutions, so that no solve is ever repeated


def implicit_solution(
    residual: Callable[[Any, Unknown], Unknown],
    solve: Callable[[Any, Unknown], tuple[Unknown, Any]],
    linear_solve: Callable[[Any, Unknown, Unknown, bool], tuple[Unknown, Array]],
    parameters: Any,
    guess: Unknown,
) -> tuple[Unknown, Any]:
    """Solve r(parameters, x) = 0 and carry both modes of differentiation through it.

        dx = - (dr/dx)^-1 (dr/dparameters) dparameters

    The tangent is itself a linear solve with its own transposed solve, so that forward and reverse mode hold. The
    unknown x is a field, or a tuple of fields. None of the three functions may close over a traced value: all arrays
    pass through `parameters`.

    Args:
        residual: (parameters, x) -> r, the very discrete equations.
        solve: (parameters, guess) -> (x, info); info is a pytree of statistics without derivative.
        linear_solve: (parameters, x, rhs, transposed) -> (dr/dx)^-1 rhs or (dr/dx)^-T rhs, linear in a right-hand side
            that comes with entries of size 1, and whether it converged: a derivative that did not is NaN.
        parameters: any pytree of arrays; all that a derivative may touch.
        guess: x to start from; has no derivative.

    Returns:
        x and info, as `solve` gave them.

    Reference: NUMERICS decision 9.
    """

    @jax.custom_jvp
    def solution(parameters, guess):
        return solve(parameters, guess)

    @solution.defjvp
    def solution_jvp(primals, tangents):
        parameters, guess = primals
        x, info = solution(parameters, guess)
        x = checkpoint_name(x, SOLUTION)
        right = jax.jvp(lambda p: residual(p, x), (parameters,), (tangents[0],))[1]
        tangent = lax.custom_linear_solve(
            lambda v: jax.jvp(lambda y: residual(parameters, y), (x,), (v,))[1],
            jax.tree.map(jnp.negative, right),
            solve=lambda _, b: _of_unit_size(lambda r: linear_solve(parameters, x, r, False), b),
            transpose_solve=lambda _, b: _of_unit_size(lambda r: linear_solve(parameters, x, r, True), b),
        )
        return (x, info), (tangent, jax.tree.map(_no_tangent, info))

    return solution(parameters, guess)


def _of_unit_size(solve: Callable[[Unknown], tuple[Unknown, Array]], rhs: Unknown) -> Unknown:
    """Solve for a right-hand side of any size: the squares of a small cotangent would vanish in float32.

    NaN where the solve stopped short, since no status leaves a reverse pass. A right-hand side that is nothing but
    rounding must not be computed twice: its size could come out as zero, and so as 1, in one place and not in another.
    """
    rhs = computed_once(rhs)
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(rhs)]))
    size = jnp.where(largest > 0, largest, 1.0)
    solved, converged = solve(jax.tree.map(lambda b: b / size, rhs))
    return jax.tree.map(lambda x: jnp.where(converged, size * x, jnp.nan), solved)


def _no_tangent(value: jax.Array) -> Any:
    """The zero tangent of a statistic, which JAX wants in a type of its own for integers and booleans."""
    value = jnp.asarray(value)
    if jnp.issubdtype(value.dtype, jnp.inexact):
        return jnp.zeros_like(value)
    return np.zeros(value.shape, jax.dtypes.float0)
