"""What an attribute of the product is worth in cells: the dose of equal gain, and its exact derivative.

Gain is what the infusion adds over the same product without it. At equal gain the dose is an implicit function of the
attribute, so that its slope needs two Jacobians and no second search.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from hepatojax.status import SimulationError, Status
from hepatojax.studies.line import FailedPlace, Reading, crossing
from hepatojax.studies.objective import StudyError
from hepatojax.studies.problem import DoseProblem, program_of
from hepatojax.studies.program import Linearised, Outcome, Program
from hepatojax.studies.variables import Variable

DOSES = 15


class EquivalentDose(NamedTuple):
    """The dose that earns the wanted gain with one value of an attribute.

    Attributes:
        value: of the attribute, in its unit.
        dose: smallest such dose [cells/kg], nan if there is none.
        slope: d log dose / d value at equal gain, by the derivative of the simulation [1 / unit of the attribute].
        limits: excess of each limit there [-], (c,).
        converged: whether the dose is known to the tolerance.
        reason: why there is none; empty if there is one.
    """

    value: float
    dose: float
    slope: float
    limits: Float[np.ndarray, " c"]
    converged: bool
    reason: str

    @property
    def elasticity(self) -> float:
        """d log dose / d log value [-]: -1 where half the dose does with twice the attribute."""
        return self.slope * self.value


def equivalent_doses(
    problem: DoseProblem | Program,
    gain: float,
    values: Sequence[float],
    *,
    doses: int = DOSES,
    variables: Sequence[Variable] = (),
) -> tuple[EquivalentDose, ...]:
    """The smallest dose of equal gain for several values of an attribute of the product, with its derivative.

        g(dose, value) = objective(dose, value) - objective(0, value) = gain
        d dose / d value = -(d g / d value) / (d g / d dose)

    by a scan over the doses and Newton's method, as the edges of a therapeutic window are found; the derivative is that
    of the implicit function. Other infusions of the schedule stay, and what the attribute does for them is no gain.

    Args:
        problem: with two variables, the amount of one infusion on a logarithmic scale and then an entry of the product.
        gain: wanted, in the unit of the objective.
        values: of the attribute, in its unit and within its bounds.
        doses: of the scan.
        variables: of a bare `Program`; a `DoseProblem` brings its own.

    Returns:
        One for each value, in their order.

    Raises:
        StudyError: other variables, a gain that is not positive, or a value out of its bounds.
    """
    program = program_of(problem)
    variables = problem.variables if isinstance(problem, DoseProblem) else variables
    _check_variables(variables, 1)
    if not 0.0 < gain < math.inf:
        raise StudyError(f"equivalence: gain is {gain}; wants a finite number above zero")
    if doses < 3:
        raise StudyError(f"equivalence: doses is {doses}; wants at least 3")
    amount, attribute = variables
    for value in values:
        if not attribute.low <= value <= attribute.high:
            raise StudyError(
                f"{attribute.name}: {value:g} leaves the bounds of the variable, {attribute.low:g}..{attribute.high:g}"
            )
    return tuple(_equivalent(program, amount, attribute, gain, float(value), doses) for value in values)


def elasticities(
    program: Program, variables: Sequence[Variable], dose: float, values: Sequence[float]
) -> dict[str, float]:
    """What a little more of each attribute of the product is worth: d log dose / d log attribute at equal gain [-].

    By two Jacobians, with the dose and without it.

    Args:
        program: of the variables.
        variables: the amount of one infusion on a logarithmic scale, and then entries of the product.
        dose: [cells/kg].
        values: of each entry of the product, in its unit.

    Returns:
        Entry -> elasticity: -1 where twice as much of it halves the dose.

    Raises:
        StudyError: other variables. SimulationError: the simulation fails there.
    """
    _check_variables(variables, len(values))
    amount, *attributes = variables
    beside = [attribute.place(value) for attribute, value in zip(attributes, values, strict=True)]
    found = (program.linearise(np.asarray([x, *beside])) for x in (amount.place(dose), -math.inf))
    here, without = (each.without_limits for each in found)
    for each in (here, without):
        if not each.ok:
            raise SimulationError(each.status, f"no elasticity: {each.status.describe()}")
    slopes = _slopes(here, without, variables, beside)
    return {each.entry: slope * value for each, slope, value in zip(attributes, slopes, values, strict=True)}


def _check_variables(variables: Sequence[Variable], attributes: int) -> None:
    """Refuse anything but an amount on a logarithmic scale and then so many entries of the product."""
    fits = len(variables) == 1 + attributes and variables[0].entry == "cells_per_kg" and variables[0].scale == "log"
    if not fits or any(variable.row is not None for variable in variables[1:]):
        names = [variable.name for variable in variables]
        raise StudyError(
            f'equivalence: wants cells_per_kg[i] on the scale "log" and then {attributes} of the product; got {names}'
        )


def _slopes(
    here: Linearised, without: Linearised, variables: Sequence[Variable], beside: Sequence[float]
) -> list[float]:
    """d log dose / d value of each attribute at equal gain, by the derivative of the implicit function.

        -(d f / d value - d f0 / d value) / (d f / d log dose),   f0 without the dose

    Args:
        here: with the dose.
        without: without it.
        variables: the amount and then the attributes.
        beside: places of the attributes [-].

    Returns:
        The slopes [1 / unit of the attribute].
    """
    amount, *attributes = variables
    by_log_dose = here.jacobian[0, 0] / math.log(amount.high / amount.low)
    by_place = (here.jacobian[0] - without.jacobian[0])[1:]
    by_value = [b / float(jax.grad(v.value)(x)) for b, v, x in zip(by_place, attributes, beside, strict=True)]
    return [float(-each / by_log_dose) for each in by_value]


def _equivalent(
    program: Program, amount: Variable, attribute: Variable, gain: float, value: float, doses: int
) -> EquivalentDose:
    """The dose for one value: bracketed by the scan, found by Newton's method; a reason where there is none."""
    beside, scan = attribute.place(value), np.linspace(0.0, 1.0, doses)
    outcome = program.evaluate_many(np.column_stack([[-math.inf, *scan], np.full(doses + 1, beside)]))

    def none(reason: str) -> EquivalentDose:
        return EquivalentDose(value, math.nan, math.nan, np.full(outcome.limits.shape[1], math.nan), False, reason)

    status = _status(outcome)
    if status != Status.OK:
        return none(f"a run of the scan failed: {status.statement}")
    untreated, over = float(outcome.objective[0]), outcome.objective[1:] - outcome.objective[0] - gain
    reached = np.flatnonzero(over >= 0)
    if not len(reached):
        return none(f"the gain reaches {over.max() + gain:.3g} at most")
    if reached[0] == 0:
        return none("the gain is reached below the bounds of the amount")

    @cache
    def look(x: float) -> Linearised:
        here = program.linearise(np.asarray([x, beside]))
        asked = here.without_limits if x == -math.inf else here
        if not asked.ok:
            raise FailedPlace(asked.status)
        return here

    def read(x: float) -> Reading:
        here = look(x)
        return Reading(float(here.outcome.objective) - untreated - gain, float(here.jacobian[0, 0]))

    inside, outside = reached[0], reached[0] - 1
    start = scan[inside] + (scan[outside] - scan[inside]) * over[inside] / (over[inside] - over[outside])
    try:
        x, converged = crossing(read, float(scan[inside]), float(scan[outside]), float(start))
        here, without = look(x), look(-math.inf)
    except FailedPlace as failure:
        return none(str(failure))
    (slope,) = _slopes(here, without, (amount, attribute), (beside,))
    return EquivalentDose(value, float(amount.value(jnp.asarray(x))), slope, here.outcome.limits, converged, "")


def _status(outcome: Outcome) -> Status:
    """How the first run of a scan that failed ended; nobody asks for the limits of its first place, without cells."""
    finite = np.isfinite(np.column_stack([outcome.objective, outcome.limits]))
    finite[0, 1:] = True
    status = np.where((outcome.status == Status.OK) & ~finite.all(axis=1), Status.NOT_FINITE, outcome.status)
    failed = np.flatnonzero(status != Status.OK)
    return Status(int(status[failed[0]])) if len(failed) else Status.OK
