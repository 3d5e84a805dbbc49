"""The therapeutic window: doses whose gain is worth having while every limit is kept, with the band of its factors.

A window rests on factors that are assumed or fitted, the amplifications by the host first of all; so none is given
without the windows at both ends of their ranges. All of them are runs of one compiled program with other inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from hepatojax.assembly import with_parameters
from hepatojax.parameters.registry import ParameterRow, Parameters
from hepatojax.scenario import ROUTES
from hepatojax.status import Status
from hepatojax.studies.interval import Window, find_window
from hepatojax.studies.objective import StudyError
from hepatojax.studies.problem import DoseProblem, program_of
from hepatojax.studies.program import Program
from hepatojax.studies.variables import Variable
from hepatojax.therapy.product import CellProduct
from hepatojax.tissue.geometry import Lobule

DOSES, SHARE = 15, 0.05
AMPLIFICATION = "amplification."
NO_BAND = "give at least one uncertain factor; a window without its band is not shown"


class Factor(NamedTuple):
    """An uncertain number that a window depends on.

    Attributes:
        name: as in the registry.
        unit: of the three numbers below.
        value: the nominal one.
        low: lower end of its range.
        high: upper end of its range.
        inputs: inputs of the program, and a value -> the inputs with that value.
    """

    name: str
    unit: str
    value: float
    low: float
    high: float
    inputs: Callable[[Any, float], Any]


class FactorWindows(NamedTuple):
    """The windows at both ends of the range of a factor, everything else as it was.

    Attributes:
        factor: what is moved.
        at_low: at the lower end of its range.
        at_high: at the upper end.
    """

    factor: Factor
    at_low: Window
    at_high: Window


@dataclass(frozen=True)
class WindowStudy:
    """A window and the band in which uncertain factors move it; there is no way to have one without the other.

    Attributes:
        name: what it is of, such as the route.
        variable: the amount that is chosen.
        limits: their names.
        window: at the nominal value of every factor.
        band: of each factor.

    Raises:
        StudyError: without any factor.
    """

    name: str
    variable: Variable
    limits: tuple[str, ...]
    window: Window
    band: tuple[FactorWindows, ...]

    def __post_init__(self) -> None:
        if not self.band:
            raise StudyError(f"window: {NO_BAND}")

    @property
    def windows(self) -> tuple[Window, ...]:
        """Every window: the nominal one and those of the band."""
        return (self.window, *(w for each in self.band for w in (each.at_low, each.at_high)))

    @property
    def emptied(self) -> tuple[str, ...]:
        """Ends of factors at which there is no window, such as "amplification.licensing low"."""
        return tuple(name for name, window in self._ends if window.verdict.known and not window.open)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Ends of factors at which the window, or an end of it, is not known; the band is then at least as wide."""
        return tuple(name for name, window in self._ends if not window.converged)

    @property
    def _ends(self) -> list[tuple[str, Window]]:
        return [(f"{b.factor.name} {end}", w) for b in self.band for end, w in zip(("low", "high"), b[1:], strict=True)]

    def moved(self, part: str) -> tuple[float, float] | None:
        """Lowest and highest dose of a part of the window over all windows that are not empty.

        Where some are `unknown` the true range is at least as wide as this one.

        Args:
            part: "lower", "best" or "upper".

        Returns:
            Two doses [cells/kg]; None if every window is empty.
        """
        parts = [getattr(window, part) for window in self.windows if window.open]
        doses = [each.dose for each in parts]
        return (min(doses), max(doses)) if doses else None

    @property
    def common(self) -> tuple[float, float] | None:
        """Doses [cells/kg] inside every window, the nominal one and those of the band.

        None if there are none, or if one of the windows is empty or not known.
        """
        ends = [(w.lower.dose, w.upper.dose) for w in self.windows if w.lower is not None and w.upper is not None]
        if len(ends) < len(self.windows):
            return None
        low, high = max(low for low, _ in ends), min(high for _, high in ends)
        return (low, high) if low <= high else None

    @property
    def failures(self) -> tuple[Status, ...]:
        """How simulations failed, over all windows; a dead liver is no failure, it is a result."""
        found = {status for window in self.windows for status in window.failures}
        return tuple(sorted(found - {Status.DEAD_LIVER}))


def therapeutic_window(
    problem: DoseProblem | Program,
    least_gain: float,
    factors: Sequence[Factor],
    *,
    share: float = SHARE,
    doses: int = DOSES,
    variable: Variable | None = None,
    name: str = "",
    on_window: Callable[[str, Window], None] | None = None,
) -> WindowStudy:
    """The therapeutic window of the amount of one infusion, with its band.

        gain(dose) = objective(dose) - objective(without that infusion)
        window = first interval of doses with gain >= least_gain and every excess <= 0

    A coarse scan brackets its edges; Newton's method finds them to 1e-4 of the logarithmic range of the variable. What
    happens between two scanned doses is not seen, but for a window that fits between them where no scanned dose is
    inside. The band holds the same windows at both ends of each factor; one compiled program serves all.

    Args:
        problem: with one variable, the amount of an infusion on a logarithmic scale.
        least_gain: smallest gain worth having, in the unit of the objective.
        factors: whose ranges make the band, see `amplification_factors`.
        share: of the best gain that may be lost in the flat range [-].
        doses: of the scan.
        variable: of a bare `Program`; a `DoseProblem` brings its own.
        name: what the window is of.
        on_window: called with a name and each window that is done.

    Returns:
        The window with its band; an empty one is a result, and its `reason` says why.

    Raises:
        StudyError: another number of variables, one that is no amount or not logarithmic, no factor, or a number out of
            its range.
    """
    program = program_of(problem)
    if isinstance(problem, DoseProblem):
        variable = problem.variables[0]
    variable = _checked(program, variable, least_gain, share, doses, factors)

    def window(inputs: Any, what: str) -> Window:
        found = find_window(program.with_inputs(inputs), variable, least_gain, share, doses)
        if on_window is not None:
            on_window(what, found)
        return found

    nominal = window(program.inputs, f"{name} nominal".strip())
    band = []
    for factor in factors:
        ends = [
            window(factor.inputs(program.inputs, value), f"{name} {factor.name} {value:g}".strip())
            for value in (factor.low, factor.high)
        ]
        band.append(FactorWindows(factor, *ends))
    return WindowStudy(name or variable.name, variable, program.limits, nominal, tuple(band))


