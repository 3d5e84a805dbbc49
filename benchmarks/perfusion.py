"""Pressure in a lobule: multigrid-preconditioned CG against pyamg's smoothed aggregation with CG, set-up included.

    python benchmarks/perfusion.py [cells an axis, default 64] [one-core] [--json FILE]

Both solve the same matrix to the same residual (1e-8 of the inflow) in float64, one after the other in one process. CPU
seconds are the median of several runs: first on all cores, where our threads that wait for one another count as well,
then in a second process on one core, which is all that pyamg uses. With `one-core` only the latter. Our compile time
stands apart. pyamg sees only the cells that hold tissue. Expect at 64^3 on smooth permeability 11 iterations and,
on a machine of two cores, 0.07 to 0.10 CPU seconds on both and 0.06 on one, 10x and 16x less than pyamg (1.0 and
0.9 s in that run), and on fibrotic septa of contrast 1e4 a median near 24 iterations.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # idle BLAS threads would count as CPU time of pyamg

import jax
import jax.numpy as jnp
import numpy as np
import pyamg
import scipy.sparse as sparse
from records import read, run, told

from hepatojax.checks.records import Record, at_least, at_most, reported
from hepatojax.tissue.geometry import Lobule
from hepatojax.tissue.heterogeneity import fibrotic_septa, random_permeability
from hepatojax.tissue.hexagon import hexagonal_lobule
from hepatojax.tissue.perfusion import PerfusionParameters, PressureSystem, pressure_system, solve_perfusion

HUMAN = PerfusionParameters(3.4e-2, 2.3, 3.5e-3)
TOLERANCE = 1e-8
REPEATS = 5
SEEDS = range(5)
GAP_FRACTION = 0.1  # of each septum
SMOOTH_BOUND, SEPTA_BOUND, RATIO_BOUND = 17, 50, 7.0


def lobule(cells: int, seed: int, contrast: float | None) -> Lobule:
    """A human lobule with log-normal permeability and, with a contrast, eight fibrotic septa."""
    tissue = hexagonal_lobule((cells, cells, cells), 500.0, 1000.0, 40.0, 35.0)
    tissue = random_permeability(tissue, 0.5, 60.0, seed)
    return tissue if contrast is None else fibrotic_septa(tissue, 8, contrast, 30.0, seed, GAP_FRACTION)


def matrix(system: PressureSystem) -> tuple[sparse.csr_matrix, np.ndarray]:
    """The pressure equation of the cells that hold tissue, as a sparse matrix and right-hand side."""
    conductance = [np.asarray(t) for t in system.conductance]
    diagonal = np.asarray(system.inlet + system.outlet)
    number = np.arange(diagonal.size).reshape(diagonal.shape)
    result = sparse.diags(diagonal.ravel()).tocsr()
    for axis, t in enumerate(conductance):
        open_face = np.nonzero(t)
        here, value = number[open_face], t[open_face]
        there = np.roll(number, -1, axis)[open_face]
        rows, columns = np.concatenate([here, there, here, there]), np.concatenate([here, there, there, here])
        values = np.concatenate([value, value, -value, -value])
        result = result + sparse.coo_matrix((values, (rows, columns)), shape=result.shape).tocsr()
    held = result.diagonal() > 0
    return result[held][:, held], np.asarray(system.inlet).ravel()[held]


def cpu_seconds(call) -> tuple[float, object]:
    """Median CPU seconds of several runs, and the last result."""
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        result = call()
        times.append(time.process_time() - start)
    return statistics.median(times), result


def aggregation(a: sparse.csr_matrix, b: np.ndarray, target: float) -> int:
    """Set up and solve with pyamg to |b - A x| <= target; returns the iterations."""
    residuals: list[float] = []
    solver = pyamg.smoothed_aggregation_solver(a)
    solver.solve(b, tol=target / float(np.linalg.norm(b)), accel="cg", residuals=residuals, maxiter=300)
    return len(residuals) - 1


def compare(cells: int, contrast: float | None, cores: int) -> list[Record]:
    """Iterations and CPU seconds of both, on the same permeability."""
    tissue = lobule(cells, 0, contrast)
    solve = jax.jit(lambda t: solve_perfusion(t, 1.0, HUMAN, tolerance=TOLERANCE))
    start = time.perf_counter()
    jax.block_until_ready(solve(tissue))
    compiled = time.perf_counter() - start
    ours, perfusion = cpu_seconds(lambda: jax.block_until_ready(solve(tissue)))
    a, b = matrix(pressure_system(tissue, 1.0, HUMAN))
    theirs, iterations = cpu_seconds(lambda: aggregation(a, b, TOLERANCE / float(perfusion.resistance)))
    smooth = contrast is None
    name = f"{cells}^3 {'smooth' if smooth else f'septa {contrast:.0e}'}, {cores} core{'s' * (cores > 1)}"
    goal, most = ("P2", SMOOTH_BOUND) if smooth else ("P2b", SEPTA_BOUND)
    return told(
        [
            at_most("perfusion", f"{name}: iterations", int(perfusion.iterations), most, "-", goal),
            reported("perfusion", f"{name}: hepatojax", ours, "CPU s", goal),
            reported("perfusion", f"{name}: first call, with compilation", compiled, "s", goal),
            reported("perfusion", f"{name}: pyamg iterations", iterations, "-", f"pyamg {pyamg.__version__}, SA + CG"),
            reported("perfusion", f"{name}: pyamg", theirs, "CPU s", f"pyamg {pyamg.__version__}, SA + CG"),
            at_least("perfusion", f"{name}: pyamg over hepatojax", theirs / ours, RATIO_BOUND, "-", goal),
        ]
    )


def septa_iterations(cells: int, contrast: float) -> Record:
    """The median of the iterations on septa of several seeds, which are printed."""
    solve = jax.jit(lambda t: solve_perfusion(t, 1.0, HUMAN, tolerance=TOLERANCE))
    counts = [int(solve(lobule(cells, seed, contrast)).iterations) for seed in SEEDS]
    median = statistics.median(counts)
    print(f"{cells}^3 septa {contrast:.0e}: iterations {counts}")
    name = f"{cells}^3 septa {contrast:.0e}, {len(counts)} seeds: median of the iterations"
    return at_most("perfusion", name, median, SEPTA_BOUND, "-", "P2b")


def on_one_core(cells: int) -> list[Record]:
    """The comparison in a process of its own, on one core."""
    sys.stdout.flush()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.json"
        subprocess.run([sys.executable, __file__, str(cells), "one-core", "--json", str(path)], check=True)
        return read(path)


def main(arguments: list[str]) -> list[Record]:
    """Run the comparison on all cores, then on one."""
    one_core = "one-core" in arguments
    numbers = [int(text) for text in arguments if text != "one-core"]
    cells = numbers[0] if numbers else 64
    if one_core:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # before JAX makes its threads
    jax.config.update("jax_enable_x64", True)
    cores = len(os.sched_getaffinity(0))
    print(f"jax {jax.__version__}, pyamg {pyamg.__version__}, {jnp.zeros(1).devices()}, cores: {cores}", flush=True)
    records = compare(cells, None, cores) + compare(cells, 1e4, cores)
    if not one_core:
        records += told([septa_iterations(cells, 1e4)]) + on_one_core(cells)
    return records


if __name__ == "__main__":
    run(main)
