"""What a gradient of the whole model costs beside its run, what it keeps in memory, and what float32 does to it.

    python benchmarks/adjoint.py [nx ny nz, default 64 74 32] [macro-steps, 112] [modes, saved,two-level] [--json FILE]

A healthy lobule with a lesion is put under the flare of experiment 01 and given four intravenous infusions, a quarter
of the run apart, which over 112 macro-steps is a week; functional mass at the end is differentiated by every entry of
the schedule. CPU seconds are of all threads, of a second call, compilation aside. Temporaries are those that the
compiler plans. With the mode "float64" the derivatives of "saved" are computed in float64 too and compared: all in
norm, each for a change of the size of its kind (the largest start, duration and amount, and 1 for a share of a route),
and for each kind the largest difference over the largest derivative.

Asked: a gradient for at most 2.5 runs with "saved" and 3.5 with "two-level", the latter within 2 sqrt(steps) states and
twice the temporaries of the gradient of one step; 90 s to compile, 10 s if it was compiled and kept before; float32
within 2e-3 of float64 in norm. A gradient is compiled and kept as a study does it, its run likewise; to compile means
to trace what is differentiated and the gradient, to compile and to save it, and to find it is timed in a new process,
imports aside. Expect 2.7 runs with "saved" over 112 macro-steps on one core, more on two, and 4 with "two-level"
(docs/numerics.md, 9), short of what is asked; 78 s to compile on two idle cores and 112 with "two-level", a third more
on a slow day, 9 and 12 s if kept; and float32 within 2e-5. On two cores "saved" alone takes six minutes, both modes
ten, and "float64" ten more.
"""

import math
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import fields, replace
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import jax
import numpy as np
from records import run, told

import hepatojax as hj
from hepatojax.checks.records import Record, at_most, reported
from hepatojax.cli.device import prepare_jax
from hepatojax.io.programs import ProgramFolder
from hepatojax.studies.compiled import Compiled
from hepatojax.studies.problem import COMPILER_OPTIONS

CASE = Path(__file__).parents[1] / "experiments" / "01_acute_liver_failure" / "case.toml"
OVERRIDES = {"disease.start": "healthy", "disease.flare_lead_h": 0.0, "disease.lesion_fraction": 0.3}
MODES = ("saved", "two-level", "float64")
RATIO_BOUNDS = {"saved": 2.5, "two-level": 3.5}
COMPILE_BOUND_S, FOUND_BOUND_S, PRECISION_BOUND = 90.0, 10.0, 2e-3
MIB = 2**20


class Cost(NamedTuple):
    """Seconds to compile and keep, and to find again; CPU seconds of a call; temporaries [MiB]; what the call gives."""

    compile_s: float
    found_s: float
    cpu_s: float
    temporaries_mib: float
    result: Any


class Case(NamedTuple):
    """Arguments of the objective; the gradient is by the schedule."""

    schedule: hj.DoseSchedule
    model: hj.LiverModel
    state: hj.LiverState


def case_of(cells: list[int], precision: str, steps: int) -> Case:
    """Schedule, model and state on a grid; the infusions are spread over some macro-steps, to count alike."""
    scenario = hj.load_scenario(CASE, OVERRIDES | {"grid.cells": cells, "run.precision": precision})
    model, state, schedule = hj.build(scenario, arm="intravenous")
    parts = np.arange(len(schedule.start_h)) / len(schedule.start_h)
    start_h = schedule.start_h[0] + parts * steps * model.numerics.macro_step_h
    return Case(replace(schedule, start_h=start_h), model, state)


def objective(steps: int, adjoint: str) -> Callable[[hj.DoseSchedule, hj.LiverModel, hj.LiverState], Any]:
    """Functional mass after some macro-steps; model and state are arguments, so that none of them is folded."""

    def of_case(schedule: hj.DoseSchedule, model: hj.LiverModel, state: hj.LiverState) -> Any:
        end_h = steps * model.numerics.macro_step_h
        solution = hj.simulate(model, state, schedule, end_h=end_h, start_h=0.0, adjoint=adjoint)
        return solution.endpoints.functional_mass[-1]

    return of_case


def compiled(function: Callable[..., Any], case: Case) -> Any:
    """The program of a function, compiled as in a study and not kept."""
    return jax.jit(function).lower(*case).compile(options())


def cost(mode: str, steps: int, case: Case) -> Cost:
    """What a run ("none") or a gradient costs to compile, to start in another process, and to call."""
    with TemporaryDirectory() as folder:
        program, compile_s = started(mode, steps, case, folder)
        with ProcessPoolExecutor(1, get_context("spawn"), prepare) as elsewhere:
            found_s = elsewhere.submit(seconds_to_start, mode, steps, case, folder).result()
    jax.block_until_ready(program(*case))
    start = time.process_time()
    result = jax.block_until_ready(program(*case))
    cpu_s = time.process_time() - start
    return Cost(compile_s, found_s, cpu_s, program.memory_analysis().temp_size_in_bytes / MIB, result)


def started(mode: str, steps: int, case: Case, folder: str) -> tuple[Any, float]:
    """The program of a run or of a gradient as a study starts its gradient, and the seconds until it is ready."""
    start = time.perf_counter()
    of = objective(steps, mode)
    function = of if mode == "none" else jax.value_and_grad(of)
    program = Compiled(function, of, mode, ProgramFolder(Path(folder), nullcontext), options()).program(*case)
    return program, time.perf_counter() - start


