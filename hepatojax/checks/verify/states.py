"""The stepper of slow states: order, positivity, conservation, arrivals.

The test case is a small liver without space: hepatocytes that are primed, divide, are injured and repaired, and a
signal beside them. A division makes two cells of one, so that one case holds a transfer of gain 2, loss and production.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array
from scipy.integrate import solve_ivp

from hepatojax.checks.records import Check, Record, at_least, at_most, largest, smallest
from hepatojax.checks.verify.exact import observed_order
from hepatojax.mechanism import Rates, Transfer, bolus
from hepatojax.numerics.positive_step import step_states

ORDER_IN_TIME = 1.9
START = {"quiescent": 0.7, "primed": 0.1, "injured": 0.2, "signal": 0.5}

States = dict[str, Array]


def division(y: States) -> Rates:
    """Priming, division of primed cells into two quiescent ones, injury and repair, and a state beside them.

        dq/dt = 2 b p + 0.1 i - a q,      a = 0.8 i / (0.2 + i),   b = 0.3 / (1 + q)
        dp/dt = a q - (b + 0.4 s) p
        di/dt = 0.4 s p - 0.1 i - (0.1 + 0.2 q) i
        ds/dt = 0.3 i - (0.5 + q) s

    Args:
        y: quiescent q, primed p, injured i and signal s [-].

    Returns:
        Production [1/h], loss [1/h] and transfers [1/h] of these states.
    """
    return Rates(
        production={"signal": 0.3 * y["injured"]},
        loss={"injured": 0.1 + 0.2 * y["quiescent"], "signal": 0.5 + y["quiescent"]},
        transfers=(
            Transfer("quiescent", "primed", 0.8 * y["injured"] / (0.2 + y["injured"])),
            Transfer("primed", "quiescent", 0.3 / (1.0 + y["quiescent"]), 2.0),
            Transfer("primed", "injured", 0.4 * y["signal"]),
            Transfer("injured", "quiescent", 0.1 + 0.0 * y["injured"]),
        ),
    )


def _right(_: float, y: np.ndarray) -> list[float]:
    """The same equations written out for an integrator of scipy, in the order of `START`."""
    q, p, i, s = y
    primed, divided, hurt, healed = 0.8 * i / (0.2 + i) * q, 0.3 / (1.0 + q) * p, 0.4 * s * p, 0.1 * i
    return [
        2 * divided + healed - primed,
        primed - divided - hurt,
        hurt - healed - (0.1 + 0.2 * q) * i,
        0.3 * i - (0.5 + q) * s,
    ]


def closed(y: States) -> Rates:
    """The same moves without division, death or anything beside them: q + p + i stays.

    Args:
        y: as for `division` [-].

    Returns:
        The transfers of `division` [1/h], each of gain 1.
    """
    rates = division(y)
    return Rates(transfers=tuple(Transfer(t.source, t.target, t.rate) for t in rates.transfers))


@partial(jax.jit, static_argnames=("rates", "steps"))
def integrated(start: States, rates: Callable[[States], Rates], end_h: ArrayLike, steps: int) -> States:
    """Some steps of `step_states` of equal length.

    Args:
        start: states at hour 0 [-].
        rates: states -> rates [1/h].
        end_h: length of the run [h].
        steps: their number.

    Returns:
        States at the end [-].
    """
    return jax.lax.fori_loop(0, steps, lambda _, y: step_states(y, rates, end_h / steps)[0], start)


def _start() -> States:
    return {name: jnp.asarray(value) for name, value in START.items()}


def order_and_positivity() -> Iterator[Record]:
    """Second order against a tight integrator; no negative value at any step from any corner; nothing is lost.

    The order must be 1.9 or more over 16 to 128 steps in 4 h, no state fall below 0 at steps of 1e-3, 1 and 1e4 h with
    any one state empty at the start, and moves alone lose no more than 1e-13 of the cells.

    Yields:
        Observed order, lowest state, and cells lost over those at the start [-].

    Reference: NUMERICS decision 7.
    """
    end, grids, errors = 4.0, (16, 32, 64, 128), []
    exact = solve_ivp(_right, (0, end), list(START.values()), rtol=1e-12, atol=1e-14, method="DOP853").y[:, -1]
    for steps in grids:
        y = integrated(_start(), division, end, steps)
        errors.append(largest(abs(float(y[name]) - e) for name, e in zip(START, exact, strict=True)))
    order = observed_order(grids, errors)
    yield at_least("stepper", "order in time, cells in four states", order, ORDER_IN_TIME, "-", "DOP853 at 1e-12")
    lowest, gaps = [], []
    for step in (1e-3, 1.0, 1e4):
        for empty in (None, *START):
            y = integrated({**_start(), **({empty: jnp.zeros(())} if empty else {})}, division, 3 * step, 3)
            lowest += y.values()
        start = _start()
        moved = integrated(start, closed, 20.0 * step, 20)
        gaps.append(abs(_cells(moved) / _cells(start) - 1.0))
    source = "NUMERICS decision 7"
    yield at_least("stepper", "lowest state at steps from 1e-3 to 1e4 h", smallest(lowest), 0.0, "-", source)
    yield at_most("stepper", "cells lost by transfers, relative", largest(gaps), 1e-13, "-", source)


def _cells(y: States) -> float:
    return float(y["quiescent"] + y["primed"] + y["injured"])


def budgets() -> Iterator[Record]:
    """The integrated rates of a growing, dosed volume explain its change; a bolus decays from its true arrival.

        y_end V_end / V_start = y_start + produced + received + arrived - lost - left

    must hold to 1e-14. What is left of the bolus is exact at both ends of the step (1e-12), and of third order in decay
    x step between them: an observed order of 2.9 or more.

    Yields:
        The gap, the error at the edges and the order between them [-].

    Reference: NUMERICS decisions 7 and 8.
    """
    start, ratio = _start(), 1.07
    names = ("quiescent", "primed", "injured")
    dose = {"primed": bolus(jnp.asarray(0.2), 0.2)}
    end, terms = step_states(start, division, 0.5, diluted=names, volume_ratio_end=ratio, sources=dose, tracked=names)
    gap = largest(
        abs(float(end[n] * ratio - (start[n] + b.produced + b.received + b.arrived - b.lost - b.left)))
        for n, b in terms.items()
    )
    yield at_most("budget", "change - integrated rates, relative", gap, 1e-14, "-", "conservation")
    at_edges = largest(_bolus_error(0.25, passed) for passed in (0.0, 1.0))
    yield at_most("budget", "bolus at an edge of a step, relative error", at_edges, 1e-12, "-", "exact exponential")
    counts = (1, 2, 4, 8)
    inside = [largest(_bolus_error(1.0 / n, passed) for passed in (0.12, 0.5, 0.8)) for n in counts]
    order = observed_order(counts, inside)
    yield at_least("budget", "order of what is left of a bolus inside a step", order, 2.9, "-", "exact exponential")


def _bolus_error(step: float, passed: float, decay: float = 0.46) -> float:
    """Relative error of what is left at the end of a step of a bolus inside it."""
    source = {"signal": bolus(jnp.asarray(3.0), passed)}
    new, _ = step_states({"signal": jnp.zeros(())}, lambda _: Rates(loss={"signal": decay}), step, sources=source)
    return abs(float(new["signal"]) / (3.0 * np.exp(-decay * step * (1.0 - passed))) - 1.0)


CHECKS = (
    Check("stepper", "order and positivity of the slow states", order_and_positivity),
    Check("budget", "integrated rates and arrivals", budgets),
)
