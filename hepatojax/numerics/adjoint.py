"""Loops over many equal steps or items, and what their reverse pass keeps of them.

The adjoint is that of the discrete scheme, never an integration backward in time. Of a step a reverse pass keeps what
entered it and the solutions in it that carry the name `SOLUTION`; the pointwise work between them is done anew. Which
states of a long run are kept at all is a choice between memory and one more forward pass.

Reference: NUMERICS decision 9.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax import lax
from jaxtyping import Array

from hepatojax.numerics.quasi_steady import SOLUTION
from hepatojax.numerics.segments import segments_of

ADJOINTS = ("none", "saved", "two-level")

Carry = TypeVar("Carry")


def scan_steps(
    step: Callable[[Carry], tuple[Carry, Any]],
    start: Carry,
    count: int,
    adjoint: str = "saved",
    checkpoints: int | None = None,
) -> tuple[Carry, Any]:
    """Do a step many times in one scan, with a discrete adjoint whose memory is chosen.

    "none" leaves the memory of a reverse pass to the compiler, for forward runs. "saved" keeps what enters each step
    and the solutions named `SOLUTION` in it, so that no solve is repeated. "two-level" keeps what enters each of some
    segments, and does a segment anew, as "saved", when the reverse pass reaches it: for n steps in s segments, the
    memory of s + n / s steps instead of n, for one more forward pass.

    Args:
        step: carry -> (carry, report).
        start: first carry.
        count: number of steps.
        adjoint: one of `ADJOINTS`.
        checkpoints: number of segments of "two-level", a divisor of `count`; by default the largest up to its square
            root.

    Returns:
        The last carry, and the reports with a leading axis of steps.

    Raises:
        ValueError: unknown adjoint, or a number of checkpoints that does not divide the steps.

    Reference: NUMERICS decision 9.
    """
    if adjoint not in ADJOINTS:
        raise ValueError(f"adjoint is {adjoint!r}; allowed: {', '.join(ADJOINTS)}")

    def one(carry: Carry, _: None) -> tuple[Carry, Any]:
        return step(carry)

    if adjoint == "none":
        return lax.scan(one, start, None, length=count)
    one = _keeping_solutions(one)
    if adjoint == "saved":
        return lax.scan(one, start, None, length=count)
    segments = segments_of(count, checkpoints)

    def segment(carry: Carry, _: None) -> tuple[Carry, Any]:
        return lax.scan(one, carry, None, length=count // segments)

    end, reports = lax.scan(jax.checkpoint(segment, prevent_cse=False), start, None, length=segments)
    return end, jax.tree.map(lambda a: a.reshape(count, *a.shape[2:]), reports)


def one_by_one(function: Callable[[Any], Any], inputs: Any) -> Any:
    """`lax.map`, whose reverse pass does each item anew from its inputs and the solutions named `SOLUTION`.

    Without it the reverse pass of a loop stacks all that the derivative of every item needs, and copies the stacks.

    Args:
        function: of one item, any pytree of arrays; traced once for all.
        inputs: any pytree of arrays, items leading.

    Returns:
        What the function gives of each item, items leading.
    """
    return in_turn(lambda nothing, item: (nothing, function(item)), (), inputs)[1]


def in_turn(function: Callable[[Carry, Any], tuple[Carry, Any]], start: Carry, inputs: Any) -> tuple[Carry, Any]:
    """`one_by_one` where an item may read what an earlier one has carried on.

    Args:
        function: carry, item -> carry, result.
        start: first carry.
        inputs: any pytree of arrays, items leading.

    Returns:
        The last carry, and the results, items leading.
    """
    return lax.scan(_keeping_solutions(function), start, inputs)


def unstacked(stack: Array) -> tuple[Array, ...]:
    """The items of a stack, whose cotangents are stacked again; those of indices would be padded and added.

    Args:
        stack: any unit, items leading.

    Returns:
        The items, each without the leading axis.
    """
    return tuple(item[0] for item in lax.split(stack, (1,) * stack.shape[0]))


def _keeping_solutions(body: Callable[..., Any]) -> Callable[..., Any]:
    """The body of a loop, of which a reverse pass keeps solutions only; the loop itself keeps the two passes apart."""
    return jax.checkpoint(body, policy=jax.checkpoint_policies.save_only_these_names(SOLUTION), prevent_cse=False)
