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


def test_exit_codes_follow_the_architecture():
    assert Status.OK.exit_code == ExitCode.DONE == 0
    assert Status.NOT_FINITE.exit_code == ExitCode.NOT_CONVERGED == 4
    assert Status.STOPPED.exit_code == ExitCode.STOPPED == 75
    assert SimulationError(Status.STOPPED, "x").exit_code == 75
