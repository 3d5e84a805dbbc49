"""A fault planted in the solver turns a named check red."""

import inspect
import textwrap

import jax
import pytest

from hepatojax import coupling
from hepatojax.body import biodistribution
from hepatojax.checks.records import run_checks
from hepatojax.checks.verify import CHECKS
from hepatojax.numerics import positive_step
from hepatojax.therapy import schedule
from hepatojax.tissue import perfusion

pytestmark = pytest.mark.verification

# what is wrong: the check that sees it, the function, its text, the faulty text
FAULTS = {
    "flux sign": ("V02", perfusion.pressure_driven_flow, "pressure - upper", "-pressure + upper"),
    "axial ratio dropped": ("V03", perfusion.pressure_system, "(parameters.axial_ratio, 1.0, 1.0)", "(1.0, 1.0, 1.0)"),
    "haematocrit dropped": ("plasma-flow", coupling._signal, "1.0 - model.parameters.haematocrit", "1.0"),
    "HGF licensed by another signal": ("plasma-flow", coupling._species, 'name == "tnf"', 'name == "il6"'),
    "unit slip of 1e-3": (
        "body-kinetics",
        biodistribution.distribute,
        "body_mass_kg * 1e-6",
        "body_mass_kg * 1e-3",
    ),
    "cells off by one in a thousand": (
        "body-kinetics",
        biodistribution.distribute,
        "body_mass_kg * 1e-6",
        "body_mass_kg * 1.001e-6",
    ),
    "lost transfer": ("stepper", positive_step._implicit, "0.0) + t.gain * rate", "0.0) + 0.0 * rate"),
    "times rounded to steps": (
        "infusion-time",
        schedule.windows,
        "schedule.start_h",
        "(jnp.round(schedule.start_h / length_h) * length_h)",
    ),
}


@pytest.fixture
def plant():
    """Exchange a piece of a function's code, wherever it was imported, until the end of the test."""
    planted = []

    def exchange(function, text, faulty):
        function = inspect.unwrap(function)
        source = textwrap.dedent(inspect.getsource(function))
        assert text in source
        scope = {}
        exec("from __future__ import annotations\n" + source.replace(text, faulty), function.__globals__, scope)
        planted.append((function, function.__code__))
        function.__code__ = scope[function.__name__].__code__
        jax.clear_caches()

    yield exchange
    for function, code in planted:
        function.__code__ = code
    jax.clear_caches()


SLOW = ("haematocrit dropped", "HGF licensed by another signal")  # compile the quasi-steady fields of the whole model


def _marked(fault):
    return pytest.param(fault, id=fault, marks=pytest.mark.slow if fault in SLOW else ())


@pytest.mark.parametrize("fault", [_marked(fault) for fault in FAULTS])
def test_fault_turns_its_check_red(fault, plant):
    name, *change = FAULTS[fault]
    plant(*change)
    records = list(run_checks(check for check in CHECKS if check.id == name))
    assert any(not record.passed for record in records)
