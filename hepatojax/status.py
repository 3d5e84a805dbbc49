"""What a run may end with: the status of a computation, what it means, what to do about it, and the exit code.

Inside a compiled function nothing can be raised: a solve returns a number, which travels with the results. Outside, the
number becomes one sentence that says what failed, when, how badly, where and what to try, as an error of a type that
knows the exit code of the command line. No JAX here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from types import MappingProxyType


class ExitCode(IntEnum):
    """Exit codes of the command line.

    Attributes:
        DONE: all that was asked for is there.
        MEMBERS_FAILED: some arms or members failed, the others are there.
        REJECTED_INPUT: a mistake in a file, on the command line, or in the place for results.
        FOLDER_LOCKED: another process writes into the folder.
        NOT_CONVERGED: a solve did not converge, or a value was not finite.
        NO_MEMORY_OR_DEVICE: memory is too small, or the device is not there.
        WRITE_ERROR: the disk refused.
        STOPPED: stopped on request; the run may be resumed.
    """

    DONE = 0
    MEMBERS_FAILED = 1
    REJECTED_INPUT = 2
    FOLDER_LOCKED = 3
    NOT_CONVERGED = 4
    NO_MEMORY_OR_DEVICE = 5
    WRITE_ERROR = 74
    STOPPED = 75


class Status(IntEnum):
    """Outcome of a computation, small enough to travel in the carry of a compiled loop; 0 is success."""

    OK = 0
    PRESSURE_NOT_CONVERGED = 1
    OXYGEN_NOT_CONVERGED = 2
    SIGNALS_NOT_CONVERGED = 3
    NOT_FINITE = 4
    NEGATIVE_STATE = 5
    DEAD_LIVER = 6
    STOPPED = 7
    REST_NOT_CONVERGED = 8
    ARRIVAL_NOT_CONVERGED = 9
    MOTION_NOT_CONVERGED = 10

    @property
    def statement(self) -> str:
        """What happened, as the beginning of a sentence."""
        return _STATEMENT[self]

    @property
    def advice(self) -> str:
        """What the user may change; empty for success."""
        return _ADVICE[self]

    @property
    def exit_code(self) -> ExitCode:
        """The command line's exit code. A dead liver is a result, so its run is done."""
        if self in (Status.OK, Status.DEAD_LIVER):
            return ExitCode.DONE
        return ExitCode.STOPPED if self is Status.STOPPED else ExitCode.NOT_CONVERGED

    def describe(
        self,
        *,
        time_h: float | None = None,
        residual: float | None = None,
        relative_to: str = "the inflow",
        iterations: int | None = None,
        field: str | None = None,
        voxel: Sequence[int] | None = None,
    ) -> str:
        """One sentence: what, when, how badly, where, and what to try.

        Args:
            time_h: time of the run [h]; None before day 0, where nothing has been saved.
            residual: of the solve, as a share of `relative_to` [-].
            relative_to: what the residual is measured against.
            iterations: steps that the solver took.
            field: name of the field at fault.
            voxel: worst voxel (z, y, x).

        Returns:
            The sentence, without a full stop; the advice comes after a semicolon.
        """
        when = "" if time_h is None else f" at day {time_h / 24.0:.6g}"
        details = [f"field {field}"] if field else []
        if residual is not None:
            after = "" if iterations is None else f" after {iterations} {_ITERATIONS.get(self, 'iterations')}"
            details.append(f"residual {residual:.2g} of {relative_to}{after}")
        if voxel is not None:
            details.append(f"worst at voxel ({', '.join(str(int(i)) for i in voxel)})")
        where = f": {', '.join(details)}" if details else ""
        advice = self.advice if time_h is None else _ADVICE_IN_A_RUN.get(self, self.advice)
        return f"{self.statement}{when}{where}" + (f"; {advice}" if advice else "")


_STATEMENT: Mapping[Status, str] = MappingProxyType(
    {
        Status.OK: "the run is complete",
        Status.PRESSURE_NOT_CONVERGED: "pressure did not converge",
        Status.OXYGEN_NOT_CONVERGED: "oxygen did not converge",
        Status.SIGNALS_NOT_CONVERGED: "signals did not converge",
        Status.NOT_FINITE: "a value is not finite",
        Status.NEGATIVE_STATE: "a state became negative",
        Status.DEAD_LIVER: "no functioning liver is left",
        Status.STOPPED: "the run was stopped on request",
        Status.REST_NOT_CONVERGED: "the resting lobule was not found",
        Status.ARRIVAL_NOT_CONVERGED: "the arrival of cells with the blood did not converge",
        Status.MOTION_NOT_CONVERGED: "the motion of cells did not converge",
    }
)

_ADVICE: Mapping[Status, str] = MappingProxyType(
    {
        Status.OK: "",
        Status.PRESSURE_NOT_CONVERGED: "try a lower lobule.fibrotic_contrast or a finer grid across the septa",
        Status.OXYGEN_NOT_CONVERGED: 'try a finer grid near the septa or transport = "upwind"',
        Status.SIGNALS_NOT_CONVERGED: 'try more run.steps_per_day or transport = "upwind"',
        Status.NOT_FINITE: "try more run.steps_per_day or precision float64",
        Status.NEGATIVE_STATE: "this is a defect of the solver: please report it with the scenario",
        Status.DEAD_LIVER: "try a lower disease.activity or disease.flare, or a shorter disease.flare_lead_h",
        Status.STOPPED: "what was saved before stays usable",
        Status.ARRIVAL_NOT_CONVERGED: "try precision float64 or a finer grid near the septa",
        Status.MOTION_NOT_CONVERGED: "try more run.steps_per_day or precision float64",
        Status.REST_NOT_CONVERGED: "undo overrides in [parameters] that move a healthy lobule far from rest",
    }
)

_ADVICE_IN_A_RUN: Mapping[Status, str] = MappingProxyType(
    {
        Status.NOT_FINITE: f"what was saved before stays usable; {_ADVICE[Status.NOT_FINITE]}",
        Status.DEAD_LIVER: "what was saved before stays usable; endpoints after this time have no meaning",
    }
)

_ITERATIONS: Mapping[Status, str] = MappingProxyType(
    {
        Status.PRESSURE_NOT_CONVERGED: "conjugate-gradient iterations",
        Status.OXYGEN_NOT_CONVERGED: "Newton steps",
        Status.SIGNALS_NOT_CONVERGED: "sweeps",
        Status.REST_NOT_CONVERGED: "sweeps",
    }
)


class HepatojaxError(Exception):
    """An error that a user can act on: one sentence, and the exit code that the command line returns."""

    exit_code = ExitCode.REJECTED_INPUT


class SimulationError(HepatojaxError):
    """A computation ended with a status other than `Status.OK` and without a result, so its exit code is never DONE.

    Args:
        status: what failed, kept as an attribute.
        message: one sentence, see `Status.describe`.
    """

    def __init__(self, status: Status, message: str):
        super().__init__(message)
        self.status = status
        code = status.exit_code
        self.exit_code = ExitCode.NOT_CONVERGED if code == ExitCode.DONE else code


class OutputError(HepatojaxError):
    """Results cannot be written where they were asked for."""


class WriteError(HepatojaxError):
    """The disk refused in the middle of a run."""

    exit_code = ExitCode.WRITE_ERROR


class DeviceError(HepatojaxError):
    """The device that was asked for is not there, or has not enough memory."""

    exit_code = ExitCode.NO_MEMORY_OR_DEVICE
