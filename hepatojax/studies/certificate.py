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
from hepatojax.studies.problem import DoseProblem, program_of
from hepatojax.studies.program import Linearised, Program

TAYLOR_STEPS = tuple(float(step) for step in np.geomspace(1e-1, 1e-6, 16))  # three a decade; a run each, two batches
DECADES = 3.0  # of step, that a rate is wanted over
DIFFERENCE_STEPS = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6)  # the smallest within minutes of a month
MARGIN = 2.05 * DIFFERENCE_STEPS[0]  # 2.00 is an edge of steps of 6 h in 0 to 300 h, where the slope by a start jumps
SCALES = (1e-6, 1e6)
R0_BOUND, R1_BOUND = 0.9, 1.95
MODES_BOUND, DIFFERENCE_BOUND, SINGLE_BOUND, SCALE_BOUND = 1e-7, 1e-5, 2e-3, 1e-8
NOISE_OVER_ROUND_OFF = 10.0
FEWEST = 3  # steps that tell a rate
SPREAD = 0.05  # between the rates of two decades of one power
HIGHER_ORDER, OUTWEIGHED = 1.5, 0.2  # rate of a remainder, and its share of what the slope says
ROUNDING = 1e-9  # of a logarithm
WEAK, FAINT = 1e-3, 1e-5


class Rate(NamedTuple):
    """A power of the step, and the steps that it was found by.

    Attributes:
        power: slope of log |remainder| over log h by least squares [-]; nan where fewer than three steps tell it.
        decades: of step that it was found by; 0 where it is nan.
    """

    power: float
    decades: float


class TaylorRates(NamedTuple):
    """How fast the remainders of a Taylor series shrink with the step, see `rates_of`.

    Attributes:
        r0: of f(x + h d) - f(x), about 1. nan where the function is constant or stationary along d.
        r1: of the same less h f'(x) d, about 2 if the derivative is right and about 1 if it is not. nan where every
            remainder is round-off: the function is constant, or linear, along d.
        r0_decades: of step that r0 was found by.
        r1_decades: of step that r1 was found by.
    """

    r0: float
    r1: float
    r0_decades: float
    r1_decades: float


