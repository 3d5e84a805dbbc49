"""The derivative of an endpoint by the start of an infusion: is it that of the model, or of its macro-steps?

    python benchmarks/timing.py [cells of the column, default 4] [--json FILE]

One portal infusion of half an hour into an injured liver (a column, float64) starts in the first 36 h. Forward mode
differentiates functional mass and the MSC in the liver on day 3 and on day 14 by its start, with 6 macro-steps a day
and with 96. Printed are the differences of the two for starts at least 0.2 h from an edge of the 4-h macro-steps and
for starts anywhere, then how far values and derivatives jump where the start, or the end, of the infusion crosses an
edge. `timing.png` beside this script shows both over two macro-steps.

Asked: within 5 %, and no jump at an edge. Expect functional mass within about 3 % on both days wherever the start
falls, the MSC within 0.6 %, and jumps of values and derivatives of at most 0.1 % where a start or an end crosses an
edge. Between two edges the derivative is nearly a straight line; what it is off by when the end of the infusion reaches
an edge it makes up while the edge cuts the infusion in two.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from jax import Array
from records import run

import hepatojax as hj
from hepatojax.checks.records import Record, at_most, reported
from hepatojax.checks.validate.course import column_case
from hepatojax.scenario import DiseaseSpec, GridSpec, InfusionSpec
from hepatojax.status import Status

SOURCE = "benchmarks/timing.py"
FIGURE = Path(__file__).with_suffix(".png")
CASE = column_case(
    disease=DiseaseSpec(lesion_fraction=0.5, activity=0.5),
    dose=InfusionSpec(start_h=8.0, duration_h=0.5, cells_per_kg=1e6, route="portal"),
)
COARSE, FINE = 6, 96  # macro-steps a day
STEP_H = 24.0 / COARSE
ENDPOINTS = ("functional_mass", "msc_liver")
DAYS = (3, 14)
FIRST_H, LAST_H = 4.0, 36.0
STARTS = 16
MARGIN_H = 0.2
BOUND = 0.05
EDGE_H, BESIDE_H = 16.0, 1e-6
SHOWN_H = (12.0, 20.0)
DURATION_H = CASE.arms[1].infusions[0].duration_h


class Response(NamedTuple):
    """Endpoints on each of `DAYS`, and their derivatives by the start [1/h], both (starts, endpoints, days)."""

    value: np.ndarray
    slope: np.ndarray


Solver = Callable[[np.ndarray], Response]


def solver(cells: int, steps_per_day: int) -> Solver:
    """Responses to starts [h] (s,), `STARTS` of them in one compiled call."""
    scenario = replace(CASE, grid=GridSpec(cells=(cells, 1, 1)), run=replace(CASE.run, steps_per_day=steps_per_day))
    model, state, schedule = hj.build(scenario, arm="treated")
    at = np.asarray(DAYS) * steps_per_day - 1

    def course(start: Array) -> tuple[Array, Array]:
        moved = replace(schedule, start_h=schedule.start_h.at[0].set(start))
        found = hj.simulate(model, state, moved, end_h=24.0 * DAYS[-1], start_h=0.0, adjoint="none")
        return jnp.stack([found.endpoints[name][at] for name in ENDPOINTS]), found.status

    @jax.jit
    @jax.vmap
    def respond(start: Array) -> tuple[Array, Array, Array]:
        return jax.jvp(course, (start,), (jnp.ones(()),), has_aux=True)

    def responses(starts: np.ndarray) -> Response:
        padded = np.append(starts, np.repeat(starts[-1:], -len(starts) % STARTS))
        parts = [respond(jnp.asarray(part)) for part in np.split(padded, len(padded) // STARTS)]
        value, slope, status = (np.concatenate(part)[: len(starts)] for part in zip(*parts, strict=True))
        if (status != Status.OK).any():
            raise SystemExit(f"a run failed: {Status(int(status.max())).statement}")
        return Response(value, slope)

    return responses


def drawn(seed: int, margin_h: float) -> np.ndarray:
    """Random starts [h], sorted, none closer to an edge of a macro-step than the margin."""
    random, starts = np.random.default_rng(seed), np.empty(0)
    while len(starts) < STARTS:
        start = random.uniform(FIRST_H, LAST_H)
        if min(start % STEP_H, -start % STEP_H) >= margin_h:
            starts = np.append(starts, start)
    return np.sort(starts)


def compare(title: str, starts: np.ndarray, coarse: Response, fine: Response) -> list[Record]:
    """Print a line for each start, and the largest difference of each column beside the bound."""
    off = (np.abs(coarse.slope - fine.slope) / np.abs(fine.slope)).reshape(len(starts), -1)
    columns = [f"{name} day {day}" for name in ENDPOINTS for day in DAYS]
    print(f"\n{title}: relative difference of the derivatives, {COARSE} against {FINE} macro-steps a day")
    print(f"{'start [h]':>10} {'past edge':>10}" + "".join(f"{name:>24}" for name in columns))
    for start, row in zip(starts, off, strict=True):
        print(f"{start:10.3f} {start % STEP_H:10.3f}" + "".join(f"{each:24.2%}" for each in row))
    whole = starts % STEP_H <= STEP_H - DURATION_H  # no edge cuts the infusion in two
    for what, worst in (("largest", off.max(axis=0)), ("largest of uncut", off[whole].max(axis=0))):
        print(f"{what:>21}" + "".join(f"{each:24.2%}" for each in worst))
        print(f"{f'within {BOUND:.0%}':>21}" + "".join(f"{'met' if each <= BOUND else 'missed':>24}" for each in worst))
    return [
        at_most("timing", f"{title}: largest difference, {name}", each, BOUND, "-", SOURCE)
        for name, each in zip(columns, off.max(axis=0), strict=True)
    ]


def shown() -> np.ndarray:
    """Starts of the figure [h]: even ones, and both sides of where a start, or an end, crosses an edge."""
    edges = np.arange(SHOWN_H[0] + STEP_H, SHOWN_H[1] + STEP_H, STEP_H)
    kinks = np.concatenate([edges, edges - DURATION_H])
    beside = np.concatenate([kinks - BESIDE_H, kinks + BESIDE_H])
    within = edges[:, None] - DURATION_H * np.linspace(0.15, 0.85, 5)
    even = np.linspace(*SHOWN_H, 3 * STARTS - beside.size - within.size)
    return np.sort(np.concatenate([even, beside[beside < SHOWN_H[1]], within.ravel()]))


def jumps(steps_per_day: int, respond: Solver) -> list[Record]:
    """Print the jump of values and derivatives where a start, or an end, crosses an edge, relative to their size."""
    print(
        f"jump at the edge at {EDGE_H:g} h with {steps_per_day} macro-steps a day, {BESIDE_H:g} h before to behind it:"
    )
    records = []
    for what, edge in (("start", EDGE_H), ("end", EDGE_H - DURATION_H)):
        before, behind = (part for part in zip(*respond(np.asarray([edge - BESIDE_H, edge + BESIDE_H])), strict=True))
        value, slope = (np.abs(b - a) / np.abs(b) for a, b in zip(before, behind, strict=True))
        for i, j in np.ndindex(value.shape):
            name = f"{ENDPOINTS[i]} day {DAYS[j]}"
            print(f"  {what:>5}, {name:>22}: value {value[i, j]:.1e}, derivative {slope[i, j]:.1%}", flush=True)
            told = f"jump where the {what} crosses an edge, {steps_per_day} macro-steps a day: {name}"
            records.append(reported("timing", f"{told}, value", value[i, j], "-", SOURCE))
            records.append(reported("timing", f"{told}, derivative", slope[i, j], "-", SOURCE))
    return records


def draw(starts: np.ndarray, coarse: Response, fine: Response) -> None:
    """Functional mass, above, less its value at the first start, and its derivative, below, on each day."""
    matplotlib.use("Agg")
    from matplotlib import patches, pyplot

    figure, axes = pyplot.subplots(2, len(DAYS), figsize=(9.0, 6.0), sharex=True, layout="constrained")
    looks = {FINE: (fine, "0.55", 3.0), COARSE: (coarse, "C0", 1.4)}
    for steps_per_day, (found, colour, width) in looks.items():
        how = {"color": colour, "linewidth": width, "label": f"{steps_per_day} macro-steps a day"}
        for j in range(len(DAYS)):
            axes[0, j].plot(starts, 1e3 * (found.value[:, 0, j] - found.value[0, 0, j]), **how)
            axes[1, j].plot(starts, 1e3 * found.slope[:, 0, j], **how)
    edges = np.arange(SHOWN_H[0], SHOWN_H[1] + STEP_H, STEP_H)
    for axis in axes.flat:
        for edge in edges:
            axis.axvline(edge, color="0.3", linewidth=0.8, linestyle=":", zorder=0)
            axis.axvspan(edge - DURATION_H, edge, color="C1", alpha=0.25, linewidth=0, zorder=0)
        axis.set_xlim(*SHOWN_H)
        axis.set_xticks(np.arange(SHOWN_H[0], SHOWN_H[1] + 1.0))
        axis.spines[["top", "right"]].set_visible(False)
    for j, day in enumerate(DAYS):
        axes[0, j].set_title(f"functional mass on day {day}")
        axes[1, j].set_xlabel("start of the infusion [h]")
    axes[0, 0].set_ylabel(f"change from a start at {SHOWN_H[0]:g} h\n[1/1000 of a healthy liver]")
    axes[1, 0].set_ylabel("derivative by the start\n[1/1000 of a healthy liver per h]")
    lines, labels = axes[0, 0].get_legend_handles_labels()
    lines.append(patches.Rectangle((0, 0), 1, 1, color="C1", alpha=0.25, linewidth=0))
    labels.append("an edge (dotted) cuts the infusion in two")
    figure.legend(lines, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(FIGURE, dpi=150)


def main(arguments: list[str]) -> list[Record]:
    """Print the tables and draw the figure."""
    jax.config.update("jax_enable_x64", True)
    cells = int(arguments[0]) if arguments else 4
    parts = (drawn(0, MARGIN_H), drawn(1, 0.0), shown())
    every, cuts = np.concatenate(parts), np.cumsum([STARTS, STARTS])
    found, records = {}, []
    for steps_per_day in (COARSE, FINE):
        begun = time.perf_counter()
        respond = solver(cells, steps_per_day)
        value, slope = (np.split(whole, cuts) for whole in respond(every))
        found[steps_per_day] = [Response(*each) for each in zip(value, slope, strict=True)]
        seconds = time.perf_counter() - begun
        print(f"\n{steps_per_day} macro-steps a day: {len(every)} starts in {seconds:.0f} s with compilation")
        records += jumps(steps_per_day, respond)
        records.append(reported("timing", f"{steps_per_day} macro-steps a day, all starts", seconds, "s", SOURCE))
    apart, anywhere, drawing = zip(parts, *found.values(), strict=True)
    records += compare(f"starts at least {MARGIN_H} h from an edge", *apart)
    records += compare("starts anywhere", *anywhere)
    draw(*drawing)
    print(f"\n{FIGURE}")
    return records


if __name__ == "__main__":
    run(main)
