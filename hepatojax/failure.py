"""The first failure of a macro-step: which solve or state, where, and the sentence that tells it.

Inside a compiled function a failure is three small integers, kept of every step; outside they become a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial, reduce
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

from hepatojax.biology.secretion import SIGNALS
from hepatojax.mechanism import pytree
from hepatojax.model import BODY_STATES, POOLS, VOXEL_STATES
from hepatojax.numerics.grid import Grid
from hepatojax.state import LiverState
from hepatojax.status import Status

STATES_AT_FAULT = (*VOXEL_STATES, *BODY_STATES, "liver_volume", *POOLS)
FIELDS_AT_FAULT = ("", "pressure", "oxygen", *SIGNALS, "arrival", "occupancy", *STATES_AT_FAULT)
NOWHERE = -1
SOLVES = (
    MappingProxyType(  # status -> the solve whose statistics say how badly, its count, what its residual is a share of
        {
            Status.PRESSURE_NOT_CONVERGED: ("pressure", "iterations", "the inflow"),
            Status.OXYGEN_NOT_CONVERGED: ("oxygen", "newton_steps", "the inflow"),
            Status.SIGNALS_NOT_CONVERGED: ("signal", "sweeps", "what is made"),
            Status.ARRIVAL_NOT_CONVERGED: ("arrival", "iterations", "the inflow"),
            Status.MOTION_NOT_CONVERGED: ("motion", "iterations", "the right-hand side"),
        }
    )
)


@pytree
class Failure:
    """The first failure of a macro-step and its place, small enough to be kept of every step.

    Attributes:
        status: `Status` code.
        field: index into `FIELDS_AT_FAULT`, 0 for none.
        voxel: (z, y, x) of the largest imbalance or of the first wrong value, counted from 0; `NOWHERE` where none is
            known.
    """

    status: Int[Array, "*t"]
    field: Int[Array, "*t"]
    voxel: Int[Array, "*t 3"]


def failure(
    status: Status | Array, field: str | Array = "", cell: Array | None = None, grid: Grid | None = None
) -> Failure:
    """A failure at its place.

    Args:
        status: what happened, `Status` code.
        field: name, or index into `FIELDS_AT_FAULT`.
        cell: flat index in the grid, where one is known; negative for none.
        grid: that the index counts in; without it there is no place.

    Returns:
        The failure, with (z, y, x) of the cell or `NOWHERE`.
    """
    number = FIELDS_AT_FAULT.index(field) if isinstance(field, str) else field
    voxel = jnp.full(3, NOWHERE, jnp.int32)
    if cell is not None and grid is not None:
        _, ny, nx = grid.shape
        flat = cell.astype(jnp.int32)
        row = lax.div(flat, jnp.int32(nx))
        place = jnp.stack([lax.div(row, jnp.int32(ny)), lax.rem(row, jnp.int32(ny)), lax.rem(flat, jnp.int32(nx))])
        voxel = jnp.where(cell < 0, voxel, place)
    return Failure(jnp.asarray(status, jnp.int32), jnp.asarray(number, jnp.int32), voxel)


def first_failure(*tests: tuple[Array, Failure]) -> Failure:
    """That of the first test that did not pass, `Status.OK` if all did.

    Args:
        tests: whether each passed, and its failure, in the order of precedence.

    Returns:
        The failure, without a branch, so that it may be traced.
    """
    first = failure(Status.OK)
    for passed, failed in reversed(tests):
        first = jax.tree.map(partial(jnp.where, passed), first, failed)
    return first


def wrong_value(grid: Grid, state: LiverState, lowest: float = 0.0) -> Failure:
    """The first slow state with a value that is not finite or, if all are, with one that is too low.

    All voxels are tested in one pass; which state and which voxel is sought only where a value is wrong.

    Args:
        grid: of the voxels.
        state: its slow states, the fields (nz, ny, nx) and the pools of the body, each in its unit.
        lowest: smallest value that is right [unit of the state]; -inf allows any.

    Returns:
        `Status.NOT_FINITE` or `Status.NEGATIVE_STATE` at its place, `Status.OK` for none.
    """
    states = lax.stop_gradient({**state.voxel, **state.body})
    every = [states[name] for name in STATES_AT_FAULT]
    fields, pools = every[: len(VOXEL_STATES)], jnp.stack(every[len(VOXEL_STATES) :])

    def finite(values: Array) -> Array:
        return jnp.isfinite(values)

    def right(values: Array) -> Array:
        return finite(values) & (values >= lowest)

    def first_of(passes: Callable[[Array], Array]) -> tuple[Array, Array]:
        """In each voxel the number of the first field that does not pass, and the first state of all."""
        number = jnp.full(grid.shape, len(every), jnp.int32)
        for n, values in reversed(list(enumerate(fields))):
            number = jnp.where(passes(values), number, n)
        failed = ~passes(pools)
        pool = jnp.where(failed.any(), len(fields) + jnp.argmax(failed).astype(jnp.int32), len(every))
        return number, jnp.minimum(number.min(), pool)

    def seek() -> Failure:
        (broken, first_broken), (low, first_low) = first_of(finite), first_of(right)
        unbroken = first_broken == len(every)
        first = jnp.where(unbroken, first_low, first_broken)
        cell = jnp.where(first < len(fields), jnp.argmax(jnp.where(unbroken, low, broken) == first), NOWHERE)
        status = jnp.where(unbroken, int(Status.NEGATIVE_STATE), int(Status.NOT_FINITE))
        return failure(status, first + FIELDS_AT_FAULT.index(STATES_AT_FAULT[0]), cell, grid)

    sound = reduce(jnp.logical_and, map(right, fields)).all() & right(pools).all()
    return lax.cond(sound, lambda: failure(Status.OK), seek)


def sentence(found: Failure, statistics: Mapping[str, Array], time_h: float | None = None) -> str:
    """What failed, when, how badly, in which field and at which voxel, and what to try.

    Args:
        found: a failure of one macro-step.
        statistics: iterations and relative residuals [-] of that macro-step.
        time_h: its end [h]; None for one before day 0.

    Returns:
        One sentence without a full stop, see `Status.describe`.
    """
    status, voxel = Status(int(found.status)), tuple(int(i) for i in found.voxel)
    field = FIELDS_AT_FAULT[int(found.field)] or None
    return status.describe(
        time_h=time_h,
        field=field,
        voxel=None if NOWHERE in voxel else voxel,
        **_how_badly(status, field, statistics),
    )


def _how_badly(status: Status, field: str | None, statistics: Mapping[str, Array]) -> dict[str, Any]:
    """Residual and iterations of the solve that failed, as `Status.describe` takes them; empty for no solve."""
    if status not in SOLVES:
        return {}
    solve, count, whole = SOLVES[status]
    of_one = f"_{field}" if solve == "signal" else ""
    return {
        "residual": float(statistics[f"{solve}_residual{of_one}"]),
        "relative_to": whole,
        "iterations": int(statistics[f"{solve}_{count}"]),
    }
