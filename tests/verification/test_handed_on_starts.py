"""Starts that tangent and transposed solves of a run hand on are no part of its derivatives."""

import dataclasses
from functools import partial

import jax
import numpy as np
import pytest

from hepatojax.build import build
from hepatojax.checks.validate.course import column_case
from hepatojax.checks.verify.coupling import with_numerics
from hepatojax.checks.verify.gradient import QUICK_TO_COMPILE
from hepatojax.macro_step import macro_step
from hepatojax.scenario import DiseaseSpec, GridSpec, InfusionSpec
from hepatojax.simulate import SaveAt, simulate


def compiled(function):
    return jax.jit(function, compiler_options=QUICK_TO_COMPILE)


@pytest.fixture(scope="module")
def two_steps():
    """Oxygen and function after two macro-steps of a column, by the start of an infusion, by hand and by `simulate`."""
    dose = InfusionSpec(start_h=3.0, duration_h=0.5, cells_per_kg=1e6, route="portal")
    case = column_case(disease=DiseaseSpec(lesion_fraction=0.5, activity=0.5), dose=dose)
    model, state, schedule = build(dataclasses.replace(case, grid=GridSpec(cells=(4, 1, 1))), arm="treated")
    model = with_numerics(model, tolerance=1e-12, pressure_tolerance=1e-12)

    def given(start_h):
        return dataclasses.replace(schedule, start_h=schedule.start_h.at[0].set(start_h))

    def told(endpoints):
        return 1e3 * endpoints["functional_mass"] + endpoints["oxygen_mean"]

    def by_step(start_h):
        after, _ = macro_step(model, state, given(start_h))
        return told(macro_step(model, after, given(start_h))[1].endpoints)

    step_h = model.numerics.macro_step_h

    def in_a_scan(start_h, quasi_steady, **how):
        start = state.replace(quasi_steady=quasi_steady)
        solution = simulate(model, start, given(start_h), end_h=2.0 * step_h, start_h=0.0, **how)
        return told(solution.endpoints)[-1]

    def run_after_run(start_h, quasi_steady):
        start = state.replace(quasi_steady=quasi_steady)
        first = simulate(model, start, given(start_h), end_h=step_h, start_h=0.0)
        second = simulate(model, first.state, given(start_h), end_h=2.0 * step_h, start_h=step_h)
        return told(second.endpoints)[-1]

    ways = {
        "in a scan": in_a_scan,
        "run after run": run_after_run,
        "in segments": partial(in_a_scan, adjoint="two-level", checkpoints=2, save=SaveAt(2.0 * step_h, ("oxygen",))),
    }
    return by_step, ways, state.quasi_steady, 0.4 * step_h


@pytest.fixture(scope="module")
def of_the_scan(two_steps):
    """Derivatives by the start and by the quasi-steady fields."""
    _, ways, quasi_steady, start_h = two_steps
    by_start, by_fields = compiled(jax.grad(ways["in a scan"], (0, 1)))(start_h, quasi_steady)
    assert abs(by_start) > 1e-4
    return by_start, by_fields


def test_steps_by_hand_have_the_derivative_of_the_scan_in_both_modes_and_guesses_have_none(two_steps, of_the_scan):
    (by_step, _, _, start_h), (by_start, by_fields) = two_steps, of_the_scan
    np.testing.assert_allclose(compiled(jax.grad(by_step))(start_h), by_start, rtol=1e-8)
    np.testing.assert_allclose(compiled(jax.jacfwd(by_step))(start_h), by_start, rtol=1e-8)
    assert any(np.any(np.asarray(field)) for field in by_fields.tissue.values())  # the predictor reads them
    for guess in (by_fields.oxygen_guess, *by_fields.excess.values()):
        assert not np.any(np.asarray(guess))


@pytest.mark.parametrize("way", ["run after run", "in segments"])
def test_however_a_run_is_cut_up_no_start_counts_as_a_derivative(two_steps, of_the_scan, way):
    _, ways, quasi_steady, start_h = two_steps
    np.testing.assert_allclose(compiled(jax.grad(ways[way]))(start_h, quasi_steady), of_the_scan[0], rtol=1e-8)
