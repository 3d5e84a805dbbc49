"""Krylov solvers in one loop each; they report how many iterations they took and how far they came."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from hepatojax.mechanism import pytree


@pytree
class LinearSolution:
    """Solution of a linear system, with the evidence.

    iterations: number taken; residual: 2-norm of b - A x relative to `scale`; converged: residual <= tolerance.
    """

    value: Array
    iterations: Array
    residual: Float[Array, ""]
    converged: Array


def _norm(field: Array) -> Array:
    return jnp.sqrt(jnp.sum(field * field))


def _reached(norm: Array, target: Array) -> Array:
    """Whether a residual is small enough; one that overflows is not, though infinity is no more than infinity."""
    return (norm <= target) & jnp.isfinite(norm)


def _guarded(numerator: Array, denominator: Array) -> Array:
    """numerator / denominator, and zero where the denominator is exactly zero."""
    nonzero = denominator != 0
    return jnp.where(nonzero, numerator / jnp.where(nonzero, denominator, 1), 0)


def conjugate_gradient(
    apply: Callable[[Array], Array],
    precondition: Callable[[Array], Array],
    rhs: Array,
    guess: Array,
    *,
    tolerance: float,
    max_iterations: int,
    scale: Array | Callable[[Array], Array] | None = None,
) -> LinearSolution:
    """Flexible preconditioned conjugate gradients for a symmetric positive definite operator.

    Stops when |b - A x| <= tolerance x scale, where `scale` defaults to |b| of this very solve; a function is taken
    of the current iterate. Each direction is made conjugate to the last one by its own product with A, so that a
    preconditioner that is only nearly symmetric does no harm.

    Args:
        apply: x -> A x. precondition: r -> approximate A^-1 r.
        rhs, guess: fields (nz, ny, nx).
        tolerance: relative to `scale`. max_iterations: cap; reaching it leaves `converged` False.

    Reference: Notay (2000), SIAM J. Sci. Comput. 22:1444.
    """
    fixed = _norm(rhs) if scale is None else scale
    scale_of = scale if callable(scale) else lambda _: fixed

    def going(carry):
        norm, iterations, size = carry[5:]
        return ~(norm <= tolerance * size) & (iterations < max_iterations)

    def body(carry):
        x, r, p, q, pq, _, k, _ = carry
        z = precondition(r)
        p = z - _guarded(jnp.sum(q * z), pq) * p
        q = apply(p)
        pq = jnp.sum(p * q)
        alpha = _guarded(jnp.sum(r * z), pq)
        x = x + alpha * p
        r = r - alpha * q
        return x, r, p, q, pq, _norm(r), k + 1, scale_of(x)

    r = rhs - apply(guess)
    zero = jnp.zeros_like(r)
    start = (guess, r, zero, zero, jnp.sum(zero), _norm(r), jnp.zeros((), jnp.int32), scale_of(guess))
    x, _, _, _, _, norm, iterations, size = lax.while_loop(going, body, start)
    return LinearSolution(x, iterations, _guarded(norm, size), _reached(norm, tolerance * size))


def bicgstab(
    apply: Callable[[Array], Array],
    precondition: Callable[[Array], Array],
    rhs: Array,
    guess: Array,
    *,
    tolerance: float,
    max_iterations: int,
    scale: Array | None = None,
) -> LinearSolution:
    """Right-preconditioned BiCGStab for a nonsymmetric operator; contract of `conjugate_gradient`, `scale` a number.

    An iteration is one half-step, with one preconditioner and one product: a step along the direction, then one that
    leaves the smallest residual, by turns. Both move x and r alike, so that the loop holds the preconditioner once, and
    stops after either. A denominator of zero ends as an unconverged solve, never as a NaN.

    Reference: van der Vorst (1992), SIAM J. Sci. Stat. Comput. 13:631.
    """
    size = _norm(rhs) if scale is None else scale
    target = tolerance * size

    def going(carry):
        return (carry[6] > target) & (carry[7] < max_iterations)

    def body(carry):
        x, r, p, v, rho, alpha, _, k = carry
        along = k % 2 == 0
        z = precondition(jnp.where(along, p, r))
        w = apply(z)
        step = jnp.where(along, _guarded(rho, jnp.sum(shadow * w)), _guarded(jnp.sum(w * r), jnp.sum(w * w)))
        x, r = x + step * z, r - step * w
        rho_new = jnp.sum(shadow * r)
        beta = _guarded(rho_new, rho) * _guarded(alpha, step)
        p = jnp.where(along, p, r + beta * (p - step * v))
        v, rho, alpha = jnp.where(along, w, v), jnp.where(along, rho, rho_new), jnp.where(along, step, alpha)
        return x, r, p, v, rho, alpha, _norm(r), k + 1

    shadow = rhs - apply(guess)
    zero = jnp.zeros_like(shadow)
    rho = jnp.sum(shadow * shadow)
    start = (guess, shadow, shadow, zero, rho, jnp.zeros_like(rho), _norm(shadow), jnp.zeros((), jnp.int32))
    x, *_, norm, iterations = lax.while_loop(going, body, start)
    return LinearSolution(x, iterations, _guarded(norm, size), _reached(norm, target))
