"""What a macro-step hands from the body to the tissue and back, without a solve."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.checks.verify.coupling import in_single_precision, with_numerics
from hepatojax.macro_step import _arrivals, _distribute, macro_step
from hepatojax.rest import first_guess
from hepatojax.scenario import InfusionSpec
from hepatojax.therapy.schedule import schedule_of


@pytest.mark.parametrize("route", ["intravenous", "portal"])
def test_cells_that_die_outside_the_liver_reach_the_pools_of_the_body(small_liver, route):
    """Their number and their times: every organ's deaths induce regulation, the homing ones educate monocytes."""
    model, state = small_liver
    schedule = schedule_of((InfusionSpec(start_h=1.0, cells_per_kg=1e6, route=route, duration_h=0.5),))
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        courses, trapped = _distribute(model, state, schedule, jnp.asarray(0.0), state.voxel["debris"])
        arrivals = _arrivals(model, state, courses, trapped, state.quasi_steady)
    p, deaths = model.parameters.immune_memory, courses["msc"].deaths
    eaten = p.phagocytes_per_msc * model.product.potencies()["potency_education"]
    for moment in ("amount", "early", "between"):
        lung, spleen, other = (float(getattr(deaths[organ], moment)) for organ in ("lung", "spleen", "other"))
        induced = eaten * p.tregs_per_phagocyte / p.treg_pool * (lung + spleen + other)
        homing = eaten * p.lung_homing * (lung + spleen + p.other_organ_share * other)
        assert lung > 0.0
        np.testing.assert_allclose(getattr(arrivals["treg_precursors"], moment), induced, rtol=1e-12)
        np.testing.assert_allclose(getattr(arrivals["educated_monocytes"], moment), homing, rtol=1e-12)


def test_cells_that_arrive_are_those_that_the_body_sends(small_liver):
    model, state = small_liver
    schedule = schedule_of((InfusionSpec(start_h=1.0, cells_per_kg=1e6, route="portal", duration_h=0.5),))
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        courses, trapped = _distribute(model, state, schedule, jnp.asarray(0.0), state.voxel["debris"])
        arrivals = _arrivals(model, state, courses, trapped, state.quasi_steady)
    litres = model.patient.liver_volume_l * state.body["liver_volume"]
    mean = model.grid.mean(state.quasi_steady.arrival)
    for kind, name in (("msc", "msc_adherent"), ("label", "msc_label")):
        for moment in ("amount", "early", "between"):
            caught = model.grid.mean(getattr(arrivals[name], moment)) * litres
            np.testing.assert_allclose(caught, mean * getattr(courses[kind].liver, moment), rtol=1e-12)


def test_numbers_in_float64_leave_the_fields_of_a_float32_run_in_float32(small_liver):
    """`with_parameters` gives numbers as float64 arrays, and those of motion too must not promote a field."""
    model, state = small_liver
    model = dataclasses.replace(model, rest=first_guess(model).constants)
    model = jax.tree.map(lambda number: jnp.asarray(number, float), with_numerics(model, precision="float32"))
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        end, _ = jax.eval_shape(lambda: macro_step(model, in_single_precision(state), schedule_of(())))
    assert {field.dtype for field in end.voxel.values()} == {jnp.dtype("float32")}
