"""Therapeutic windows of one infusion by three routes, each with the band of the six amplification factors.

python experiments/05_dose_window/run.py
"""

from pathlib import Path

import jax

from hepatojax.build import build
from hepatojax.io.study import load_study
from hepatojax.io.study.parts import study_parts
from hepatojax.parameters.registry import registry_of
from hepatojax.report.figures.window import window_bars, window_curves
from hepatojax.studies.interval import Window
from hepatojax.studies.problem import DoseProblem
from hepatojax.studies.window import amplification_factors, windows_by

jax.config.update("jax_enable_x64", True)
HERE = Path(__file__).parent

study = load_study(HERE / "study.toml")
parts, asked = study_parts(study), study.window
model, state, schedule = build(study.scenario, arm=study.arm)
problem = DoseProblem(
    model, state, schedule, study.scenario.run.end_h, parts.aims, parts.variables, parts.limits, study.optimise.adjoint
)
factors = amplification_factors(registry_of(study.scenario), asked.factors)


def tell(name: str, window: Window) -> None:
    """One line for each window."""
    print(f"{name}: {window.reason}", flush=True)


found = windows_by(
    problem, asked.least_gain, factors, asked.routes, share=asked.share, doses=asked.doses, on_window=tell
)
window_curves(found, "fewer points of MELD").savefig(HERE / "curves.png", dpi=110)
window_bars(found).savefig(HERE / "figure.png", dpi=110)
for each in found:
    window, best = each.window, each.window.best
    print(f"\n{each.name}: {window.reason}; multiplier {window.multiplier:.2f}; {window.jacobians} derivatives")
    if best is not None:
        print(f"  best {best.dose:.3g}, gain {best.gain:.3g}, flat from {best.low:.3g} to {best.high:.3g} cells/kg")
    print(f"  over the band: lower {each.moved('lower')}, upper {each.moved('upper')}, in every window {each.common}")
