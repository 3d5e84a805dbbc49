"""Oxygen in random hypoxic lobules: how many solves converge from a cold start, and what they cost.

    python benchmarks/oxygen.py [cells an axis, default 64] [cases, default 20] [--json FILE]

Each case draws a permeability field, eight fibrotic septa of contrast 1 to 1e4, a patchy demand and a ratio of demand
to supply from 0.85 to 1.5, and starts from 40 mmHg everywhere. A case counts as hypoxic if at least 4 % of its tissue
is below 1 mmHg; the ratio is raised within its range until it does. A case that never does is solved and counted apart.
Every case is solved with upwind and with limited transport, in float64 and float32. A solve passes if it says that it
converged, no cell is negative or above the inlet, and its ledger closes. Expect every upwind solve to pass.
"""

import time
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from records import run, told

from hepatojax.checks.records import Record, at_least, reported
from hepatojax.numerics.grid import Grid
from hepatojax.parameters.registry import from_registry, load_parameters
from hepatojax.tissue.flow import Flow
from hepatojax.tissue.heterogeneity import fibrotic_septa, random_permeability
from hepatojax.tissue.hexagon import hexagonal_lobule
from hepatojax.tissue.oxygen import TRANSPORTS, Oxygen, OxygenParameters, content, solve_oxygen
from hepatojax.tissue.perfusion import PerfusionParameters, solve_perfusion

HUMAN = PerfusionParameters(3.4e-2, 2.3, 3.5e-3)
INLET_MMHG, START_MMHG = 65.0, 40.0
HYPOXIC_MMHG, HYPOXIC_SHARE = 1.0, 0.04
GAP_FRACTION = 0.1  # of each septum
RATIOS = (0.85, 1.5)
PERFUSION_1_S = 1.0 / 60.0
LEDGER = {"float64": 1e-9, "float32": 1e-4}


class Case(NamedTuple):
    """A perfused lobule and the demand of its cells [mM/s], (nz, ny, nx)."""

    grid: Grid
    flow: Flow
    demand: Array


@partial(jax.jit, static_argnames="transport")
def solve(case: Case, blood: OxygenParameters, transport: str) -> Oxygen:
    """From 40 mmHg everywhere, in the precision of the demand."""
    start = jnp.full(case.grid.shape, START_MMHG, case.demand.dtype)
    return solve_oxygen(case.grid, case.flow, case.demand, INLET_MMHG, blood, start, transport=transport)


def below(case: Case, oxygen: Oxygen, mmHg: float) -> float:
    """Share of the tissue below a pressure."""
    volume = np.asarray(case.grid.volume)
    return float(np.sum(volume * (np.asarray(oxygen.mmHg) < mmHg)) / volume.sum())


def hypoxic_case(cells: int, seed: int, blood: OxygenParameters) -> tuple[Case, bool, str]:
    """A case, whether it is hypoxic, and its contrast, ratio and hypoxic share in words."""
    random = np.random.default_rng(seed)
    contrast = 10.0 ** random.uniform(0.0, 4.0)
    tissue = hexagonal_lobule((cells, cells, cells), 500.0, 1000.0, 40.0, 35.0)
    tissue = random_permeability(tissue, 0.5, 60.0, seed)
    tissue = jax.tree.map(jnp.asarray, fibrotic_septa(tissue, 8, contrast, 30.0, seed, GAP_FRACTION))
    grid = tissue.grid
    flow = jax.jit(solve_perfusion)(tissue, 1.0, HUMAN).flow.times(float(grid.total_volume) * PERFUSION_1_S)
    patchy = np.exp(0.5 * random.standard_normal(grid.shape)) * (random.random(grid.shape) > 0.1)
    per_ratio = float(flow.total * content(INLET_MMHG, blood)) * patchy / float(jnp.sum(grid.volume * patchy))
    share = 0.0
    for ratio in np.linspace(random.uniform(*RATIOS), RATIOS[1], 4):
        case = Case(grid, flow, jnp.asarray(ratio * per_ratio))
        share = below(case, solve(case, blood, "upwind"), HYPOXIC_MMHG)
        if share >= HYPOXIC_SHARE:
            break
    words = f"contrast {contrast:8.1f}, demand/supply {ratio:.2f}, below 1 mmHg {100 * share:4.1f} %"
    return case, share >= HYPOXIC_SHARE, words


