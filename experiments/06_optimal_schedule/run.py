"""The best schedule of four infusions by vein and by portal vein, and of ever fewer of them.

python experiments/06_optimal_schedule/run.py
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

import hepatojax as hj
from hepatojax.cli.device import prepare_jax
from hepatojax.io.study import Study, load_study
from hepatojax.io.study.parts import study_parts
from hepatojax.report.figures.schedules import NamedSchedule, schedule_rows
from hepatojax.studies.fewer import fewer_infusions
from hepatojax.studies.objective import CELLS_UNIT
from hepatojax.studies.problem import DoseProblem
from hepatojax.therapy.schedule import DoseSchedule
from hepatojax.units import HOURS_PER_DAY

HERE = Path(__file__).parent


def problem_of(study: Study) -> DoseProblem:
    """The problem of a study file."""
    parts, built = study_parts(study), hj.build(study.scenario, arm=study.arm)
    return DoseProblem(*built, study.scenario.run.end_h, parts.aims, parts.variables, parts.limits)


def course(problem: DoseProblem, name: str, schedule: DoseSchedule) -> NamedSchedule:
    """What a schedule leads to; told on the way."""
    run = hj.simulate(problem.model, problem.state, schedule, end_h=problem.end_h, adjoint="none")
    run.raise_for_status()
    meld, survival, infection = (
        float(run.endpoints[each][-1]) for each in ("meld_smooth", "survival", "infection_incidence")
    )
    rows = zip(
        np.asarray(schedule.start_h) / HOURS_PER_DAY, np.asarray(schedule.cells_per_kg) / CELLS_UNIT, strict=True
    )
    doses = ", ".join(f"{cells:.2f} on day {day:.1f}" for day, cells in rows if cells > 0)
    said = f"MELD {meld:.2f}, survival {100 * survival:.2f} %"
    plugged = float(run.endpoints["blocked_peak"].max())
    print(f"  {name:28} {said}, infection {infection:.4f}, plugged {plugged:.4f}; 1e6 cells/kg: {doses or 'none'}")
    return NamedSchedule(name, schedule, said)


def main() -> None:
    """Optimise, reduce, tell, draw."""
    print(f"device {prepare_jax('cpu')}")
    found, end_h = {}, 0.0
    for route in ("intravenous", "portal"):
        study = load_study(HERE / f"{route}.toml")
        problem, how = problem_of(study), study.optimise
        optimum, end_h = hj.optimise_dose(problem, how.method, how.starts, how.seed, calls=how.calls), problem.end_h
        print(f"\n{route}: {optimum.message}; {optimum.jacobian_calls} gradients", flush=True)
        print(f"  multipliers { ({k: round(v, 3) for k, v in optimum.multipliers.items()}) }")
        for start in optimum.starts:
            print(f"  start: objective {start.objective:.4f}, {start.jacobian_calls} gradients, {start.verdict}")
        none = replace(problem.schedule, cells_per_kg=0.0 * problem.schedule.cells_per_kg)
        courses = [course(problem, "no cells", none), course(problem, "weekly", problem.schedule)]
        for stage in fewer_infusions(problem, optimum, calls=how.calls):
            name = f"best of {len(stage.kept)}" + ("" if stage.converged else " (no optimum)")
            courses.append(course(problem, name, stage.optimum.schedule))
        found[route] = courses
    title = "Four infusions, and ever fewer: when, and how much each time"
    schedule_rows(found, end_h, title).savefig(HERE / "figure.png", dpi=110)


if __name__ == "__main__":
    main()
