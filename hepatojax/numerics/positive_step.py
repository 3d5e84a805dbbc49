"""One second-order step of states dy/dt = P - D y with named transfers, positive at any step and conservative.

States that no transfer joins take an exponential step. States that transfers join take a modified Patankar step
(MPRK22 with alpha = 1, in rate-coefficient form): both stages solve a small M-matrix at every point, so that what one
state loses is what another gains. Both evaluate the rates twice, at the start and at the predicted end.

Densities that fall as their volume grows are stepped as amounts per volume at the start of the step, so that growth
dilutes them exactly. Matter that arrives inside the step enters with its amount and its first moment in time.

Reference: Kopecz and Meister, BIT 58 (2018) 691; Burchard et al., Appl. Numer. Math. 47 (2003) 1; NUMERICS decision 7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from hepatojax.mechanism import Rates, Transfer, pytree
from hepatojax.numerics.safe_math import decay_deficit, decay_mean

State = Float[Array, "..."]
States = dict[str, State]
RatesFunction = Callable[[States], Rates]


@pytree
class Arrival:
    """Matter that enters a state during one step.

    amount: integral over the step [unit of the state, per volume at the start of the step].
    first_moment: integral of the inflow times the time since the start of the step [unit x h].
    """

    amount: State
    first_moment: State


@pytree
class Budget:
    """Where a state's change over one step came from, each term from the very rates that the step used.

    All are integrals over the step in the unit of the state, per volume at the start of the step, so that
    y_start + produced + received + arrived - lost - left = y_end x volume ratio. Cells beyond the first that a
    transfer of gain > 1 gives count as produced.
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

    What arrives early in the step counts in y_n, so that rates change continuously as an arrival slides over an edge.

    In a group joined by transfers a coefficient at y_n is weighted by y_n / y_1 in the mean, which makes the implicit
    stage 2 second order. A transfer's gain is a Python number; what it gives beyond 1 is explicit, hence positive at
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
    before = _coefficients(states, rates_function(states), {})
    groups = connected_groups(tuple(states), before.transfers)
    _check_dilution(groups, diluted)
    ratios = {name: jnp.asarray(volume_ratio_end, y.dtype) for name, y in states.items() if name in diluted}
    early, late = _split_arrivals(states, before, step_h, sources or {})
    start = _added(states, early)
    first = _coefficients(start, rates_function(start), {})
    predicted, _ = _advance(start, first, step_h, groups, ())
    at_end = _divided(predicted, ratios)
    second = _coefficients(at_end, rates_function(at_end), ratios)
    joined = tuple(name for group in groups if len(group) > 1 for name in group)
    mean = _mean(first, second, _weights(start, predicted, first, step_h, joined))
    end, budgets = _advance(start, mean, step_h, groups, tracked)
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

    Arrivals count with their mean over the step, amount - first_moment / step, wherever in the step they fall.

    Args:
        states, rates_function, step_h, diluted: as `step_states`; `step_h` is the whole step.
        volume_ratio_middle: volume at the middle over the volume at the start [-].
        sources: arrivals of the whole step.

    Returns:
        The states at the middle, positive.
    """
    rates = _coefficients(states, rates_function(states), {})
    groups = connected_groups(tuple(states), rates.transfers)
    ratios = {name: jnp.asarray(volume_ratio_middle, y.dtype) for name, y in states.items() if name in diluted}
    present = {
        name: _like(states[name], arrival.amount - arrival.first_moment / jnp.asarray(step_h, arrival.amount.dtype))
        for name, arrival in (sources or {}).items()
    }
    middle, _ = _advance(_added(states, present), rates, 0.5 * step_h, groups, ())
    return _divided(middle, ratios)


def connected_groups(names: tuple[str, ...], transfers: tuple[Transfer, ...]) -> tuple[tuple[str, ...], ...]:
    """Names that transfers join, directly or through others, in the order of `names`."""
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


def _floor(dtype: Any) -> float:
    """Amount below which a ratio of two amounts means nothing; its inverse square is still a finite number."""
    return float(jnp.finfo(dtype).tiny) ** 0.4


def _weights(
    start: States, predicted: States, rates: _Coefficients, step_h: float | Array, names: tuple[str, ...]
) -> dict[str, Array]:
    """y_n / y_1 of the named states; where both vanish its limit 1 + h D, D being all that leaves the state."""
    weights = {}
    for name in names:
        step, floor = jnp.asarray(step_h, start[name].dtype), _floor(start[name].dtype)
        limit = 1.0 + step * _leaving(rates, name)
        weights[name] = (start[name] + floor * limit) / (predicted[name] + floor)
    return weights


def _leaving(rates: _Coefficients, name: str) -> Array:
    """Coefficient of all that leaves a state, by loss or by transfer."""
    return sum((t.rate for t in rates.transfers if t.source == name), rates.loss[name])


def _check_dilution(groups: tuple[tuple[str, ...], ...], diluted: tuple[str, ...]) -> None:
    for group in groups:
        if len({name in diluted for name in group}) > 1:
            raise ValueError(f"transfers join diluted and undiluted states: {', '.join(group)}")


def _added(states: States, extra: Mapping[str, Array]) -> States:
    return {name: y + extra[name] if name in extra else y for name, y in states.items()}


def _divided(states: States, ratios: Mapping[str, Array]) -> States:
    return {name: y / ratios[name] if name in ratios else y for name, y in states.items()}


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


def _mean(first: _Coefficients, second: _Coefficients, weight: Mapping[str, Array]) -> _Coefficients:
    """Coefficients of stage 2: the mean of both ends, the first weighted by `weight` within groups."""
    return _Coefficients(
        {name: 0.5 * (p + second.production[name]) for name, p in first.production.items()},
        {name: 0.5 * (d * weight.get(name, 1.0) + second.loss[name]) for name, d in first.loss.items()},
        tuple(
            Transfer(a.source, a.target, 0.5 * (a.rate * weight[a.source] + b.rate), a.gain)
            for a, b in zip(first.transfers, second.transfers, strict=True)
        ),
    )


def _split_arrivals(
    states: States, rates: _Coefficients, step_h: float | Array, sources: Mapping[str, Arrival]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Replace arrivals inside the step by one part at its start and one at its end.

        early e^{-D h} + late = amount e^{-D (h - t)},   early + late = amount,   t = first_moment / amount

    Both parts are positive, their sum is the amount, and what is left at the end has decayed from the mean time t of
    arrival. At amount = 0 the split is linear in amount and moment, so that its derivative exists.
    """
    early, late = {}, {}
    for name, arrival in sources.items():
        amount, moment = _like(states[name], arrival.amount), _like(states[name], arrival.first_moment)
        step = jnp.asarray(step_h, amount.dtype)
        decay = step * _leaving(rates, name)
        passed = moment / (amount * step + _floor(amount.dtype))
        early[name] = (amount - moment / step) * decay_mean(decay * (1.0 - passed)) / decay_mean(decay)
        late[name] = amount - early[name]
    return early, late


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
                end[name], budget = _exponential(start[name], rates, step, name)
                budgets |= {name: budget} if name in tracked else {}
    return end, budgets


def _exponential(start: Array, rates: _Coefficients, step: Array, name: str) -> tuple[Array, Budget]:
    """Exact step of a state without partner at constant rates, with the integrals of its own closed form."""
    decay, supply = step * rates.loss[name], step * rates.production[name]
    none = jnp.zeros_like(supply)
    lost = -start * jnp.expm1(-decay) + supply * decay_deficit(decay)
    end = start * jnp.exp(-decay) + supply * decay_mean(decay)
    return end, Budget(produced=supply, received=none, arrived=none, lost=lost, left=none)


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
    return dict(zip(group, solve_transfers(kept, moved, right), strict=True))


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
    that each component is positive and accurate to round-off at any size of the transfers.

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
