"""Regrowth of a right-lobe donor's liver, against the volumes that Aoki (2011) measured.

python experiments/03_partial_hepatectomy/run.py [--cells 26 30 4]
"""

import argparse
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

import hepatojax as hj

jax.config.update("jax_enable_x64", True)
HERE = Path(__file__).parent
MEASURED = {7: 0.51, 14: 0.57, 30: 0.64, 91: 0.74}  # day -> volume over that before, 23 donors


def draw(solution: hj.Solution) -> Figure:
    """Liver volume against the measured one, and what the liver does meanwhile."""
    days, endpoints = solution.times_h / 24.0, solution.endpoints
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    volume, function, flow = figure.subplots(1, 3)
    volume.plot(days, endpoints.liver_volume, label="model")
    volume.errorbar(list(MEASURED), list(MEASURED.values()), yerr=0.07, fmt="o", label="donors ± 0.07")
    volume.set(xlabel="day", ylabel="liver volume / before")
    volume.legend(frameon=False)
    function.plot(days, endpoints.functional_mass, label="functional mass")
    function.plot(days, endpoints.primed, "--", label="primed hepatocytes")
    function.set(xlabel="day")
    function.legend(frameon=False)
    flow.plot(days, endpoints.portal_gradient, label="portal gradient / rest")
    flow.plot(days, endpoints.hgf_plasma / endpoints.hgf_plasma[-1], "--", label="HGF in plasma / last")
    flow.set(xlabel="day")
    flow.legend(frameon=False)
    return figure


parser = argparse.ArgumentParser(description="Regrowth after resection of the right lobe")
parser.add_argument("--cells", type=int, nargs=3, metavar=("NX", "NY", "NZ"))
cells = parser.parse_args().cells

scenario = hj.load_scenario(HERE / "case.toml", overrides={"grid.cells": cells} if cells else {})
model, state, schedule = hj.build(scenario)
solution = hj.simulate(model, state, schedule, end_h=scenario.run.end_h, adjoint="none")
solution.raise_for_status()

draw(solution).savefig(HERE / "figure.png", dpi=110)
days = np.asarray(solution.times_h) / 24.0
for day, measured in MEASURED.items():
    now = np.argmin(np.abs(days - day))
    values = {
        name: float(solution.endpoints[name][now]) for name in ("liver_volume", "functional_mass", "meld", "primed")
    }
    print(f"day {day:3} measured {measured:.2f}", ", ".join(f"{name} {value:.3f}" for name, value in values.items()))
