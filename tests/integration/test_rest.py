"""The rest of a healthy lobule follows the numbers of the registry, with a derivative."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.assembly import build_lobule, resting_model, with_parameters
from hepatojax.checks.validate.course import column_case
from hepatojax.checks.verify.gradient import QUICK_TO_COMPILE
from hepatojax.parameters.registry import ParameterError, load_parameters, registry_of
from hepatojax.scenario import GridSpec

SCENARIO = dataclasses.replace(column_case(), grid=GridSpec(cells=(4, 1, 1)))


@pytest.fixture(scope="module")
def model():
    parameters = registry_of(SCENARIO)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return resting_model(SCENARIO, parameters, build_lobule(SCENARIO, parameters))[0]


@pytest.mark.slow  # the derivative of a rest takes a minute or two to compile
@pytest.mark.parametrize(
    ("balance", "names"),
    [
        ("rest_apoptosis", ("oxygen.portal_mmHg", "cells.hepatocyte_density")),
        ("rest_stellate_activation", ("matrix.rest_stellate", "matrix.crosslink_rate")),
    ],
)
def test_a_gradient_through_rest_agrees_with_differences(model, balance, names):
    """The portal pressure acts through the fields, the density of hepatocytes stands in several leaves, and the share
    of stellate cells that are active at rest sets a state itself."""
    parameters = registry_of(SCENARIO)
    rows = {row.name: row.value for row in parameters.rows}
    start = jnp.asarray([rows[name] for name in names])

    @jax.jit
    def mean(relative):
        values = dict(zip(names, start * relative, strict=True))
        return jnp.mean(with_parameters(model, parameters, values).rest[balance])

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        slopes = jax.jit(jax.grad(mean))(jnp.ones(2))
        forward = jax.jit(jax.jvp, static_argnums=0)(mean, (jnp.ones(2),), (jnp.asarray([1.0, 0.0]),))[1]
        steps = 1e-4 * np.eye(2)
        differences = [float(mean(1.0 + h) - mean(1.0 - h)) / 2e-4 for h in steps]
    np.testing.assert_allclose(slopes, differences, rtol=1e-6)
    np.testing.assert_allclose(forward, slopes[0], rtol=1e-9)


@pytest.fixture(scope="module")
def put(model):
    """The model with other numbers of three kinds, by one program; given by the last part of their names."""
    parameters = registry_of(SCENARIO)
    names = ("cells.macrophage_density", "patient.liver_volume_l", "hepatocytes.division_rate")

    @partial(jax.jit, compiler_options=QUICK_TO_COMPILE)
    def program(values):
        return with_parameters(model, parameters, dict(zip(names, values, strict=True)))

    def of(**changes):
        held = {row.name: row.value for row in parameters.rows}
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return program([changes.get(name.split(".")[1], held[name]) for name in names])

    return of


def test_a_number_is_put_wherever_it_acts(put):
    """Nothing but its own leaves changes, and the rest is that of a model built with the number."""
    overridden = {"cells.macrophage_density": 1.3e4, "patient.liver_volume_l": 1.6}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        other = dataclasses.replace(SCENARIO, parameters=overridden)
        built = resting_model(other, load_parameters("human", overridden), build_lobule(other, registry_of(SCENARIO)))
    changed = put(macrophage_density=1.3e4, liver_volume_l=1.6)
    for left, right in zip(jax.tree.leaves(changed), jax.tree.leaves(built[0]), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-9)


def test_where_there_is_no_rest_there_is_no_number(put):
    """Cells that die and hardly divide cannot stand still: a negative silent death must not pass for one."""
    without = put(division_rate=1e-3)
    assert all(np.isnan(value).all() for value in (*without.rest.values(), without.rest_resistance))


@pytest.mark.parametrize("name", ["geometry.lobule_radius_um", "product.hgf_by_source.adipose", "oxygen.portal"])
def test_what_cannot_be_replaced_is_named(model, name):
    with pytest.raises(ParameterError, match=name):
        with_parameters(model, registry_of(SCENARIO), {name: 1.0})
