"""How much dose better homing, or a stronger product, buys: doses of equal gain with their exact derivative.

python experiments/07_potency_dose_equivalence/run.py
"""

from pathlib import Path

import numpy as np

import hepatojax as hj
from hepatojax.assembly import registry_of
from hepatojax.cli.device import prepare_jax
from hepatojax.report.figures.equivalence import equal_gain
from hepatojax.studies.equivalence import EquivalentDose, elasticities, equivalent_doses
from hepatojax.studies.objective import Aim, Limit
from hepatojax.studies.problem import DoseProblem
from hepatojax.studies.variables import Variable
from hepatojax.studies.window import amplification_factors

HERE = Path(__file__).parent
GAIN = 1.0  # points of MELD at day 28
AIMS = (Aim("meld_smooth", weight=-1.0),)
HARMS = (Limit("blocked_peak", "peak", most=0.1), Limit("infection_incidence", "end", most=0.12))
AMOUNT = Variable("cells_per_kg[0]", 1e4, 1e8, "log")
VALUES = np.geomspace(0.25, 4.0, 9).tolist()
PATHWAYS = {"potency_contact": "contact", "potency_hgf": "HGF", "potency_vegf": "VEGF"}
NAMES = {"homing": "homing", "potency_education": "potency of education"}
NAMES |= {name: f"potency of {pathway}" for name, pathway in PATHWAYS.items()} | {"viability": "viability"}


def problem_of(arm: str, names: tuple[str, ...], limits: tuple[Limit, ...] = HARMS) -> DoseProblem:
    """One infusion of an arm, whose amount and product are free."""
    scenario = hj.load_scenario(HERE / "case.toml")
    ranges = {"viability": (0.5, 1.0)}
    free = [Variable(f"product.{name}", *ranges.get(name, (VALUES[0], VALUES[-1])), "log") for name in names]
    return DoseProblem(*hj.build(scenario, arm=arm), scenario.run.end_h, AIMS, (AMOUNT, *free), limits)


def told(title: str, curve: tuple[EquivalentDose, ...]) -> None:
    """The table of a curve, with its slope by differences beside the derivative."""
    logs = np.log([[each.value, each.dose] for each in curve])
    slopes = np.gradient(logs[:, 1], logs[:, 0], edge_order=2) if len(curve) > 2 else np.full(len(curve), np.nan)
    print(f"\n{title}\n  value     dose  elasticity  by differences  plugged  infection")
    for each, slope in zip(curve, slopes, strict=True):
        plugged, infection = (limit.bound * (1.0 + e) for limit, e in zip(HARMS, each.limits, strict=True))
        numbers = f"{each.value:7.3f} {each.dose:8.3g} {each.elasticity:11.4f} {slope:15.4f}"
        print(f"{numbers} {plugged:8.4f} {infection:10.4f} {each.reason}", flush=True)


def main() -> None:
    """Find, tell, draw."""
    print(f"device {prepare_jax('cpu')}; dose of {GAIN:g} point of MELD")
    curves, worth = {}, {}
    for route in ("intravenous", "portal"):
        problems = {name: problem_of(route, (name,)) for name in ("homing", "potency_education")}
        curves[route] = {NAMES[name]: equivalent_doses(each, GAIN, VALUES) for name, each in problems.items()}
        for name, curve in curves[route].items():
            told(f"{route}, {name}", curve)
        found = elasticities(problem_of(route, tuple(NAMES), ()), curves[route]["homing"][len(VALUES) // 2].dose)
        worth[route] = {NAMES[name]: value for name, value in found.items()}
        print({name: round(value, 4) for name, value in worth[route].items()}, flush=True)
        homing = problems["homing"]
        for factor in amplification_factors(registry_of(hj.load_scenario(HERE / "case.toml"))):
            given = [factor.inputs(homing.program.inputs, value) for value in (factor.low, factor.high)]
            programs = [homing.program.with_inputs(each) for each in given]
            ends = [equivalent_doses(each, GAIN, (1.0,), variables=homing.variables)[0] for each in programs]
            told(f"{route}, homing at both ends of {factor.name}", tuple(ends))
    title = f"One infusion that earns {GAIN:g} point of MELD at day 28"
    equal_gain(curves, worth, title).savefig(HERE / "figure.png", dpi=110)


if __name__ == "__main__":
    main()
