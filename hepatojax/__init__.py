"""HepatoJAX: a differentiable 3D solver of a liver lobule under cell therapy.

Research software; not a medical device; not for diagnosis, dosing or any clinical decision.

A script switches 64-bit types of JAX on, reads a scenario (`load_scenario`), makes the model of a liver, its state at
day 0 and the schedule of an arm of it (`build`), and integrates them in time (`simulate`). `write_run` and `open_run`
keep and read what came of it; `DoseProblem`, `optimise_dose` and `therapeutic_window` ask which doses help.

The public names are imported when they are first used, so that `import hepatojax` loads neither JAX nor a file.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "load_scenario": "io.scenario",
    "Scenario": "scenario",
    "build": "build",
    "simulate": "simulate",
    "Solution": "simulate",
    "SaveAt": "simulate",
    "LiverModel": "model",
    "LiverState": "state",
    "DoseSchedule": "therapy.schedule",
    "CellProduct": "therapy.product",
    "Patient": "body.circulation",
    "Grid": "numerics.grid",
    "hexagonal_lobule": "tissue.hexagon",
    "load_parameters": "parameters.registry",
    "liver_function": "endpoints",
    "DoseProblem": "studies.problem",
    "optimise_dose": "studies.optimise",
    "therapeutic_window": "studies.window",
    "taylor_rates": "studies.certificate",
    "write_run": "io.results",
    "open_run": "io.results",
    "Status": "status",
}
__all__ = [*_HOMES]

if TYPE_CHECKING:
    from hepatojax.body.circulation import Patient as Patient
    from hepatojax.build import build as build
    from hepatojax.endpoints import liver_function as liver_function
    from hepatojax.io.results import open_run as open_run
    from hepatojax.io.results import write_run as write_run
    from hepatojax.io.scenario import load_scenario as load_scenario
    from hepatojax.model import LiverModel as LiverModel
    from hepatojax.numerics.grid import Grid as Grid
    from hepatojax.parameters.registry import load_parameters as load_parameters
    from hepatojax.scenario import Scenario as Scenario
    from hepatojax.simulate import SaveAt as SaveAt
    from hepatojax.simulate import Solution as Solution
    from hepatojax.simulate import simulate as simulate
    from hepatojax.state import LiverState as LiverState
    from hepatojax.status import Status as Status
    from hepatojax.studies.certificate import taylor_rates as taylor_rates
    from hepatojax.studies.optimise import optimise_dose as optimise_dose
    from hepatojax.studies.problem import DoseProblem as DoseProblem
    from hepatojax.studies.window import therapeutic_window as therapeutic_window
    from hepatojax.therapy.product import CellProduct as CellProduct
    from hepatojax.therapy.schedule import DoseSchedule as DoseSchedule
    from hepatojax.tissue.hexagon import hexagonal_lobule as hexagonal_lobule


def __getattr__(name: str) -> Any:
    """The public name, imported from the module that defines it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]


class _Package(ModuleType):
    """This package, in which `build` and `simulate` are the functions and never the modules that define them.

    The import system binds a submodule as an attribute of its package; it would hide the function of the same name.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