@dataclass(frozen=True)
class Figure:
    """One measured figure of a certificate.

    Attributes:
        name: of the test.
        value: a rate or a relative error [-]; nan where nothing could be measured.
        bound: what it is held against [-].
        kind: "at most" or "at least".
        tested: False where the test does not apply; such a figure neither passes nor fails.
        decades: of step that a rate was found by, for several outputs the fewest; nan for what is no rate.
    """

    name: str
    value: float
    bound: float
    kind: str = "at most"
    tested: bool = True
    decades: float = float("nan")

    @property
    def passed(self) -> bool:
        """Whether it holds, or does not apply."""
        if not self.tested:
            return True
        return self.value <= self.bound if self.kind == "at most" else self.value >= self.bound

    @property
    def range_in_words(self) -> str:
        """How many decades of step a rate was found by, and how many are wanted where those are fewer; or nothing."""
        if not self.tested or np.isnan(self.decades):
            return ""
        fewer = f", fewer than {DECADES:g}" if self.decades < DECADES - ROUNDING else ""
        return f"over {self.decades:.1f} decades of step{fewer}"


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
        The two rates, about 1 and 2 if the derivative is right, with the decades of step behind each.

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

    A rate is the slope of log |remainder| over log h by least squares, over consecutive steps whose remainders stand
    above ten times the round-off: the smallest of them, and all larger ones up to where the rate of a decade of steps
    departs by 0.05 from that of the smallest decade. So what is not yet asymptotic is left out at the large end, and a
    wrong derivative, which shows at the small end, never is.

    A step tells nothing of R0 where a remainder of higher order is a fifth or more of h f'(x) d: next to a stationary
    place the two may cancel.

    Args:
        steps: h, falling [-], (k,).
        moved: f(x + h d), (k,); what is not finite is left out.
        value: f(x).
        slope: f'(x) d.
        round_off: relative error of f [-].

    Returns:
        The two rates with the decades of step behind each; nan where fewer than three steps tell one.
    """
    h = np.asarray(steps, float)
    known = np.abs(moved[np.isfinite(moved)])
    noise = NOISE_OVER_ROUND_OFF * round_off * max(abs(value), float(known.max(initial=0.0)))
    change = moved - value
    remainder = change - h * slope
    first = _rate(h, remainder, noise)
    hidden = (first.power > HIGHER_ORDER) & (np.abs(remainder) >= OUTWEIGHED * np.abs(h * slope))
    zeroth = _rate(h, np.where(hidden, np.nan, change), noise)
    return TaylorRates(zeroth.power, first.power, zeroth.decades, first.decades)


def certify(
    problem: DoseProblem | Program, x: ArrayLike, seed: int = 0, typical: Float[np.ndarray, " m"] | None = None
) -> GradientCertificate:
    """Test the gradient of the objective and of every limit near a place.

    Values in float64 judge, those of the twin if the problem is in float32. Every x becomes m + (1 - 2 m) x with m =
    0.0205, so that differences stay inside the bounds; `place` says where the figures were taken. The direction of the
    Taylor test points inwards where its largest step would leave the bounds.

    Args:
        problem: to be optimised.
        x: place in 0..1 [-], (n,).
        seed: of the direction of the Taylor test.
        typical: derivative of each output that matters, in its unit, (1 + c,). Where all derivatives of an output are
            smaller, as they are at an optimum, it is judged by this; nothing by default.

    Returns:
        The certificate; look at `passed`, or at `faults`.

    Raises:
        SimulationError: the simulation fails at the place itself.

    Reference: NUMERICS decision 12; RELIABILITY 1, Taylor rates.
    """
    program = program_of(problem)
    exact = program if program.precision == "float64" or program.twin is None else program.other_precision
    place = MARGIN + (1.0 - 2.0 * MARGIN) * np.asarray(x, float)
    direction = _inward(np.random.default_rng(seed).choice((-1.0, 1.0), len(place)), place)
    here = _required(exact.linearise(place))
    least = np.zeros(len(here.jacobian)) if typical is None else np.asarray(typical, float)
    figures = (
        *_taylor_figures(exact, place, direction, here),
        _modes_figure(exact, place, direction, here, least),
        *_difference_figures(exact, place, here, least),
        *(_scale_figure(exact, place, scale, least) for scale in SCALES),
        _precision_figure(program, exact, place, here, least),
    )
    return GradientCertificate(place, direction, figures)


def failed_certificate(x: ArrayLike, error: SimulationError) -> GradientCertificate:
    """What stands for a certificate near a place whose simulation fails: it does not pass.

    Args:
        x: place in 0..1 [-], (n,).
        error: of `certify`.

    Returns:
        One figure that says why.
    """
    place = np.asarray(x, float)
    figure = Figure(f"simulation beside the place: {error.status.statement}", float("nan"), 1.0, "at least")
    return GradientCertificate(place, np.zeros(len(place)), (figure,))


def _inward(direction: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The direction, turned around in each variable that the largest step of the Taylor test would take out of 0..1."""
    end = place + TAYLOR_STEPS[0] * direction
    return np.where((end < 0.0) | (end > 1.0), -direction, direction)


