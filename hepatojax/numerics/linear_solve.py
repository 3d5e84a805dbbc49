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
    return LinearSolution(x, iterations, _guarded(norm, size), norm <= tolerance * size)


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
    """Right-preconditioned BiCGStab for a nonsymmetric operator; same contract as `conjugate_gradient`.

    Every denominator is guarded: a breakdown ends as an unconverged solve, never as a NaN.

    Reference: van der Vorst (1992), SIAM J. Sci. Stat. Comput. 13:631.
    """
    target = tolerance * (_norm(rhs) if scale is None else scale)

    def going(carry):
        return (carry[4] > target) & (carry[5] < max_iterations)

    def body(carry):
        x, r, p, rho, _, k = carry
        y = precondition(p)
        v = apply(y)
        alpha = _guarded(rho, jnp.sum(shadow * v))
        s = r - alpha * v
        z = precondition(s)
        t = apply(z)
        omega = _guarded(jnp.sum(t * s), jnp.sum(t * t))
        x = x + alpha * y + omega * z
        r = s - omega * t
        rho_new = jnp.sum(shadow * r)
        beta = _guarded(rho_new, rho) * _guarded(alpha, omega)
        return x, r, r + beta * (p - omega * v), rho_new, _norm(r), k + 1

    shadow = rhs - apply(guess)
    start = (guess, shadow, shadow, jnp.sum(shadow * shadow), _norm(shadow), jnp.zeros((), jnp.int32))
    x, _, _, _, norm, iterations = lax.while_loop(going, body, start)
    return LinearSolution(x, iterations, _guarded(norm * tolerance, target), norm <= target)
