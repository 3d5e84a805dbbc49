"""Starts that tangent and transposed solves of a run hand on are no part of its derivatives."""

import dataclasses

import jax
import numpy as np
import pytest

from hepatojax.build import build
from hepatojax.checks.validate.course import column_case
from hepatojax.checks.verify.coupling import with_numerics
from hepatojax.checks.verify.gradient import QUICK_TO_COMPILE
from hepatojax.macro_step import macro_step
from hepatojax.scenario import DiseaseSpec, GridSpec, InfusionSpec
from hepatojax.simulate import simulate


@pytest.fixture(scope="module")
def two_steps():
    """Oxygen and function after two macro-steps of a column, by the start of an infusion: by hand, and in a scan."""
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

    def in_a_scan(start_h, quasi_steady):
        start = state.replace(quasi_steady=quasi_steady)
        solution = simulate(model, start, given(start_h), end_h=2.0 * model.numerics.macro_step_h, start_h=0.0)
        return told(solution.endpoints)[-1]

    return by_step, in_a_scan, state.quasi_steady, 0.4 * model.numerics.macro_step_h


def test_steps_by_hand_have_the_derivative_of_the_scan_in_both_modes_and_guesses_have_none(two_steps):
    by_step, in_a_scan, quasi_steady, start_h = two_steps

    def compiled(function):
        return jax.jit(function, compiler_options=QUICK_TO_COMPILE)

    by_start, by_fields = compiled(jax.grad(in_a_scan, (0, 1)))(start_h, quasi_steady)
    assert abs(by_start) > 1e-4
    np.testing.assert_allclose(compiled(jax.grad(by_step))(start_h), by_start, rtol=1e-8)
    np.testing.assert_allclose(compiled(jax.jacfwd(by_step))(start_h), by_start, rtol=1e-8)
    assert any(np.any(np.asarray(field)) for field in by_fields.tissue.values())  # the predictor reads them
    for guess in (by_fields.oxygen_guess, *by_fields.excess.values()):
        assert not np.any(np.asarray(guess))
