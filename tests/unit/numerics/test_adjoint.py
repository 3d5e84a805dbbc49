"""A scan of steps has one derivative whatever its reverse pass keeps, and keeps what it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from hepatojax.numerics.adjoint import ADJOINTS, in_turn, one_by_one, scan_steps, unstacked
from hepatojax.numerics.quasi_steady import SOLUTION
from hepatojax.numerics.segments import segments_of

STEPS, SIZE = 24, 1000


def course(rate, adjoint, checkpoints=None):
    """Logistic growth from a ramp; exact derivative by the rate is known for one step only, so modes are compared."""

    def step(carry):
        y = jnp.sin(carry + rate) + carry
        return y, jnp.sum(y)

    return scan_steps(step, jnp.linspace(0.1, 0.9, SIZE), STEPS, adjoint, checkpoints)


def objective(rate, adjoint, checkpoints=None):
    end, reports = course(rate, adjoint, checkpoints)
    return jnp.sum(end**2) + jnp.sum(jnp.cos(reports))


@pytest.mark.parametrize(("adjoint", "checkpoints"), [("saved", None), ("two-level", None), ("two-level", 3)])
def test_every_adjoint_has_the_same_reports_and_derivative(adjoint, checkpoints):
    rate = jnp.asarray(0.3)
    np.testing.assert_array_equal(course(rate, adjoint, checkpoints)[1], course(rate, "none")[1])
    slope = jax.grad(objective)(rate, adjoint, checkpoints)
    np.testing.assert_allclose(slope, jax.grad(objective)(rate, "none"), rtol=1e-12)
    near, far = (float(objective(rate + h, "none") - objective(rate - h, "none")) / (2 * h) for h in (1e-5, 2e-5))
    np.testing.assert_allclose(slope, (4 * near - far) / 3, rtol=1e-6)


def test_two_levels_keep_the_root_of_the_steps():
    """Temporaries of the compiled gradient: n fields for "saved", s + n / s and a few for "two-level"."""

    def fields(adjoint, checkpoints=None):
        gradient = jax.jit(jax.grad(lambda rate: objective(rate, adjoint, checkpoints)))
        compiled = gradient.lower(jnp.asarray(0.3)).compile()
        return compiled.memory_analysis().temp_size_in_bytes / (8 * SIZE)

    assert fields("saved") >= STEPS
    assert fields("two-level", 4) <= 4 + STEPS / 4 + 6
    assert fields("two-level", STEPS) >= STEPS


def test_segments_divide_the_steps():
    assert [segments_of(n) for n in (1, 4, 112, 113)] == [1, 2, 8, 1]
    assert segments_of(112, 16) == 16
    with pytest.raises(ValueError, match=r"checkpoints is 5; 12 macro-steps allow 1, 2, 3, 4, 6, 12"):
        segments_of(12, 5)
    with pytest.raises(ValueError, match=", ".join(ADJOINTS)):
        course(jnp.asarray(0.3), "recompute")


def chain(item):
    """A long chain of functions whose derivative needs every link."""
    x, rate = item
    for _ in range(8):
        x = jnp.sin(rate * x)
    return checkpoint_name(jnp.cumsum(x), SOLUTION)


def test_one_by_one_is_a_map_with_both_derivatives():
    items = (jnp.linspace(0.1, 2.0, 3 * SIZE).reshape(3, SIZE), jnp.asarray([0.9, 1.0, 1.1]))
    tangents = jax.tree.map(jnp.cos, items)

    def squares(mapped, items):
        return jnp.sum(mapped(chain, items) ** 2)

    np.testing.assert_allclose(one_by_one(chain, items), lax.map(chain, items), rtol=1e-14)
    reverse = jax.grad(lambda items: squares(one_by_one, items))(items)
    for got, wanted in zip(reverse, jax.grad(lambda items: squares(lax.map, items))(items), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-9)
    forward = jax.jvp(lambda items: squares(one_by_one, items), (items,), (tangents,))[1]
    along = sum(jnp.vdot(g, t) for g, t in zip(reverse, tangents, strict=True))
    np.testing.assert_allclose(forward, along, rtol=1e-11)


def along(total, item):
    """A chain that starts from what the earlier items have summed up."""
    x, rate = item
    end = chain((x + 0.1 * total, rate))
    return total + jnp.sum(end), end


def test_in_turn_is_a_scan_with_both_derivatives_through_what_it_carries():
    case = (jnp.asarray(0.2), (jnp.linspace(0.1, 2.0, 3 * SIZE).reshape(3, SIZE), jnp.asarray([0.9, 1.0, 1.1])))
    tangents = jax.tree.map(jnp.cos, case)

    def squares(scanned, case):
        last, ends = scanned(along, *case)
        return last**2 + jnp.sum(ends**2)

    reverse = jax.tree.leaves(jax.grad(lambda case: squares(in_turn, case))(case))
    for got, wanted in zip(reverse, jax.tree.leaves(jax.grad(lambda case: squares(lax.scan, case))(case)), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-9)
    forward = jax.jvp(lambda case: squares(in_turn, case), (case,), (tangents,))[1]
    projected = sum(jnp.vdot(g, t) for g, t in zip(reverse, jax.tree.leaves(tangents), strict=True))
    np.testing.assert_allclose(forward, projected, rtol=1e-11)


def test_one_by_one_keeps_inputs_and_solutions_only():
    """Numbers kept for the reverse pass: two fields an item and some scalars, instead of one field a link."""
    items = (jnp.linspace(0.1, 2.0, 3 * SIZE).reshape(3, SIZE), jnp.asarray([0.9, 1.0, 1.1]))

    def kept(mapped):
        return sum(np.size(leaf) for leaf in jax.tree.leaves(jax.vjp(lambda x: mapped(chain, x), items)[1]))

    assert kept(one_by_one) <= 2 * 3 * SIZE + 20
    assert kept(lax.map) >= 8 * 3 * SIZE


def test_a_map_inside_a_scan_is_kept_as_its_solutions_alone():
    """As the model has it: a step keeps what enters it and the solutions of its loop over signals, and no link."""
    start, rates = jnp.linspace(0.1, 2.0, 3 * SIZE).reshape(3, SIZE), jnp.asarray([0.9, 1.0, 1.1])

    def step(carry):
        return jnp.cos(one_by_one(chain, (carry, rates))), jnp.sum(carry)

    kept = jax.vjp(lambda x: scan_steps(step, x, STEPS, "saved")[0], start)[1]
    fields = sum(np.size(leaf) for leaf in jax.tree.leaves(kept)) / start.size
    assert 2 * STEPS <= fields <= 2 * STEPS + 1


def test_items_of_a_stack_are_read_and_differentiated_as_they_are():
    """Cotangents of items that nobody reads are zeros; a stack of numbers gives numbers."""
    stack = jnp.arange(1.0, 13.0).reshape(3, 4)
    for item, row in zip(unstacked(stack), stack, strict=True):
        np.testing.assert_array_equal(item, row)
    assert [float(item) for item in unstacked(jnp.asarray([2.0, 5.0]))] == [2.0, 5.0]

    def first_squared(stack):
        return jnp.sum(unstacked(stack)[0] ** 2)

    np.testing.assert_array_equal(jax.grad(first_squared)(stack), jnp.zeros((3, 4)).at[0].set(2.0 * stack[0]))
    np.testing.assert_array_equal(jax.jvp(first_squared, (stack,), (stack,))[1], 2.0 * jnp.sum(stack[0] ** 2))


def test_items_of_a_stack_that_a_loop_made_are_differentiated_through_it():
    def product(rates):
        first, second, third = unstacked(one_by_one(jnp.exp, rates))
        return first * second + 0.0 * third

    slope = jax.grad(product)(jnp.asarray([0.1, 0.2, 0.3]))
    np.testing.assert_allclose(slope, [np.exp(0.3), np.exp(0.3), 0.0], rtol=1e-15)
