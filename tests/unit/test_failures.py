"""What a failed run says: the first failure of a macro-step, its field, its voxel, and how badly it went."""

import dataclasses
import inspect
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.coupling import _first_of_solves
from hepatojax.failure import FIELDS_AT_FAULT, NOWHERE, Failure, failure, first_failure, wrong_value
from hepatojax.macro_step import LedgerTerms, StepReport, _failure, move_cells
from hepatojax.mechanism import Fields
from hepatojax.simulate import Solution, join, solution_of
from hepatojax.status import SimulationError, Status

SOLVES = ("pressure", "oxygen", "tnf", "hgf", "arrival")


def told(found: Failure) -> tuple[Status, str, tuple[int, ...]]:
    return Status(int(found.status)), FIELDS_AT_FAULT[int(found.field)], tuple(int(i) for i in found.voxel)


def of_solves(model, *failing: str) -> Failure:
    """First failure of solves whose largest imbalance is at x = 1, 2, ... in the order of `SOLVES`."""
    each = {
        name: SimpleNamespace(converged=jnp.asarray(name not in failing), worst_cell=jnp.asarray(number))
        for number, name in enumerate(SOLVES)
    }
    signals = {name: each[name] for name in ("tnf", "hgf")}
    return inspect.unwrap(_first_of_solves)(model.grid, each["pressure"], each["oxygen"], signals, each["arrival"])


def ended(model, state, found: Failure, statistics: dict[str, float]) -> Solution:
    """A run of three macro-steps, the second of which failed."""
    steps = [
        StepReport(Fields({}), LedgerTerms({}, {}, {}), {n: jnp.asarray(share * v) for n, v in statistics.items()}, how)
        for share, how in ((0.0, first_failure()), (1.0, found), (2.0, failure(Status.DEAD_LIVER)))
    ]
    report = jax.tree.map(lambda *leaves: jnp.stack(leaves), *steps)
    return solution_of(model, state.replace(step=jnp.asarray(3, jnp.int32)), report, {})


@pytest.mark.parametrize(
    ("failing", "status", "field", "x"),
    [
        (("oxygen", "arrival"), Status.OXYGEN_NOT_CONVERGED, "oxygen", 1),
        (("hgf", "arrival"), Status.SIGNALS_NOT_CONVERGED, "hgf", 3),
        (("tnf", "hgf"), Status.SIGNALS_NOT_CONVERGED, "tnf", 2),
        (("arrival",), Status.ARRIVAL_NOT_CONVERGED, "arrival", 4),
    ],
)
def test_a_solve_fails_with_its_field_and_its_voxel(small_liver, failing, status, field, x):
    assert told(of_solves(small_liver[0], *failing)) == (status, field, (0, 0, x))


def test_pressure_has_a_field_alone_and_success_neither(small_liver):
    nowhere = (NOWHERE,) * 3
    assert told(of_solves(small_liver[0], "pressure", "oxygen")) == (
        Status.PRESSURE_NOT_CONVERGED,
        "pressure",
        nowhere,
    )
    assert told(of_solves(small_liver[0])) == (Status.OK, "", nowhere)


@pytest.mark.parametrize(("value", "status"), [(np.nan, Status.NOT_FINITE), (-1.0, Status.NEGATIVE_STATE)])
def test_a_wrong_value_is_found_in_its_field(small_liver, value, status):
    model, state = small_liver

    def check(value):
        voxel = {**state.voxel, "macrophage_m2": state.voxel["macrophage_m2"].at[0, 0, 4].set(value)}
        return _failure(model, (first_failure(),), state.replace(voxel=voxel))

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        assert told(jax.jit(check)(value)) == (status, "macrophage_m2", (0, 0, 4))
        batch = jax.vmap(check)(jnp.asarray([0.5, value]))
        jax.jvp(check, (jnp.asarray(value),), (jnp.ones(()),))
    assert told(jax.tree.map(lambda leaf: leaf[0], batch))[0] == Status.OK
    assert told(jax.tree.map(lambda leaf: leaf[1], batch)) == (status, "macrophage_m2", (0, 0, 4))


def test_a_wrong_value_of_the_body_has_no_voxel(small_liver):
    model, state = small_liver
    sick = state.replace(body={**state.body, "albumin_g_l": jnp.asarray(-1.0)})
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        found = _failure(model, (), sick)
    assert told(found) == (Status.NEGATIVE_STATE, "albumin_g_l", (NOWHERE,) * 3)


