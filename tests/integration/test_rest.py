"""The rest of a healthy lobule follows its parameters, with a derivative."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from hepatojax.assembly import build_lobule, registry_of, resting_model
from hepatojax.checks.validate.course import column_case
from hepatojax.rest import with_rest
from hepatojax.scenario import GridSpec

pytestmark = pytest.mark.slow  # the derivative of a rest takes a minute or two to compile


def test_a_gradient_through_rest_agrees_with_differences():
    scenario = dataclasses.replace(column_case(), grid=GridSpec(cells=(4, 1, 1)))
    parameters = registry_of(scenario)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        model, _ = resting_model(scenario, parameters, build_lobule(scenario, parameters))
        portal_mmHg = jnp.asarray(float(model.parameters.portal_mmHg))

        @jax.jit
        def silent_death(pressure):
            changed = dataclasses.replace(model.parameters, portal_mmHg=pressure)
            return jnp.mean(with_rest(dataclasses.replace(model, parameters=changed)).rest["rest_apoptosis"])

        slope = float(jax.jit(jax.grad(silent_death))(portal_mmHg))
        difference = float(silent_death(portal_mmHg + 1e-3) - silent_death(portal_mmHg - 1e-3)) / 2e-3
    assert slope == pytest.approx(difference, rel=1e-5)
