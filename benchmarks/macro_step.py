"""One macro-step of the whole model in float32, split by part, beside the goal.

    python benchmarks/macro_step.py [nx ny nz, default 64 74 32]

A healthy lobule is put under the flare of experiment 01 and led through a few macro-steps with cells in the blood; then
one macro-step is repeated from the same state. Each part is compiled alone and starts from the solution before, as in
the step. CPU seconds are of all threads, the median of several runs; slow states are what is left of the whole. Expect
on the grid of the default at most 2.0 CPU s a macro-step; the goal is 1.2.
"""

import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import hepatojax as hj
from hepatojax.body.biodistribution import ORGANS
from hepatojax.coupling import _breathe, _circulate, _signal, blood_flow, solve_quasi_steady
from hepatojax.macro_step import macro_step, move_cells
from hepatojax.mechanism import Fields
from hepatojax.model import ENERGY, evaluate, inputs
from hepatojax.tissue.arrival import unit_arrival

CASE = Path(__file__).parents[1] / "experiments" / "01_acute_liver_failure" / "case.toml"
WARM_STEPS = 4
REPEATS = 5
BOUND, GOAL = 2.0, 1.2


def cpu_seconds(run: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Median CPU seconds of several calls after a first one, and the last result."""
    result = jax.block_until_ready(run(*arguments))
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        result = jax.block_until_ready(run(*arguments))
        times.append(time.process_time() - start)
    return statistics.median(times), result


def fields_between(model: hj.LiverModel, before: hj.LiverState, after: hj.LiverState) -> Fields:
    """States at the middle of a step, and the inputs of the mechanisms there."""
    voxel, body = jax.tree.map(lambda a, b: 0.5 * (a + b), (before.voxel, before.body), (after.voxel, after.body))
    step_h = model.numerics.macro_step_h
    none = dict.fromkeys(ORGANS, jnp.zeros(()))
    harm = model.disease.harm(before.step * step_h, step_h, model.parameters.toxin)
    given = inputs(model, harm, none, jnp.zeros(()))
    return Fields({**given, **voxel, **body})


def parts(model: hj.LiverModel, before: hj.LiverState, after: hj.LiverState) -> dict[str, float]:
    """CPU seconds of each part of a step, from the solution before it."""
    guess = before.quasi_steady
    middle = fields_between(model, before, after)
    _, fields, _ = jax.jit(solve_quasi_steady)(model, middle, guess)
    grid = model.grid.scaled(model.linear_scale(fields.liver_volume))
    seconds = {}
    seconds["pressure"], (perfusion, inflow) = cpu_seconds(jax.jit(_circulate), model, fields, guess)
    flow = perfusion.flow.times(blood_flow(model, inflow.relative))
    seconds["oxygen"], _ = cpu_seconds(jax.jit(_breathe), model, fields, grid, flow, inflow, guess)

    def signals(fields: Fields) -> Any:
        return _signal(model, evaluate(ENERGY, fields, model), grid, flow, guess)

    seconds["signals"], _ = cpu_seconds(jax.jit(signals), fields)
    adhesion = model.parameters.adhesion_per_transit
    affinity = 1.0 + fields.debris_response
    seconds["arrival"], _ = cpu_seconds(jax.jit(unit_arrival), grid, flow, affinity, adhesion, guess.carried)
    volume = fields.liver_volume
    seconds["migration"], _ = cpu_seconds(jax.jit(move_cells), model, before.voxel, after.quasi_steady, volume)
    return seconds


def main() -> None:
    """Print the table."""
    jax.config.update("jax_enable_x64", True)
    cells = [int(n) for n in sys.argv[1:4]] or [64, 74, 32]
    changes = {"grid.cells": cells, "disease.start": "healthy", "disease.flare_lead_h": 0.0}
    model, state, schedule = hj.build(hj.load_scenario(CASE, overrides=changes), arm="intraportal")
    start = time.perf_counter()
    step = jax.jit(macro_step).lower(model, state, schedule).compile()
    print(f"jax {jax.__version__}, {jax.devices()[0]}, cells {cells}, compiled in {time.perf_counter() - start:.1f} s")
    for _ in range(WARM_STEPS):
        state, report = step(model, state, schedule)
    whole, (after, report) = cpu_seconds(step, model, state, schedule)
    split = parts(model, state, after)
    split["slow states, ledger, endpoints (rest)"] = whole - sum(split.values())
    for name, seconds in split.items():
        print(f"{name:40} {seconds:7.3f} CPU s")
    print(f"{'one macro-step':40} {whole:7.3f} CPU s; bound {BOUND}, goal {GOAL}")
    print(", ".join(f"{name} {float(value):.3g}" for name, value in report.statistics.items()))
    memory = step.memory_analysis()
    temporary = f"{memory.temp_size_in_bytes / 2**20:.0f} MiB" if memory else "unknown"
    text = step.as_text()
    kernels = {name: len(re.findall(rf"= .* {name}\(", text)) for name in ("fusion", "while", "conditional")}
    print(f"temporary memory {temporary}; in the compiled text {kernels}")


if __name__ == "__main__":
    main()
