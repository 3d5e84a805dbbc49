"""Into how many segments a two-level adjoint cuts a run. No JAX here, for the estimate of memory reads it.

Reference: NUMERICS decision 9.
"""

from __future__ import annotations


def segments_of(count: int, checkpoints: int | None = None) -> int:
    """Number of segments of a two-level adjoint: the one asked for, or the largest divisor up to the square root.

    Args:
        count: number of steps n.
        checkpoints: segments asked for; None leaves the choice to the rule.

    Returns:
        s, a divisor of n: the reverse pass keeps about s + n / s steps, least at s = sqrt(n).

    Raises:
        ValueError: the number asked for does not divide the steps; names those that do.
    """
    divisors = [n for n in range(1, count + 1) if count % n == 0]
    if checkpoints is None:
        return max(n for n in divisors if n * n <= count)
    if checkpoints not in divisors:
        raise ValueError(f"checkpoints is {checkpoints}; {count} macro-steps allow {', '.join(map(str, divisors))}")
    return checkpoints


def kept_steps(count: int, adjoint: str, checkpoints: int | None = None) -> int:
    """Macro-steps whose solutions a reverse pass holds at once.

        n for "saved",   s + n / s for "two-level"

    Args:
        count: number of steps n.
        adjoint: "saved" or "two-level".
        checkpoints: segments s of "two-level", see `segments_of`.

    Raises:
        ValueError: see `segments_of`.
    """
    if adjoint != "two-level":
        return count
    segments = segments_of(count, checkpoints)
    return segments + count // segments
