"""Fields that are the solution of r(parameters, x) = 0, differentiated by the implicit function theorem.

The loop of a solver is never differentiated: a tangent is one more linear solve, a cotangent one with the transposed
operator, each with a tolerance in its own right-hand side; what stops short of it is no number. The solution carries a
name by which a reverse pass of many steps keeps it.

Reference: NUMERICS decisions 4 and 9.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array

from hepatojax.numerics.fusion import computed_once, cotangents_computed_once
from hepatojax.numerics.linear_solve import Unknown

SOLUTION = "quasi_steady"  # name under which a checkpoint policy keeps solutions, so that no solve is ever repeated


def implicit_solution(
    residual: Callable[[Any, Unknown], Unknown],
    solve: Callable[[Any, Unknown], tuple[Unknown, Any]],
    linear_solve: Callable[[Any, Unknown, Unknown, Unknown, bool], tuple[Unknown, Array]],
    parameters: Any,
    guess: Unknown,
    *,
    handed_on: bool = False,
) -> tuple[Unknown, Unknown, Any]:
    """Solve r(parameters, x) = 0 and carry both modes of differentiation through it.

        dx = - (dr/dx)^-1 (dr/dparameters) dparameters

    The tangent is itself a linear solve with its own transposed solve, so that forward and reverse mode hold. The
    unknown x is a field, or a tuple of fields. None of the three functions may close over a traced value: all arrays
    pass through `parameters`.

    A guess has no derivative, so its tangent and its cotangent are free: a guess that is handed on from solve to solve
    takes the tangent along to where the next one starts, and the cotangent back to where the one before starts.

    Args:
        residual: (parameters, x) -> r, the very discrete equations.
        solve: (parameters, guess) -> (x, info); info is a pytree of statistics without derivative.
        linear_solve: (parameters, x, rhs, start, transposed) -> (dr/dx)^-1 rhs or (dr/dx)^-T rhs, linear in a
            right-hand side that comes with entries of size 1, as does the start, a direction of the answer of another
            solve, or zeros; and whether it converged: a derivative that did not is NaN.
        parameters: any pytree of arrays; all that a derivative may touch.
        guess: x to start from.
        handed_on: true where the guess is what the solve before gave for it, and `lax.stop_gradient` stands where the
            first of them comes from and where the last one goes, lest starts be taken for derivatives.

    Returns:
        x; x once more, the guess of the next solve, whose tangent is a start and no derivative; and info, as `solve`
        gave it.

    Reference: NUMERICS decision 9.
    """

    @jax.custom_jvp
    def solution(parameters, guess):
        x, info = solve(parameters, guess)
        return x, x, info

    @solution.defjvp
    def solution_jvp(primals, tangents):
        parameters, guess = primals
        x, following, info = solution(parameters, guess)
        x = checkpoint_name(x, SOLUTION)
        moved, start = tangents
        right = jax.tree.map(jnp.negative, jax.jvp(lambda p: residual(p, x), (parameters,), (moved,))[1])
        of_parameters = partial(residual, parameters), partial(linear_solve, parameters)
        answers = _answers(*of_parameters, x, right, start if handed_on else None)
        return (x, following, info), (*answers, jax.tree.map(_no_tangent, info))

    return solution(parameters, guess if handed_on else lax.stop_gradient(guess))


def _answers(
    residual: Callable[[Unknown], Unknown],
    linear_solve: Callable[[Unknown, Unknown, Unknown, bool], tuple[Unknown, Array]],
    x: Unknown,
    rhs: Unknown,
    start: Unknown | None,
) -> tuple[Unknown, Unknown]:
    """Tangents of x and of the guess of the next solve; without a start nothing is handed on.

    The pair of a right-hand side and a start is itself the right-hand side of a linear system, whose answer is a pair
    too. JAX differentiates such a system by all of its right-hand side or by nothing, hence the ties.
    """

    def linearised(change: Unknown) -> Unknown:
        return jax.jvp(residual, (x,), (change,))[1]

    def answer(transposed: bool, rhs: Unknown, start: Unknown) -> Unknown:
        return _of_unit_size(lambda b, s: linear_solve(x, b, s, transposed), rhs, start)

    zero = jax.tree.map(jnp.zeros_like, x)
    if start is None:
        tangent = lax.custom_linear_solve(
            linearised,
            _tied(rhs),
            solve=lambda _, b: answer(False, b, zero),
            transpose_solve=lambda _, b: answer(True, b, zero),
        )
        return tangent, zero

    def of_pair(pair: tuple[Unknown, Unknown]) -> tuple[Unknown, Unknown]:
        left = linearised(pair[0])
        return left, jax.tree.map(lambda s, r: s + 0.0 * r, pair[1], left)

    def answer_pair(transposed: bool, pair: tuple[Unknown, Unknown]) -> tuple[Unknown, Unknown]:
        found = answer(transposed, *pair)
        return found, found

    return lax.custom_linear_solve(
        of_pair,
        _tied((rhs, start)),
        solve=lambda _, pair: answer_pair(False, pair),
        transpose_solve=lambda _, pair: answer_pair(True, pair),
    )


def _tied(fields: Unknown) -> Unknown:
    """Fields of one shape, each of which depends on every one by nothing."""
    fields = cotangents_computed_once(fields)  # which are the answers of a transposed solve
    nothing = sum(0.0 * leaf for leaf in jax.tree.leaves(fields))
    return jax.tree.map(lambda leaf: leaf + nothing, fields)


def _of_unit_size(solve: Callable[[Unknown, Unknown], tuple[Unknown, Array]], rhs: Unknown, start: Unknown) -> Unknown:
    """Solve for a right-hand side of any size: the squares of a small cotangent would vanish in float32.

    NaN where the solve stopped short, since no status leaves a reverse pass. A right-hand side that is nothing but
    rounding must not be computed twice: its size could come out as zero, and so as 1, in one place and not in another.
    """
    rhs, start = computed_once((rhs, start))
    size = _size(rhs)
    along = _size(start)  # of a start the direction counts, and a quotient of two sizes may overflow
    solved, converged = solve(jax.tree.map(lambda b: b / size, rhs), jax.tree.map(lambda s: s / along, start))
    return jax.tree.map(lambda x: jnp.where(converged, size * x, jnp.nan), solved)


def _size(unknown: Unknown) -> Array:
    """The largest entry of all fields, and 1 of zeros."""
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(unknown)]))
    return jnp.where(largest > 0, largest, 1.0)


def _no_tangent(value: jax.Array) -> Any:
    """The zero tangent of a statistic, which JAX wants in a type of its own for integers and booleans."""
    value = jnp.asarray(value)
    if jnp.issubdtype(value.dtype, jnp.inexact):
        return jnp.zeros_like(value)
    return np.zeros(value.shape, jax.dtypes.float0)
