"""Oxygen along the porto-central axis of a resting lobule, and how it shapes the zonation of hepatocytes.

python experiments/02_oxygen_zonation/run.py [--cells 52 60 8]
"""

import argparse
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

import hepatojax as hj

jax.config.update("jax_enable_x64", True)
HERE = Path(__file__).parent
BINS = np.linspace(0.0, 1.0, 11)


def profile(model: hj.LiverModel, field: np.ndarray) -> np.ndarray:
    """Volume mean of a field in each bin of the porto-central coordinate."""
    volume = np.asarray(model.grid.volume)
    bins = np.digitize(model.lobule.zone, BINS[1:-1])
    return np.array([np.average(field[bins == b], weights=volume[bins == b]) for b in range(BINS.size - 1)])


def draw(oxygen: np.ndarray, inside: np.ndarray, profiles: dict[str, np.ndarray]) -> Figure:
    """A map of oxygen at half height beside the profiles."""
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    left, *right = figure.subplots(1, 1 + len(profiles))
    middle = oxygen.shape[0] // 2
    tissue = np.where(inside[middle], oxygen[middle], np.nan)
    figure.colorbar(left.imshow(tissue, origin="lower", cmap="cividis"), ax=left, label="pO$_2$ [mmHg]")
    left.set_axis_off()
    for axes, (label, values) in zip(right, profiles.items(), strict=True):
        axes.plot((BINS[:-1] + BINS[1:]) / 2.0, values, "o-")
        axes.set(xlabel="portal (0) to central (1)", ylabel=label)
    return figure


parser = argparse.ArgumentParser(description="Oxygen of a resting lobule")
parser.add_argument("--cells", type=int, nargs=3, metavar=("NX", "NY", "NZ"))
cells = parser.parse_args().cells

scenario = hj.load_scenario(HERE / "case.toml", overrides={"grid.cells": cells} if cells else {})
model, state, schedule = hj.build(scenario)
save = hj.SaveAt(every_h=24.0, fields=("oxygen", "zonation"))
solution = hj.simulate(model, state, schedule, end_h=24.0, save=save, adjoint="none")
solution.raise_for_status()

saved = {name: np.asarray(values[-1]) for name, values in solution.saved.items()}
profiles = {
    "pO$_2$ [mmHg]": profile(model, saved["oxygen"]),
    "zonation": profile(model, saved["zonation"]),
}
draw(saved["oxygen"], np.asarray(model.grid.active), profiles).savefig(HERE / "figure.png", dpi=110)
for label, values in profiles.items():
    print(f"{label:16}", " ".join(f"{value:6.2f}" for value in values))
for name in ("oxygen_mean", "oxygen_min", "oxygen_extraction", "hypoxic_fraction", "functional_mass", "meld"):
    print(f"{name:20} {float(solution.endpoints[name][-1]):9.4f}")
