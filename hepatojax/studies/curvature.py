"""Second derivatives of an objective, which count only where differences agree, and how flat it is about its best.

Forward over reverse mode through an implicit solve was once silently wrong (NUMERICS decision 9), so a product of the
Hessian is given with differences of the gradient beside it and refused where they disagree. The flat range is found by
true values of the objective; second derivatives only say where to look first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hepatojax.status import SimulationError, Status
from hepatojax.studies.certificate import FAINT, WEAK
from hepatojax.studies.objective import StudyError
from hepatojax.studies.optimum import FEASIBLE
from hepatojax.studies.problem import DoseProblem, program_of
from hepatojax.studies.program import FORWARD, Linearised, Program

BOUND = 1e-4
STEPS = (4e-3, 2e-3, 1e-3, 5e-4, 2.5e-4)  # each half of the one before it
OBJECTIVE, OF_VARIABLE = "objective", "bound"
SCANNED, SECTIONS, RESOLVED = 8, 5, 1e-4


@dataclass(frozen=True)
class HessianProduct:
    """The Hessian of an objective times a direction; a number to use only if it counts.

    Attributes:
        place: x in 0..1 [-], inside the bounds by the steps of the differences, (n,).
        direction: in x [-], (n,).
        unproven: the product as automatic differentiation gives it, in the unit of the objective, (n,).
        differences: the same by central differences of the gradient, (n,).
        disagreement: of the two in norm, relative to the larger, or to what hardly matters if that is larger [-].
        bound: on the disagreement [-].

    In float64 a gradient is known to about 1e-10 and the differences, of fourth order on the best of their steps, to
    about 1e-6, whereas forward over reverse through implicit solves, where it is wrong, is wrong by tens of per cent. A
    bound of 1e-4 lies well between, and is far below what any use of a curvature needs.
    """

    place: Float[np.ndarray, " n"]
    direction: Float[np.ndarray, " n"]
    unproven: Float[np.ndarray, " n"]
    differences: Float[np.ndarray, " n"]
    disagreement: float
    bound: float = BOUND

    @property
    def counts(self) -> bool:
        """Whether differences of the gradient agree; never where one of the numbers is not finite."""
        return bool(self.disagreement <= self.bound)

    @property
    def product(self) -> Float[np.ndarray, " n"]:
        """The product, if it counts, in the unit of the objective, (n,); `unproven` holds it in any case.

        Raises:
            StudyError: it does not count.
        """
        if not self.counts:
            raise StudyError(
                f"the second derivative does not count: it is {self.disagreement:.1e} off the differences of the "
                f"gradient, allowed {self.bound:.0e}"
            )
        return self.unproven


@dataclass(frozen=True, eq=False)
class Curvature:
    """Second derivatives of the objective of a program, compiled once; always in float64.

    Attributes:
        source: a problem or its program.

    Raises:
        StudyError: on first use, for a program in float32 without a twin in float64.
    """

    source: DoseProblem | Program

    @cached_property
    def program(self) -> Program:
        """The program in float64."""
        program = program_of(self.source)
        if program.precision == "float64":
            return program
        if program.twin is None:
            raise StudyError("second derivatives want float64; this program exists in float32 only")
        return program.other_precision

    def times(self, x: ArrayLike, direction: ArrayLike) -> HessianProduct:
        """The Hessian at a place times a direction, beside the differences of the gradient.

            H d = d/dt grad f(x + t d) at t = 0,   forward over reverse;   in forward mode  e_i H d  one by one

        Args:
            x: in 0..1 [-]; moved inside the bounds as far as the differences reach, (n,).
            direction: d in x [-], (n,).

        Returns:
            The product, and whether it counts.

        Raises:
            StudyError: a direction without length.
            SimulationError: the simulation fails at the place itself.

        Reference: NUMERICS decision 9.
        """
        d = np.asarray(direction, float)
        largest = np.abs(d).max(initial=0.0)
        if not (np.isfinite(largest) and largest > 0):
            raise StudyError("direction: wants finite numbers, not all zero")
        unit = d / largest
        reach = STEPS[0] * np.abs(unit)
        place = np.clip(np.asarray(x, float), reach, 1.0 - reach)
        here = _required(self.program.linearise(place))
        found = np.asarray(self._compiled(jnp.asarray(place), jnp.asarray(unit), self.program.inputs))
        slopes = self._differences(place, unit)
        return HessianProduct(place, d, largest * found, largest * slopes, _disagreement(found, slopes, here))

    def diagonal(self, x: ArrayLike) -> tuple[HessianProduct, ...]:
        """The product along each variable; entry i of product i is the second derivative by variable i.

        Args:
            x: in 0..1 [-], (n,).

        Returns:
            A product for each of the n variables.

        Raises:
            SimulationError: the simulation fails at the place itself.
        """
        return tuple(self.times(x, unit) for unit in np.eye(len(self.program.variables)))

    def _differences(self, place: np.ndarray, unit: np.ndarray) -> np.ndarray:
        """Central differences of the gradient, of fourth order from two steps, those that change least along a ladder.

        Small steps among them, for an edge of a macro-step within the larger ones is a kink of the gradient.
        """
        pairs = [(self._gradient(place + h * unit), self._gradient(place - h * unit)) for h in STEPS]
        plain = np.asarray([(ahead - behind) / (2.0 * h) for h, (ahead, behind) in zip(STEPS, pairs, strict=True)])
        slopes = (4.0 * plain[1:] - plain[:-1]) / 3.0
        change = np.linalg.norm(np.diff(slopes, axis=0), axis=1)
        return slopes[1 + int(np.where(np.isnan(change), np.inf, change).argmin())]

    def _gradient(self, place: np.ndarray) -> np.ndarray:
        here = self.program.linearise(place)
        return here.jacobian[0] if here.ok else np.full(len(place), np.nan)

    @cached_property
    def _compiled(self) -> Callable[..., Array]:
        product = _forward_over_forward if self.program.mode == FORWARD else _forward_over_reverse

        def along(x: Array, direction: Array, inputs: Any) -> Array:
            return product(lambda x: self.program.function(x, inputs).objective, x, direction)

        return self.program.kept(along, lambda x, _, inputs: self.program.outputs(x, inputs), "second")


class End(NamedTuple):
    """One end of a range.

    Attributes:
        x: in 0..1 [-].
        value: in the unit of the variable; x itself for a bare `Program`.
        by: what ends it: "objective", "bound" of the variable, the name of the limit that breaks beyond it, or how the
            simulation fails there.
    """

    x: float
    value: float
    by: str


class FlatRange(NamedTuple):
    """How far a variable may move, alone, at a small loss.

    Attributes:
        variable: its name.
        low: its lower end.
        high: its upper end.
        quadratic: distances down and up at which gradient and second derivative put the ends of the objective, in x
            [-]; nan where they see none, or where the second derivative does not count.
    """

    variable: str
    low: End
    high: End
    quadratic: tuple[float, float]


def flatness(
    problem: DoseProblem | Program,
    x: ArrayLike,
    gain: float,
    share: float = 0.05,
    curvature: Curvature | None = None,
) -> tuple[FlatRange, ...]:
    """The range of each variable about the best place in which the objective loses no more than a share of a gain.

        f(x + t e_i) >= f(x) - share gain   and every limit is kept   for all t of the range

    by true values: a scan from the place to the bound shows the first end, sections close in on it. What a scan of
    eighths steps over is not seen; a range that comes back is inside by at most 1e-4.

    Args:
        problem: with the objective.
        x: best place, in 0..1 [-], (n,).
        gain: of the best over what it is compared with, in the unit of the objective.
        share: of the gain that may be lost [-].
        curvature: of the problem; where its second derivatives count they place the first brackets.

    Returns:
        A range for each variable, the others held.

    Raises:
        StudyError: a gain or share that is not positive, or a place that breaks a limit.
        SimulationError: the simulation fails at the place itself.

    Reference: RELIABILITY 2.2, the range within 5 % of the best.
    """
    program, place = program_of(problem), np.asarray(x, float)
    if not (np.isfinite(gain) and gain > 0 and np.isfinite(share) and share > 0):
        raise StudyError(f"flatness: wants a positive gain and share, got {gain:g} and {share:g}")
    here = program.evaluate_many(place[None])
    status = Status(int(here.status[0]))
    if status == Status.OK and not np.isfinite(here.objective[0]):
        status = Status.NOT_FINITE
    if status != Status.OK:
        raise SimulationError(status, f"the range cannot be found: {status.describe()}")
    for name, excess in zip(program.limits, here.limits[0], strict=True):
        if not excess <= FEASIBLE:
            raise StudyError(f"flatness: the place breaks the limit {name}")
    expected = np.full((2, len(place)), np.nan) if curvature is None else _expected(curvature, place, share * gain)
    line = _Line(program, place, float(here.objective[0]) - share * gain)
    ends = _ends(line, expected.ravel())
    values = [v.value for v in problem.variables] if isinstance(problem, DoseProblem) else [float] * len(place)

    def end(side: int) -> End:
        at = float(line.places(np.asarray([side]), ends[0][side, None])[0, side % len(place)])
        return End(at, float(values[side % len(place)](at)), ends[1][side])

    return tuple(
        FlatRange(name, end(i), end(i + len(place)), (float(expected[0, i]), float(expected[1, i])))
        for i, name in enumerate(program.variables)
    )


class _Line:
    """The lines through a place along each variable, down for sides 0 .. n - 1 and up for n .. 2 n - 1."""

    def __init__(self, program: Program, place: np.ndarray, least: float):
        self.program, self.place, self.least = program, place, least
        self.directions = np.concatenate([-np.eye(len(place)), np.eye(len(place))])
        self.rooms = np.concatenate([place, 1.0 - place])

    def places(self, sides: np.ndarray, distances: np.ndarray) -> np.ndarray:
        """Places (m, n) at distances (m,) on sides (m,), inside the bounds in spite of round-off."""
        return np.clip(self.place + distances[:, None] * self.directions[sides], 0.0, 1.0)

    def broken(self, sides: np.ndarray, distances: np.ndarray) -> list[str]:
        """What is broken at each place; empty where all holds."""
        outcome = self.program.evaluate_many(self.places(sides, distances))
        return [self._verdict(*each) for each in zip(*outcome, strict=True)]

    def _verdict(self, objective: Any, limits: np.ndarray, status: Any) -> str:
        if status != Status.OK:
            return Status(int(status)).statement
        if not (np.isfinite(objective) and np.isfinite(limits).all()):
            return Status.NOT_FINITE.statement
        if limits.max(initial=0.0) > FEASIBLE:
            return self.program.limits[int(limits.argmax())]
        return "" if objective >= self.least else OBJECTIVE


def _ends(line: _Line, expected: Float[np.ndarray, " m"]) -> tuple[Float[np.ndarray, " m"], list[str]]:
    """The distance to the first end of each side, and what ends it: a scan, then sections until it is resolved."""
    rooms = line.rooms
    inside, outside, by = np.zeros(len(rooms)), np.array(rooms), [OF_VARIABLE] * len(rooms)
    grids = [_scan(room, distance) for room, distance in zip(rooms, expected, strict=True)]
    sides = np.flatnonzero(rooms > 0)
    while len(sides):
        owners = np.repeat(sides, [len(grids[side]) for side in sides])
        found = line.broken(owners, np.concatenate([grids[side] for side in sides]))
        for side, verdicts in _by_side(sides, grids, found):
            first = next((k for k, verdict in enumerate(verdicts) if verdict), len(verdicts))
            if first > 0:
                inside[side] = grids[side][first - 1]
            if first < len(verdicts):
                outside[side], by[side] = grids[side][first], verdicts[first]
        sides = np.flatnonzero(outside - inside > RESOLVED)
        grids = [np.linspace(*ends, SECTIONS + 1)[1:-1] for ends in zip(inside, outside, strict=True)]
    return inside, by


def _by_side(sides: np.ndarray, grids: list[np.ndarray], found: list[str]) -> Iterator[tuple[int, list[str]]]:
    """The verdicts of each side out of those of all."""
    start = 0
    for side in sides:
        yield int(side), found[start : start + len(grids[side])]
        start += len(grids[side])


def _scan(room: float, expected: float) -> Float[np.ndarray, " k"]:
    """Even distances up to the bound, and two that enclose where a second derivative expects the end."""
    about = np.asarray([0.97, 1.03]) * expected
    grid = np.append(np.linspace(0.0, room, SCANNED + 1)[1:], about[about < room])  # nan is not below
    return np.unique(grid)


def _expected(curvature: Curvature, place: np.ndarray, loss: float) -> Float[np.ndarray, "2 n"]:
    """Distances down and up along each variable at which so much of the objective should be lost; nan if unknown.

        s g t + H t^2 / 2 = -loss,   s = -1, 1,   smallest t > 0

    The gradient g counts too: at a best place on a bound or a limit it does not vanish.
    """
    distances = np.full((2, len(place)), np.nan)
    gradient = _required(curvature.program.linearise(place)).jacobian[0]
    for i, found in enumerate(curvature.diagonal(place)):
        if found.counts:
            distances[:, i] = [_first_root(float(found.product[i]), sign * gradient[i], loss) for sign in (-1.0, 1.0)]
    return distances


def _first_root(second: float, first: float, loss: float) -> float:
    """Smallest t > 0 of second t^2 / 2 + first t + loss = 0; nan if there is none."""
    root = first * first - 2.0 * second * loss
    below = np.sqrt(root) - first if root >= 0 else 0.0
    return 2.0 * loss / below if below > 0 else np.nan


def _forward_over_reverse(objective: Callable[[Array], Array], x: Array, direction: Array) -> Array:
    return jax.jvp(jax.grad(objective), (x,), (direction,))[1]


def _forward_over_forward(objective: Callable[[Array], Array], x: Array, direction: Array) -> Array:
    def entry(unit: Array) -> Array:
        return jax.jvp(lambda x: jax.jvp(objective, (x,), (unit,))[1], (x,), (direction,))[1]

    return jax.vmap(entry)(jnp.eye(x.shape[0]))


def _disagreement(found: np.ndarray, slopes: np.ndarray, here: Linearised) -> float:
    """Relative difference; what hardly matters is relative to the gradient and the value, as in a certificate."""
    floor = max(WEAK * float(np.linalg.norm(here.jacobian[0])), FAINT * abs(float(here.outcome.objective)))
    size = max(float(np.linalg.norm(found)), float(np.linalg.norm(slopes)), floor)
    off = float(np.linalg.norm(found - slopes))  # nan where a number is not finite
    return off / size if off > 0 else off


def _required(here: Linearised) -> Linearised:
    if not here.ok:
        raise SimulationError(here.status, f"no second derivative: {here.status.describe()}")
    return here
