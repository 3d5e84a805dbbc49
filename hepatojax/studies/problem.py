"""A dose problem as its solvers see it: one pure function of a place x in 0..1, with limits and their Jacobian.

The numbers of the liver, its state and the schedule are arguments of the compiled function and not constants in it, so
that a window, a front or several patients are compiled once. Limits that take no
simulation stand apart, since their Jacobian is cheap. The Jacobian is taken in the mode that needs fewer products.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from hepatojax.assembly import TOLERANCE
from hepatojax.model import LiverModel
from hepatojax.numerics.adjoint import ADJOINTS
from hepatojax.numerics.segments import segments_of
from hepatojax.simulate import simulate, whole_steps
from hepatojax.state import LiverState
from hepatojax.status import Status
from hepatojax.studies.batch import RUNS_AT_ONCE
from hepatojax.studies.objective import Aim, Course, Limit, StudyError
from hepatojax.studies.variables import Variable, check_variables, dosed, rows_in_use
from hepatojax.therapy.product import CellProduct
from hepatojax.therapy.schedule import DoseSchedule

ROUND_OFF = {"float32": 1e-5, "float64": 1e-12}
COMPILER_OPTIONS = {"cpu": {"xla_backend_optimization_level": 1}}  # a gradient compiles a fifth sooner, runs as fast
FORWARD, REVERSE = "forward", "reverse"

Numbers = Array | np.ndarray


class Outcome(NamedTuple):
    """What is known at a place, or at several of them with a leading axis.

    Attributes:
        objective: to be maximised, in its unit.
        limits: excess of each, <= 0 where it is kept [-].
        status: `Status` code of the simulation; where it is not OK the numbers mean nothing.
    """

    objective: Float[Numbers, "*b"]
    limits: Float[Numbers, "*b c"]
    status: Int[Numbers, "*b"]


class Linearised(NamedTuple):
    """An outcome with its Jacobian.

    Attributes:
        outcome: objective, limits and status at one place.
        jacobian: derivatives by x, rows the objective and then each limit, columns the variables, (1 + c, n).
    """

    outcome: Outcome
    jacobian: Float[Numbers, "m n"]

    @property
    def ok(self) -> bool:
        """Whether the simulation succeeded and every number is finite."""
        return self.status == Status.OK

    @property
    def status(self) -> Status:
        """How the simulation ended; a number that is not finite is a failure too."""
        numbers = (self.outcome.objective, self.outcome.limits, self.jacobian)
        finite = all(bool(np.isfinite(part).all()) for part in numbers)
        status = Status(int(self.outcome.status))
        return Status.NOT_FINITE if status == Status.OK and not finite else status

    @property
    def without_limits(self) -> Linearised:
        """The objective alone, where nobody asks for the limits."""
        return Linearised(self.outcome._replace(limits=self.outcome.limits[:0]), self.jacobian[:1])


@dataclass(frozen=True, eq=False)
class Program:
    """A function to be maximised under limits, compiled once for each use.

    Attributes:
        function: x (n,) in 0..1 and inputs -> `Outcome` with the limits that take a simulation.
        inputs: pytree.
        variables: name of each x.
        limits: name of each excess that `function` and `closed` give, in that order.
        closed: x and inputs -> excess of the limits that take no simulation, which come last.
        twin: the inputs in the other precision, where they exist.
        precision: of `inputs`.
        compiler_options: of XLA; a short run gains by options that compile quickly.
    """

    function: Callable[[Array, Any], Outcome]
    inputs: Any
    variables: tuple[str, ...]
    limits: tuple[str, ...] = ()
    closed: Callable[[Array, Any], Array] | None = None
    twin: Any = None
    precision: str = "float64"
    compiler_options: Mapping[str, Any] | None = None

    @cached_property
    def simulated(self) -> int:
        """Number of outputs that take a simulation: the objective and some limits."""
        x = jax.ShapeDtypeStruct((len(self.variables),), jnp.float64)
        closed = 0 if self.closed is None else jax.eval_shape(self.closed, x, self.inputs).shape[0]
        return 1 + len(self.limits) - closed

    @property
    def mode(self) -> str:
        """The cheaper mode: forward where there are fewer variables than outputs that take a simulation."""
        return FORWARD if len(self.variables) < self.simulated else REVERSE

    @property
    def round_off(self) -> float:
        """Relative error with which the function is known [-]."""
        return ROUND_OFF[self.precision]

    @cached_property
    def other_precision(self) -> Program:
        """The same problem in the other precision, compiled once like this one."""
        other = "float64" if self.precision == "float32" else "float32"
        return dataclasses.replace(self, inputs=self.twin, twin=self.inputs, precision=other)

    def beside(self, function: Callable[..., Outcome], closed: Callable[..., Array], more: Any) -> Program:
        """A program whose inputs are (those of this one, something more), so that this changes without compilation.

        Args:
            function: of x and these inputs, in place of that of this program.
            closed: of x and these inputs; it only counts where this one has limits without simulation.
            more: what stands beside the inputs, and beside their twin.

        Returns:
            The other program; it has the same variables and limits.
        """
        return dataclasses.replace(
            self,
            function=function,
            closed=None if self.closed is None else closed,
            inputs=(self.inputs, more),
            twin=None if self.twin is None else (self.twin, more),
        )

    def with_inputs(self, inputs: Any) -> Program:
        """The same function of other inputs of the same kind, with everything compiled in common; it has no twin.

        Args:
            inputs: of the structure, shapes and types of those of this program.
        """
        other = dataclasses.replace(self, inputs=inputs, twin=None)
        shared = ("simulated", "_one", "_many", "_compiled")
        shared += ("_closed_compiled",) if self.closed is not None else ()
        other.__dict__.update({name: getattr(self, name) for name in shared})  # where cached_property keeps them
        return other

    def evaluate(self, x: ArrayLike) -> Outcome:
        """The outcome at one place.

        Args:
            x: in 0..1 [-], (n,).

        Returns:
            Objective, excess of each limit (c,) and status.
        """
        return _host(self._one(jnp.asarray(x, jnp.float64), self.inputs))

    def evaluate_many(self, places: ArrayLike) -> Outcome:
        """Outcomes at many places, `RUNS_AT_ONCE` in one compiled call, which bounds the memory.

        Args:
            places: in 0..1 [-], (m, n); the last batch is filled up with the last of them.

        Returns:
            Objective (m,), excess of each limit (m, c) and status (m,).
        """
        places = np.asarray(places, float)
        count = len(places)
        padded = np.concatenate([places, np.repeat(places[-1:], -count % RUNS_AT_ONCE, axis=0)])
        batches = np.split(padded, len(padded) // RUNS_AT_ONCE)
        parts = [_host(self._many(jnp.asarray(batch), self.inputs)) for batch in batches]
        return Outcome(*(np.concatenate(part)[:count] for part in zip(*parts, strict=True)))

    def linearise(self, x: ArrayLike) -> Linearised:
        """The outcome at a place and its Jacobian, in the cheaper mode, in one compiled call.

        Args:
            x: in 0..1 [-], (n,).

        Returns:
            The outcome, and the derivatives of objective and limits by x, (1 + c, n).
        """
        seeds = jnp.eye(self._rows(self.mode))
        return _host(self._linearised(jnp.asarray(x, jnp.float64), seeds, self.inputs, self.mode))

    def push(self, x: ArrayLike, direction: ArrayLike) -> Float[np.ndarray, " m"]:
        """Derivative of every output that takes a simulation along a direction, in forward mode.

        Args:
            x: in 0..1 [-], (n,).
            direction: in x [-], (n,).

        Returns:
            J d of the objective and the simulated limits, (`simulated`,).
        """
        return self._first(FORWARD, x, direction)

    def pull(self, x: ArrayLike, weights: ArrayLike) -> Float[np.ndarray, " n"]:
        """Derivative of a weighted sum of the outputs that take a simulation, in reverse mode.

        Args:
            x: in 0..1 [-], (n,).
            weights: w of the objective and the simulated limits, (`simulated`,).

        Returns:
            w J by each x, (n,).
        """
        return self._first(REVERSE, x, weights)

    def _first(self, mode: str, x: ArrayLike, seed: ArrayLike) -> np.ndarray:
        """One product; it uses the program of `linearise` where that has this mode, so that no other is compiled."""
        width = len(self.variables) if mode == FORWARD else self.simulated
        seeds = jnp.zeros((self._rows(mode), width)).at[0].set(jnp.asarray(seed, jnp.float64))
        return np.asarray(self._products(jnp.asarray(x, jnp.float64), seeds, self.inputs, mode)[0])

    def _jit(self, function: Callable, **how: Any) -> Callable:
        return jax.jit(function, compiler_options=dict(self.compiler_options or {}) or None, **how)

    def _rows(self, mode: str) -> int:
        """Number of seeds of the compiled products: a whole Jacobian in the cheaper mode, one product in the other."""
        if mode != self.mode:
            return 1
        return len(self.variables) if mode == FORWARD else self.simulated

    def _whole(self, x: Array, inputs: Any) -> Outcome:
        """Objective and all limits, those that take no simulation last."""
        outcome = self.function(x, inputs)
        if self.closed is None:
            return outcome
        return outcome._replace(limits=_joined(outcome.limits, self.closed(x, inputs)))

    @cached_property
    def _one(self) -> Callable[..., Outcome]:
        return self._jit(self._whole)

    @cached_property
    def _many(self) -> Callable[..., Outcome]:
        return self._jit(jax.vmap(self._whole, in_axes=(0, None)))

    @cached_property
    def _compiled(self) -> Callable[..., tuple[Outcome, Array]]:
        return self._jit(self._seeded, static_argnums=3)

    def _products(self, x: Array, seeds: Array, inputs: Any, mode: str) -> Array:
        return self._compiled(x, seeds, inputs, mode)[1]

    def _linearised(self, x: Array, seeds: Array, inputs: Any, mode: str) -> Linearised:
        outcome, products = self._compiled(x, seeds, inputs, mode)
        jacobian = products.T if mode == FORWARD else products
        if self.closed is not None:
            excess, slopes = self._closed_compiled(x, inputs)
            outcome = outcome._replace(limits=_joined(outcome.limits, excess))
            jacobian = jnp.concatenate([jacobian, slopes])
        return Linearised(outcome, jacobian)

    @cached_property
    def _closed_compiled(self) -> Callable[..., tuple[Array, Array]]:
        assert self.closed is not None
        closed = self.closed
        return jax.jit(lambda x, inputs: (closed(x, inputs), jax.jacfwd(closed)(x, inputs)))

    def _seeded(self, x: Array, seeds: Array, inputs: Any, mode: str) -> tuple[Outcome, Array]:
        """The outcome, and the products of the Jacobian with some seeds (r, .), of its transpose in reverse mode."""

        def outputs(x: Array) -> tuple[Array, Array]:
            outcome = self.function(x, inputs)
            if outcome.limits.shape[0] != self.simulated - 1:
                raise ValueError(f"{outcome.limits.shape[0]} limits are simulated, {self.simulated - 1} have a name")
            return _joined(outcome.objective[None], outcome.limits), outcome.status

        if mode == FORWARD:
            along = jax.vmap(lambda seed: jax.jvp(outputs, (x,), (seed,), has_aux=True), out_axes=(None, 0, None))
            values, products, status = along(seeds)
        else:
            values, back, status = jax.vjp(outputs, x, has_aux=True)
            products = jax.vmap(lambda seed: back(seed)[0])(seeds)
        return Outcome(values[0], values[1:], status), products


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

    def multiples(self, x: ArrayLike, factors: ArrayLike) -> Outcome:
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
        other = "float64" if numerics.precision == "float32" else "float32"
        return Program(
            self._outcome,
            (self.model, self.state, self.schedule),
            tuple(variable.name for variable in self.variables),
            tuple(name for limit in (*simulated, *closed) for name in limit.names(rows)),
            self._closed_excess if closed else None,
            (*in_precision(self.model, self.state, other), self.schedule),
            numerics.precision,
            COMPILER_OPTIONS.get(jax.default_backend()),
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
    fields = {name: cast(getattr(solved, name)) for name in ("oxygen", "tissue", "excess", "arrival", "carried")}
    solved = dataclasses.replace(solved, circulation=circulation, **fields)
    return dataclasses.replace(model, numerics=numerics), state.replace(voxel=cast(state.voxel), quasi_steady=solved)


def _stacked(limits: tuple[Limit, ...], course: Course) -> Float[Array, " c"]:
    """Excess of all of some limits, end to end."""
    return _joined(*(limit.excess(course) for limit in limits))


def _joined(*parts: Array) -> Float[Array, " c"]:
    """Vectors end to end; empty ones stay out, for the compiler dies of the transpose of an empty part (XLA, 0.10)."""
    filled = [part for part in parts if part.shape[0]]
    return jnp.concatenate(filled) if filled else jnp.zeros(0)


def _host(tree: Any) -> Any:
    return jax.tree.map(np.asarray, tree)
