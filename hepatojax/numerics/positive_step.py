"""One second-order step of states dy/dt = P - D y with named transfers, positive at any step and conservative.

States that no transfer joins take an exponential step. States that transfers join take a modified Patankar step
(MPRK22 with alpha = 1, in rate-coefficient form, its weights over a better estimate of the end): every stage solves a
small M-matrix at every point, so that what one state loses is what another gains. Both evaluate the rates twice, at the
start and at the predicted end.

Densities that fall as their volume grows are stepped as amounts per volume at the start of the step, so that growth
dilutes them exactly. Matter that arrives inside the step enters with three moments of its time, see `Arrival`.

Reference: Kopecz and Meister, BIT 58 (2018) 691; Burchard et al., Appl. Numer. Math. 47 (2003) 1; NUMERICS decision 7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hepatojax.mechanism import Arrival, Rates, Transfer, pytree
from hepatojax.numerics.fusion import computed_once
from hepatojax.numerics.safe_math import decay_deficit, decay_mean

State = Float[Array, "..."]
States = dict[str, State]
RatesFunction = Callable[[States], Rates]


@pytree
class Budget:
    """Where a state's change over one step came from, each term from the very rates that the step used.

        y_start + produced + received + arrived - lost - left = y_end x volume ratio

    All are integrals over the step in the unit of the state, per volume at the start of the step, in its shape.

    Attributes:
        produced: by P; cells beyond the first that a transfer of gain > 1 gives count here.
        received: from other states by transfers.
        arrived: from sources inside the step.
        lost: by D y.
        left: by transfers, to other states.
    """

    produced: State
    received: State
    arrived: State
    lost: State
    left: State


@pytree
class _Coefficients:
    """Rates of all states in their own shape and precision: P, D, and the conservative part of the transfers."""

    production: States
    loss: States
    transfers: tuple[Transfer, ...]


def step_states(
    states: States,
    rates_function: RatesFunction,
    step_h: float | Array,
    *,
    diluted: tuple[str, ...] = (),
    volume_ratio_end: float | Array = 1.0,
    sources: Mapping[str, Arrival] | None = None,
    tracked: tuple[str, ...] = (),
) -> tuple[States, dict[str, Budget]]:
    """Advance states by one second-order step.

        stage 1: rates at y_n, step to y_1;   stage 2: mean of the rates at y_n and y_1, step from y_n again

    How rates see what arrives within the step: see `Arrival`; what is left of it has decayed from its own times, see
    `_split_arrivals`.

    In a group joined by transfers the coefficients of the mean are weighted, which makes the implicit stage 2 second
    order, see `_weights`. A transfer's gain is a Python number; what it gives beyond 1 is explicit, hence positive at
    any step.

    Args:
        states: name -> array of any shape; one shape and dtype within a group joined by transfers.
        rates_function: states -> `Rates`; all coefficients non-negative. Forcings belong to the middle of the step.
        step_h: step [h].
        diluted: states that are densities in the growing volume; all members of a group or none.
        volume_ratio_end: volume at the end of the step over the volume at its start [-].
        sources: arrivals during the step, by state.
        tracked: states whose budget is wanted.

    Returns:
        The states at the end, and a budget for each tracked one.

    Raises:
        ValueError: a transfer joins a diluted state to one that is not.

    Reference: NUMERICS decisions 7 and 8.
    """
    sources = _like_states(states, sources or {})
    seen = _added(states, {name: arrival.early for name, arrival in sources.items()})
    first = _coefficients(seen, rates_function(seen), {})
    groups = connected_groups(tuple(states), first.transfers)
    _check_dilution(groups, diluted)
    ratios = {name: jnp.asarray(volume_ratio_end, y.dtype) for name, y in states.items() if name in diluted}
    early, late = _split_arrivals(first, step_h, sources)
    start = _added(states, early)
    predicted, _ = _advance(seen, first, step_h, groups, ())
    seen = _added(predicted, {name: arrival.between for name, arrival in sources.items()})
    seen = _divided(seen, ratios)
    second = _coefficients(seen, rates_function(seen), ratios)
    joined = tuple(group for group in groups if len(group) > 1)
    reached = tuple(group for group in joined if any(name in sources for name in group))
    predicted |= _advance(start, first, step_h, reached, ())[0]  # from what the step starts from, not what rates see
    weights = _weights(start, predicted, first, second, step_h, joined)
    end, budgets = _advance(start, _mean(first, second, *weights, step_h), step_h, groups, tracked)
    for name in (name for name in tracked if name in early):
        budgets[name] = Budget(**{**vars(budgets[name]), "arrived": early[name] + late[name]})
    return _divided(_added(end, late), ratios), budgets


def predict_middle(
    states: States,
    rates_function: RatesFunction,
    step_h: float | Array,
    *,
    diluted: tuple[str, ...] = (),
    volume_ratio_middle: float | Array = 1.0,
    sources: Mapping[str, Arrival] | None = None,
) -> States:
    """First-order estimate of the states at the middle of a step, at which quasi-steady fields are solved.

        y_m = step of h / 2 from y_n + early, rates at y_n + early;   then + between / 2

    Args:
        states: y_n at the start, name -> array of any shape.
        rates_function: states -> `Rates` [unit/h and 1/h]; all coefficients non-negative.
        step_h: h, the whole step [h].
        diluted: states that are densities in the growing volume.
        volume_ratio_middle: volume at the middle over the volume at the start [-].
        sources: arrivals of the whole step, which count with their mean over it.

    Returns:
        The states at the middle, positive.

    Reference: NUMERICS decision 7.
    """
    sources = _like_states(states, sources or {})
    seen = _added(states, {name: arrival.early for name, arrival in sources.items()})
    rates = _coefficients(seen, rates_function(seen), {})
    groups = connected_groups(tuple(states), rates.transfers)
    ratios = {name: jnp.asarray(volume_ratio_middle, y.dtype) for name, y in states.items() if name in diluted}
    middle, _ = _advance(seen, rates, 0.5 * step_h, groups, ())
    middle = _added(middle, {name: 0.5 * arrival.between for name, arrival in sources.items()})
    return _divided(middle, ratios)


def connected_groups(names: tuple[str, ...], transfers: tuple[Transfer, ...]) -> tuple[tuple[str, ...], ...]:
    """Names that transfers join, directly or through others, in the order of `names`.

    Args:
        names: of all states.
        transfers: whose rates play no part here.

    Returns:
        The groups; a state without partner is a group of its own.
    """
    group = {name: {name} for name in names}
    for transfer in transfers:
        joined = group[transfer.source] | group[transfer.target]
        for name in joined:
            group[name] = joined
    unique = {id(members): members for members in group.values()}.values()
    return tuple(tuple(name for name in names if name in members) for members in unique)


def _like(state: Array, value: Any) -> Array:
    """A rate in the shape and precision of its state."""
    return jnp.broadcast_to(jnp.asarray(value, state.dtype), state.shape)


def _like_states(states: States, sources: Mapping[str, Arrival]) -> dict[str, Arrival]:
    return {name: jax.tree.map(partial(_like, states[name]), arrival) for name, arrival in sources.items()}


def _floor(dtype: Any) -> float:
    """Amount below which a ratio of two amounts means nothing; its inverse square is still a finite number."""
    return float(jnp.finfo(dtype).tiny) ** 0.4


def _weights(
    start: States,
    predicted: States,
    first: _Coefficients,
    second: _Coefficients,
    step_h: float | Array,
    groups: tuple[tuple[str, ...], ...],
) -> tuple[dict[str, Array], dict[str, Array]]:
    """y_n / s and y_1 / s of the members of groups, s being the end by the mean of both coefficients.

    With them the implicit stage 2 takes the losses of y_n and of y_1, so that it is second order, and what came during
    the step is not lost as if it had been there from the start.
    """
    even = _mean(first, second, {}, {}, step_h)
    estimate, _ = _advance(start, even, step_h, groups, ())
    at_start, at_end = {}, {}
    for name in estimate:
        step, floor = jnp.asarray(step_h, start[name].dtype), _floor(start[name].dtype)
        kept, kept_first = (1.0 + step * _leaving(rates, name) for rates in (even, first))  # where all three vanish
        at_start[name] = (start[name] + floor * kept) / (estimate[name] + floor)
        at_end[name] = (predicted[name] + floor * kept / kept_first) / (estimate[name] + floor)
    return computed_once((at_start, at_end))


def _leaving(rates: _Coefficients, name: str) -> Array:
    """Coefficient of all that leaves a state, by loss or by transfer."""
    return sum((t.rate for t in rates.transfers if t.source == name), rates.loss[name])


def _check_dilution(groups: tuple[tuple[str, ...], ...], diluted: tuple[str, ...]) -> None:
    """Refuse a group of which some members are diluted: an implicit step holds its amounts per one volume."""
    for group in groups:
        if len({name in diluted for name in group}) > 1:
            raise ValueError(f"transfers join diluted and undiluted states: {', '.join(group)}")


def _added(states: States, extra: Mapping[str, Array]) -> States:
    return computed_once({name: y + extra[name] if name in extra else y for name, y in states.items()})


def _divided(states: States, ratios: Mapping[str, Array]) -> States:
    return dict(states) | computed_once({name: states[name] / ratio for name, ratio in ratios.items()})


def _coefficients(states: States, rates: Rates, ratios: Mapping[str, Array]) -> _Coefficients:
    """Bring rates to the shapes of their states, productions per volume at the start of the step."""
    production = {name: _like(y, rates.production.get(name, 0.0)) for name, y in states.items()}
    loss = {name: _like(y, rates.loss.get(name, 0.0)) for name, y in states.items()}
    transfers = tuple(
        Transfer(t.source, t.target, _like(states[t.source], t.rate), min(t.gain, 1.0)) for t in rates.transfers
    )
    for given, kept in zip(rates.transfers, transfers, strict=True):
        if given.gain > 1.0:
            production[kept.target] = production[kept.target] + (given.gain - 1.0) * kept.rate * states[kept.source]
    production = {name: p * ratios[name] if name in ratios else p for name, p in production.items()}
    return _Coefficients(production, loss, transfers)


def _mean(
    first: _Coefficients,
    second: _Coefficients,
    at_start: Mapping[str, Array],
    at_end: Mapping[str, Array],
    step_h: float | Array,
) -> _Coefficients:
    """Coefficients of a whole step: the mean of both ends, those of members of groups weighted, see `_weights`.

    Of what a state without partner gets at the start of the step some is lost at its end, of what it gets at the end
    nothing: (1 - e) / 2 of one and (1 + e) / 2 of the other, with e the share of an even supply that is lost.
    """

    def between(name: str, rate: Array, other: Array) -> Array:
        return 0.5 * (rate * at_start.get(name, 1.0) + other * at_end.get(name, 1.0))

    loss = computed_once({name: between(name, rate, second.loss[name]) for name, rate in first.loss.items()})
    production = {}
    for name, supply in first.production.items():
        lost = 0.0 if name in at_start else decay_deficit(jnp.asarray(step_h, supply.dtype) * loss[name])
        production[name] = 0.5 * ((1.0 - lost) * supply + (1.0 + lost) * second.production[name])
    pairs = tuple(zip(first.transfers, second.transfers, strict=True))
    rates = computed_once([between(a.source, a.rate, b.rate) for a, b in pairs])
    transfers = tuple(Transfer(a.source, a.target, k, a.gain) for (a, _), k in zip(pairs, rates, strict=True))
    return _Coefficients(production, loss, transfers)


def _split_arrivals(
    rates: _Coefficients, step_h: float | Array, sources: Mapping[str, Arrival]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Replace arrivals inside the step by one part at its start and one at its end.

        at start = early + (1 - u / 2) between,   at end = the rest,   u = exp(-D h / 2)

    What is left of the two at the end of the step is what is left of the arrival, each part of it decayed from its own
    time, up to (D h)^3 / 25 of the amount. The split is linear, so that arrivals add up, and both parts are positive.
    """
    at_start, at_end = {}, {}
    for name, arrival in sources.items():
        decay = jnp.asarray(step_h, arrival.amount.dtype) * _leaving(rates, name)
        at_start[name] = arrival.early + (1.0 - 0.5 * jnp.exp(-0.5 * decay)) * arrival.between
        at_end[name] = arrival.amount - at_start[name]
    return at_start, at_end


