"""The proof that a gradient is right where it is used: Taylor remainders, both modes, differences, precision, scale.

Each test sees another fault: the Taylor rates a wrong derivative along one direction, the two modes a wrong transpose,
the differences a single variable, the scaled cotangent a tolerance that is not relative to its own right-hand side,
float32 against float64 a loss of digits (NUMERICS decisions 4, 9 and 12). An output or a variable that hardly matters
is judged by the size of what does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hepatojax.status import SimulationError, Status
from hepatojax.studies.problem import DoseProblem, Linearised, Program, program_of

TAYLOR_STEPS = tuple(float(step) for step in np.geomspace(1e-2, 1e-6, 9))  # three decades where round-off allows
DIFFERENCE_STEPS = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6)  # the smallest within minutes of a month
MARGIN = 2.0 * DIFFERENCE_STEPS[0]
SCALES = (1e-6, 1e6)
R0_BOUND, R1_BOUND = 0.9, 1.95
MODES_BOUND, DIFFERENCE_BOUND, SINGLE_BOUND, SCALE_BOUND = 1e-7, 1e-5, 2e-3, 1e-8
NOISE_OVER_ROUND_OFF = 10.0
WEAK, FAINT = 1e-3, 1e-5


class TaylorRates(NamedTuple):
    """How fast the remainders of a Taylor series shrink with the step, by the smallest steps above round-off.

    Attributes:
        r0: of f(x + h d) - f(x), about 1.
        r1: of the same less h f'(x) d, about 2 if the derivative is right and about 1 if it is not. nan where every
            remainder is round-off: the function is constant, or linear, along d.
    """

    r0: float
    r1: float


@dataclass(frozen=True)
class Figure:
    """One measured figure of a certificate.

    Attributes:
        name: of the test.
        value: a rate or a relative error [-]; nan where nothing could be measured.
        bound: what it is held against [-].
        kind: "at most" or "at least".
        tested: False where the test does not apply; such a figure neither passes nor fails.
    """

    name: str
    value: float
    bound: float
    kind: str = "at most"
    tested: bool = True

    @property
    def passed(self) -> bool:
        """Whether it holds, or does not apply."""
        if not self.tested:
            return True
        return self.value <= self.bound if self.kind == "at most" else self.value >= self.bound


@dataclass(frozen=True)
class GradientCertificate:
    """Whether the gradient of a problem is right at a place.

    Attributes:
        place: x in 0..1 [-], (n,).
        direction: of the Taylor test, each entry 1 or -1 [-], (n,).
        figures: every figure with its bound.
    """

    place: Float[np.ndarray, " n"]
    direction: Float[np.ndarray, " n"]
    figures: tuple[Figure, ...]

    @property
    def passed(self) -> bool:
        """Whether every figure holds."""
        return all(figure.passed for figure in self.figures)

    @property
    def faults(self) -> tuple[Figure, ...]:
        """The figures that do not hold."""
        return tuple(figure for figure in self.figures if not figure.passed)


def taylor_rates(
    function: Callable[[Any], Array],
    place: Any,
    direction: Any,
    steps: Sequence[float] = TAYLOR_STEPS,
    round_off: float = 1e-15,
) -> TaylorRates:
    """The Taylor test of the derivative that JAX finds for a function.

        R0 = d log |f(x + h d) - f(x)| / d log h,   R1 = d log |f(x + h d) - f(x) - h f'(x) d| / d log h

    Args:
        function: scalar function f of a pytree.
        place: x, a pytree of floats.
        direction: d, like `place`.
        steps: h, falling [-].
        round_off: relative error of f [-].

    Returns:
        The two rates, about 1 and 2 if the derivative is right.

    Reference: Farrell, Ham, Funke and Rognes 2013, SIAM J. Sci. Comput. 35, C369.
    """

    def along(step: Array) -> Array:
        return function(jax.tree.map(lambda a, b: jnp.asarray(a) + step * b, place, direction))

    value, slope = jax.jvp(along, (jnp.zeros(()),), (jnp.ones(()),))
    moved = np.asarray([along(jnp.asarray(step)) for step in steps])
    return rates_of(steps, moved, float(value), float(slope), round_off)


def rates_of(
    steps: Sequence[float], moved: Float[np.ndarray, " k"], value: float, slope: float, round_off: float
) -> TaylorRates:
    """The rates by values that are at hand.

    Args:
        steps: h, falling [-], (k,).
        moved: f(x + h d), (k,).
        value: f(x).
        slope: f'(x) d.
        round_off: relative error of f [-].

    Returns:
        The two rates; nan where fewer than two remainders stand above ten times the round-off.
    """
    noise = NOISE_OVER_ROUND_OFF * round_off * max(abs(value), float(np.abs(moved).max()))
    change = moved - value
    return TaylorRates(_rate(steps, change, noise), _rate(steps, change - np.asarray(steps) * slope, noise))


def certify(problem: DoseProblem | Program, x: ArrayLike, seed: int = 0) -> GradientCertificate:
    """Test the gradient of the objective and of every limit near a place.

    Values in float64 judge, those of the twin if the problem is in float32. Every x becomes 0.02 + 0.96 x, so that
    differences stay inside the bounds; `place` says where the figures were taken.

    Args:
        problem: to be optimised.
        x: place in 0..1 [-], (n,).
        seed: of the direction of the Taylor test.

    Returns:
        The certificate; look at `passed`, or at `faults`.

    Raises:
        SimulationError: the simulation fails at the place itself.

    Reference: NUMERICS decision 12; RELIABILITY 1, Taylor rates.
    """
    program = program_of(problem)
    exact = program if program.precision == "float64" or program.twin is None else program.other_precision
    place = MARGIN + (1.0 - 2.0 * MARGIN) * np.asarray(x, float)
    direction = np.random.default_rng(seed).choice((-1.0, 1.0), len(place))
    here = _required(exact.linearise(place))
    figures = (
        *_taylor_figures(exact, place, direction, here),
        _modes_figure(exact, place, direction, here),
        *_difference_figures(exact, place, here),
        *(_scale_figure(exact, place, scale) for scale in SCALES),
        _precision_figure(program, exact, place, here),
    )
    return GradientCertificate(place, direction, figures)


def _taylor_figures(
    program: Program, place: np.ndarray, direction: np.ndarray, here: Linearised
) -> tuple[Figure, Figure]:
    """The lowest rates among the objective and the limits."""
    moved, failed = _outputs_at(program, place + np.asarray(TAYLOR_STEPS)[:, None] * direction)
    values, slopes = _outputs(here.outcome), here.jacobian @ direction
    rates = [rates_of(TAYLOR_STEPS, *each, program.round_off) for each in zip(moved.T, values, slopes, strict=True)]
    r0, r1 = (_lowest(rate, failed) for rate in zip(*rates, strict=True))
    return (
        Figure("Taylor remainder without the gradient, R0", r0, R0_BOUND, "at least", not np.isnan(r0)),
        Figure("Taylor remainder with the gradient, R1", r1, R1_BOUND, "at least", not np.isnan(r1)),
    )


def _modes_figure(program: Program, place: np.ndarray, direction: np.ndarray, here: Linearised) -> Figure:
    """w (J d) in forward mode against (w J) d in reverse mode, for all outputs of the simulation."""
    jacobian = here.jacobian[: program.simulated]
    size = np.abs(jacobian).sum(axis=1)
    weights = np.where(size > 0, 1.0 / np.where(size > 0, size, 1.0), 0.0)  # so that no output hides another
    forward, reverse = weights * program.push(place, direction), program.pull(place, weights) * direction
    largest = np.maximum(np.abs(forward).max(), np.abs(reverse).max())  # nan if one is
    off = 0.0 if largest == 0 else abs(forward.sum() - reverse.sum()) / largest
    return Figure("forward against reverse mode", float(off), MODES_BOUND)


def _difference_figures(program: Program, place: np.ndarray, here: Linearised) -> tuple[Figure, ...]:
    """The worst output by each variable, relative to its own derivative but for one that hardly matters."""
    jacobian = here.jacobian
    floor = np.fmax(WEAK * np.abs(jacobian).max(axis=1), FAINT * np.abs(_outputs(here.outcome)))
    figures = []
    for column, name in enumerate(program.variables):
        slope, failed = _difference(program, place, column)
        size = np.fmax(np.abs(jacobian[:, column]), floor)
        off = np.abs(slope - jacobian[:, column])
        relative = np.where(off > 0, off / np.where(size > 0, size, np.finfo(float).tiny), 0.0)
        worst = np.inf if failed else float(relative.max())
        figures.append(Figure(f"difference by {name}", worst, DIFFERENCE_BOUND))
    return tuple(figures)


def _difference(program: Program, place: np.ndarray, column: int) -> tuple[np.ndarray, bool]:
    """Central differences of fourth order by one variable, each output at its own step, and whether a run failed.

        (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / (12 h)

    Of a ladder of steps the one counts that changes least from the step before it: at larger ones truncation speaks, or
    a kink of the second derivative where an infusion crosses an edge, at smaller ones round-off.
    """
    unit, steps = np.eye(len(place))[column], np.asarray(DIFFERENCE_STEPS)
    shifts = np.outer(steps, (1.0, -1.0, 2.0, -2.0)).ravel()
    values, failed = _outputs_at(program, place + shifts[:, None] * unit)
    near, back, far, far_back = np.moveaxis(values.reshape(len(steps), 4, -1), 1, 0)
    slopes = (8.0 * (near - back) - (far - far_back)) / (12.0 * steps[:, None])
    best = 1 + np.abs(np.diff(slopes, axis=0)).argmin(axis=0)
    return slopes[best, np.arange(slopes.shape[1])], failed


def _scale_figure(program: Program, place: np.ndarray, scale: float) -> Figure:
    """Whether the solvers of the reverse pass judge a cotangent by its own size."""
    first = np.eye(program.simulated)[0]
    plain, scaled = program.pull(place, first), program.pull(place, scale * first) / scale
    return Figure(f"gradient of the objective times {scale:g}", _off(scaled, plain), SCALE_BOUND)


def _precision_figure(program: Program, exact: Program, place: np.ndarray, here: Linearised) -> Figure:
    """The worst gradient of an output in float32 against float64, in norm; one that hardly matters by its output."""
    name = "float32 against float64"
    if program.twin is None:
        return Figure(name, float("nan"), SINGLE_BOUND, tested=False)
    single = program if exact is not program else program.other_precision
    found = single.linearise(place)
    floors = FAINT * np.abs(_outputs(here.outcome))
    off = [_off(*rows) for rows in zip(found.jacobian, here.jacobian, floors, strict=True)]
    return Figure(name, float(np.max(off)) if found.ok else np.inf, SINGLE_BOUND)


def _required(here: Linearised) -> Linearised:
    if not here.ok:
        raise SimulationError(here.status, f"the gradient cannot be certified: {here.status.describe()}")
    return here


def _outputs(outcome: Any) -> np.ndarray:
    """Objective and limits side by side, (..., 1 + c)."""
    return np.concatenate([outcome.objective[..., None], outcome.limits], axis=-1)


def _outputs_at(program: Program, places: np.ndarray) -> tuple[np.ndarray, bool]:
    """Outputs at places (k, n), (k, 1 + c), and whether a run failed or gave a number that is not finite."""
    outcome = program.evaluate_many(places)
    values = _outputs(outcome)
    return values, bool((outcome.status != Status.OK).any() or not np.isfinite(values).all())


def _rate(steps: Sequence[float], remainders: np.ndarray, noise: float) -> float:
    """The slope of log |remainder| over log h by the decade of smallest steps whose remainder is above the noise."""
    h, size = np.asarray(steps), np.abs(remainders)
    below = np.flatnonzero(~(size > noise))
    count = below[0] if below.size else len(h)
    if count < 2:
        return float("nan")
    last = slice(max(count - 3, 0), count)
    return float(np.polyfit(np.log(h[last]), np.log(size[last]), 1)[0])


def _lowest(rates: tuple[float, ...], failed: bool) -> float:
    """The lowest rate that is known; minus infinity where a run failed, nan where there is none."""
    known = [rate for rate in rates if not np.isnan(rate)]
    if failed:
        return -np.inf
    return min(known) if known else float("nan")


def _off(found: np.ndarray, wanted: np.ndarray, floor: float = 0.0) -> float:
    """Difference in norm, relative to what is wanted or to a floor if that is larger; 0 where both are zero."""
    size = np.maximum(np.linalg.norm(wanted), floor)
    difference = np.linalg.norm(found - wanted)
    if size == 0:
        return 0.0 if difference == 0 else float("inf")
    return float(difference / size)
