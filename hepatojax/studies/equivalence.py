"""What an attribute of the product is worth in cells: the dose of equal gain, and its exact derivative."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from hepatojax.status import SimulationError, Status
from hepatojax.studies.line import FailedPlace, Reading, crossing
from hepatojax.studies.objective import StudyError
from hepatojax.studies.problem import DoseProblem, Linearised, Program, program_of
from hepatojax.studies.variables import Variable

DOSES = 15


class EquivalentDose(NamedTuple):
    """The dose that earns the wanted gain with one value of an attribute.

    value: of the attribute, in its unit. dose: smallest such dose [cells/kg], nan if there is none. slope:
    d log dose / d value at equal gain, by the derivative of the simulation. limits: excess of each limit there (c,).
    converged: whether the dose is known to the tolerance. reason: why there is none; empty if there is one.
    """

    value: float
    dose: float
    slope: float
    limits: Float[np.ndarray, " c"]
    converged: bool
    reason: str

    @property
    def elasticity(self) -> float:
        """d log dose / d log value: -1 where half the dose does with twice the attribute."""
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
        gain: wanted, in the unit of the objective. values: of the attribute, within its bounds. doses: of the scan.
        variables: of a bare `Program`; a `DoseProblem` brings its own.

    Returns:
        One for each value, in their order.

    Raises:
        StudyError: other variables, a gain that is not positive, or a value out of its bounds.
    """
    program = program_of(problem)
    amount, attribute = _checked(problem.variables if isinstance(problem, DoseProblem) else variables, gain, doses)
    for value in values:
        if not attribute.low <= value <= attribute.high:
            raise StudyError(
                f"{attribute.name}: {value:g} leaves the bounds of the variable, {attribute.low:g}..{attribute.high:g}"
            )
    return tuple(_equivalent(program, amount, attribute, gain, float(value), doses) for value in values)


def elasticities(problem: DoseProblem, dose: float) -> dict[str, float]:
    """What a little more of each attribute of the product is worth: d log dose / d log attribute at equal gain [-].

    By two Jacobians, at the product as it is and at a dose.

    Args:
        problem: with the amount of one infusion on a logarithmic scale, and then entries of the product, which are not
            zero. dose: [cells/kg].

    Returns:
        Entry -> elasticity: -1 where twice as much of it halves the dose.

    Raises:
        StudyError: other variables. SimulationError: the simulation fails there.
    """
    amount = problem.variables[0]
    for each in problem.variables[1:]:
        _checked((amount, each), 1.0, DOSES)
    values = {each.entry: float(getattr(problem.model.product, each.entry)) for each in problem.variables[1:]}
    beside = [each.place(value) for each, value in zip(problem.variables[1:], values.values(), strict=True)]
    found = (problem.program.linearise(np.asarray([x, *beside])) for x in (amount.place(dose), -math.inf))
    here, without = (each.without_limits for each in found)
    for each in (here, without):
        if not each.ok:
            raise SimulationError(each.status, f"no elasticity: {each.status.describe()}")
    by_log_dose = here.jacobian[0, 0] / math.log(amount.high / amount.low)
    by_x = (here.jacobian[0] - without.jacobian[0])[1:]
    scale = [float(jax.grad(v.value)(x)) / values[v.entry] for v, x in zip(problem.variables[1:], beside, strict=True)]
    return {name: float(-slope / s / by_log_dose) for name, slope, s in zip(values, by_x, scale, strict=True)}


def _checked(variables: Sequence[Variable], gain: float, doses: int) -> tuple[Variable, Variable]:
    """The amount and the attribute, if everything fits."""
    names = [variable.name for variable in variables]
    fits = len(variables) == 2 and variables[0].entry == "cells_per_kg" and variables[0].scale == "log"
    if not fits or variables[1].row is not None:
        raise StudyError(
            f'equivalence: wants two variables, cells_per_kg[i] on the scale "log" and one of the product; got {names}'
        )
    if not 0.0 < gain < math.inf:
        raise StudyError(f"equivalence: gain is {gain}; wants a finite number above zero")
    if doses < 3:
        raise StudyError(f"equivalence: doses is {doses}; wants at least 3")
    return variables[0], variables[1]


def _equivalent(
    program: Program, amount: Variable, attribute: Variable, gain: float, value: float, doses: int
) -> EquivalentDose:
    beside, scan = attribute.place(value), np.linspace(0.0, 1.0, doses)
    outcome = program.evaluate_many(np.column_stack([[-math.inf, *scan], np.full(doses + 1, beside)]))

    def none(reason: str) -> EquivalentDose:
        return EquivalentDose(value, math.nan, math.nan, np.full(outcome.limits.shape[1], math.nan), False, reason)

    finite = np.isfinite(np.column_stack([outcome.objective, outcome.limits]))
    finite[0, 1:] = True  # nobody asks for the limits without cells
    status = np.where((outcome.status == Status.OK) & ~finite.all(axis=1), Status.NOT_FINITE, outcome.status)
    failed = np.flatnonzero(status != Status.OK)
    if len(failed):
        return none(f"a run of the scan failed: {Status(int(status[failed[0]])).statement}")
    untreated, over = float(outcome.objective[0]), outcome.objective[1:] - outcome.objective[0] - gain
    reached = np.flatnonzero(over >= 0)
    if not len(reached):
        return none(f"the gain reaches {over.max() + gain:.3g} at most")
    if reached[0] == 0:
        return none("the gain is reached below the bounds of the amount")

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
    by_log_dose = here.jacobian[0, 0] / math.log(amount.high / amount.low)
    by_value = (here.jacobian[0, 1] - without.jacobian[0, 1]) / float(jax.grad(attribute.value)(beside))
    dose, limits = float(amount.value(jnp.asarray(x))), here.outcome.limits
    return EquivalentDose(value, dose, float(-by_value / by_log_dose), limits, converged, "")