def _advance(
    start: States,
    rates: _Coefficients,
    step_h: float | Array,
    groups: tuple[tuple[str, ...], ...],
    tracked: tuple[str, ...],
) -> tuple[States, dict[str, Budget]]:
    """Step every group with constant coefficients, and integrate the budgets of the tracked states."""
    end: States = {}
    budgets: dict[str, Budget] = {}
    for group in groups:
        step = jnp.asarray(step_h, start[group[0]].dtype)
        if len(group) > 1:
            end |= _implicit(start, rates, step, group)
            budgets |= {name: _implicit_budget(end, rates, step, name) for name in group if name in tracked}
        else:
            for name in group:
                end[name] = _exponential(start[name], rates, step, name)
                budgets |= {name: _exponential_budget(start[name], rates, step, name)} if name in tracked else {}
    return end, budgets


def _exponential(start: Array, rates: _Coefficients, step: Array, name: str) -> Array:
    """Exact step of a state without partner at constant rates."""
    decay, supply = step * rates.loss[name], step * rates.production[name]
    return start * jnp.exp(-decay) + supply * decay_mean(decay)


def _exponential_budget(start: Array, rates: _Coefficients, step: Array, name: str) -> Budget:
    """Integrals of a state without partner, of its own closed form."""
    decay, supply = step * rates.loss[name], step * rates.production[name]
    lost = -start * jnp.expm1(-decay) + supply * decay_deficit(decay)
    none = jnp.zeros_like(supply)
    return Budget(produced=supply, received=none, arrived=none, lost=lost, left=none)