def windows_by(
    problem: DoseProblem,
    least_gain: float,
    factors: Sequence[Factor],
    routes: Sequence[str],
    products: Mapping[str, CellProduct] | None = None,
    *,
    share: float = SHARE,
    doses: int = DOSES,
    on_window: Callable[[str, Window], None] | None = None,
) -> tuple[WindowStudy, ...]:
    """The same window by several routes and with several products, on one compiled program.

    Args:
        problem: as of `therapeutic_window`.
        least_gain: smallest gain worth having, in the unit of the objective.
        factors: whose ranges make the band of each window.
        routes: of `hepatojax.scenario.ROUTES`; each gets the whole infusion.
        products: name -> product; that of the model alone by default.
        share: of the best gain that may be lost in the flat range [-].
        doses: of the scan.
        on_window: called with a name and each window that is done.

    Returns:
        A study for each route and product, the products of one route side by side.

    Raises:
        StudyError: an unknown route, or see `therapeutic_window`.
    """
    _check_variables(problem.program.variables)
    studies, variable = [], problem.variables[0]
    every = products or {"": problem.model.product}
    options: dict[str, Any] = {"share": share, "doses": doses, "variable": variable, "on_window": on_window}
    for route in routes:
        schedule = _by_route(problem, route)
        for label, product in every.items():
            model = replace(problem.model, product=_alike(product, problem.model.product))
            program = problem.program.with_inputs((model, problem.state, schedule))
            name = f"{route}, {label}" if label else route
            studies.append(therapeutic_window(program, least_gain, factors, name=name, **options))
    return tuple(studies)


def amplification_factors(
    parameters: Parameters, names: Sequence[str] = (), healthy: Lobule | None = None
) -> tuple[Factor, ...]:
    """Factors out of the registry, for a `DoseProblem`; those by which the host amplifies the cells by default.

    A value acts on the model and on its rest, which is derived anew. The start state is not changed: it must not depend
    on the factor, as that of a patient who has had no cells does not depend on an amplification.

    Args:
        parameters: the registry of the model.
        names: "subject.name".
        healthy: lobule without its septa, see `with_parameters`.

    Returns:
        One factor for each name, with its range in the unit of the registry.

    Raises:
        StudyError: an unknown name.

    Reference: BIOLOGY A8, named amplification.
    """
    rows = {row.name: row for row in parameters.table()}
    names = names or [name for name in rows if name.startswith(AMPLIFICATION)]
    for name in names:
        if name not in rows:
            raise StudyError(f"factor {name}: no such parameter")
    nominal = {name: float(rows[name].value) for name in names}
    derived = jax.jit(lambda model, values: with_parameters(model, parameters, values, healthy))

    def inputs_of(row: ParameterRow) -> Callable[[Any, float], Any]:
        def inputs(given: Any, value: float) -> Any:
            model = derived(given[0], {**nominal, row.name: value})
            return (_alike(model, given[0]), *given[1:])

        return inputs

    chosen = [rows[name] for name in names]
    return tuple(
        Factor(row.name, row.unit, float(row.value), float(row.low), float(row.high), inputs_of(row)) for row in chosen
    )


def _alike(new: Any, old: Any) -> Any:
    """A pytree with numbers of the same types as another, so that a program is not compiled for it anew."""

    def cast(new: Any, old: Any) -> Any:
        return float(new) if isinstance(old, (int, float)) else jnp.asarray(new, jnp.asarray(old).dtype)

    return jax.tree.map(cast, new, old)


def _by_route(problem: DoseProblem, route: str) -> Any:
    """The schedule with the infusion of the variable given by one route alone."""
    if route not in ROUTES:
        raise StudyError(f"route is {route!r}; allowed: {', '.join(ROUTES)}")
    row, mix = problem.variables[0].row, jnp.asarray([float(route == each) for each in ROUTES])
    return replace(problem.schedule, route_mix=problem.schedule.route_mix.at[row].set(mix))


def _check_variables(names: Sequence[str]) -> None:
    if len(names) != 1:
        raise StudyError(f"window: wants one variable, the amount of an infusion; there are {len(names)}")


def _checked(
    program: Program, variable: Variable | None, least_gain: float, share: float, doses: int, factors: Sequence[Factor]
) -> Variable:
    """The variable, if everything fits."""
    _check_variables(program.variables)
    if variable is None:
        raise StudyError("window: a bare program wants `variable`, which says what dose a place is")
    if variable.entry != "cells_per_kg" or variable.scale != "log":
        raise StudyError(f'window: variable {variable.name} must be cells_per_kg[i] on the scale "log"')
    if not 0.0 < least_gain < math.inf:
        raise StudyError(f"window: least_gain is {least_gain}; wants a finite number above zero")
    if not 0.0 < share < 1.0:
        raise StudyError(f"window: share is {share}; wants a number between 0 and 1")
    if doses < 3:
        raise StudyError(f"window: doses is {doses}; wants at least 3")
    if not factors:
        raise StudyError(f"window: {NO_BAND}")
    return variable
