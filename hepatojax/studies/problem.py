"""Which doses and which product serve a patient best: endpoints, limits and what is chosen, as one `Program`.

The numbers of the liver, its state and the schedule are the inputs of the program.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hepatojax.assembly import TOLERANCE
from hepatojax.model import LiverModel
from hepatojax.numerics.adjoint import ADJOINTS
from hepatojax.numerics.segments import segments_of
from hepatojax.simulate import simulate, whole_steps
from hepatojax.state import LiverState
from hepatojax.studies.compiled import Programs
from hepatojax.studies.objective import Aim, Course, Limit, StudyError
from hepatojax.studies.program import OTHER_PRECISION, Outcome, Program, joined
from hepatojax.studies.variables import Variable, check_variables, dosed, rows_in_use
from hepatojax.therapy.product import CellProduct
from hepatojax.therapy.schedule import DoseSchedule

COMPILER_OPTIONS = {"cpu": {"xla_backend_optimization_level": 1}}  # a gradient compiles a fifth sooner, runs as fast


@dataclass(frozen=True, eq=False)
class DoseProblem:
    """Which doses, and which product, serve a patient best.

    Attributes:
        model: of `hepatojax.build`.
        state: where the run starts, of `hepatojax.build`.
        schedule: holds what is not chosen.
        end_h: end of the run [h].
        aims: their weighted sum is maximised.
        variables: what is chosen.
        limits: to be kept.
        adjoint: see `simulate`.
        checkpoints: segments of the adjoint "two-level", a divisor of the macro-steps; None leaves them to
            `hepatojax.numerics.segments.segments_of`. They change memory and time, no result.
        programs: where compiled derivatives are kept between processes; None keeps none.

    Raises:
        StudyError: something that has no derivative, does not exist or does not fit; one line.
    """

    model: LiverModel
    state: LiverState
    schedule: DoseSchedule
    end_h: float
    aims: tuple[Aim, ...]
    variables: tuple[Variable, ...]
    limits: tuple[Limit, ...] = ()
    adjoint: str = "saved"
    checkpoints: int | None = None
    programs: Programs | None = None

    def __post_init__(self) -> None:
        if not self.aims:
            raise StudyError("aims: give at least one")
        if self.adjoint not in ADJOINTS:
            raise StudyError(f"adjoint is {self.adjoint!r}; allowed: {', '.join(ADJOINTS)}")
        last = whole_steps("end_h", self.end_h, self.model.numerics.macro_step_h)
        self._check_segments(last - int(self.state.step))
        check_variables(self.variables, self.schedule, self.start_h, self.end_h)

    def _check_segments(self, count: int) -> None:
        """Refuse checkpoints that nobody reads, or that do not divide the macro-steps."""
        if self.checkpoints is None:
            return
        if self.adjoint != "two-level":
            raise StudyError(f'checkpoints is {self.checkpoints}; only the adjoint "two-level" has them')
        try:
            segments_of(count, self.checkpoints)
        except ValueError as error:
            raise StudyError(str(error)) from None

    @property
    def start_h(self) -> float:
        """Time of the state [h]."""
        return int(self.state.step) * self.model.numerics.macro_step_h

    def dosed(self, x: ArrayLike) -> tuple[DoseSchedule, CellProduct]:
        """The schedule and the product at a place.

        Args:
            x: in 0..1 [-], (n,).

        Returns:
            Both with the chosen entries in their units.
        """
        return dosed(self.variables, self.schedule, self.model.product, jnp.asarray(x, jnp.float64))

    def evaluate(self, x: ArrayLike) -> Outcome:
        """Objective, limits and status at a place.

        Args:
            x: in 0..1 [-], (n,).

        Returns:
            The outcome of one run.
        """
        return self.program.evaluate(x)

    def multiples(self, x: ArrayLike, factors: Sequence[float]) -> Outcome:
        """What comes of the schedule at a place with every infusion times a factor, whether it is chosen or not.

        Args:
            x: in 0..1 [-], (n,).
            factors: on the cells of every infusion [-], (m,).

        Returns:
            Objective (m,), excess of each limit in the order of `Program.limits` (m, c) and status (m,).
        """
        schedule, product = self.dosed(x)

        def times(factor: Array, inputs: tuple[LiverModel, LiverState, DoseSchedule]) -> Outcome:
            model, state, given = inputs
            more = dataclasses.replace(given, cells_per_kg=factor[0] * given.cells_per_kg)
            return self._judged(model, state, more, sum(self._limits, ()))

        inputs = (dataclasses.replace(self.model, product=product), self.state, schedule)
        options = self.program.compiler_options
        line = Program(times, inputs, ("factor",), self.program.limits, compiler_options=options)
        return line.evaluate_many(np.asarray(factors, float)[:, None])

    @cached_property
    def program(self) -> Program:
        """The problem as its solvers see it; limits that take no simulation come last."""
        rows, (simulated, closed) = self._rows, self._limits
        numerics = self.model.numerics
        return Program(
            self._outcome,
            (self.model, self.state, self.schedule),
            tuple(variable.name for variable in self.variables),
            tuple(name for limit in (*simulated, *closed) for name in limit.names(rows)),
            self._closed_excess if closed else None,
            (*in_precision(self.model, self.state, OTHER_PRECISION[numerics.precision]), self.schedule),
            numerics.precision,
            COMPILER_OPTIONS.get(jax.default_backend()),
            self.programs,
        )

    @cached_property
    def _rows(self) -> tuple[int, ...]:
        return rows_in_use(self.variables, self.schedule)

    @property
    def _limits(self) -> tuple[tuple[Limit, ...], tuple[Limit, ...]]:
        every = self.limits
        return tuple(i for i in every if i.simulated), tuple(i for i in every if not i.simulated)

    def _outcome(self, x: Array, inputs: tuple[LiverModel, LiverState, DoseSchedule]) -> Outcome:
        model, state, schedule = inputs
        schedule, product = dosed(self.variables, schedule, model.product, x)
        return self._judged(dataclasses.replace(model, product=product), state, schedule, self._limits[0])

    def _judged(
        self, model: LiverModel, state: LiverState, schedule: DoseSchedule, limits: tuple[Limit, ...]
    ) -> Outcome:
        run = simulate(
            model,
            state,
            schedule,
            end_h=self.end_h,
            start_h=self.start_h,
            adjoint=self.adjoint,
            checkpoints=self.checkpoints,
        )
        course = Course(run.endpoints, schedule, self._rows, run.peaks)
        objective = sum((aim.weight * aim.reading(course) for aim in self.aims), jnp.zeros(()))
        return Outcome(objective, _stacked(limits, course), run.status)

    def _closed_excess(self, x: Array, inputs: tuple[LiverModel, LiverState, DoseSchedule]) -> Array:
        schedule, _ = dosed(self.variables, inputs[2], inputs[0].product, x)
        return _stacked(self._limits[1], Course({}, schedule, self._rows))


def program_of(problem: DoseProblem | Program) -> Program:
    """The program of a problem; a bare one is its own.

    Args:
        problem: either.

    Returns:
        The program, the same one every time, so that nothing is compiled twice.
    """
    return problem.program if isinstance(problem, DoseProblem) else problem


def in_precision(model: LiverModel, state: LiverState, precision: str) -> tuple[LiverModel, LiverState]:
    """The same liver with its fields in another precision, and solvers as tight as that allows.

    What is always float64 stays so: pressure, body, plasma and the geometry.

    Args:
        model: of either precision.
        state: of that model.
        precision: of the fields, "float32" or "float64".

    Returns:
        Model and state; a float32 number does not become more exact by this.
    """
    numerics = dataclasses.replace(model.numerics, precision=precision, tolerance=TOLERANCE[precision])

    def cast(fields: Any) -> Any:
        return jax.tree.map(lambda a: jnp.asarray(a, numerics.dtype), fields)

    solved = state.quasi_steady
    circulation = dataclasses.replace(solved.circulation, speed=cast(solved.circulation.speed))
    fields = {
        name: cast(getattr(solved, name))
        for name in ("oxygen", "oxygen_guess", "tissue", "excess", "arrival", "carried")
    }
    solved = dataclasses.replace(solved, circulation=circulation, **fields)
    return dataclasses.replace(model, numerics=numerics), state.replace(voxel=cast(state.voxel), quasi_steady=solved)


def _stacked(limits: tuple[Limit, ...], course: Course) -> Float[Array, " c"]:
    """Excess of all of some limits, end to end."""
    return joined(*(limit.excess(course) for limit in limits))
