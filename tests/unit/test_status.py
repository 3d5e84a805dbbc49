"""Statuses: one sentence that says what, when, where and what to do; and the exit code."""

import pytest

from hepatojax.status import ExitCode, SimulationError, Status


def test_message_says_what_when_where_and_what_to_do():
    message = Status.OXYGEN_NOT_CONVERGED.describe(time_h=78.0, residual=2e-3, iterations=40, voxel=(4, 31, 22))
    assert message == (
        "oxygen did not converge at day 3.25: residual 0.002 of the inflow after 40 Newton steps,"
        ' worst at voxel (4, 31, 22); try a finer grid near the septa or transport = "upwind"'
    )


@pytest.mark.parametrize("status", Status)
def test_every_status_has_a_statement_and_failures_an_advice(status: Status):
    assert status.statement
    assert bool(status.advice) == (status is not Status.OK)
    assert status.describe().startswith(status.statement)


def test_only_a_run_promises_what_was_saved_before():
    for status in (Status.NOT_FINITE, Status.DEAD_LIVER):
        assert "saved" not in status.describe()
        assert "; what was saved before stays usable; " in status.describe(time_h=24.0)


def test_exit_codes_follow_the_architecture():
    assert Status.OK.exit_code == ExitCode.DONE == 0
    assert Status.NOT_FINITE.exit_code == ExitCode.NOT_CONVERGED == 4
    assert Status.STOPPED.exit_code == ExitCode.STOPPED == 75
    assert SimulationError(Status.STOPPED, "x").exit_code == 75


def test_a_dead_liver_is_a_result_of_a_run_and_an_error_without_one():
    assert Status.DEAD_LIVER.exit_code == ExitCode.DONE
    assert SimulationError(Status.DEAD_LIVER, "before day 0").exit_code == ExitCode.NOT_CONVERGED
