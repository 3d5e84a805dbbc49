"""What may be chosen: entries of the schedule and of the product, each between bounds, seen as x in 0..1.

Solvers see numbers of one size, whatever the unit, and the bounds of all are 0 and 1. An amount of cells that spans
decades is best chosen on the logarithmic scale; then no dose at all lies at x = -infinity.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hepatojax.parameters.registry import suggestion
from hepatojax.scenario import ROUTES
from hepatojax.studies.objective import StudyError
from hepatojax.therapy.product import CellProduct
from hepatojax.therapy.schedule import DoseSchedule

INFINITE = math.inf
SCALES = ("linear", "log")
POSITIVE = math.nextafter(0.0, 1.0)
TIME_TOLERANCE = 1e-9  # of the end of a run, which an infusion may miss by rounding [-]
RANGES = {"start_h": (0.0, INFINITE), "duration_h": (POSITIVE, INFINITE), "cells_per_kg": (0.0, INFINITE)}
PRODUCT_RANGES = {
    **dict.fromkeys((f.name for f in dataclasses.fields(CellProduct)), (0.0, INFINITE)),
    "viability": (0.0, 1.0),
    "licensed": (0.0, 1.0),
    "batch": (-INFINITE, INFINITE),
    "batch_spread": (1.0, INFINITE),
    **dict.fromkeys(("diameter_um", "sinusoid_diameter_um", "plugging_exponent"), (POSITIVE, INFINITE)),
}
_ADDRESS = re.compile(r"(start_h|duration_h|cells_per_kg|route_mix)\[(\d+)\](?:\.(\w+))?")


@dataclass(frozen=True)
class Variable:
    """A number that may be chosen.

    Attributes:
        name: "start_h[i]" [h], "duration_h[i]" [h], "cells_per_kg[i]" [cells/kg], "route_mix[i].ROUTE" [-] of infusion
            i from 0 on, or "product.NAME" for an entry of `CellProduct`.
        low: lower bound, in its unit.
        high: upper bound, in its unit.
        scale: "linear", or "log" for bounds above zero.

    Raises:
        StudyError: no such entry, bounds that leave its range or are not finite, or a scale that does not fit them.

    Several shares of one infusion keep its mix on the simplex: the first is the share of its route, each later one is a
    share of what is left by those before it, and the routes without a variable divide the rest as the schedule does.
    """

    name: str
    low: float
    high: float
    scale: str = "linear"

    def __post_init__(self) -> None:
        low, high = self._range()
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise StudyError(f"variable {self.name}: wants finite bounds, low {self.low} below high {self.high}")
        if self.low < low or self.high > high:
            raise StudyError(f"variable {self.name}: {self.low}..{self.high} leaves {low:g}..{high:g}")
        if self.scale not in SCALES:
            raise StudyError(f"variable {self.name}: scale is {self.scale!r}; allowed: {', '.join(SCALES)}")
        if self.scale == "log" and not self.low > 0:
            raise StudyError(f'variable {self.name}: scale "log" wants a low bound above zero')

    @property
    def row(self) -> int | None:
        """The infusion that it belongs to; None for the product."""
        found = _ADDRESS.fullmatch(self.name)
        return int(found[2]) if found else None

    @property
    def entry(self) -> str:
        """The entry of the schedule, or of the product, that it belongs to."""
        found = _ADDRESS.fullmatch(self.name)
        return found[1] if found else self.name.removeprefix("product.")

    @property
    def route(self) -> str:
        """The route of a share; empty for other entries."""
        found = _ADDRESS.fullmatch(self.name)
        return (found[3] or "") if found else ""

    def value(self, x: Float[Array, ""]) -> Float[Array, ""]:
        """From x to its unit.

            low + (high - low) x   or   low (high / low)^x

        Args:
            x: place in 0..1 [-]; on the logarithmic scale also -infinity, which is zero.

        Returns:
            The value, in the unit of the variable.
        """
        if self.scale == "log":
            return self.low * jnp.exp(x * math.log(self.high / self.low))
        return self.low + (self.high - self.low) * x

    def place(self, value: float) -> float:
        """From its unit to x; the inverse of `value`.

        Args:
            value: in the unit of the variable, above zero on the logarithmic scale.

        Returns:
            The place, in 0..1 for a value within the bounds [-].
        """
        if self.scale == "log":
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def _range(self) -> tuple[float, float]:
        found = _ADDRESS.fullmatch(self.name)
        if found and found[1] == "route_mix":
            if found[3] in ROUTES:
                return 0.0, 1.0
            raise StudyError(f"variable {self.name}: wants route_mix[i].ROUTE with one of {', '.join(ROUTES)}")
        if found and found[3] is None:
            return RANGES[found[1]]
        name = self.name.removeprefix("product.")
        if name != self.name and name in PRODUCT_RANGES:
            return PRODUCT_RANGES[name]
        names = [*(f"{entry}[0]" for entry in (*RANGES, "route_mix")), *(f"product.{n}" for n in PRODUCT_RANGES)]
        raise StudyError(f"variable {self.name}: no such entry{suggestion(self.name, dict.fromkeys(names))}")


def check_variables(variables: tuple[Variable, ...], schedule: DoseSchedule, start_h: float, end_h: float) -> None:
    """Refuse variables that do not fit a schedule and a run.

    Args:
        variables: to be chosen.
        schedule: that holds what is not chosen.
        start_h: of the run [h].
        end_h: of the run [h].

    Raises:
        StudyError: none or the same one twice, a row that the schedule has not, a start outside the run or an end that
            may lie after it, or shares that say nothing of where the rest of an infusion goes.
    """
    names = [variable.name for variable in variables]
    if not names:
        raise StudyError("variables: give at least one")
    for variable in variables:
        if names.count(variable.name) > 1:
            raise StudyError(f"variable {variable.name}: given twice")
        if variable.row is not None and variable.row >= schedule.start_h.shape[0]:
            raise StudyError(f"variable {variable.name}: the schedule has {schedule.start_h.shape[0]} infusions")
        if variable.entry == "start_h" and not start_h <= variable.low < variable.high <= end_h:
            raise StudyError(f"variable {variable.name}: outside the run, which is {start_h:g}..{end_h:g} h")
        if variable.entry in ("start_h", "duration_h") and (
            latest := _latest_end_h(variables, schedule, variable.row)
        ) > end_h * (1.0 + TIME_TOLERANCE):
            raise StudyError(
                f"variable {variable.name}: high {variable.high:g} h lets infusion {variable.row} end at {latest:g} h, "
                f"after the run, which is {start_h:g}..{end_h:g} h"
            )
    for row in rows_in_use(variables, schedule):
        begin, latest = float(schedule.start_h[row]), _latest_end_h(variables, schedule, row)
        if begin < end_h and latest > end_h * (1.0 + TIME_TOLERANCE):
            raise StudyError(f"infusion {row}: ends at {latest:g} h, after the run, which is {start_h:g}..{end_h:g} h")
    for row in {v.row for v in variables if v.route}:
        free = [v.route for v in variables if v.route and v.row == row]
        if not np.asarray(schedule.route_mix)[row, _fixed(free)].sum() > 0:
            raise StudyError(
                f"variable route_mix[{row}].{free[-1]}: no route of the schedule takes the rest of infusion {row}; "
                "leave out the share of the one that does"
            )


def _latest_end_h(variables: tuple[Variable, ...], schedule: DoseSchedule, row: int) -> float:
    """The latest moment at which an infusion may end [h]."""
    highest = {variable.name: variable.high for variable in variables}
    return sum(
        highest.get(f"{entry}[{row}]", float(getattr(schedule, entry)[row])) for entry in ("start_h", "duration_h")
    )


def dosed(
    variables: tuple[Variable, ...], schedule: DoseSchedule, product: CellProduct, x: Float[Array, " n"]
) -> tuple[DoseSchedule, CellProduct]:
    """The schedule and the product at a place.

    Args:
        variables: (n,).
        schedule: what holds where no entry of it is chosen.
        product: what holds where no entry of it is chosen.
        x: in 0..1 [-], (n,).

    Returns:
        Both with the chosen entries in their units.
    """
    free: dict[int, dict[str, Array]] = {}
    for variable, at in zip(variables, x, strict=True):
        value = variable.value(at)
        if variable.row is None:
            product = dataclasses.replace(product, **{variable.entry: value})
        elif variable.route:
            free.setdefault(variable.row, {})[variable.route] = value
        else:
            entry = getattr(schedule, variable.entry).at[variable.row].set(value)
            schedule = dataclasses.replace(schedule, **{variable.entry: entry})
    for row, shares in free.items():
        mix = schedule.route_mix.at[row].set(mixed(schedule.route_mix[row], shares))
        schedule = dataclasses.replace(schedule, route_mix=mix)
    return schedule, product


def mixed(mix: Float[Array, " 5"], shares: dict[str, Array]) -> Float[Array, " 5"]:
    """A mix of routes with some shares chosen, see `Variable`; it sums to 1 for shares in 0..1.

    Args:
        mix: of the schedule [-], (5,).
        shares: route -> share of what those before it left [-].

    Returns:
        Share of each route [-], (5,).
    """
    left, chosen = jnp.ones(()), {}
    for route, share in shares.items():
        chosen[route] = left * share
        left = left * (1.0 - share)
    fixed = _fixed(list(shares))
    rest = left / jnp.sum(mix[fixed])
    return jnp.stack([chosen.get(route, rest * mix[i]) for i, route in enumerate(ROUTES)])


def rows_in_use(variables: tuple[Variable, ...], schedule: DoseSchedule) -> tuple[int, ...]:
    """Rows of a schedule that hold an infusion, or may come to: cells in them, or a free number of cells.

    Args:
        variables: to be chosen.
        schedule: that holds the other numbers.

    Returns:
        Numbers of the rows, rising.
    """
    free = {variable.row for variable in variables if variable.entry == "cells_per_kg"}
    cells = np.asarray(schedule.cells_per_kg)
    return tuple(row for row in range(len(cells)) if row in free or cells[row] > 0)


def _fixed(free: list[str]) -> np.ndarray:
    """Columns of the routes whose share is not chosen."""
    return np.asarray([i for i, route in enumerate(ROUTES) if route not in free], int)
