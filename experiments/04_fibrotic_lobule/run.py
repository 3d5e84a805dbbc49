"""A chronically ill lobule with fibrotic septa and without: flow, oxygen, and where infused cells come to rest.

python experiments/04_fibrotic_lobule/run.py [--cells 52 60 8]
"""

import argparse
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

import hepatojax as hj

jax.config.update("jax_enable_x64", True)
HERE = Path(__file__).parent
ENDPOINTS = ("functional_mass", "meld", "flow", "portal_gradient", "oxygen_mean", "oxygen_min", "hypoxic_fraction")
MAPS = {"oxygen": "pO$_2$ [mmHg]", "msc_adherent": "adherent MSC [cells/mm$^3$]"}


def course(septa: int) -> tuple[hj.LiverModel, hj.Solution]:
    """Two weeks after one intraportal infusion, in a lobule with so many septa."""
    changes = {"lobule.fibrotic_septa": septa, **({"grid.cells": cells} if cells else {})}
    scenario = hj.load_scenario(HERE / "case.toml", overrides=changes)
    model, state, schedule = hj.build(scenario, arm="intraportal")
    save = hj.SaveAt(every_h=24.0, fields=tuple(MAPS))
    solution = hj.simulate(model, state, schedule, end_h=scenario.run.end_h, save=save, adjoint="none")
    solution.raise_for_status()
    return model, solution


def spread(model: hj.LiverModel, field: np.ndarray) -> float:
    """Standard deviation of a field over the tissue, relative to its mean."""
    volume = np.asarray(model.grid.volume)
    mean = np.average(field, weights=volume)
    return float(np.sqrt(np.average((field - mean) ** 2, weights=volume)) / mean)


def draw(runs: dict[str, tuple[hj.LiverModel, hj.Solution]]) -> Figure:
    """Oxygen and adherent cells at half height on day 1, one column for each run."""
    figure = Figure(figsize=(7, 5.6), layout="constrained")
    rows = figure.subplots(len(MAPS), len(runs))
    for row, (name, label) in zip(rows, MAPS.items(), strict=True):
        layers = {title: day_one(model, solution, name) for title, (model, solution) in runs.items()}
        low, high = (bound(list(layers.values())) for bound in (np.nanmin, np.nanmax))
        for axes, (title, layer) in zip(row, layers.items(), strict=True):
            image = axes.imshow(layer, origin="lower", cmap="cividis", vmin=low, vmax=high)
            axes.set_axis_off()
            axes.set_title(title)
        figure.colorbar(image, ax=list(row), label=label)
    return figure


def day_one(model: hj.LiverModel, solution: hj.Solution, name: str) -> np.ndarray:
    """A field at half height after a day, blank outside the tissue."""
    middle = model.grid.shape[0] // 2
    return np.where(model.grid.active[middle], solution.saved[name][0, middle], np.nan)


parser = argparse.ArgumentParser(description="A chronically ill lobule with fibrotic septa and without")
parser.add_argument("--cells", type=int, nargs=3, metavar=("NX", "NY", "NZ"))
cells = parser.parse_args().cells

runs = {"no septa": course(0), "six septa": course(6)}
draw(runs).savefig(HERE / "figure.png", dpi=110)
for title, (model, solution) in runs.items():
    print(title, ", ".join(f"{name} {float(solution.endpoints[name][-1]):.4f}" for name in ENDPOINTS))
    print("  spread on day 1:", {name: round(spread(model, np.asarray(solution.saved[name][0])), 3) for name in MAPS})
