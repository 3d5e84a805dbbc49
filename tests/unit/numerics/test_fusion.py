"""A field computed once: the identity in value and derivatives, and a wall for the compiler."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.numerics.fusion import computed_once

FIELD = jnp.arange(1.0, 25.0).reshape(2, 3, 4)


def weighted(field):
    return jnp.sum(computed_once(field * field) * field)


@pytest.mark.parametrize("compile_it", [False, True])
def test_it_is_the_identity_in_value_and_in_every_mode_of_differentiation(compile_it):
    wrap = jax.jit if compile_it else lambda f: f
    np.testing.assert_array_equal(wrap(computed_once)(FIELD), FIELD)
    np.testing.assert_allclose(wrap(jax.grad(weighted))(FIELD), 3.0 * FIELD**2, rtol=1e-15)
    _, tangent = wrap(lambda x: jax.jvp(weighted, (x,), (x,)))(FIELD)
    np.testing.assert_allclose(tangent, 3.0 * jnp.sum(FIELD**3), rtol=1e-15)
    np.testing.assert_allclose(wrap(jax.hessian(lambda s: weighted(s * FIELD)))(2.0), 12.0 * jnp.sum(FIELD**3))
    np.testing.assert_allclose(wrap(jax.vmap(weighted))(jnp.stack([FIELD, 2 * FIELD]))[1], 8.0 * jnp.sum(FIELD**3))


def test_a_checkpoint_may_repeat_it():
    np.testing.assert_allclose(jax.grad(jax.checkpoint(weighted))(FIELD), 3.0 * FIELD**2, rtol=1e-15)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf])
def test_what_is_not_finite_stays_where_it_is(dtype, value):
    """In the first cell too, and in the first member of a batch."""
    broken = FIELD.astype(dtype).at[0, 0, 0].set(value)
    np.testing.assert_array_equal(jax.jit(computed_once)(broken), broken)
    both = jax.jit(jax.vmap(lambda f: 2.0 * computed_once(f)))(jnp.stack([broken, FIELD.astype(dtype)]))
    np.testing.assert_array_equal(both, jnp.stack([2.0 * broken, 2.0 * FIELD.astype(dtype)]))


def test_the_compiler_computes_it_once_for_all_its_readers():
    """Of 40 multiplications before four readers, the operations that XLA counts stay near 40 and not near 160."""

    def operations(keep):
        def readers(field):
            chain = field
            for k in range(40):
                chain = chain * 1.01 + field * field * k
            kept = keep(chain)
            return [kept * 2.0 + i * field for i in range(4)]

        return jax.jit(readers).lower(jnp.zeros((8, 64, 64))).compile().cost_analysis()["flops"]

    assert operations(computed_once) < 0.4 * operations(lambda field: field)
