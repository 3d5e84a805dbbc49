"""Variables: the transform and its inverse, the simplex of routes, and what is refused."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepatojax.parameters.registry import load_parameters
from hepatojax.scenario import ROUTES, InfusionSpec, ProductSpec
from hepatojax.studies.objective import StudyError
from hepatojax.studies.variables import Variable, check_variables, dosed, mixed, rows_in_use
from hepatojax.therapy.product import cell_product
from hepatojax.therapy.schedule import schedule_of

SCHEDULE = schedule_of((InfusionSpec(5.0, 1e6, "portal"), InfusionSpec(50.0, 3e6, "intravenous")), 3)
PRODUCT = cell_product(ProductSpec(), load_parameters().product)
PLACES = st.floats(0.0, 1.0)
VARIABLES = (
    Variable("start_h[1]", 24.0, 72.0),
    Variable("cells_per_kg[2]", 1e4, 1e7, "log"),
    Variable("route_mix[0].intravenous", 0.0, 1.0),
    Variable("product.homing", 0.5, 4.0),
)


@settings(deadline=None, max_examples=30)
@given(PLACES, st.sampled_from(VARIABLES))
def test_value_and_place_are_inverse(x, variable):
    value = float(variable.value(jnp.asarray(x)))
    assert variable.low * (1 - 1e-12) <= value <= variable.high * (1 + 1e-12)
    assert variable.place(value) == pytest.approx(x, abs=1e-9)


@pytest.mark.parametrize("x", [0.0, 0.3, 1.0])
def test_the_transform_has_its_exact_derivative_up_to_the_bounds(x):
    linear, log = jax.grad(VARIABLES[0].value)(x), jax.grad(VARIABLES[1].value)(x)
    np.testing.assert_allclose(linear, 48.0)
    np.testing.assert_allclose(log, math.log(1e3) * 1e4 * 1e3**x)


def test_each_variable_moves_its_entry_and_no_other():
    schedule, product = dosed(VARIABLES, SCHEDULE, PRODUCT, jnp.full(4, 0.5))
    np.testing.assert_allclose(schedule.start_h, [5.0, 48.0, 0.0])
    np.testing.assert_allclose(schedule.cells_per_kg, [1e6, 3e6, math.sqrt(1e11)])
    np.testing.assert_allclose(schedule.duration_h, SCHEDULE.duration_h)
    np.testing.assert_allclose(schedule.route_mix[0], [0.5, 0.5, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(schedule.route_mix[1:], SCHEDULE.route_mix[1:])
    np.testing.assert_allclose(product.homing, 2.25)
    assert dataclasses.replace(product, homing=PRODUCT.homing) == PRODUCT


@settings(deadline=None, max_examples=30)
@given(PLACES, PLACES)
def test_shares_stay_on_the_simplex_and_leave_the_rest_in_proportion(first, second):
    mix = mixed(jnp.asarray([0.3, 0.1, 0.0, 0.0, 0.6]), dict(arterial=jnp.asarray(first), portal=jnp.asarray(second)))
    assert (mix >= 0.0).all()
    np.testing.assert_allclose(mix.sum(), 1.0)
    np.testing.assert_allclose(mix[ROUTES.index("arterial")], first, atol=1e-15)
    np.testing.assert_allclose(mix[ROUTES.index("portal")], (1.0 - first) * second, atol=1e-15)
    np.testing.assert_allclose(mix[4], 2.0 * mix[0], atol=1e-15)


def test_rows_in_use_are_those_with_cells_or_with_a_free_number_of_them():
    assert rows_in_use((), SCHEDULE) == (0, 1)
    assert rows_in_use(VARIABLES, SCHEDULE) == (0, 1, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cell_per_kg[0]", 1.0, 2.0), r"no such entry, did you mean cells_per_kg\[0\]"),
        (("product.homming", 1.0, 2.0), "no such entry, did you mean product.homing"),
        (("route_mix[0]", 0.0, 1.0), "wants route_mix"),
        (("route_mix[0].oral", 0.0, 1.0), "wants route_mix"),
        (("start_h[0].portal", 0.0, 1.0), "no such entry"),
        (("product.viability", 0.0, 1.2), "leaves 0..1"),
        (("duration_h[0]", 0.0, 1.0), "leaves"),
        (("start_h[0]", 2.0, 2.0), "low 2.0 below high 2.0"),
        (("start_h[0]", 0.0, math.inf), "finite"),
        (("start_h[0]", 0.0, 2.0, "log"), "above zero"),
        (("start_h[0]", 0.0, 2.0, "square"), "allowed: linear, log"),
    ],
)
def test_a_variable_that_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(StudyError, match=message):
        Variable(*arguments)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ((), "at least one"),
        ((VARIABLES[0], VARIABLES[0]), "twice"),
        ((Variable("start_h[3]", 0.0, 1.0),), "has 3 infusions"),
        ((Variable("start_h[0]", 0.0, 100.0),), "outside the run"),
        ((Variable("start_h[0]", 0.0, 72.0),), "start_h.0.: high 72 h lets infusion 0 end at 72.5 h, after the run"),
        ((Variable("duration_h[0]", 1.0, 67.5),), "lets infusion 0 end at 72.5 h"),
        ((Variable("route_mix[0].portal", 0.0, 1.0),), "takes the rest of infusion 0"),
        ((Variable("cells_per_kg[0]", 1e4, 1e6), Variable("duration_h[1]", 1.0, 22.5)), "infusion 1 end at 72.5 h"),
    ],
)
def test_variables_that_do_not_fit_are_refused(variables, message):
    with pytest.raises(StudyError, match=message):
        check_variables(variables, SCHEDULE, 0.0, 72.0)


def test_a_fixed_infusion_that_runs_across_the_end_of_the_run_is_refused():
    late = schedule_of((InfusionSpec(71.0, 1e6, "portal", 2.0), InfusionSpec(90.0, 1e6, "portal")), 2)
    with pytest.raises(StudyError, match="infusion 0: ends at 73 h, after the run"):
        check_variables((Variable("product.homing", 0.5, 4.0),), late, 0.0, 72.0)
    check_variables((Variable("product.homing", 0.5, 4.0),), late, 0.0, 73.0)
