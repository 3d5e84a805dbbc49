"""Three arms of acute-on-chronic failure; then the same case in one cell, and with every amplification switched off.

python experiments/01_acute_liver_failure/run.py [--cells 26 30 8]
"""

import argparse
from functools import partial
from pathlib import Path

import jax
from matplotlib.figure import Figure

import hepatojax as hj
from hepatojax.build import build_study

jax.config.update("jax_enable_x64", True)
HERE = Path(__file__).parent
course = jax.jit(partial(hj.simulate, adjoint="none"), static_argnames=("end_h", "start_h"))
TESTS = ("functional_mass", "meld", "bilirubin_mg_dl", "albumin_g_l", "inr")
TISSUE = ("debris", "debris_periportal", "debris_midzonal", "debris_pericentral", "oxygen_mean", "hypoxic_fraction")
PANELS = {"functional_mass": "functional mass", "meld": "MELD", "bilirubin_mg_dl": "bilirubin [mg/dl]"}


def courses(**changes: object) -> dict[str, hj.Solution]:
    """The course of every arm of the case, with some of its keys changed."""
    changes = {key.replace("__", "."): value for key, value in changes.items() if value is not None}
    scenario = hj.load_scenario(HERE / "case.toml", overrides=changes)
    model, state, schedules = build_study(scenario)
    end_h = scenario.run.end_h
    solutions = {arm: course(model, state, schedule, end_h=end_h, start_h=0.0) for arm, schedule in schedules.items()}
    for solution in solutions.values():
        solution.raise_for_status()
    return solutions


def table(title: str, names: tuple[str, ...], columns: dict[str, hj.Solution]) -> None:
    """Endpoints at the end, one row each, one column for each course."""
    print(f"\n{title:24}" + "".join(f"{name:>16}" for name in columns))
    for name in names:
        print(f"{name:24}" + "".join(f"{float(course.endpoints[name][-1]):16.4f}" for course in columns.values()))


def effects(title: str, arms: dict[str, hj.Solution]) -> None:
    """What the cells change in functional mass at the end, against standard care."""
    mass = {arm: float(hj.liver_function(course).functional_mass[-1]) for arm, course in arms.items()}
    print(f"{title:24}" + "".join(f"{value - mass['standard_care']:16.2e}" for value in mass.values()))


def draw(arms: dict[str, hj.Solution]) -> Figure:
    """Functional mass, MELD and bilirubin of every arm."""
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    for axes, (name, label) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        for (arm, course), line in zip(arms.items(), ("-", "--", ":"), strict=True):
            axes.plot(course.times_h / 24.0, course.endpoints[name], line, label=arm.replace("_", " "))
        axes.set(xlabel="day", ylabel=label)
    axes.legend(frameon=False)
    return figure


parser = argparse.ArgumentParser(description="Acute-on-chronic liver failure in three arms")
parser.add_argument("--cells", type=int, nargs=3, metavar=("NX", "NY", "NZ"))
cells = parser.parse_args().cells

full = courses(grid__cells=cells)
draw(full).savefig(HERE / "figure.png", dpi=110)
table("at day 28", (*TESTS, *TISSUE), full)

one_cell = courses(lobule__geometry="well_mixed", lobule__permeability_log_sd=0.0, grid__cells=[1, 1, 1])
columns = {"lobule": full["standard_care"], "one cell": one_cell["standard_care"]}
table("standard care", (*TESTS, *TISSUE), columns)

print("\nchange of functional mass by the cells, in the order of the arms")
effects("all amplifications", full)
effects("direct only", courses(grid__cells=cells, direct_only=True))
