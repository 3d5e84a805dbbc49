"""The best schedule of four infusions by vein and by portal vein, and of ever fewer of them.

python experiments/06_optimal_schedule/run.py
"""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

import hepatojax as hj
from hepatojax.cli.device import prepare_jax
from hepatojax.cli.search import problem_of
from hepatojax.io.study import load_study
from hepatojax.io.study.parts import study_parts
from hepatojax.report.figures.schedules import NamedSchedule, schedule_rows
from hepatojax.studies.fewer import fewer_infusions
from hepatojax.studies.objective import CELLS_UNIT
from hepatojax.studies.optimum import DoseOptimum
from hepatojax.studies.problem import DoseProblem
from hepatojax.therapy.schedule import DoseSchedule
from hepatojax.units import HOURS_PER_DAY

HERE = Path(__file__).parent
forward = jax.jit(hj.simulate, static_argnames=("start_h", "end_h", "adjoint"))


def course(problem: DoseProblem, name: str, schedule: DoseSchedule) -> NamedSchedule:
    """What a schedule leads to; told on the way."""
    times = {"start_h": problem.start_h, "end_h": problem.end_h}
    run = forward(problem.model, problem.state, schedule, **times, adjoint="none")
    run.raise_for_status()
    meld, survival, infection = (
        float(run.endpoints[each][-1]) for each in ("meld_smooth", "survival", "infection_incidence")
    )
    cells = np.asarray(schedule.cells_per_kg) / CELLS_UNIT
    rows = zip(np.asarray(schedule.start_h) / HOURS_PER_DAY, cells, strict=True)
    doses = ", ".join(f"{each:.2f} on day {day:.1f}" for day, each in rows if each > 0)
    said = f"MELD {meld:.2f}, survival {100 * survival:.2f} %"
    harms = f"infection {infection:.4f}, plugged {float(run.endpoints['blocked_peak'].max()):.4f}"
    total = next(limit.bound for limit in problem.limits if limit.quantity == "total_cells")
    print(f"  {name:24} {said}, {harms}; {cells.sum() / total:4.0%} of the cells, 1e6 cells/kg: {doses or 'none'}")
    return NamedSchedule(name, schedule, said)


def tell(optimum: DoseOptimum) -> None:
    """Which limits hold an optimum, and what each is worth."""
    held = {name: round(value, 3) for name, value in optimum.multipliers.items() if value > 0}
    print(f"  {'':24} multipliers {held}", flush=True)


def main() -> None:
    """Optimise, reduce, tell, draw."""
    print(f"device {prepare_jax('cpu')}")
    found, asked = {}, load_study(HERE / "study.toml")
    how = asked.optimise
    for route in ("intravenous", "portal"):
        study = replace(asked, arm=route)
        problem, allowed = problem_of(study, study_parts(study), None, quiet=True), how.allow_failed_certificate
        optimum = hj.optimise_dose(
            problem, how.method, how.starts, how.seed, allow_failed_certificate=allowed, calls=how.calls
        )
        print(f"\n{route}: {optimum.message}; {optimum.jacobian_calls} gradients", flush=True)
        for start in optimum.starts:
            print(f"  start: objective {start.objective:.4f}, {start.jacobian_calls} gradients, {start.verdict}")
        none = replace(problem.schedule, cells_per_kg=0.0 * problem.schedule.cells_per_kg)
        courses = [course(problem, "no cells", none), course(problem, "weekly", problem.schedule)]
        for stage in fewer_infusions(problem, optimum, method=how.method, calls=how.calls):
            name = f"best of {len(stage.kept)}" + ("" if stage.converged else " (no optimum)")
            courses.append(course(problem, name, stage.optimum.schedule))
            tell(stage.optimum)
        found[route] = courses
    title = "Four infusions, and ever fewer: when, and how much each time"
    schedule_rows(found, asked.scenario.run.end_h, title).savefig(HERE / "figure.png", dpi=110)


if __name__ == "__main__":
    main()