def _taylor_figures(
    program: Program, place: np.ndarray, direction: np.ndarray, here: Linearised
) -> tuple[Figure, Figure]:
    """The lowest rates among the objective and the limits, and the fewest decades of step behind one.

    A run that fails within the margin fails the test; beyond it the step is left out.
    """
    steps = np.asarray(TAYLOR_STEPS)
    moved = _outputs_at(program, place + steps[:, None] * direction)
    failed = not np.isfinite(moved[steps <= MARGIN]).all()
    values, slopes = _outputs(here.outcome), here.jacobian @ direction
    rates = [rates_of(TAYLOR_STEPS, *each, program.round_off) for each in zip(moved.T, values, slopes, strict=True)]
    zeroth, first = [Rate(r.r0, r.r0_decades) for r in rates], [Rate(r.r1, r.r1_decades) for r in rates]
    return (
        _rate_figure("Taylor remainder without the gradient, R0", zeroth, R0_BOUND, failed),
        _rate_figure("Taylor remainder with the gradient, R1", first, R1_BOUND, failed),
    )


def _rate_figure(name: str, rates: list[Rate], bound: float, failed: bool) -> Figure:
    """The worst of what is known of the outputs; minus infinity where a run failed, not tested where there is none."""
    known = [rate for rate in rates if not np.isnan(rate.power)]
    lowest = -np.inf if failed else min((rate.power for rate in known), default=float("nan"))
    decades = min((rate.decades for rate in known), default=0.0)
    return Figure(name, lowest, bound, "at least", not np.isnan(lowest), decades)


def _modes_figure(
    program: Program, place: np.ndarray, direction: np.ndarray, here: Linearised, least: np.ndarray
) -> Figure:
    """w (J d) in forward mode against (w J) d in reverse mode, with w that gives each output the size 1."""
    count = program.simulated
    size = np.fmax(np.abs(here.jacobian[:count]).sum(axis=1), WEAK * least[:count])
    weights = np.where(size > 0, 1.0 / np.where(size > 0, size, 1.0), 0.0)  # so that no output hides another
    forward, reverse = weights * program.push(place, direction), program.pull(place, weights) * direction
    return Figure("forward against reverse mode", float(abs(forward.sum() - reverse.sum())), MODES_BOUND)


def _difference_figures(program: Program, place: np.ndarray, here: Linearised, least: np.ndarray) -> tuple[Figure, ...]:
    """The worst output by each variable, relative to its own derivative but for one that hardly matters."""
    jacobian = here.jacobian
    largest = np.fmax(np.abs(jacobian).max(axis=1), least)
    floor = np.fmax(WEAK * largest, FAINT * np.abs(_outputs(here.outcome)))
    figures = []
    for column, name in enumerate(program.variables):
        slope = _difference(program, place, column)
        size = np.fmax(np.abs(jacobian[:, column]), floor)
        off = np.abs(slope - jacobian[:, column])
        relative = np.where(off == 0, 0.0, off / np.where(size > 0, size, np.finfo(float).tiny))
        worst = float(relative.max())
        figures.append(Figure(f"difference by {name}", np.inf if np.isnan(worst) else worst, DIFFERENCE_BOUND))
    return tuple(figures)


def _difference(program: Program, place: np.ndarray, column: int) -> np.ndarray:
    """Central differences of fourth order by one variable, each output at its own step; nan if a run failed.

        (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / (12 h)

    Of a ladder of steps the one counts that changes least from the step before it: at larger ones truncation speaks, or
    a kink of the second derivative where an infusion crosses an edge, at smaller ones round-off.
    """
    unit, steps = np.eye(len(place))[column], np.asarray(DIFFERENCE_STEPS)
    shifts = np.outer(steps, (1.0, -1.0, 2.0, -2.0)).ravel()
    values = _outputs_at(program, place + shifts[:, None] * unit)
    near, back, far, far_back = np.moveaxis(values.reshape(len(steps), 4, -1), 1, 0)
    slopes = (8.0 * (near - back) - (far - far_back)) / (12.0 * steps[:, None])
    best = 1 + np.abs(np.diff(slopes, axis=0)).argmin(axis=0)
    return np.where(np.isfinite(values).all(), slopes[best, np.arange(slopes.shape[1])], np.nan)