def passes(oxygen: Oxygen, precision: str) -> bool:
    """Whether a solve may be believed."""
    gap = abs(float((oxygen.inflow - oxygen.outflow - oxygen.uptake) / oxygen.inflow))
    lowest, highest = float(oxygen.mmHg.min()), float(oxygen.mmHg.max())
    inside = lowest >= 0.0 and highest <= INLET_MMHG * (1.0 + LEDGER[precision])
    return bool(oxygen.converged) and inside and gap <= LEDGER[precision]


def count(hypoxic: list[bool], passed: dict[tuple[str, str], list[bool]], spent: dict) -> list[Record]:
    """Cases that are hypoxic, and how many of these and of the others each kind of solve passed."""
    whole, enough = len(hypoxic), sum(hypoxic)
    share = f"{HYPOXIC_SHARE:.0%} of tissue below {HYPOXIC_MMHG:g} mmHg"
    records = [at_least("oxygen", f"cases that reach {share}", enough, whole, "cases", "benchmarks/oxygen.py")]
    for kind, good in passed.items():
        name = " ".join(kind)
        inside = sum(g for g, h in zip(good, hypoxic, strict=True) if h)
        told_of = ("oxygen", f"{name}: passed of the {enough} hypoxic cases", inside)
        if kind[0] == "upwind":
            records.append(at_least(*told_of, enough, "cases", "benchmarks/oxygen.py"))
        else:
            records.append(reported(*told_of, "cases", "benchmarks/oxygen.py"))
        apart = f"{name}: passed of the {whole - enough} cases that are not, counted apart"
        records.append(reported("oxygen", apart, sum(good) - inside, "cases", "benchmarks/oxygen.py"))
        records.append(reported("oxygen", f"{name}: median of a solve", np.median(spent[kind]), "CPU s", "machine"))
    return records


def main(arguments: list[str]) -> list[Record]:
    """Print one line a case, and how many of each kind passed."""
    jax.config.update("jax_enable_x64", True)
    cells, cases = (int(given) for given in (arguments + ["64", "20"][len(arguments) :]))
    blood = from_registry(OxygenParameters, load_parameters().oxygen)
    print(f"jax {jax.__version__}, {jax.devices()[0]}, {cells}^3 cells, {cases} cases")
    kinds = [(transport, precision) for transport in TRANSPORTS for precision in LEDGER]
    hypoxic, passed, spent = [], {kind: [] for kind in kinds}, {kind: [] for kind in kinds}
    for seed in range(cases):
        case, enough, words = hypoxic_case(cells, seed, blood)
        hypoxic.append(enough)
        line = []
        for transport, precision in kinds:
            start = time.process_time()
            oxygen = jax.block_until_ready(solve(case._replace(demand=case.demand.astype(precision)), blood, transport))
            spent[transport, precision].append(time.process_time() - start)
            passed[transport, precision].append(good := passes(oxygen, precision))
            steps = f"{int(oxygen.newton_iterations)}/{int(oxygen.linear_iterations)}"
            seconds = f"{spent[transport, precision][-1]:.2f} s"
            line.append(f"{transport} {precision} {'ok' if good else 'FAILED'} {steps} {seconds}")
        print(f"{seed:3d}: {words}{'' if enough else ', NOT hypoxic'}; {'; '.join(line)}", flush=True)
    return told(count(hypoxic, passed, spent))


if __name__ == "__main__":
    run(main)
