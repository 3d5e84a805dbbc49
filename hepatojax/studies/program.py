"""A function of a place x in 0..1 to be maximised under limits, as solvers see it: values and Jacobian, compiled once.

Its inputs are arguments of the compiled function and not constants in it, so that a window, a front or several patients
are compiled once. Limits that take no simulation stand apart, since their Jacobian is cheap. The Jacobian is taken in
the mode that needs fewer products.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from hepatojax.status import Status
from hepatojax.studies.batch import RUNS_AT_ONCE
from hepatojax.studies.compiled import Compiled, Programs

ROUND_OFF = {"float32": 1e-5, "float64": 1e-12}
OTHER_PRECISION = {"float32": "float64", "float64": "float32"}
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
        programs: where compiled derivatives are kept between processes, see `hepatojax.studies.compiled`.
    """

    function: Callable[[Array, Any], Outcome]
    inputs: Any
    variables: tuple[str, ...]
    limits: tuple[str, ...] = ()
    closed: Callable[[Array, Any], Array] | None = None
    twin: Any = None
    precision: str = "float64"
    compiler_options: Mapping[str, Any] | None = None
    programs: Programs | None = None

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
        other = OTHER_PRECISION[self.precision]
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

    def outputs(self, x: Array, inputs: Any) -> tuple[Float[Array, " m"], Int[Array, ""]]:
        """What a simulation gives, traced: its numbers in one vector, to be differentiated, and its status.

        Args:
            x: in 0..1 [-], (n,).
            inputs: of the structure of those of this program.

        Returns:
            The objective and the simulated limits, (`simulated`,), and the `Status` code.

        Raises:
            ValueError: the limits that are simulated are more or fewer than those with a name.
        """
        outcome = self._named(x, inputs)
        return joined(outcome.objective[None], outcome.limits), outcome.status

    def differentiated(self, x: Array, inputs: Any) -> Linearised:
        """`linearise` of any inputs, traced, to be mapped over several of them.

        Args:
            x: in 0..1 [-], (n,).
            inputs: of the structure of those of this program.

        Returns:
            The outcome, and the derivatives of objective and limits by x, (1 + c, n).

        Raises:
            ValueError: see `outputs`.
        """
        outcome, products = self._seeded(x, jnp.eye(self._rows(self.mode)), inputs, self.mode)
        closed = None if self.closed is None else self._closed_linearised(x, inputs)
        return _whole_jacobian(outcome, products, self.mode, closed)

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

    def kept(self, function: Callable, of: Callable, name: str) -> Compiled:
        """A function compiled as this program is, and kept where its programs are.

        Args:
            function: made by code of this package out of what `of` computes, and of nothing else.
            of: `whole`, or `outputs` where limits without simulation take no part, as a function of the same arguments.
            name: tells functions apart that are made of the same.

        Returns:
            The compiled function.
        """
        return Compiled(function, of, name, self.programs, self.compiler_options)

    def _rows(self, mode: str) -> int:
        """Number of seeds of the compiled products: a whole Jacobian in the cheaper mode, one product in the other."""
        if mode != self.mode:
            return 1
        return len(self.variables) if mode == FORWARD else self.simulated

    def whole(self, x: Array, inputs: Any) -> Outcome:
        """The outcome with all limits, traced, those that take no simulation last.

        Args:
            x: in 0..1 [-], (n,).
            inputs: of the structure of those of this program.

        Returns:
            The objective, every excess in the order of `limits`, and the `Status` code.

        Raises:
            ValueError: see `outputs`.
        """
        outcome = self._named(x, inputs)
        if self.closed is None:
            return outcome
        return outcome._replace(limits=joined(outcome.limits, self.closed(x, inputs)))

    def _named(self, x: Array, inputs: Any) -> Outcome:
        outcome = self.function(x, inputs)
        if outcome.limits.shape[0] != self.simulated - 1:
            raise ValueError(f"{outcome.limits.shape[0]} limits are simulated, {self.simulated - 1} have a name")
        return outcome

    @cached_property
    def _one(self) -> Callable[..., Outcome]:
        return self._jit(self.whole)

    @cached_property
    def _many(self) -> Callable[..., Outcome]:
        return self._jit(jax.vmap(self.whole, in_axes=(0, None)))

    def _jit(self, function: Callable) -> Callable:
        return jax.jit(function, compiler_options=dict(self.compiler_options or {}) or None)

    @cached_property
    def _compiled(self) -> dict[str, Compiled]:
        """Products of the Jacobian in each mode."""
        return {mode: self._in_mode(mode) for mode in (FORWARD, REVERSE)}

    def _in_mode(self, mode: str) -> Compiled:
        return self.kept(
            lambda x, seeds, inputs: self._seeded(x, seeds, inputs, mode),
            lambda x, _, inputs: self.outputs(x, inputs),
            mode,
        )

    def _products(self, x: Array, seeds: Array, inputs: Any, mode: str) -> Array:
        return self._compiled[mode](x, seeds, inputs)[1]

    def _linearised(self, x: Array, seeds: Array, inputs: Any, mode: str) -> Linearised:
        outcome, products = self._compiled[mode](x, seeds, inputs)
        closed = None if self.closed is None else self._closed_compiled(x, inputs)
        return _whole_jacobian(outcome, products, mode, closed)

    @cached_property
    def _closed_compiled(self) -> Callable[..., tuple[Array, Array]]:
        return jax.jit(self._closed_linearised)

    def _closed_linearised(self, x: Array, inputs: Any) -> tuple[Array, Array]:
        """Excess of the limits that take no simulation, and its Jacobian."""
        assert self.closed is not None
        return self.closed(x, inputs), jax.jacfwd(self.closed)(x, inputs)

    def _seeded(self, x: Array, seeds: Array, inputs: Any, mode: str) -> tuple[Outcome, Array]:
        """The outcome, and the products of the Jacobian with some seeds (r, .), of its transpose in reverse mode."""
        outputs = partial(self.outputs, inputs=inputs)
        if mode == FORWARD:
            along = jax.vmap(lambda seed: jax.jvp(outputs, (x,), (seed,), has_aux=True), out_axes=(None, 0, None))
            values, products, status = along(seeds)
        else:
            values, back, status = jax.vjp(outputs, x, has_aux=True)
            products = jax.vmap(lambda seed: back(seed)[0])(seeds)
        return Outcome(values[0], values[1:], status), products


def _whole_jacobian(outcome: Outcome, products: Array, mode: str, closed: tuple[Array, Array] | None) -> Linearised:
    """All that a Jacobian's products with unit seeds tell, and below it the limits that take no simulation."""
    jacobian = products.T if mode == FORWARD else products
    if closed is None:
        return Linearised(outcome, jacobian)
    excess, slopes = closed
    outcome = outcome._replace(limits=joined(outcome.limits, excess))
    return Linearised(outcome, jnp.concatenate([jacobian, slopes]))


def joined(*parts: Array) -> Float[Array, " c"]:
    """Vectors end to end; empty ones stay out, for the compiler dies of the transpose of an empty part (XLA, 0.10).

    Args:
        parts: vectors [any unit], each (n,).

    Returns:
        One vector of all their entries.
    """
    filled = [part for part in parts if part.shape[0]]
    return jnp.concatenate(filled) if filled else jnp.zeros(0)


def _host(tree: Any) -> Any:
    return jax.tree.map(np.asarray, tree)
