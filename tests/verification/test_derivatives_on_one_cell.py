"""Derivatives on one cell by the optimised program: what is zero there but for rounding must not become a number.

Inflow and outflow of a cell are equal whatever its conductance, so that the pressure's tangent solve has a right-hand
side of rounding alone, in some places exactly zero.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.build import build
from hepatojax.checks.validate.course import column_case
from hepatojax.scenario import DiseaseSpec, GridSpec, InfusionSpec
from hepatojax.simulate import simulate

pytestmark = [pytest.mark.slow, pytest.mark.verification]  # the whole model, differentiated: a minute to compile

ENDPOINTS = ("oxygen_mean", "oxygen_outlet", "functional_mass", "cxcl12_plasma")
STARTS_H = np.linspace(15.3, 15.49, 33)  # an infusion within one macro-step
DAYS = 3


def test_derivatives_by_the_start_are_those_of_differences_at_every_start():
    dose = InfusionSpec(start_h=8.0, duration_h=0.5, cells_per_kg=1e6, route="portal")
    case = column_case(disease=DiseaseSpec(lesion_fraction=0.5, activity=0.5), dose=dose)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        model, state, schedule = build(dataclasses.replace(case, grid=GridSpec(cells=(1, 1, 1))), arm="treated")

        def course(start):
            moved = dataclasses.replace(schedule, start_h=schedule.start_h.at[0].set(start))
            run = simulate(model, state, moved, end_h=24.0 * DAYS, start_h=0.0, adjoint="none")
            return jnp.stack([run.endpoints[name] for name in ENDPOINTS])

        program = jax.jit(jax.vmap(lambda start: jax.jvp(course, (start,), (jnp.ones(()),))))
        values, slopes = map(np.asarray, program(jnp.asarray(STARTS_H)))
    differences = (values[2:] - values[:-2]) / (STARTS_H[2:] - STARTS_H[:-2])[:, None, None]
    scale = np.abs(differences).max(axis=(0, 2), keepdims=True)
    np.testing.assert_allclose(slopes[1:-1] / scale, differences / scale, atol=1e-4)
