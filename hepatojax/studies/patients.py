"""One dose problem for several patients in one compiled call: values and derivatives by the dose, mapped over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from hepatojax.studies.batch import RUNS_AT_ONCE
from hepatojax.studies.objective import StudyError
from hepatojax.studies.problem import DoseProblem, program_of
from hepatojax.studies.program import Linearised, Numbers, Outcome, Program


class PatientGradients(NamedTuple):
    """Outcomes of p patients, and the Jacobian of each by the dose.

    Attributes:
        outcome: objective (p,), excess of each limit (p, c) and status (p,).
        jacobian: rows the objective and then each limit, columns the variables, (p, 1 + c, n).
    """

    outcome: Outcome
    jacobian: Float[Numbers, "p m n"]

    def of(self, patient: int) -> Linearised:
        """What is known of one patient.

        Args:
            patient: number from 0 on.

        Returns:
            Outcome and Jacobian (1 + c, n).
        """
        return Linearised(Outcome(*(part[patient] for part in self.outcome)), self.jacobian[patient])

    @property
    def ok(self) -> Bool[np.ndarray, " p"]:
        """Which patients were simulated, with every number finite."""
        return np.asarray([self.of(patient).ok for patient in range(len(self.jacobian))], bool)


@dataclass(frozen=True, eq=False)
class PatientProgram:
    """A program mapped over its inputs, compiled once for each number of patients below `batch`.

    Attributes:
        source: a problem or its program.
        batch: patients at once, which bounds the memory.

    Patients differ by numbers, never by shapes: one grid, one number of infusions, one macro-step. In a batch an
    iterative solve goes on until its last member has converged; a member that has converged is held, not iterated
    further, so that the company a patient keeps does not change the result beyond round-off.
    """

    source: DoseProblem | Program
    batch: int = RUNS_AT_ONCE

    @property
    def program(self) -> Program:
        """The program of one patient."""
        return program_of(self.source)

    def linearise(self, x: ArrayLike, inputs: Any) -> PatientGradients:
        """Outcome and Jacobian of every patient, in the cheaper mode, some patients in one compiled call.

        Args:
            x: in 0..1 [-], (n,) if all get the same dose, else (p, n).
            inputs: of the program, every array with a leading axis of patients, see `stacked`; those of a `DoseProblem`
                are (model, state, schedule).

        Returns:
            What is known of all p patients, in their order.

        Raises:
            StudyError: the leading axes differ.
            ValueError: see `Program.outputs`.
        """
        count = _patients(inputs)
        places = np.broadcast_to(np.asarray(x, float), (count, len(self.program.variables)))
        width = min(count, self.batch)
        parts = []
        for start in range(0, count, width):
            rows = np.minimum(np.arange(start, start + width), count - 1)  # the last batch is filled up with the last
            chosen = jax.tree.map(lambda leaf, rows=rows: leaf[rows], inputs)
            parts.append(jax.tree.map(np.asarray, self._compiled(jnp.asarray(places[rows]), chosen)))
        return jax.tree.map(lambda *part: np.concatenate(part)[:count], *parts)

    @cached_property
    def _compiled(self) -> Callable[..., PatientGradients]:
        return self.program.kept(jax.vmap(self._one), jax.vmap(self.program.whole), "patients")

    def _one(self, x: Array, inputs: Any) -> PatientGradients:
        return PatientGradients(*self.program.differentiated(x, inputs))


def stacked(inputs: Sequence[Any]) -> Any:
    """The inputs of several patients as one, every array with a leading axis of patients.

    Args:
        inputs: of each patient, as `Program.inputs`.

    Returns:
        Inputs of `PatientProgram.linearise`.

    Raises:
        StudyError: no patient, or patients that differ by more than numbers: another grid, macro-step or precision.
    """
    if not inputs:
        raise StudyError("patients: give at least one")
    kinds = [_kind(each) for each in inputs]
    for number, kind in enumerate(kinds):
        if kind != kinds[0]:
            raise StudyError(f"patients: number {number} differs from the first by more than numbers")
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *inputs)


def patient_gradients(
    problem: DoseProblem | Program, inputs: Sequence[Any], x: ArrayLike, batch: int = RUNS_AT_ONCE
) -> PatientGradients:
    """Outcome and Jacobian of several patients, once; a loop should hold a `PatientProgram` instead.

    Args:
        problem: what is asked.
        inputs: of each patient; (model, state, schedule) for a `DoseProblem`.
        x: in 0..1 [-], (n,) if all get the same dose, else (p, n).
        batch: patients at once.

    Returns:
        What is known of all p patients, in their order.

    Raises:
        StudyError: see `stacked`.
        ValueError: see `Program.outputs`.
    """
    return PatientProgram(problem, batch).linearise(x, stacked(inputs))


def _kind(inputs: Any) -> tuple[Any, list[tuple[tuple[int, ...], Any]]]:
    """What all patients have to share: structure, shapes and types."""
    leaves, structure = jax.tree.flatten(inputs)
    return structure, [(np.shape(leaf), jnp.result_type(leaf)) for leaf in leaves]


def _patients(inputs: Any) -> int:
    """Number of patients, the length of the leading axis of every array."""
    counts = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(inputs)}
    if len(counts) != 1 or () in counts or (0,) in counts:
        raise StudyError("patients: every array of the inputs wants one and the same leading axis")
    return counts.pop()[0]
