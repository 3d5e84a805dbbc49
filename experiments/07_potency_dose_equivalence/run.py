"""How much dose better homing, or a stronger product, buys: doses of equal gain with their exact derivative.

python experiments/07_potency_dose_equivalence/run.py
"""

from pathlib import Path

import numpy as np

import hepatojax as hj
from hepatojax.build import Study, build_study
from hepatojax.cli.device import prepare_jax
from hepatojax.parameters.registry import registry_of
from hepatojax.report.figures.equivalence import equal_gain
from hepatojax.studies.equivalence import EquivalentDose, elasticities, equivalent_doses
from hepatojax.studies.objective import Aim, Limit
from hepatojax.studies.problem import DoseProblem
from hepatojax.studies.variables import Variable
from hepatojax.studies.window import amplification_factors

HERE = Path(__file__).parent
SCENARIO = hj.load_scenario(HERE / "case.toml")
GAIN = 1.0  # points of MELD at day 28
AIMS = (Aim("meld_smooth", weight=-1.0),)
HARMS = (Limit("blocked_peak", "peak", most=0.1), Limit("infection_incidence", "end", most=0.12))
AMOUNT = Variable("cells_per_kg[0]", 1e4, 1e8, "log")
VALUES = np.geomspace(0.25, 4.0, 9).tolist()
POTENCIES = {f"potency_{each.lower()}": f"potency of {each}" for each in ("education", "contact", "HGF", "VEGF")}
NAMES = {"homing": "homing"} | POTENCIES | {"viability": "viability"}


def problem_of(liver: Study, names: list[str], limits: tuple[Limit, ...] = HARMS) -> DoseProblem:
    """One infusion, whose amount and product are free; its programs serve every route."""
    ranges = {name: (VALUES[0], 1.0 if name == "viability" else VALUES[-1]) for name in names}
    free = [Variable(f"product.{name}", low, high, "log") for name, (low, high) in ranges.items()]
    schedule = liver.schedules["intravenous"]
    return DoseProblem(liver.model, liver.state, schedule, SCENARIO.run.end_h, AIMS, (AMOUNT, *free), limits)


def doses_of(problem: DoseProblem, given: tuple, values: list[float]) -> tuple[EquivalentDose, ...]:
    """Doses of equal gain for another model, state and schedule, on the programs of a problem."""
    return equivalent_doses(problem.program.with_inputs(given), GAIN, values, variables=problem.variables)


def told(title: str, curve: tuple[EquivalentDose, ...]) -> None:
    """The table of a curve, with its slope by differences beside the derivative."""
    logs = np.log([[each.value, each.dose] for each in curve])
    slopes = np.gradient(logs[:, 1], logs[:, 0], edge_order=2) if len(curve) > 2 else np.full(len(curve), np.nan)
    print(f"\n{title}\n  value     dose  elasticity  by differences  plugged  infection")
    for each, slope in zip(curve, slopes, strict=True):
        plugged, infection = (limit.reading_at(e) for limit, e in zip(HARMS, each.limits, strict=True))
        numbers = f"{each.value:7.3f} {each.dose:8.3g} {each.elasticity:11.4f} {slope:15.4f}"
        print(f"{numbers} {plugged:8.4f} {infection:10.4f} {each.reason}", flush=True)


def main() -> None:
    """Find, tell, draw."""
    print(f"device {prepare_jax('cpu')}; dose of {GAIN:g} point of MELD")
    liver, curves, worth = build_study(SCENARIO), {}, {}
    problems = {name: problem_of(liver, [name]) for name in ("homing", "potency_education")}
    every, product = problem_of(liver, [*NAMES], ()), [float(getattr(liver.model.product, name)) for name in NAMES]
    for route, schedule in liver.schedules.items():
        given = (liver.model, liver.state, schedule)
        curves[route] = {NAMES[name]: doses_of(each, given, VALUES) for name, each in problems.items()}
        for name, curve in curves[route].items():
            told(f"{route}, {name}", curve)
        dose = curves[route]["homing"][len(VALUES) // 2].dose
        found = elasticities(every.program.with_inputs(given), every.variables, dose, product)
        worth[route] = {NAMES[name]: value for name, value in found.items()}
        print({name: round(value, 4) for name, value in worth[route].items()}, flush=True)
        for factor in amplification_factors(registry_of(SCENARIO)):
            ends = [doses_of(problems["homing"], factor.inputs(given, v), [1.0])[0] for v in (factor.low, factor.high)]
            told(f"{route}, homing at both ends of {factor.name}", tuple(ends))
    figure = equal_gain(curves, worth, f"One infusion that earns {GAIN:g} point of MELD at day 28")
    figure.savefig(HERE / "figure.png", dpi=110)


if __name__ == "__main__":
    main()