def test_what_is_wrong_at_the_start_comes_before_what_it_spoils(small_liver):
    """A state that is not finite is named, one below zero is not: that is looked for at the end of a step."""
    model, state = small_liver
    broken, negative = (
        state.replace(voxel={**state.voxel, "debris": state.voxel["debris"].at[0, 0, 2].set(value)})
        for value in (jnp.inf, -1.0)
    )
    spoilt = of_solves(model, "pressure")
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        start = [wrong_value(model.grid, s, lowest=-jnp.inf) for s in (state, negative, broken)]
        assert [told(each)[0] for each in start[:2]] == [Status.OK, Status.OK]
        assert told(_failure(model, (start[2], spoilt), state)) == (Status.NOT_FINITE, "debris", (0, 0, 2))
        assert told(_failure(model, (start[0], spoilt), broken))[0] == Status.PRESSURE_NOT_CONVERGED


def test_motion_that_cannot_converge_names_what_moved(small_liver):
    model, state = small_liver
    model = dataclasses.replace(model, numerics=dataclasses.replace(model.numerics, tolerance=-1.0))
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        moved = jax.jit(move_cells)
        _, statistics, found = moved(model, state.voxel, state.quasi_steady, jnp.ones(()))
    status, field, voxel = told(found)
    assert (status, field) == (Status.MOTION_NOT_CONVERGED, "occupancy") and NOWHERE not in voxel
    assert float(statistics["motion_residual"]) < 1e-8
    assert float(statistics["motion_iterations"]) > 0


MESSAGES = {
    Status.PRESSURE_NOT_CONVERGED: (
        "field pressure, residual 0.002 of the inflow after 30 conjugate-gradient iterations;"
    ),
    Status.OXYGEN_NOT_CONVERGED: (
        "field oxygen, residual 0.002 of the inflow after 30 Newton steps, worst at voxel (0, 0, 5);"
    ),
    Status.SIGNALS_NOT_CONVERGED: (
        "field hgf, residual 0.002 of what is made after 30 sweeps, worst at voxel (0, 0, 5);"
    ),
    Status.ARRIVAL_NOT_CONVERGED: (
        "field arrival, residual 0.002 of the inflow after 30 iterations, worst at voxel (0, 0, 5);"
    ),
    Status.MOTION_NOT_CONVERGED: (
        "field primed, residual 0.002 of the right-hand side after 30 iterations, worst at voxel (0, 0, 5);"
    ),
    Status.NOT_FINITE: "field primed, worst at voxel (0, 0, 5);",
    Status.NEGATIVE_STATE: "field primed, worst at voxel (0, 0, 5);",
}
FIELDS = {
    Status.PRESSURE_NOT_CONVERGED: "pressure",
    Status.OXYGEN_NOT_CONVERGED: "oxygen",
    Status.SIGNALS_NOT_CONVERGED: "hgf",
    Status.ARRIVAL_NOT_CONVERGED: "arrival",
}


@pytest.mark.parametrize("status", MESSAGES)
def test_message_of_a_run_has_field_voxel_residual_and_iterations(small_liver, status):
    model, state = small_liver
    cell = None if status == Status.PRESSURE_NOT_CONVERGED else jnp.asarray(5)
    solves = ("pressure", "oxygen", "signal", "arrival", "motion")
    residuals = {**{f"{name}_residual": 0.002 for name in solves}, "signal_residual_hgf": 0.002}
    counts = {f"{name}_iterations": 30.0 for name in solves}
    statistics = {**residuals, **counts, "oxygen_newton_steps": 30.0, "signal_sweeps": 30.0}
    solution = ended(model, state, failure(status, FIELDS.get(status, "primed"), cell, model.grid), statistics)
    expected = f"{status.statement} at day 0.5: {MESSAGES[status]}"
    assert solution.message().startswith(expected)
    sound = dataclasses.replace(solution, status=jnp.asarray(0, jnp.int32))
    assert join([sound, solution]).message() == solution.message()  # the times of both are the same
    with pytest.raises(SimulationError, match=r"at day 0\.5"):
        solution.raise_for_status()


def test_a_dead_liver_has_no_place(small_liver):
    model, state = small_liver
    solution = ended(model, state, failure(Status.DEAD_LIVER), {})
    assert solution.message().startswith("no functioning liver is left at day 0.5; what was saved")
