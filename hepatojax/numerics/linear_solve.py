"""Krylov solvers in one loop each; they report how many iterations they took and how far they came.

Library conjugate gradients give no sign of failure (RELIABILITY 0.8), so these say whether they converged. The residual
is carried along by recursion, one product with A an iteration. A denominator of exactly zero counts as a step of length
zero, so that a solve that cannot go on ends as not converged and not as a NaN.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hepatojax.mechanism import pytree

Unknown = Any  # a field, or a tuple of fields that are solved together


@pytree
class LinearSolution:
    """Solution of a linear system, with the evidence.

    Attributes:
        value: x, a field or a tuple of fields like the right-hand side.
        iterations: number taken; of `bicgstab` half-steps.
        residual: 2-norm of b - A x, as the loop carried it, relative to `scale` [-].
        converged: residual <= tolerance, and finite.
    """

    value: Unknown
    iterations: Array
    residual: Float[Array, ""]
    converged: Array


def dot(left: Unknown, right: Unknown) -> Float[Array, ""]:
    """Inner product over all cells of all fields, sum of a_i b_i.

    Args:
        left: a, a field or a tuple of fields.
        right: b, of the same structure and shapes.

    Returns:
        The product [product of their units], in the precision of the fields.
    """
    return jax.tree.reduce(operator.add, jax.tree.map(lambda a, b: jnp.sum(a * b), left, right))


def norm(unknown: Unknown) -> Float[Array, ""]:
    """2-norm over all cells of all fields, sqrt(sum of x_i^2).

    Args:
        unknown: x, a field or a tuple of fields.

    Returns:
        The norm [unit of x]; squares of entries below about 1e-19 vanish in float32.
    """
    return jnp.sqrt(dot(unknown, unknown))


def _reached(left: Array, target: Array) -> Array:
    """Whether a residual is small enough; one that overflows is not, though infinity is no more than infinity."""
    return (left <= target) & jnp.isfinite(left)


def _guarded(numerator: Array, denominator: Array) -> Array:
    """numerator / denominator, and zero where the denominator is exactly zero."""
    nonzero = denominator != 0
    return jnp.where(nonzero, numerator / jnp.where(nonzero, denominator, 1), 0)


def best_start(apply: Callable[[Unknown], Unknown], directions: Sequence[Unknown], rhs: Unknown) -> Unknown:
    """The combination of a few directions that leaves the smallest residual of A x = b.

    The product with each direction is made orthogonal to those before it; a direction of which that leaves nothing but
    rounding is left out.

    Args:
        apply: x -> A x, from and to the structure of the unknown.
        directions: each of the structure of the unknown, at least one; zeros gain nothing.
        rhs: b [unit of A x].

    Returns:
        x, of the structure of the unknown.
    """
    noise = (100.0 * float(jnp.finfo(jax.tree.leaves(rhs)[0].dtype).eps)) ** 2
    x, rest, before = jax.tree.map(jnp.zeros_like, rhs), rhs, []
    for z in directions:
        w = apply(z)
        whole = dot(w, w)
        for earlier, product in before:
            share = _guarded(dot(product, w), dot(product, product))
            z, w = _plus(z, -share, earlier), _plus(w, -share, product)
        left = dot(w, w)
        length = jnp.where(left > noise * whole, _guarded(dot(w, rest), left), 0.0)
        x, rest = _plus(x, length, z), _plus(rest, -length, w)
        before.append((z, w))
    return x


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

        z = M^-1 r,   p <- z - (q, z) / (p, q) p,   q = A p,   a = (r, z) / (p, q),   x <- x + a p,   r <- r - a q

    Stops when |b - A x| <= tolerance x scale, where `scale` defaults to |b| of this very solve; a function is taken
    of the current iterate. Each direction is made conjugate to the last one by its own product with A, so that a
    preconditioner that is only nearly symmetric does no harm.

    Args:
        apply: x -> A x, (nz, ny, nx).
        precondition: r -> M^-1 r, an approximate A^-1 r.
        rhs: b [any unit], (nz, ny, nx); its precision is that of the solve.
        guess: x to start from, (nz, ny, nx).
        tolerance: relative to `scale` [-].
        max_iterations: cap; reaching it leaves `converged` False.
        scale: what the residual is measured against [unit of b], or a function of x that gives it; None for |b|.

    Returns:
        x with its iterations and its relative residual; look at `converged`.

    Reference: Notay (2000), SIAM J. Sci. Comput. 22:1444.
    """
    fixed = norm(rhs) if scale is None else scale
    scale_of = scale if callable(scale) else lambda _: fixed

    def going(carry):
        left, iterations, size = carry[5:]
        return ~(left <= tolerance * size) & (iterations < max_iterations)

    def body(carry):
        x, r, p, q, pq, _, k, _ = carry
        z = precondition(r)
        p = z - _guarded(jnp.sum(q * z), pq) * p
        q = apply(p)
        pq = jnp.sum(p * q)
        alpha = _guarded(jnp.sum(r * z), pq)
        x = x + alpha * p
        r = r - alpha * q
        return x, r, p, q, pq, norm(r), k + 1, scale_of(x)

    r = rhs - apply(guess)
    zero = jnp.zeros_like(r)
    start = (guess, r, zero, zero, jnp.sum(zero), norm(r), jnp.zeros((), jnp.int32), scale_of(guess))
    x, _, _, _, _, left, iterations, size = lax.while_loop(going, body, start)
    return LinearSolution(x, iterations, _guarded(left, size), _reached(left, tolerance * size))