def _implicit(start: States, rates: _Coefficients, step: Array, group: tuple[str, ...]) -> States:
    """Backward step of a group: (1 + h (D + sum_j k_ij)) u_i - h sum_j g_ji k_ji u_j = u_i + h P_i."""
    place = {name: i for i, name in enumerate(group)}
    kept = [1.0 + step * rates.loss[name] for name in group]
    moved: dict[tuple[int, int], Array] = {}
    for t in rates.transfers:
        if t.source in place:
            source, target, rate = place[t.source], place[t.target], step * t.rate
            moved[target, source] = moved.get((target, source), 0.0) + t.gain * rate
            kept[source] = kept[source] + (1.0 - t.gain) * rate
    right = [start[name] + step * rates.production[name] for name in group]
    return dict(zip(group, computed_once(solve_transfers(kept, moved, right)), strict=True))


def _implicit_budget(end: States, rates: _Coefficients, step: Array, name: str) -> Budget:
    """Integrals of a member of a group: coefficients times the end state that the implicit step applied them to."""
    none = jnp.zeros_like(end[name])
    leaving = sum((t.rate for t in rates.transfers if t.source == name), none)
    received = sum((t.gain * t.rate * end[t.source] for t in rates.transfers if t.target == name), none)
    return Budget(
        produced=step * rates.production[name],
        received=step * received,
        arrived=none,
        lost=step * rates.loss[name] * end[name],
        left=step * leaving * end[name],
    )


