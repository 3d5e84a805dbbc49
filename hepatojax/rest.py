"""The resting lobule: states and constants at which a healthy liver stands still, derived from its own oxygen.

Rest is a fixed point: the fields depend on the cells, and the cells balance at their fields. A sweep solves flow,
oxygen and signals at the present states, balances each state by its own equation, and solves for the constants that
hold the others; sweeps repeat until nothing moves. The derivative is that of the fixed point and not of the sweeps. It
is needed since the constants follow the parameters: without it a changed parameter would move a healthy liver from
rest.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from hepatojax.biology.hepatocytes import hepatocyte_turnover, identity_turnover
from hepatojax.biology.immunity import macrophage_turnover
from hepatojax.biology.metabolism import zonation_relaxation
from hepatojax.biology.rest import balance, rest_collagen, rest_constants, rest_responses
from hepatojax.biology.secretion import SIGNALS
from hepatojax.biology.vessels import capillarisation_turnover, endothelial_turnover
from hepatojax.body.biodistribution import ORGANS
from hepatojax.body.liver_tests import steady_tests
from hepatojax.coupling import solve_quasi_steady
from hepatojax.mechanism import Fields, Mechanism, pytree
from hepatojax.model import (
    BODY_STATES,
    POOLS,
    VOXEL_STATES,
    LiverModel,
    inputs,
    respond,
    structure,
)
from hepatojax.numerics.quasi_steady import implicit_solution
from hepatojax.state import Circulation, LiverState, QuasiSteady

SWEEPS = 48
SETTLED = 1e-13
STANDS_STILL = 1e-8
_BALANCED: tuple[tuple[str, Mechanism, tuple[str, ...]], ...] = (
    ("hepatocytes", hepatocyte_turnover, ("primed", "injured", "debris")),
    ("hepatocytes", identity_turnover, ("identity",)),
    ("immunity", macrophage_turnover, ("macrophage_m1",)),
    ("metabolism", zonation_relaxation, ("zonation",)),
    ("vessels", endothelial_turnover, ("vascular_integrity",)),
    ("vessels", capillarisation_turnover, ("capillarisation",)),
)


@pytree
class Rest:
    """A healthy lobule at rest.

    Attributes:
        voxel: states in their units, (nz, ny, nx), float64.
        constants: what holds them still, by the names in `hepatojax.model.INPUTS`, (nz, ny, nx) or scalar.
        resistance: of the domain [Pa s/um3].
        solved: quasi-steady fields.
        change: largest relative change of a state in the last sweep [-].
        lowest: constant -> smallest value inside the tissue; a negative one means that there is no rest.
    """

    voxel: dict[str, Float[Array, "nz ny nx"]]
    constants: dict[str, Array]
    resistance: Float[Array, ""]
    solved: QuasiSteady
    change: Float[Array, ""]
    lowest: dict[str, Float[Array, ""]]


def derive_rest(model: LiverModel) -> Rest:
    """Find the resting lobule by sweeps: solve flow, oxygen and signals, then balance every state point by point.

    A sweep leaves a small part of the error, since the states of rest hardly act on the fields that they see. The
    derivative is that of the balances themselves, by the implicit function theorem, so that the constants of rest may
    stand inside a differentiated function.

    Args:
        model: its `rest` and `rest_resistance` are not used.

    Returns:
        The rest; `change` says how well it stands still, `lowest` whether it exists. Fields and `change` carry no
        derivative.

    Reference: BIOLOGY A11.4.
    """
    precise = dataclasses.replace(model.numerics, precision="float64", tolerance=1e-12, pressure_tolerance=1e-12)
    model = dataclasses.replace(model, numerics=precise, lobule_share=1.0)
    start = first_guess(model)
    given = (model, start.solved)
    flat, _, (solved, change) = implicit_solution(_imbalance, _settle, _solve_balances, given, _flat(start))
    still = _unflat(given, flat)
    return dataclasses.replace(still, solved=solved, change=change, lowest=_lowest(model, still.constants))


def _flat(rest: Rest) -> Float[Array, " n"]:
    """What the balances determine, in one vector."""
    return ravel_pytree((rest.voxel, rest.constants, rest.resistance))[0]


def _unflat(given: tuple[LiverModel, QuasiSteady], flat: Float[Array, " n"]) -> Rest:
    """The rest of a vector of balances; the solved fields are those to start the solvers with."""
    model, solved = given
    like = first_guess(model)
    voxel, constants, resistance = ravel_pytree((like.voxel, like.constants, like.resistance))[1](flat)
    return dataclasses.replace(like, voxel=voxel, constants=constants, resistance=resistance, solved=solved)


def _swept(given: tuple[LiverModel, QuasiSteady], flat: Float[Array, " n"]) -> Float[Array, " n"]:
    """One sweep on the vector of balances, S(x)."""
    return _flat(_sweep(given[0], _unflat(given, flat)))


def _imbalance(given: tuple[LiverModel, QuasiSteady], flat: Float[Array, " n"]) -> Float[Array, " n"]:
    """What the implicit function theorem is applied to, x - S(x), zero at rest."""
    return flat - _swept(given, flat)


def _settle(
    given: tuple[LiverModel, QuasiSteady], flat: Float[Array, " n"]
) -> tuple[Float[Array, " n"], tuple[QuasiSteady, Array]]:
    """Sweeps until nothing moves, or the largest number of them."""
    _, rest = lax.while_loop(
        lambda carry: (carry[0] < SWEEPS) & (carry[1].change > SETTLED),
        lambda carry: (carry[0] + 1, _sweep(given[0], carry[1])),
        (0, _unflat(given, flat)),
    )
    return _flat(rest), (rest.solved, rest.change)


def _solve_balances(
    given: tuple[LiverModel, QuasiSteady],
    flat: Float[Array, " n"],
    right: Float[Array, " n"],
    _: Float[Array, " n"],
    transposed: bool,
) -> tuple[Float[Array, " n"], Array]:
    """(1 - S)^-1 r for the linearised sweep S, by the series r + S r + S^2 r + ..., which falls as the sweeps do."""
    sweep = partial(_swept, given)
    if transposed:
        pull = jax.vjp(sweep, flat)[1]
    else:
        push = jax.linearize(sweep, flat)[1]

    def add_term(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        count, term, total = carry
        term = pull(term)[0] if transposed else push(term)
        return count + 1, term, total + term

    def moves(term: Array, total: Array, tolerance: float) -> Array:
        return jnp.max(jnp.abs(term)) > tolerance * jnp.max(jnp.abs(total))

    _, term, total = lax.while_loop(
        lambda carry: (carry[0] < SWEEPS) & moves(*carry[1:], SETTLED),
        add_term,
        (jnp.zeros((), jnp.int32), right, right),
    )
    return total, ~moves(term, total, STANDS_STILL)


def with_rest(model: LiverModel) -> LiverModel:
    """The model with the constants of rest that belong to its parameters, differentiable in them.

    Inside a compiled function nothing can be raised: where there is no rest its constants are not numbers, so that a
    run ends as `Status.NOT_FINITE`.

    Args:
        model: healthy, as of `hepatojax.build` without septa or resection; its own constants of rest are not used.

    Returns:
        The model with `rest` and `rest_resistance` [Pa s/um3] of its parameters.

    Reference: BIOLOGY A11.4.
    """
    rest = derive_rest(model)
    exists = rest.change < STANDS_STILL
    for value in rest.lowest.values():
        exists = exists & (value >= 0.0)
    constants, resistance = jax.tree.map(lambda a: jnp.where(exists, a, jnp.nan), (rest.constants, rest.resistance))
    return dataclasses.replace(model, rest=constants, rest_resistance=resistance)


def rest_state(model: LiverModel, rest: Rest) -> LiverState:
    """The state of a healthy liver in the precision of the run.

    Pools of infused cells and integrals of hazards are zero, regulatory T cells and the liver volume 1, blood tests at
    their steady values for the function, inflammation and necrosis of rest.

    Args:
        model: with the constants of this rest.
        rest: of the same lobule.

    Returns:
        The state at step 0; the pressure stays in float64.
    """
    dtype = model.numerics.dtype
    body = {**dict.fromkeys((*BODY_STATES, *POOLS), jnp.zeros(())), "regulatory_t": jnp.ones(())}
    fields = _fields(model, rest)
    fields = respond(model, fields, rest.solved)
    lysis = model.grid.mean(fields.necrosis)
    tests = steady_tests(fields.function, model.grid.mean(fields.inflammation), lysis, model.parameters.liver_tests)
    solved = jax.tree.map(lambda a: a.astype(dtype) if a.ndim >= 3 else a, rest.solved)
    pressure = rest.solved.circulation.pressure
    return LiverState(
        voxel={name: rest.voxel[name].astype(dtype) for name in VOXEL_STATES},
        body={**body, "liver_volume": jnp.ones(()), **tests},
        quasi_steady=dataclasses.replace(
            solved, circulation=dataclasses.replace(solved.circulation, pressure=pressure)
        ),
        step=jnp.zeros((), jnp.int32),
    )


def first_guess(model: LiverModel) -> Rest:
    """Where the sweeps start: names, shapes and dtypes of a rest.

    Args:
        model: its grid, and the parameters that fix a resting value themselves.

    Returns:
        Rough values near health: cells and constants [their units], oxygen of 40 mmHg, no signals; `change` is 1.
    """
    shape = model.grid.shape
    none, one = jnp.zeros(shape), jnp.ones(shape)
    voxel = {
        "quiescent": 0.99 * one,
        "primed": 1e-3 * one,
        "injured": none,
        "debris": none,
        "macrophage_m1": 0.07 * one,
        "identity": one,
        "zonation": 0.5 * one,
        "vascular_integrity": one,
        "capillarisation": none,
        **_held(model),
    }
    constants = {
        **dict.fromkeys(("rest_apoptosis", "rest_stellate_activation", "rest_collagen_deposition"), 1e-4 * one),
        "rest_m2_influx": one,
        "rest_inflammation": 0.05 * one,
        "rest_tgf_response": 0.1 * one,
        "rest_vegf": one,
        "rest_mass": jnp.ones(()),
        "rest_function": jnp.ones(()),
    }
    solved = QuasiSteady(
        oxygen=40.0 * one,
        oxygen_guess=40.0 * one,
        tissue=dict.fromkeys(SIGNALS, none),
        excess={name: jnp.zeros((2, *shape)) for name in SIGNALS},
        inlet=dict.fromkeys(SIGNALS, jnp.zeros(())),
        arrival=one,
        carried=one,
        circulation=Circulation(none, none, jnp.ones(()), jnp.ones(()), jnp.ones(())),
    )
    return Rest(voxel, constants, jnp.ones(()), solved, jnp.ones(()), _lowest(model, constants))


def _held(model: LiverModel) -> dict[str, Float[Array, "nz ny nx"]]:
    """States that no balance determines: parameters fix them, M2 are 1 by definition, and the others are absent.

    A sweep sets them anew, so that they follow their parameters, and nothing else, with a derivative.
    """
    balanced = {"quiescent", *(state for _, _, states in _BALANCED for state in states)}
    matrix, one = model.parameters.biology.matrix, jnp.ones(model.grid.shape)
    present = {"macrophage_m2": 1.0, "stellate": matrix.rest_stellate, **rest_collagen(matrix)}
    return {name: present.get(name, 0.0) * one for name in VOXEL_STATES if name not in balanced}


def _fields(model: LiverModel, rest: Rest) -> Fields:
    """States, inputs and constants of a liver without cause, toxin or infused cells; its blood tests do not matter."""
    nothing = jnp.zeros(())
    body = {**dict.fromkeys((*BODY_STATES, *POOLS), nothing), "regulatory_t": jnp.ones(())}
    unharmed = {"activity": nothing, "toxin_response": nothing}
    given = inputs(model, unharmed, dict.fromkeys(ORGANS, nothing), nothing)
    level = {"liver_volume": jnp.ones(()), "bilirubin_mg_dl": jnp.ones(()), "factor_vii": jnp.ones(())}
    return Fields({**body, **level, **given, **rest.constants, **rest.voxel})


def _sweep(model: LiverModel, rest: Rest) -> Rest:
    """One sweep; the flow is that of rest because the resistance of the sweep before stands for rest."""
    rest = dataclasses.replace(rest, voxel={**rest.voxel, **_held(model)})
    fields = _fields(model, rest)
    model = dataclasses.replace(model, rest_resistance=rest.resistance)
    solved, fields, _ = solve_quasi_steady(model, fields, rest.solved.apart())  # a sweep is no chain
    biology = model.parameters.biology
    constants = {**rest.constants, **rest_responses(fields, biology)}
    fields = respond(model, fields.with_(constants), solved)
    constants |= {
        "rest_mass": model.grid.mean(fields.mass_local),
        "rest_function": model.grid.mean(fields.function_local),
    }
    voxel = dict(rest.voxel)
    for room, mechanism, states in _BALANCED:
        voxel |= balance(mechanism(fields, getattr(biology, room)), states, fields)
    occupied = structure(model, fields.with_(voxel))
    voxel["quiescent"] = voxel["quiescent"] + 1.0 - occupied.occupancy  # no gradient that would move cells
    constants |= rest_constants(respond(model, fields.with_({**voxel, **constants}), solved), biology)
    return Rest(
        voxel=voxel,
        constants=constants,
        resistance=solved.circulation.resistance,
        solved=solved,
        change=_largest_change(voxel, rest.voxel),
        lowest=_lowest(model, constants),
    )


def _largest_change(new: dict[str, Array], old: dict[str, Array]) -> Array:
    """Over all states, the largest change of a value over the largest value of that state [-]."""

    def change(a: Array, b: Array) -> Array:
        return jnp.max(jnp.abs(a - b)) / (jnp.max(jnp.abs(a)) + 1e-300)

    return jnp.max(jnp.stack([change(new[name], old[name]) for name in new]))


def _lowest(model: LiverModel, constants: dict[str, Any]) -> dict[str, Array]:
    """Smallest value of each constant inside the tissue."""
    active = model.grid.active
    return {name: jnp.min(jnp.where(active, value, jnp.inf)) for name, value in constants.items()}
