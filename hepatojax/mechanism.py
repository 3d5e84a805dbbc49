"""What a mechanism is: the fields it reads and writes, its kind, and the rates that it returns.

Three kinds exist. An *algebraic* mechanism returns derived fields. A *slow* mechanism returns production and
loss rates of states, and named transfers between them, so that dy/dt = P - D y. The *quasi-steady* fields (flow,
oxygen, signals) are solved by `hepatojax.coupling`; `hepatojax.model` declares them as provided.

A mechanism touches nothing but what it returns: it knows neither the grid nor the length of a step. What it reads and
writes is declared, so that a list of mechanisms is checked before the first step and each state has one owner.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, dataclass_transform

import jax

T = TypeVar("T", bound=type)

MEAN = "mean_"  # a mechanism that reads mean_x gets the volume mean of the field x


def static(**keywords: Any) -> Any:
    """A dataclass field that belongs to the structure of a pytree and not to its leaves.

    Args:
        keywords: of `dataclasses.field`, such as a default.

    Returns:
        The field, marked; its value must be hashable, and a change of it compiles anew.
    """
    return dataclasses.field(metadata={"static": True}, **keywords)


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, static))
def pytree(cls: T) -> T:
    """Make a class a frozen dataclass that JAX treats as a container of arrays.

    A field declared with `static()` is part of the structure (hashable, not traced); every other field is a leaf
    or a sub-tree that a gradient may touch. Unflattening skips `__init__`, so that JAX may fill the tree with
    placeholders.

    Args:
        cls: a class whose body is annotated like that of a dataclass.

    Returns:
        The same class, frozen and registered; its leaves carry their field names in paths.
    """
    cls = dataclass(frozen=True)(cls)  # type: ignore[assignment]
    names = tuple(f.name for f in dataclasses.fields(cls) if not f.metadata.get("static"))
    fixed = tuple(f.name for f in dataclasses.fields(cls) if f.metadata.get("static"))

    def flatten(obj: Any) -> tuple[tuple, tuple]:
        return tuple(getattr(obj, n) for n in names), tuple(getattr(obj, n) for n in fixed)

    def flatten_with_keys(obj: Any) -> tuple[tuple, tuple]:
        children, auxiliary = flatten(obj)
        return tuple(zip((jax.tree_util.GetAttrKey(n) for n in names), children, strict=True)), auxiliary

    def unflatten(auxiliary: Iterable, children: Iterable) -> Any:
        obj = object.__new__(cls)
        for name, value in zip((*names, *fixed), (*children, *auxiliary), strict=True):
            object.__setattr__(obj, name, value)
        return obj

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls


@dataclass(frozen=True)
class FieldSpec:
    """One entry of the field table: what a field is, where it lives and what it may hold.

    Attributes:
        name: the name used by mechanisms and in files.
        unit: canonical unit, as in `hepatojax.units`.
        location: "voxel" (nz, ny, nx) or "body" (scalar).
        kind: "state" (stepped), "quasi_steady" (solved), "algebraic" (derived), or "input" (given).
        meaning: one line for tables and file attributes.
        low: physical lower bound [unit], None where there is none.
        high: physical upper bound [unit], None where there is none.
        diluted: True for a density that falls when the lobule grows, at constant amount.
    """

    name: str
    unit: str
    location: str
    kind: str
    meaning: str
    low: float | None = 0.0
    high: float | None = None
    diluted: bool = False


class Fields(Mapping[str, Any]):
    """Named fields, read as attributes: `fields.tnf`. Immutable and a pytree; `with_` returns an extended copy.

    Args:
        values: name -> array, (nz, ny, nx) for a voxel field and a scalar for one of the body; the field table of
            `FieldSpec` says the unit.
    """

    def __init__(self, values: Mapping[str, Any]):
        object.__setattr__(self, "_values", dict(values))

    def __getattr__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(f"no field named {name!r}; there are {', '.join(sorted(self._values))}") from None

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def with_(self, values: Mapping[str, Any]) -> Fields:
        """The same fields with some added or replaced.

        Args:
            values: name -> array, (nz, ny, nx) or a scalar.

        Returns:
            A copy; the arrays themselves are shared.
        """
        return Fields({**self._values, **values})


jax.tree_util.register_pytree_with_keys(
    Fields,
    lambda fields: (
        tuple((jax.tree_util.DictKey(name), fields[name]) for name in sorted(fields)),
        tuple(sorted(fields)),
    ),
    lambda names, values: Fields(dict(zip(names, values, strict=True))),
)


@pytree
class Transfer:
    """Cells that leave one state for another.

        d source/dt = - k source + ...,   d target/dt = gain k source + ...

    Attributes:
        source: name of the state that loses.
        target: name of the state that gains.
        rate: k, a coefficient [1/h], an array of the shape of the source.
        gain: 1 for a conservative move, 2 for a division that returns two cells [-].
    """

    source: str = static()
    target: str = static()
    rate: Any
    gain: float = static(default=1.0)


@pytree
class Rates:
    """Rates of some states in the form dy/dt = P - D y + transfers.

    Attributes:
        production: state -> P [unit/h], >= 0, in the shape of the state or a scalar.
        loss: state -> D [1/h], >= 0, likewise.
        transfers: moves between states, which the stepper integrates so that what one state loses another gains to the
            last bit. A transfer's rate is not repeated in `loss`.
    """

    production: dict[str, Any] = dataclasses.field(default_factory=dict)
    loss: dict[str, Any] = dataclasses.field(default_factory=dict)
    transfers: tuple[Transfer, ...] = ()


@pytree
class Arrival:
    """Matter that enters a state during one step; s is the share of the step that has passed when a part dA enters.

        amount = int dA,   early = int (1 - s)^2 dA,   between = int 2 s (1 - s) dA

    Rates see `early` from the start of the step, and `between` growing from nothing to its whole at the end. Then an
    effect weighs 1 - s, the effect of an effect (1 - s)^2, and both value and slope follow an arrival over an edge.

    Attributes:
        amount: all that enters [unit of the state], >= 0; of a density, per volume at the start of the step.
        early: its part that counts from the start, same unit and shape.
        between: its part that comes up during the step, same unit and shape.

    Reference: NUMERICS decision 8.
    """

    amount: Any
    early: Any
    between: Any

    @property
    def mean(self) -> Any:
        """Mean over the step of what has entered so far, int (1 - s) dA [unit of the state]."""
        return self.early + 0.5 * self.between


def bolus(amount: Any, passed: Any) -> Arrival:
    """An arrival at one moment.

        early = (1 - s)^2 A,   between = 2 s (1 - s) A

    Args:
        amount: A [unit of the state], in its shape or a scalar.
        passed: s, share of the step before it [-].

    Returns:
        The arrival, in the unit and shape of `amount`.
    """
    return Arrival(amount, amount * (1.0 - passed) ** 2, amount * 2.0 * passed * (1.0 - passed))


@dataclass(frozen=True)
class Mechanism:
    """A declared mechanism: `function(fields, parameters)` with what it reads and writes.

    Attributes:
        name: of the function, for messages.
        kind: "slow" or "algebraic".
        reads: names of the fields it is given; mean_x asks for the volume mean of x.
        writes: names of the states it steps, or of the fields it derives.
        function: returns `Rates` if the kind is "slow", a dict of fields if it is "algebraic".
    """

    name: str
    kind: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    function: Callable[[Fields, Any], Any]

    def __call__(self, fields: Fields, parameters: Any) -> Any:
        """Rates or derived fields at given fields and parameters.

        Args:
            fields: at least those that it reads, (nz, ny, nx) or scalars.
            parameters: of its registry subject, in canonical units.

        Returns:
            `Rates` [unit/h and 1/h], or name -> derived field in its unit.
        """
        return self.function(fields, parameters)


def slow(*, reads: tuple[str, ...], writes: tuple[str, ...]) -> Callable[[Callable], Mechanism]:
    """Declare a mechanism that returns `Rates` of the states it writes.

    Args:
        reads: names of fields; mean_x asks for the volume mean of x.
        writes: names of states; no other mechanism may write them.

    Returns:
        A decorator that makes a `Mechanism` of a function of fields and parameters.
    """
    return lambda function: _declare(function, "slow", reads, writes)


def algebraic(*, reads: tuple[str, ...], writes: tuple[str, ...]) -> Callable[[Callable], Mechanism]:
    """Declare a mechanism that returns a dict of the derived fields it writes.

    Args:
        reads: names of fields that inputs, states or earlier mechanisms provide; mean_x asks for the volume mean of x.
        writes: names of derived fields; no other mechanism may write them.

    Returns:
        A decorator that makes a `Mechanism` of a function of fields and parameters.
    """
    return lambda function: _declare(function, "algebraic", reads, writes)


def _declare(function: Callable, kind: str, reads: tuple[str, ...], writes: tuple[str, ...]) -> Mechanism:
    mechanism = Mechanism(function.__name__, kind, reads, writes, function)
    object.__setattr__(mechanism, "__doc__", function.__doc__)
    return mechanism


class CompositionError(ValueError):
    """The mechanisms do not fit together: a field is read that nobody provides, or written twice."""


def check_composition(mechanisms: tuple[Mechanism, ...], provided: tuple[str, ...], states: tuple[str, ...]) -> None:
    """Refuse a list of mechanisms that reads an unknown field or writes one twice.

    Args:
        mechanisms: in the order of evaluation; an algebraic field must be written before it is read.
        provided: names of inputs and quasi-steady fields.
        states: names of the slow states; each must be written by exactly one slow mechanism.

    Raises:
        CompositionError: one sentence that names the mechanism and the field.
    """
    writer = dict.fromkeys(provided, "the model")
    known = set(provided) | set(states)
    for mechanism in mechanisms:
        for name in mechanism.reads:
            if name.removeprefix(MEAN) not in known:
                raise CompositionError(f"{mechanism.name} reads {name!r}, which no earlier mechanism provides")
        for name in mechanism.writes:
            if name in writer:
                raise CompositionError(f"{name!r} is written by {writer[name]} and again by {mechanism.name}")
            if mechanism.kind == "slow" and name not in states:
                raise CompositionError(f"{mechanism.name} steps {name!r}, which is not a declared state")
            writer[name] = mechanism.name
        known |= set(mechanism.writes)
    orphans = [name for name in states if name not in writer]
    if orphans:
        raise CompositionError(f"no mechanism steps the state {orphans[0]!r}")