def solve_transfers(kept: list[Array], moved: dict[tuple[int, int], Array], right: list[Array]) -> list[Array]:
    """Solve (e_i + sum_j m_ji) u_i - sum_j m_ij u_j = b_i at every point, without a single subtraction.

    Elimination in the manner of Grassmann, Taksar and Heyman: the diagonal is carried as the sum of its column, so
    that each component is positive and accurate to round-off at any size of the transfers. AD goes through it: a
    derivative by another solve, A du = db - dA u, costs a little less, and on a chain loses digits as transfers grow.

    Args:
        kept: e_i > 0, what column i holds beyond its transfers, one array a state.
        moved: (target i, source j) -> m_ij >= 0; an absent pair is zero.
        right: b_i >= 0, one array a state.

    Returns:
        u_i >= 0, one array a state.

    Reference: Grassmann, Taksar and Heyman, Oper. Res. 33 (1985) 1107.
    """
    kept, moved, right, size = list(kept), dict(moved), list(right), len(right)
    diagonal = list(kept)
    for pivot in range(size):
        later = range(pivot + 1, size)
        diagonal[pivot] = sum((moved[i, pivot] for i in later if (i, pivot) in moved), kept[pivot])
        for column in later:
            if (pivot, column) in moved:
                share = moved[pivot, column] / diagonal[pivot]
                kept[column] = kept[column] + share * kept[pivot]
                for row in later:
                    if row != column and (row, pivot) in moved:
                        moved[row, column] = moved.get((row, column), 0.0) + share * moved[row, pivot]
        for row in later:
            if (row, pivot) in moved:
                right[row] = right[row] + moved[row, pivot] / diagonal[pivot] * right[pivot]
    for row in reversed(range(size)):
        inflow = (moved[row, column] * right[column] for column in range(row + 1, size) if (row, column) in moved)
        right[row] = sum(inflow, right[row]) / diagonal[row]
    return right
