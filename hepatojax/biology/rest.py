"""The resting lobule: balances of the states at given fields, and the constants that make rest a rest.

Health must be a steady state of the equations. Some states follow from their own balance (primed cells, M1,
endothelium, ...); those whose healthy value is known beforehand (quiescent cells fill the tissue, M2 are 1, stellate
cells and collagen have resting values) are held by a constant in their equation that is solved for. Both act point by
point, on the very mechanisms of the model, so that a changed equation cannot leave an old constant behind.
`hepatojax.rest` iterates them with the fields.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from hepatojax.biology.hepatocytes import hepatocyte_turnover
from hepatojax.biology.immunity import macrophage_turnover
from hepatojax.biology.injury import inflammation_response
from hepatojax.biology.matrix import MatrixParameters, collagen_turnover, stellate_turnover, tgf_deposition_response
from hepatojax.biology.parameters import BiologyParameters
from hepatojax.mechanism import Fields, Mechanism, Rates

_CONSTANTS = (
    ("rest_apoptosis", "quiescent", hepatocyte_turnover, "hepatocytes"),
    ("rest_m2_influx", "macrophage_m2", macrophage_turnover, "immunity"),
    ("rest_stellate_activation", "stellate", stellate_turnover, "matrix"),
    ("rest_collagen_deposition", "collagen_fresh", collagen_turnover, "matrix"),
)


def gain_and_loss(rates: Rates, state: str, fields: Fields) -> tuple[Any, Any]:
    """What a state gains per time and loses per time and amount, transfers included.

        P* = P + sum over transfers in of gain x rate x source,   D* = D + sum over transfers out of rate

    Args:
        rates: of a slow mechanism.
        state: its name.
        fields: the sources of the transfers, each (nz, ny, nx).

    Returns:
        P* [unit/h] and D* [1/h].

    Reference: BIOLOGY A1.
    """
    gain = rates.production.get(state, 0.0)
    gain = gain + sum(t.gain * t.rate * fields[t.source] for t in rates.transfers if t.target == state)
    loss = rates.loss.get(state, 0.0) + sum(t.rate for t in rates.transfers if t.source == state)
    return gain, loss


def balance(rates: Rates, states: tuple[str, ...], fields: Fields) -> dict[str, Float[Array, "nz ny nx"]]:
    """The value of each state at which its own equation stands still, the others held: y = P* / D*.

    Args:
        rates: of a slow mechanism.
        states: names to balance, one after the other.
        fields: the present values.

    Returns:
        state -> value [unit of the state], each (nz, ny, nx); a later state sees the earlier ones balanced.

    Reference: BIOLOGY A11.4.
    """
    values: dict[str, Any] = {}
    for state in states:
        gain, loss = gain_and_loss(rates, state, fields.with_(values))
        values[state] = gain / loss
    return values


def rest_responses(fields: Fields, p: BiologyParameters) -> dict[str, Float[Array, "nz ny nx"]]:
    """Constants of rest that depend on the signals alone; needed before the responses to the signals.

        J0 = H(TNF, K_J),   H0 = H(TGF, K),   VEGF of rest

    Args:
        fields: tnf, tgf_beta, vegf of the resting lobule [nM], each (nz, ny, nx).
        p: half saturations [nM].

    Returns:
        rest_inflammation J0, rest_tgf_response H0 [-], rest_vegf [nM].

    Reference: BIOLOGY A5, A7.
    """
    return {
        "rest_inflammation": inflammation_response(fields.tnf, p.injury),
        "rest_tgf_response": tgf_deposition_response(fields.tgf_beta, p.matrix),
        "rest_vegf": fields.vegf,
    }


def rest_constants(fields: Fields, p: BiologyParameters) -> dict[str, Float[Array, "nz ny nx"]]:
    """Constants that hold the resting quiescent, M2, stellate and collagen states still, point by point.

    Each enters its equation linearly, dy/dt = r0 + (r1 - r0) k, so that k = r0 / (r0 - r1) with r0 and r1 the rates
    of change at k = 0 and k = 1.

    Args:
        fields: states of rest and every algebraic field that the slow mechanisms read, each (nz, ny, nx).
        p: all parameters of biology.

    Returns:
        rest_apoptosis [1/h], rest_m2_influx [-], rest_stellate_activation [-], rest_collagen_deposition [1/h];
        a negative one means that there is no rest state with these parameters.

    Reference: BIOLOGY A11.4.
    """
    return {
        name: _solve_for(name, state, mechanism, fields, getattr(p, room))
        for name, state, mechanism, room in _CONSTANTS
    }


def _solve_for(constant: str, state: str, mechanism: Mechanism, fields: Fields, p: Any) -> Array:
    """The constant at which a state stands still, by its rate of change at 0 and at 1, since it enters linearly."""

    def change(value: Array) -> Array:
        gain, loss = gain_and_loss(mechanism(fields.with_({constant: value}), p), state, fields)
        return gain - loss * fields[state]

    zero = jnp.zeros_like(fields[state])
    at_zero = change(zero)
    return at_zero / (at_zero - change(zero + 1.0))


def rest_collagen(p: MatrixParameters) -> dict[str, Any]:
    """The two collagens of rest: c1 = c / (1 + k_x / k_2), c2 = c - c1.

    Args:
        p: rest_collagen c [-], crosslink_rate k_x and crosslinked_degradation_rate k_2 [1/h].

    Returns:
        collagen_fresh c1 and collagen_crosslinked c2 [-], scalars.

    Reference: BIOLOGY A7.
    """
    fresh = p.rest_collagen / (1.0 + p.crosslink_rate / p.crosslinked_degradation_rate)
    return {"collagen_fresh": fresh, "collagen_crosslinked": p.rest_collagen - fresh}
