"""One window of doses along one variable: scan, edges by Newton's method, best dose, and what ends it.

The scan comes first, in few compiled calls; what it brackets is then found with derivatives. Gain and limits are one
reading, the smallest of their margins, so that an edge is its zero, whatever ends the window there. A dose that could
not be simulated is never interpolated over: the window then ends at the last dose that has numbers, and says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from hepatojax.status import Status
from hepatojax.studies.line import TOLERANCE, FailedPlace, Line, Reading, crossing, highest
from hepatojax.studies.program import Program
from hepatojax.studies.variables import Variable

GAIN, BOUND, FAILED, DEAD = "gain", "bound of the variable", "failed simulation", "dead liver"
NO_DOSE = -math.inf  # its place on a logarithmic scale


class WindowVerdict(StrEnum):
    """Whether there is a window."""

    OPEN = "open"
    NO_GAIN = "empty: the gain is never reached"
    LIMIT_BROKEN = "empty: where the gain is reached, a limit is broken"
    FAILED_SIMULATION = "unknown: no dose, or the run without cells, could not be simulated"
    FAILED_DOSES = "unknown: no dose that could be simulated is inside, but others could not be"

    @property
    def known(self) -> bool:
        """Whether it says something about the window, not about the simulations."""
        return self not in (WindowVerdict.FAILED_SIMULATION, WindowVerdict.FAILED_DOSES)


class Scan(NamedTuple):
    """Doses tried at first, with nan where the simulation failed.

    Attributes:
        x: place in 0..1 [-], (m,).
        doses: [cells/kg], (m,).
        gain: objective less that without cells, in the unit of the objective, (m,).
        limits: excess of each [-], (m, c).
        status: `Status` code, (m,).
    """

    x: Float[np.ndarray, " m"]
    doses: Float[np.ndarray, " m"]
    gain: Float[np.ndarray, " m"]
    limits: Float[np.ndarray, "m c"]
    status: Int[np.ndarray, " m"]

    @property
    def failed(self) -> Bool[np.ndarray, " m"]:
        """Which doses could not be simulated, (m,)."""
        return self.status != Status.OK


class Edge(NamedTuple):
    """An end of the window.

    Attributes:
        x: place in 0..1.
        dose: [cells/kg].
        active: what ends the window here: "gain", the name of a limit, "bound of the variable" if nothing does, "failed
            simulation" or "dead liver" if doses beyond it have no numbers; it is then the last of the scanned doses
            that has.
        converged: whether the place is known to the tolerance, and no dose that failed below it may belong to an
            earlier window.
    """

    x: float
    dose: float
    active: str
    converged: bool


class Best(NamedTuple):
    """The dose of the highest gain within the window.

    Attributes:
        x: place in 0..1 [-].
        dose: [cells/kg].
        gain: over the run without cells, in the unit of the objective.
        low: lowest dose of the flat range about it [cells/kg]; nan if it is not known.
        high: highest dose of the flat range [cells/kg]; nan if it is not known.
        converged: whether dose and range are known to the tolerance.
    """

    x: float
    dose: float
    gain: float
    low: float
    high: float
    converged: bool


@dataclass(frozen=True)
class Window:
    """The first interval of doses that are worth giving and keep every limit; a part of a `WindowStudy`.

    Attributes:
        verdict: whether there is one.
        reason: one sentence.
        least_gain: smallest gain worth having, in the unit of the objective.
        share: of the best gain that may be lost in the flat range [-].
        lower: its lower end, None if it is empty.
        upper: its upper end, None if it is empty.
        best: the dose of the highest gain in it, with the doses about it that lose no more than `share` of that gain.
        multiplier: gain per excess of the limit at the upper edge, along the dose: what one would get if its bound gave
            way by its own size, in the unit of the objective; nan where no limit ends the window.
        intervals: how many intervals of scanned doses are inside.
        untreated: objective without cells, in its unit.
        scan: doses tried at first.
        failures: how simulations failed, each way once.
        forward: runs without the derivative.
        jacobians: runs with the derivative.
    """

    verdict: WindowVerdict
    reason: str
    least_gain: float
    share: float
    lower: Edge | None
    upper: Edge | None
    best: Best | None
    multiplier: float
    intervals: int
    untreated: float
    scan: Scan
    failures: tuple[Status, ...]
    forward: int
    jacobians: int

    @property
    def open(self) -> bool:
        """Whether there is a window."""
        return self.verdict == WindowVerdict.OPEN

    @property
    def converged(self) -> bool:
        """Whether all that was sought is known to the tolerance; an empty window has nothing to be sought."""
        if not self.verdict.known:
            return False
        return all(part.converged for part in (self.lower, self.upper, self.best) if part is not None)


def find_window(program: Program, variable: Variable, least_gain: float, share: float, doses: int) -> Window:
    """The window of one variable on a logarithmic scale, see `hepatojax.studies.window.therapeutic_window`.

    Args:
        program: of that one variable.
        variable: what dose a place is.
        least_gain: smallest gain worth having, in the unit of the objective.
        share: of the best gain that may be lost in the flat range [-].
        doses: number of doses of the scan, even on the logarithmic scale.

    Returns:
        The window; an empty or unknown one has a reason.
    """
    seeker = _scanned(Line(program), variable, least_gain, doses)
    if math.isnan(seeker.untreated) or seeker.scan.failed.all():
        return seeker.window(share, WindowVerdict.FAILED_SIMULATION, _failures(seeker))
    if not (seeker.scanned() >= 0).any():
        _look_between(seeker)
    inside = seeker.scanned() >= 0
    if not inside.any():
        verdict, reason = _why_empty(seeker)
        failed = set(seeker.failures) - {Status.DEAD_LIVER}
        return seeker.window(share, WindowVerdict.FAILED_DOSES if failed else verdict, reason + _unknown(seeker))
    begins = np.flatnonzero(inside & ~np.append(False, inside[:-1]))
    first = int(begins[0])
    last = first + int(np.argmin(np.append(inside[first:], False))) - 1
    lower, upper = _edge(seeker, first, first - 1), _edge(seeker, last, last + 1)
    if _failed_below(seeker, first):
        lower = lower._replace(converged=False)
    return seeker.window(
        share,
        WindowVerdict.OPEN,
        _ends(seeker, lower, upper, len(begins)),
        lower=lower,
        upper=upper,
        best=_best(seeker, lower, upper, share),
        multiplier=_multiplier(seeker, upper),
        intervals=len(begins),
    )


class _Seeker:
    """What the search for one window works with: the line, the run without cells, and the scan, which may grow."""

    def __init__(self, line: Line, variable: Variable, least_gain: float, untreated: tuple[float, Status], scan: Scan):
        self.line, self.variable, self.least_gain, self.scan = line, variable, least_gain, scan
        self.untreated, self.untreated_status = untreated
        self.names = (GAIN, *line.program.limits)

    def dose(self, x: float) -> float:
        return float(self.variable.value(jnp.asarray(x)))

    def gain(self, x: float) -> Reading:
        here = self.line.at(x)
        return Reading(float(here.outcome.objective) - self.untreated, float(here.jacobian[0, 0]))

    def margins(self, x: float) -> tuple[np.ndarray, np.ndarray]:
        """How far the gain, and then each limit, are from where they end the window, with slopes; < 0 is outside."""
        here, gain = self.line.at(x), self.gain(x)
        values = np.append(gain.value / self.least_gain - 1.0, -here.outcome.limits)
        return values, np.append(gain.slope / self.least_gain, -here.jacobian[1:, 0])

    def margin(self, x: float) -> Reading:
        """The smallest of the margins."""
        values, slopes = self.margins(x)
        least = int(np.argmin(values))
        return Reading(float(values[least]), float(slopes[least]))

    def scanned(self) -> np.ndarray:
        """The smallest margin at every dose of the scan (m,); nan where it failed."""
        gain = self.scan.gain / self.least_gain - 1.0
        return np.column_stack([gain, -self.scan.limits]).min(axis=1)

    def add(self, x: float) -> None:
        """Put a place that was found between the doses of the scan among them."""
        here, at = self.line.at(x), int(np.searchsorted(self.scan.x, x))
        row = (x, self.dose(x), self.gain(x).value, here.outcome.limits, int(Status.OK))
        self.scan = Scan(*(np.insert(part, at, new, axis=0) for part, new in zip(self.scan, row, strict=True)))

    @property
    def failures(self) -> tuple[Status, ...]:
        codes = {int(code) for code in self.scan.status} | {int(self.untreated_status)}
        codes |= {int(here.status) for here in self.line.seen.values()}
        return tuple(Status(code) for code in sorted(codes - {int(Status.OK)}))

    def window(self, share: float, verdict: WindowVerdict, reason: str, **found: Any) -> Window:
        empty = {"lower": None, "upper": None, "best": None, "multiplier": math.nan, "intervals": 0}
        return Window(
            verdict=verdict,
            reason=reason,
            least_gain=self.least_gain,
            share=share,
            untreated=self.untreated,
            scan=self.scan,
            failures=self.failures,
            forward=self.line.forward,
            jacobians=self.line.jacobians,
            **{**empty, **found},
        )


def _scanned(line: Line, variable: Variable, least_gain: float, doses: int) -> _Seeker:
    """Run the course without the infusion, and with the doses of the scan."""
    places = np.linspace(0.0, 1.0, doses)
    outcome = line.scan([NO_DOSE, *places])
    finite = np.isfinite(outcome.objective)
    finite[1:] &= np.isfinite(outcome.limits[1:]).all(axis=1)  # the run without cells has to keep none
    status = np.where((outcome.status == Status.OK) & ~finite, int(Status.NOT_FINITE), outcome.status)
    known = status == Status.OK
    objective = np.where(known, outcome.objective, np.nan)
    limits = np.where(known[:, None], outcome.limits, np.nan)
    values = np.asarray([float(variable.value(jnp.asarray(x))) for x in places])
    scan = Scan(places, values, objective[1:] - objective[0], limits[1:], status[1:])
    return _Seeker(line, variable, least_gain, (float(objective[0]), Status(int(status[0]))), scan)


def _look_between(seeker: _Seeker) -> None:
    """Look for a window between the doses of the scan, about the one that comes closest; failures are remembered."""
    scanned, places = seeker.scanned(), seeker.scan.x
    closest = int(np.nanargmax(scanned))
    try:
        slope = seeker.margin(places[closest]).slope
        beside = closest + (1 if slope > 0 else -1)
        if slope == 0 or not 0 <= beside < len(places):
            return
        if np.isnan(scanned[beside]):
            _look_towards_a_failure(seeker, places[closest], places[beside])
        else:
            seeker.add(highest(seeker.margin, places[closest], places[beside])[0])
    except FailedPlace:
        return


def _look_towards_a_failure(seeker: _Seeker, here: float, there: float) -> None:
    """Look for a window between a dose from where the margin rises and one without numbers, such as a dead liver."""
    while abs(there - here) > TOLERANCE:
        middle = 0.5 * (here + there)
        try:
            margin = seeker.margin(middle)
        except FailedPlace:
            there = middle
            continue
        falling = margin.slope * (there - here) <= 0
        if margin.value >= 0 or falling:
            seeker.add(highest(seeker.margin, here, middle)[0] if falling else middle)
            return
        here = middle


def _failed_below(seeker: _Seeker, first: int) -> bool:
    """Whether a scanned dose below one has no numbers, but for a dead liver."""
    status = seeker.scan.status[:first]
    return bool(((status != Status.OK) & (status != Status.DEAD_LIVER)).any())


def _why_empty(seeker: _Seeker) -> tuple[WindowVerdict, str]:
    """The gain is never reached, or a limit is broken at the lowest dose of the scan that reaches it."""
    scan = seeker.scan
    worth = np.flatnonzero(scan.gain >= seeker.least_gain)
    if not len(worth):
        top = int(np.nanargmax(scan.gain))
        reason = (
            f"the gain reaches {scan.gain[top]:.3g} at most, at {scan.doses[top]:.3g} cells/kg; wanted "
            f"{seeker.least_gain:.3g}"
        )
        return WindowVerdict.NO_GAIN, reason
    at = int(worth[0])
    worst = int(np.argmax(scan.limits[at]))
    name = seeker.line.program.limits[worst]
    reason = f"at {scan.doses[at]:.3g} cells/kg, where the gain is reached, {name} is {scan.limits[at, worst]:.3g} over"
    return WindowVerdict.LIMIT_BROKEN, reason


def _edge(seeker: _Seeker, inside: int, outside: int) -> Edge:
    """The edge between a dose of the scan that is inside and its neighbour, which is not."""
    scan = seeker.scan
    here = float(scan.x[inside])
    if not 0 <= outside < len(scan.x):
        return Edge(here, seeker.dose(here), BOUND, True)
    if scan.failed[outside]:
        return Edge(here, seeker.dose(here), _failure(Status(int(scan.status[outside]))), False)
    near, far = seeker.scanned()[[inside, outside]]
    there = float(scan.x[outside])
    try:
        x, converged = crossing(seeker.margin, here, there, here + (there - here) * near / (near - far))
        values, _ = seeker.margins(x)
    except FailedPlace as failed:
        return Edge(here, seeker.dose(here), _failure(failed.status), False)
    return Edge(x, seeker.dose(x), seeker.names[int(np.argmin(values))], converged)


def _best(seeker: _Seeker, lower: Edge, upper: Edge, share: float) -> Best:
    """The highest gain within the window, and the doses about it that lose little of it."""
    scan = seeker.scan
    within = (scan.x > lower.x) & (scan.x < upper.x)
    places = np.concatenate([[lower.x], scan.x[within], [upper.x]])
    try:
        gains = np.concatenate([[seeker.gain(lower.x).value], scan.gain[within], [seeker.gain(upper.x).value]])
        x, converged = _summit(seeker, places, gains)
        top = seeker.gain(x).value
        low, high = (_flat(seeker, places, gains, x, (1.0 - share) * top, way) for way in (-1, 1))
    except FailedPlace:
        known = np.where((scan.x >= lower.x) & (scan.x <= upper.x), scan.gain, -np.inf)
        at = int(np.nanargmax(known))
        return Best(float(scan.x[at]), float(scan.doses[at]), float(scan.gain[at]), math.nan, math.nan, False)
    return Best(x, seeker.dose(x), top, seeker.dose(low[0]), seeker.dose(high[0]), converged and low[1] and high[1])


def _summit(seeker: _Seeker, places: np.ndarray, gains: np.ndarray) -> tuple[float, bool]:
    """The place of the highest gain, starting from the highest of some; it may be the first or the last."""
    top = int(np.argmax(gains))
    slope = seeker.gain(float(places[top])).slope
    beside = top + (1 if slope > 0 else -1)
    if slope == 0 or not 0 <= beside < len(places):
        return float(places[top]), True
    return highest(seeker.gain, float(places[top]), float(places[beside]))


def _flat(
    seeker: _Seeker, places: np.ndarray, gains: np.ndarray, x: float, least: float, way: int
) -> tuple[float, bool]:
    """How far one may go from the best place, down or up, before the gain falls below some value."""
    order = np.argsort(way * places)
    beyond = [i for i in order if way * (places[i] - x) > 0]
    below = next((i for i in beyond if gains[i] < least), None)
    if below is None:
        return (float(places[beyond[-1]]) if beyond else x), True
    nearer = [float(places[i]) for i in beyond if way * (places[below] - places[i]) > 0]
    inside = nearer[-1] if nearer else x

    def over(at: float) -> Reading:
        gain = seeker.gain(at)
        return Reading(gain.value - least, gain.slope)

    return crossing(over, inside, float(places[below]), 0.5 * (inside + float(places[below])))


def _multiplier(seeker: _Seeker, upper: Edge) -> float:
    """d gain / d excess along the dose, of the limit that ends the window."""
    if upper.active not in seeker.line.program.limits or not upper.converged:
        return math.nan
    _, slopes = seeker.margins(upper.x)
    slope = -slopes[seeker.names.index(upper.active)]
    return float(seeker.gain(upper.x).slope / slope) if slope != 0 else math.nan


def _ends(seeker: _Seeker, lower: Edge, upper: Edge, intervals: int) -> str:
    """One sentence on the doses of a window and on what ends it."""
    several = f"; the first of {intervals} intervals" if intervals > 1 else ""
    span = f"{lower.dose:.3g} to {upper.dose:.3g} cells/kg"
    return f"{span}, ended by {lower.active} below and by {upper.active} above{several}" + _unknown(seeker)


def _unknown(seeker: _Seeker) -> str:
    """What to add about doses that could not be simulated."""
    failed = int(seeker.scan.failed.sum())
    between = sum(not here.ok for here in seeker.line.seen.values())
    said = [f"{failed} of {len(seeker.scan.x)} doses have no numbers"] if failed else []
    said += [f"{between} between them have none"] if between else []
    return "".join(f"; {each}" for each in said)


def _failures(seeker: _Seeker) -> str:
    """Why nothing is known of the window: no run without cells, or no dose."""
    if math.isnan(seeker.untreated):
        return f"the run without cells: {seeker.untreated_status.statement}"
    return f"every dose: {Status(int(seeker.scan.status[0])).statement}"


def _failure(status: Status) -> str:
    return DEAD if status == Status.DEAD_LIVER else FAILED
