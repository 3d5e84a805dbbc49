"""How much dose better homing, or a stronger product, buys: doses of equal gain with their exact derivative.

python experiments/07_potency_dose_equivalence/run.py
"""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

import hepatojax as hj
from hepatojax.assembly import registry_of
from hepatojax.cli.device import prepare_jax
from hepatojax.report.figures.style import COLOURS, LINES, new_figure, styled
from hepatojax.studies.equivalence import EquivalentDose, equivalent_doses
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
CURVES = ("homing", "potency_education")
ATTRIBUTES = {
    "homing": "homing",
    "potency_education": "potency of education",
    "potency_contact": "potency of contact",
    "potency_hgf": "potency of HGF",
    "potency_vegf": "potency of VEGF",
    "viability": "viability",
}

Curves = dict[str, dict[str, tuple[EquivalentDose, ...]]]
Shares = dict[str, dict[str, float]]


def attribute(name: str) -> Variable:
    """An entry of the product, free over a wide range."""
    low, high = (0.5, 1.0) if name == "viability" else (VALUES[0], VALUES[-1])
    return Variable(f"product.{name}", low, high, "log")


def problem_of(route: str, names: tuple[str, ...], limits: tuple[Limit, ...] = HARMS) -> DoseProblem:
    """One infusion by a route, whose amount and product are free."""
    scenario = hj.load_scenario(HERE / "case.toml")
    variables = (AMOUNT, *map(attribute, names))
    return DoseProblem(*hj.build(scenario, arm=route), scenario.run.end_h, AIMS, variables, limits)


def elasticities(route: str, dose: float) -> dict[str, float]:
    """d log dose / d log attribute at equal gain, of every attribute by one Jacobian, at the product as it is."""
    problem = problem_of(route, tuple(ATTRIBUTES), limits=())
    own = [variable.place(float(getattr(problem.model.product, variable.entry))) for variable in problem.variables[1:]]
    slopes = problem.program.linearise(np.asarray([AMOUNT.place(dose), *own])).jacobian[0]
    logs = slopes / [np.log(variable.high / variable.low) for variable in problem.variables]
    return {name: float(-by / logs[0]) for name, by in zip(ATTRIBUTES, logs[1:], strict=True)}


def over_the_band(problem: DoseProblem) -> dict[str, tuple[EquivalentDose, ...]]:
    """The dose of equal gain with the product as it is, at both ends of every amplification factor."""
    found = {}
    for factor in amplification_factors(registry_of(hj.load_scenario(HERE / "case.toml"))):
        ends = [
            problem.program.with_inputs(factor.inputs(problem.program.inputs, v)) for v in (factor.low, factor.high)
        ]
        found[factor.name] = tuple(
            equivalent_doses(program, GAIN, (1.0,), variables=problem.variables)[0] for program in ends
        )
    return found


def told(route: str, name: str, curve: tuple[EquivalentDose, ...]) -> None:
    """The table of a curve, with its slope by differences beside the derivative."""
    logs = np.log([[each.value, each.dose] for each in curve])
    slopes = np.gradient(logs[:, 1], logs[:, 0], edge_order=2)
    print(f"\n{route}, {name}: dose of {GAIN:g} point of MELD")
    print("  value     dose  elasticity  by differences  plugged  infection")
    for each, slope in zip(curve, slopes, strict=True):
        plugged, infection = (limit.bound * (1.0 + e) for limit, e in zip(HARMS, each.limits, strict=True))
        numbers = f"{each.value:7.3f} {each.dose:8.3g} {each.elasticity:11.4f} {slope:15.4f}"
        print(f"{numbers} {plugged:8.4f} {infection:10.4f} {each.reason}", flush=True)


@styled
def drawn(found: Curves, shares: Shares) -> Figure:
    """Doses of equal gain with their tangents, and what each attribute is worth."""
    figure = new_figure(10.0, 4.2, f"One infusion that earns {GAIN:g} point of MELD at day 28")
    left, right = figure.subplots(1, 2, width_ratios=(1.1, 1.0))
    for (route, curves), colour in zip(found.items(), COLOURS, strict=False):
        for (name, curve), line in zip(curves.items(), LINES, strict=False):
            _draw_curve(left, curve, colour, line, f"{ATTRIBUTES[name]}, {route}")
    left.set(xscale="log", yscale="log", xlabel="homing, or potency, of the product [-]")
    left.set_xticks([0.25, 0.5, 1.0, 2.0, 4.0], ["0.25", "0.5", "1", "2", "4"])
    left.xaxis.set_minor_formatter(NullFormatter())
    left.set_ylabel("dose of equal gain [cells/kg]")
    left.set_title("dots: dose; lines: its exact derivative")
    left.legend(fontsize=8)
    _draw_worth(right, shares)
    return figure


def _draw_curve(axes: Axes, curve: tuple[EquivalentDose, ...], colour: str, line: object, label: str) -> None:
    values, doses = np.asarray([(each.value, each.dose) for each in curve]).T
    axes.plot(values, doses, "o", ms=3.5, color=colour)
    for number, each in enumerate(curve):
        reach = each.value * 2.0 ** np.asarray([-0.25, 0.25])
        tangent = each.dose * (reach / each.value) ** each.elasticity
        axes.plot(reach, tangent, color=colour, linestyle=line, lw=1.2, label=label if number == 0 else None)


def _draw_worth(axes: Axes, shares: Shares) -> None:
    names = list(next(iter(shares.values())))
    for number, ((route, worth), colour) in enumerate(zip(shares.items(), COLOURS, strict=False)):
        at = np.arange(len(names)) + 0.38 * (number - 0.5)
        bars = axes.barh(at, [-worth[name] for name in names], 0.36, color=colour, label=route)
        axes.bar_label(bars, [f"{-worth[name]:.3f}" for name in names], padding=3, fontsize=7)
    axes.set_yticks(range(len(names)), [ATTRIBUTES[name] for name in names])
    axes.invert_yaxis()
    axes.set_xlim(0.0, 1.2)
    axes.set_xlabel("dose saved by a little more of it\n[% of the dose per % of the attribute]")
    axes.legend(loc="center right")


def main() -> None:
    """Find, tell, draw."""
    print(f"device {prepare_jax('cpu')}")
    found: Curves = {}
    shares: Shares = {}
    for route in ("intravenous", "portal"):
        problems = {name: problem_of(route, (name,)) for name in CURVES}
        found[route] = {name: equivalent_doses(problem, GAIN, VALUES) for name, problem in problems.items()}
        for name, curve in found[route].items():
            told(route, name, curve)
        as_it_is = found[route]["homing"][len(VALUES) // 2]
        shares[route] = elasticities(route, as_it_is.dose)
        print({key: round(value, 4) for key, value in shares[route].items()}, flush=True)
        for factor, ends in over_the_band(problems["homing"]).items():
            print(f"  {factor}: " + ", ".join(f"dose {e.dose:.3g}, by homing {e.elasticity:.4f}" for e in ends))
    drawn(found, shares).savefig(HERE / "figure.png", dpi=110)


if __name__ == "__main__":
    main()