def options() -> dict[str, Any] | None:
    """Those of the compiler, as in a study."""
    return COMPILER_OPTIONS.get(jax.default_backend())


def seconds_to_start(mode: str, steps: int, case: Case, folder: str) -> float:
    """Seconds until a program that was kept is ready."""
    return started(mode, steps, case, folder)[1]


def prepare() -> None:
    """JAX as the command line sets it up, without its cache: what is measured is a cold compiler."""
    prepare_jax(None)
    jax.config.update("jax_enable_compilation_cache", False)


def row(name: str, got: Cost, run: Cost) -> None:
    """One line of the table."""
    ratio = got.cpu_s / run.cpu_s
    seconds = f"{got.compile_s:10.1f} {got.found_s:8.1f} {got.cpu_s:9.1f}"
    print(f"{name:10} {seconds} {ratio:6.2f} {got.temporaries_mib:16.0f}", flush=True)


def memory_bound(case: Case, steps: int) -> float:
    """2 sqrt(steps) states and twice the temporaries of the gradient of one step [MiB]."""
    program = compiled(jax.value_and_grad(objective(1, "saved")), case)
    of_state = sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(case.state))
    return (2.0 * math.sqrt(steps) * of_state + 2.0 * program.memory_analysis().temp_size_in_bytes) / MIB


def figures(mode: str, got: Cost, run: Cost) -> list[Record]:
    """What is asked of a gradient, but for its memory."""
    return [
        at_most("adjoint", f"{mode}: ratio to the run", got.cpu_s / run.cpu_s, RATIO_BOUNDS[mode], "-", "P3"),
        at_most("adjoint", f"{mode}: seconds to compile", got.compile_s, COMPILE_BOUND_S, "s", "benchmarks/adjoint.py"),
        at_most("adjoint", f"{mode}: seconds if kept", got.found_s, FOUND_BOUND_S, "s", "benchmarks/adjoint.py"),
        reported("adjoint", f"{mode}: CPU seconds", got.cpu_s, "s", "P3"),
    ]


def by_kind(gradient: hj.DoseSchedule, schedule: hj.DoseSchedule) -> dict[str, np.ndarray]:
    """Derivatives by the entries of each kind, for a change of the size of the kind, so that hours and cells add up."""
    return {
        kind.name: np.asarray(getattr(gradient, kind.name)).ravel() * np.abs(getattr(schedule, kind.name)).max()
        for kind in fields(schedule)  # the size of a share of a route is 1, that of the route in use
    }


def compare(single: dict[str, np.ndarray], double: dict[str, np.ndarray]) -> Record:
    """How far the derivatives in float32 are from those in float64."""
    for kind, exact in double.items():
        print(f"  {kind:12} largest difference {np.abs(single[kind] - exact).max() / np.abs(exact).max():.1e}")
    every, exact = (np.concatenate([*kinds.values()]) for kinds in (single, double))
    error = float(np.linalg.norm(every - exact) / np.linalg.norm(exact))
    return at_most("adjoint", "float32 against float64, in norm", error, PRECISION_BOUND, "-", "benchmarks/adjoint.py")


def main(arguments: list[str]) -> list[Record]:
    """Print the table, and beside it what is asked."""
    prepare()
    cells = [int(text) for text in arguments[:3]] or [64, 74, 32]
    steps = int(arguments[3]) if len(arguments) > 3 else 112
    modes = arguments[4].split(",") if len(arguments) > 4 else MODES[:2]
    if unknown := set(modes) - set(MODES):
        raise SystemExit(f"unknown mode {unknown.pop()!r}; allowed: {', '.join(MODES)}")
    case = case_of(cells, "float32", steps)
    print(f"grid {cells}, {steps} macro-steps, float32; {jax.devices()[0].device_kind}, jax {jax.__version__}")
    print(f"{'mode':10} {'compile s':>10} {'found s':>8} {'CPU s':>9} {'ratio':>6} {'temporaries MiB':>16}")
    forward = cost("none", steps, case)
    row("run", forward, forward)
    gradients, records = {}, [reported("adjoint", "run: CPU seconds", forward.cpu_s, "s", "P3")]
    for mode in RATIO_BOUNDS:
        if mode in modes or (mode == "saved" and "float64" in modes):
            got = cost(mode, steps, case)
            gradients[mode] = got.result[1]
            row(mode, got, forward)
            records += told(figures(mode, got, forward))
            memory = ("adjoint", f"{mode}: temporaries", got.temporaries_mib)
            if mode == "two-level":
                records += told([at_most(*memory, memory_bound(case, steps), "MiB", "P4, of the whole model")])
            else:
                records.append(reported(*memory, "MiB", "P4"))
    if "float64" in modes:
        double = case_of(cells, "float64", steps)
        program = compiled(jax.grad(objective(steps, "saved")), double)
        single, exact = (by_kind(g, case.schedule) for g in (gradients["saved"], program(*double)))
        records += told([compare(single, exact)])
    return records


if __name__ == "__main__":
    run(main)
