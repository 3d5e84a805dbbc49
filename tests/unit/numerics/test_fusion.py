"""Fields computed once: the identity in value and derivatives, and a wall for the compiler."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.numerics.fusion import computed_once, cotangents_computed_once

FIELD = jnp.arange(1.0, 25.0).reshape(2, 3, 4)


KEEPERS = [computed_once, cotangents_computed_once]


@pytest.mark.parametrize("keep", KEEPERS)
@pytest.mark.parametrize("compile_it", [False, True])
def test_it_is_the_identity_in_value_and_in_every_mode_of_differentiation(compile_it, keep):
    def weighted(field):
        return jnp.sum(keep(field * field) * field)

    wrap = jax.jit if compile_it else lambda f: f
    np.testing.assert_array_equal(wrap(keep)(FIELD), FIELD)
    np.testing.assert_allclose(wrap(jax.grad(weighted))(FIELD), 3.0 * FIELD**2, rtol=1e-15)
    _, tangent = wrap(lambda x: jax.jvp(weighted, (x,), (x,)))(FIELD)
    np.testing.assert_allclose(tangent, 3.0 * jnp.sum(FIELD**3), rtol=1e-15)
    np.testing.assert_allclose(wrap(jax.hessian(lambda s: weighted(s * FIELD)))(2.0), 12.0 * jnp.sum(FIELD**3))
    np.testing.assert_allclose(wrap(jax.vmap(weighted))(jnp.stack([FIELD, 2 * FIELD]))[1], 8.0 * jnp.sum(FIELD**3))


def together(keep, x, y, z):
    """Of three fields kept together one is constant, one is a plain number's neighbour, and one is read twice."""
    kept = keep({"square": x * x, "constant": 2.0 * z, "product": x * y, "number": 3.0, "scalar": jnp.sum(x)})
    return jnp.sum(kept["product"] * kept["constant"] + kept["number"] * kept["square"]) + kept["scalar"]


@pytest.mark.parametrize("keep", KEEPERS)
def test_fields_kept_together_are_the_identity_each(keep):
    """Derivatives by one of them, by all, in a batch of one of them, and in a loop that repeats its body."""
    x, y, z = FIELD, 2.0 + FIELD, 1.0 / FIELD
    kept = partial(together, keep)
    of_x = 2.0 * y * z + 6.0 * x + 1.0
    np.testing.assert_allclose(jax.jit(jax.grad(kept))(x, y, z), of_x, rtol=1e-15)
    for got, expected in zip(jax.grad(kept, (0, 1, 2))(x, y, z), (of_x, 2.0 * x * z, 2.0 * x * y), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-15)
    many = jax.jit(jax.vmap(kept, (None, 0, None)))(x, jnp.stack([y, 0.0 * y]), z)
    np.testing.assert_allclose(many, [kept(x, y, z), kept(x, 0.0 * y, z)], rtol=1e-14)

    def three_times(x):
        body = jax.checkpoint(lambda total, _: (total + kept(x, y, z), None))
        return jax.lax.scan(body, 0.0, None, length=3)[0]

    np.testing.assert_allclose(jax.grad(three_times)(x), 3.0 * of_x, rtol=1e-14)
    assert keep({}) == {}


@pytest.mark.parametrize("keep", KEEPERS)
def test_a_checkpoint_may_repeat_it(keep):
    def weighted(field):
        return jnp.sum(keep(field * field) * field)

    np.testing.assert_allclose(jax.grad(jax.checkpoint(weighted))(FIELD), 3.0 * FIELD**2, rtol=1e-15)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf])
def test_what_is_not_finite_stays_where_it_is(dtype, value):
    """In the first cell too, and in the first member of a batch."""
    broken = FIELD.astype(dtype).at[0, 0, 0].set(value)
    np.testing.assert_array_equal(jax.jit(computed_once)(broken), broken)
    both = jax.jit(jax.vmap(lambda f: 2.0 * computed_once(f)))(jnp.stack([broken, FIELD.astype(dtype)]))
    np.testing.assert_array_equal(both, jnp.stack([2.0 * broken, 2.0 * FIELD.astype(dtype)]))


def fused(field):
    """Nothing of the kind."""
    return field


def operations(function):
    """Floating-point operations that XLA counts in a function of one field."""
    return jax.jit(function).lower(jnp.zeros((8, 64, 64))).compile().cost_analysis()["flops"]


def test_the_compiler_computes_it_once_for_all_its_readers():
    """Of 40 multiplications before four readers, the operations that XLA counts stay near 40 and not near 160."""

    def readers(keep, field):
        chain = field
        for k in range(40):
            chain = chain * 1.01 + field * field * k
        kept = keep(chain)
        return [kept * 2.0 + i * field for i in range(4)]

    counted = {keep: operations(partial(readers, keep)) for keep in (*KEEPERS, fused)}
    assert counted[computed_once] < 0.4 * counted[fused]
    assert counted[cotangents_computed_once] == counted[fused]  # it is no wall on the way forward


def test_the_compiler_computes_cotangents_once_for_all_that_they_go_to():
    """The same with 40 operations between four inputs and the output: the way back has four readers."""

    def readers(keep, field):
        def output(*inputs):
            chain = keep(sum(a * (field + i) for i, a in enumerate(inputs)))
            for k in range(40):
                chain = chain * 1.01 + chain * field * k
            return jnp.sum(chain * field)

        slopes = jax.grad(output, (0, 1, 2, 3))(*(field * i for i in range(4)))
        return [slope * 2.0 + i * field for i, slope in enumerate(slopes)]

    counted = {keep: operations(partial(readers, keep)) for keep in (*KEEPERS, fused)}
    assert counted[cotangents_computed_once] < 0.4 * counted[fused]
    assert counted[cotangents_computed_once] <= counted[computed_once]