def bicgstab(
    apply: Callable[[Unknown], Unknown],
    precondition: Callable[[Unknown], Unknown],
    rhs: Unknown,
    guess: Unknown,
    *,
    tolerance: float,
    max_iterations: int,
    scale: Array | None = None,
) -> LinearSolution:
    """Right-preconditioned BiCGStab for a nonsymmetric operator; contract of `conjugate_gradient`, `scale` a number.

    The unknown is a field, or a tuple of fields that are solved together. An iteration is one half-step, with one
    preconditioner and one product: a step along the direction, then one that leaves the smallest residual, by turns.
    Both move x and r alike, so that the loop holds the preconditioner once, and stops after either. A denominator of
    zero ends as an unconverged solve, never as a NaN.

    Args:
        apply: x -> A x, from and to the structure of the unknown.
        precondition: r -> approximate A^-1 r, in the same structure.
        rhs: b [any unit], each field (nz, ny, nx).
        guess: x to start from; its residual is also the shadow vector.
        tolerance: relative to `scale` [-].
        max_iterations: cap of half-steps; reaching it leaves `converged` False.
        scale: what the residual is measured against [unit of b]; None for |b|.

    Returns:
        x with its half-steps and its relative residual; look at `converged`.

    Reference: van der Vorst (1992), SIAM J. Sci. Stat. Comput. 13:631.
    """
    size = norm(rhs) if scale is None else scale
    target = tolerance * size

    def going(carry):
        return (carry[6] > target) & (carry[7] < max_iterations)

    def body(carry):
        x, r, p, v, rho, alpha, _, k = carry
        along = k % 2 == 0
        z = precondition(_either(along, p, r))
        w = apply(z)
        length = jnp.where(along, _guarded(rho, dot(shadow, w)), _guarded(dot(w, r), dot(w, w)))
        x, r = _plus(x, length, z), _plus(r, -length, w)
        rho_new = dot(shadow, r)
        beta = _guarded(rho_new, rho) * _guarded(alpha, length)
        p = _either(along, p, _plus(r, beta, _plus(p, -length, v)))
        v, rho, alpha = _either(along, w, v), jnp.where(along, rho, rho_new), jnp.where(along, length, alpha)
        return x, r, p, v, rho, alpha, norm(r), k + 1

    shadow = _plus(rhs, -1.0, apply(guess))
    rho = dot(shadow, shadow)
    zero = jax.tree.map(jnp.zeros_like, shadow)
    start = (guess, shadow, shadow, zero, rho, jnp.zeros_like(rho), jnp.sqrt(rho), jnp.zeros((), jnp.int32))
    x, *_, left, iterations = lax.while_loop(going, body, start)
    return LinearSolution(x, iterations, _guarded(left, size), _reached(left, target))


def _plus(first: Unknown, factor: ArrayLike, second: Unknown) -> Unknown:
    return jax.tree.map(lambda a, b: a + factor * b, first, second)


def _either(condition: Array, one: Unknown, other: Unknown) -> Unknown:
    """A choice made for all fields at once, so that one program serves both half-steps."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)