def _scale_figure(program: Program, place: np.ndarray, scale: float, least: np.ndarray) -> Figure:
    """Whether the solvers of the reverse pass judge a cotangent by its own size."""
    first = np.eye(program.simulated)[0]
    plain, scaled = program.pull(place, first), program.pull(place, scale * first) / scale
    return Figure(f"gradient of the objective times {scale:g}", _off(scaled, plain, WEAK * least[0]), SCALE_BOUND)


def _precision_figure(
    program: Program, exact: Program, place: np.ndarray, here: Linearised, least: np.ndarray
) -> Figure:
    """The worst gradient of an output in float32 against float64, in norm; one that hardly matters by its output."""
    name = "float32 against float64"
    if program.twin is None:
        return Figure(name, float("nan"), SINGLE_BOUND, tested=False)
    single = program if exact is not program else program.other_precision
    found = single.linearise(place)
    floors = np.fmax(FAINT * np.abs(_outputs(here.outcome)), least)
    off = [_off(*rows) for rows in zip(found.jacobian, here.jacobian, floors, strict=True)]
    return Figure(name, float(np.max(off)) if found.ok else np.inf, SINGLE_BOUND)


def _required(here: Linearised) -> Linearised:
    if not here.ok:
        raise SimulationError(here.status, f"the gradient cannot be certified: {here.status.describe()}")
    return here


def _outputs(outcome: Any) -> np.ndarray:
    """Objective and limits side by side, (..., 1 + c)."""
    return np.concatenate([outcome.objective[..., None], outcome.limits], axis=-1)


def _outputs_at(program: Program, places: np.ndarray) -> np.ndarray:
    """Outputs at places (k, n), (k, 1 + c); nan where a run failed or gave a number that is not finite."""
    outcome = program.evaluate_many(places)
    values = _outputs(outcome)
    sound = (outcome.status == Status.OK) & np.isfinite(values).all(axis=1)
    return np.where(sound[:, None], values, np.nan)


def _rate(h: np.ndarray, remainders: np.ndarray, noise: float) -> Rate:
    """The power of h that the remainders above the noise have at the smallest steps, by all steps that share it."""
    size = np.abs(remainders)
    run = _last_run(size > noise)
    x, y = np.log10(h[run]), np.log10(size[run])
    if not len(x):
        return Rate(float("nan"), 0.0)
    first = _first_of_one_power(x, y)
    return Rate(_slope(x[first:], y[first:]), float(x[first] - x[-1]))


def _last_run(holds: np.ndarray) -> slice:
    """The last three or more entries in a row that hold, an empty slice if there are none."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], holds, [False]]).astype(int))).tolist()
    runs = [slice(*pair) for pair in zip(edges[::2], edges[1::2], strict=True) if pair[1] - pair[0] >= FEWEST]
    return runs[-1] if runs else slice(0, 0)


def _first_of_one_power(x: np.ndarray, y: np.ndarray) -> int:
    """The first entry from which on every decade has the slope of the last, x being falling logarithms."""
    slopes = []
    for begin in range(len(x) - FEWEST + 1):
        end = int(np.searchsorted(-x, 1.0 - x[begin] + ROUNDING, side="right"))
        end = begin + FEWEST if end < begin + FEWEST else end
        slopes.append(_slope(x[begin:end], y[begin:end]))
        if end == len(x):
            break
    other = np.flatnonzero(np.abs(np.asarray(slopes) - slopes[-1]) > SPREAD)
    return int(other[-1]) + 1 if other.size else 0


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    """Of a line by least squares."""
    return float(np.polyfit(x, y, 1)[0])


def _off(found: np.ndarray, wanted: np.ndarray, floor: float = 0.0) -> float:
    """Difference in norm, relative to what is wanted or to a floor if that is larger; 0 where both are zero."""
    size = np.maximum(np.linalg.norm(wanted), floor)
    difference = np.linalg.norm(found - wanted)
    if size == 0:
        return 0.0 if difference == 0 else float("inf")
    return float(difference / size)
