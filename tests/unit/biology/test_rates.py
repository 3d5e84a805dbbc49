"""Properties of all rates: sign, finiteness, composition, precision."""

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from hepatojax.mechanism import check_composition
from tests.reference.biology_cases import (
    ALGEBRAIC,
    LARGEST,
    MODULES,
    SCALARS,
    SLOW,
    STATES,
    all_rates,
    draw,
    evaluate,
)


def leaves_of_rates(fields, p):
    """All arrays of the rates; the gains of transfers, which are Python numbers, are left out."""
    return [leaf for leaf in jax.tree.leaves(all_rates(evaluate(fields, p), p)) if hasattr(leaf, "dtype")]


@pytest.fixture(scope="module")
def rates(p):
    return jax.jit(lambda fields: leaves_of_rates(fields, p))


def test_the_mechanisms_compose_in_the_stated_order():
    provided = tuple(name for name in (*LARGEST, *SCALARS, "mean_cause_weight") if name not in STATES)
    check_composition(tuple(mechanism for mechanism, _ in ALGEBRAIC + SLOW), provided, STATES)


def test_every_written_field_has_a_specification():
    specified = {spec.name for module in MODULES for spec in module.FIELDS}
    written = {name for mechanism, _ in ALGEBRAIC + SLOW for name in mechanism.writes}
    assert specified == written


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), low=st.sampled_from([0.0, 0.5, 1.0]))
def test_production_loss_and_transfers_are_never_negative(rates, seed, low):
    fields = draw(seed, low=low)
    fields = fields.with_({"rest_inflammation": jnp.full_like(fields.tnf, 1e-3)})
    for leaf in rates(fields):
        assert np.all(np.isfinite(leaf)) and np.all(np.asarray(leaf) >= 0)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_gradients_are_finite_in_a_dead_lobule(p, dtype):
    dead = draw(0, dtype=dtype)
    dead = dead.with_({name: jnp.zeros_like(dead[name]) for name in (*STATES, "oxygen", "tnf", "il6", "il10", "hgf")})

    def total(fields):
        return sum(jnp.sum(leaf) for leaf in leaves_of_rates(fields, p))

    gradient = jax.jit(jax.grad(total))(dead)
    assert all(np.all(np.isfinite(gradient[name])) for name in gradient)


def test_single_precision_stays_single(p):
    single = jax.tree.map(jnp.float32, p)
    fields = evaluate(draw(1, dtype=jnp.float32), single)
    assert {fields[name].dtype for name in fields} == {jnp.dtype("float32")}
    assert {leaf.dtype for leaf in leaves_of_rates(fields, single)} == {jnp.dtype("float32")}


def test_gradients_with_respect_to_all_parameters_are_finite(p):
    fields = draw(1)
    arrays = jax.tree.map(jnp.float64, p)
    gradient = jax.jit(jax.grad(lambda p: sum(jnp.sum(leaf) for leaf in leaves_of_rates(fields, p))))(arrays)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


def test_rates_have_the_shape_of_their_states(p):
    fields = evaluate(draw(2), p)
    for one in all_rates(fields, p):
        for part in (one.production, one.loss):
            assert all(value.shape == fields[name].shape for name, value in part.items())
        assert all(move.rate.shape == fields[move.source].shape for move in one.transfers)
