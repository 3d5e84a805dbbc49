"""The best schedule of four infusions by vein and by portal vein, and of ever fewer of them.

python experiments/06_optimal_schedule/run.py
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import hepatojax as hj
from hepatojax.cli.device import prepare_jax
from hepatojax.io.study import load_study
from hepatojax.io.study.parts import study_parts
from hepatojax.report.figures.style import COLOURS, new_figure, spoken, styled
from hepatojax.studies.fewer import FewerInfusions, fewer_infusions
from hepatojax.studies.optimise import optimise_dose
from hepatojax.studies.problem import DoseProblem
from hepatojax.therapy.schedule import DoseSchedule

HERE = Path(__file__).parent
ROUTES = ("intravenous", "portal")
ENDPOINTS = ("meld_smooth", "survival", "infection_incidence")
Course = tuple[str, DoseSchedule, dict[str, float]]


def problem_of(route: str) -> DoseProblem:
    """The problem of a study file."""
    study = load_study(HERE / f"{route}.toml")
    parts = study_parts(study)
    built = hj.build(study.scenario, arm=study.arm)
    return DoseProblem(*built, study.scenario.run.end_h, parts.aims, parts.variables, parts.limits)


def course(problem: DoseProblem, name: str, schedule: DoseSchedule) -> Course:
    """What a schedule leads to."""
    run = hj.simulate(problem.model, problem.state, schedule, end_h=problem.end_h, adjoint="none")
    read = {each: float(run.endpoints[each][-1]) for each in ENDPOINTS}
    return name, schedule, {**read, "blocked_peak": float(run.endpoints["blocked_peak"].max())}


def told(courses: list[Course]) -> None:
    """A line for each schedule, with day and amount of its infusions."""
    for name, schedule, read in courses:
        rows = zip(np.asarray(schedule.start_h) / 24.0, np.asarray(schedule.cells_per_kg) / 1e6, strict=True)
        doses = ", ".join(f"{cells:.2f} on day {day:.1f}" for day, cells in rows if cells > 0)
        numbers = ", ".join(f"{key} {value:.4g}" for key, value in read.items())
        print(f"  {name:16} {numbers}\n{'':19}1e6 cells/kg: {doses or 'none'}", flush=True)


def scores(read: dict[str, float]) -> str:
    """How it ends, in words."""
    return f"MELD {read['meld_smooth']:.2f}, survival {100 * read['survival']:.2f} %"


@styled
def drawn(found: dict[str, list[Course]]) -> Figure:
    """Each schedule as bars over the days, a row a schedule, and beside it what it leads to."""
    rows = max(len(courses) for courses in found.values()) - 1
    figure = new_figure(11.0, 1.2 + 0.95 * rows, "Four infusions, and ever fewer: when, and how much each time")
    panels = figure.subplots(rows, len(found), squeeze=False, sharex=True, sharey=True)
    for column, ((route, courses), colour) in enumerate(zip(found.items(), COLOURS, strict=False)):
        _, _, untreated = courses[0]
        for axes, (name, schedule, read) in zip(panels[:, column], courses[1:], strict=False):
            given = np.asarray(schedule.cells_per_kg) > 0
            days = np.asarray(schedule.start_h)[given] / 24.0
            axes.bar(days, np.asarray(schedule.cells_per_kg)[given] / 1e6, width=0.35, align="edge", color=colour)
            axes.set_title(f"{name}: {scores(read)}", loc="right", fontsize=8, pad=2)
        panels[0, column].annotate(
            f"{spoken(route)}\nno cells: {scores(untreated)}",
            (0.0, 1.0),
            (0, 12),
            xycoords="axes fraction",
            textcoords="offset points",
            va="bottom",
        )
        panels[-1, column].set_xlabel("day")
    figure.supylabel("dose [1e6 cells/kg]", fontsize=9)
    panels[0, 0].set_xlim(-0.5, 28.0)
    return figure


def stage_name(stage: FewerInfusions) -> str:
    """Such as "best of 3"."""
    return f"best of {len(stage.kept)}" + ("" if stage.converged else " (no optimum)")


def main() -> None:
    """Optimise, reduce, tell, draw."""
    print(f"device {prepare_jax('cpu')}")
    found = {}
    for route in ROUTES:
        problem, study = problem_of(route), load_study(HERE / f"{route}.toml")
        how = study.optimise
        optimum = optimise_dose(problem, how.method, how.starts, how.seed, calls=how.calls)
        print(f"\n{route}: {optimum.message}; {optimum.jacobian_calls} gradients", flush=True)
        print(f"  multipliers { ({k: round(v, 3) for k, v in optimum.multipliers.items()}) }")
        for start in optimum.starts:
            print(f"  start: objective {start.objective:.4f}, {start.jacobian_calls} gradients, {start.verdict}")
        stages = fewer_infusions(problem, optimum, calls=how.calls)
        none = replace(problem.schedule, cells_per_kg=0.0 * problem.schedule.cells_per_kg)
        courses = [course(problem, "no cells", none), course(problem, "weekly", problem.schedule)]
        courses += [course(problem, stage_name(s), s.optimum.schedule) for s in stages if s.optimum.schedule]
        told(courses)
        found[route] = courses
    drawn(found).savefig(HERE / "figure.png", dpi=110)


if __name__ == "__main__":
    main()
