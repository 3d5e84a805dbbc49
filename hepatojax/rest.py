"""The resting lobule: states and constants at which a healthy liver stands still, derived from its own oxygen."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
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
from hepatojax.state import Circulation, LiverState, QuasiSteady

SWEEPS = 48
SETTLED = 1e-13
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

    voxel: states (nz, ny, nx), float64. constants: what holds them still. resistance: of the domain [Pa s/um3].
    solved: quasi-steady fields. change: largest relative change of a state in the last sweep [-].
    lowest: constant -> smallest value inside the tissue; a negative one means that there is no rest.
    """

    voxel: dict[str, Float[Array, "nz ny nx"]]
    constants: dict[str, Array]
    resistance: Float[Array, ""]
    solved: QuasiSteady
    change: Float[Array, ""]
    lowest: dict[str, Float[Array, ""]]


def derive_rest(model: LiverModel, sweeps: int = SWEEPS) -> Rest:
    """Find the resting lobule by sweeps: solve flow, oxygen and signals, then balance every state point by point.

    A sweep leaves a small part of the error, since the states of rest hardly act on the fields that they see. Pure
    and of fixed length, so that constants of rest may stand inside a differentiated function; sweeps of a lobule that
    stands still are skipped.

    Args:
        model: its `rest` and `rest_resistance` are not used.
        sweeps: largest number of sweeps.

    Returns:
        The rest; `change` says how well it stands still, `lowest` whether it exists.

    Reference: BIOLOGY A11.4.
    """
    precise = dataclasses.replace(model.numerics, precision="float64", tolerance=1e-12, pressure_tolerance=1e-12)
    model = dataclasses.replace(model, numerics=precise, lobule_share=1.0)

    def improved(rest: Rest, _: None) -> tuple[Rest, None]:
        return lax.cond(rest.change <= SETTLED, lambda rest: rest, lambda rest: _sweep(model, rest), rest), None

    return lax.scan(improved, first_guess(model), None, length=sweeps)[0]


def with_rest(model: LiverModel) -> LiverModel:
    """The model with the constants of rest that belong to its parameters, differentiable in them.

    Args:
        model: healthy, as of `hepatojax.build` without septa or resection.
    """
    rest = derive_rest(model)
    return dataclasses.replace(model, rest=rest.constants, rest_resistance=rest.resistance)


def rest_state(model: LiverModel, rest: Rest) -> LiverState:
    """The state of a healthy liver in the precision of the run.

    Args:
        model: with the constants of this rest. rest: of the same lobule.
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
    """Where the sweeps start: names, shapes and dtypes of a rest."""
    shape = model.grid.shape
    none, one = jnp.zeros(shape), jnp.ones(shape)
    matrix = model.parameters.biology.matrix
    collagen = {name: one * value for name, value in rest_collagen(matrix).items()}
    voxel = {
        **dict.fromkeys(VOXEL_STATES, none),
        "quiescent": 0.99 * one,
        "primed": 1e-3 * one,
        "macrophage_m1": 0.07 * one,
        "macrophage_m2": one,
        "identity": one,
        "zonation": 0.5 * one,
        "vascular_integrity": one,
        "stellate": matrix.rest_stellate * one,
        **collagen,
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
        tissue=dict.fromkeys(SIGNALS, none),
        excess={name: jnp.zeros((2, *shape)) for name in SIGNALS},
        inlet=dict.fromkeys(SIGNALS, jnp.zeros(())),
        arrival=one,
        carried=one,
        circulation=Circulation(none, none, jnp.ones(()), jnp.ones(()), jnp.ones(())),
    )
    return Rest(voxel, constants, jnp.ones(()), solved, jnp.ones(()), _lowest(model, constants))


def _fields(model: LiverModel, rest: Rest) -> Fields:
    nothing = jnp.zeros(())
    body = {**dict.fromkeys((*BODY_STATES, *POOLS), nothing), "regulatory_t": jnp.ones(())}
    given = inputs(model, nothing, dict.fromkeys(ORGANS, nothing), nothing)
    level = {"liver_volume": jnp.ones(()), "bilirubin_mg_dl": jnp.ones(()), "factor_vii": jnp.ones(())}
    return Fields({**body, **level, **given, **rest.constants, **rest.voxel})


def _sweep(model: LiverModel, rest: Rest) -> Rest:
    """One sweep; the flow is that of rest because the resistance of the sweep before stands for rest."""
    fields = _fields(model, rest)
    model = dataclasses.replace(model, rest_resistance=rest.resistance)
    solved, fields, _ = solve_quasi_steady(model, fields, rest.solved)
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
    def change(a: Array, b: Array) -> Array:
        return jnp.max(jnp.abs(a - b)) / (jnp.max(jnp.abs(a)) + 1e-300)

    return jnp.max(jnp.stack([change(new[name], old[name]) for name in new]))


def _lowest(model: LiverModel, constants: dict[str, Any]) -> dict[str, Array]:
    """Smallest value of each constant inside the tissue."""
    active = model.grid.active
    return {name: jnp.min(jnp.where(active, value, jnp.inf)) for name, value in constants.items()}
