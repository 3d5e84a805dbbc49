"""Fluxes of carried species: exact where they should be, of the order they claim, and with the Jacobian they need."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.numerics.operators import assemble, divergence
from hepatojax.tissue.transport import (
    by_differences,
    conductances,
    exponential,
    face_flux,
    limited_correction,
    upwind,
    van_albada,
    with_limiter,
)
from tests.reference.flows import block, channel, corner_to_corner


@pytest.mark.parametrize("scheme", [upwind, exponential])
def test_balanced_flow_carries_a_constant_unchanged(scheme):
    grid, flow = corner_to_corner((2, 6, 5), (20.0, 15.0, 10.0), seed=1)
    faces = scheme(flow.flux, conductances(grid, 100.0, jnp.float64))
    carried = assemble(*faces, flow.outflow)(jnp.ones(grid.shape))
    np.testing.assert_allclose(carried[grid.active], flow.inflow[grid.active], atol=1e-10 * flow.total)


@pytest.mark.parametrize("peclet", [-30.0, -1.0, 1e-3, 0.3, 4.0, 800.0])
def test_exponential_flux_is_exact_for_steady_advection_and_diffusion(peclet):
    grid = block((1, 1, 5), (10.0, 10.0, 10.0))
    conductance = conductances(grid, 1.0, jnp.float64)
    flux = tuple(peclet * t for t in conductance)
    # u = exp(Pe (x - L) / h) has the constant flux 0; adding a constant adds the flux q.
    field = jnp.asarray(3.0 + np.exp(peclet * (np.arange(5.0) - (4.0 if peclet > 0 else 0.0))))[None, None, :]
    through = face_flux(*exponential(flux, conductance), field)[2][0, 0, :-1]
    np.testing.assert_allclose(through, 3.0 * flux[2][0, 0, :-1], rtol=1e-10)


def test_exponential_coefficients_are_the_bernoulli_function_and_its_derivative():
    """At a conductance of 1 they are B(-x) and B(x); at no flow their slopes are 1/2 and -1/2."""
    x = jnp.asarray([-700.0, -5.0, -1e-2, -1e-5, 0.0, 1e-5, 1e-2, 5.0, 700.0])

    def coefficients(x):
        return jnp.stack([faces[0] for faces in exponential((x,), (jnp.ones_like(x),))])

    forward, backward = coefficients(x)
    np.testing.assert_allclose(forward - backward, x, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(backward[5:8], x[5:8] / np.expm1(x[5:8]), rtol=1e-12)
    slopes = jax.jit(jax.vmap(jax.jacfwd(coefficients)))(x)
    np.testing.assert_allclose(slopes[jnp.asarray([0, 4, 8])], [[0.0, -1.0], [0.5, -0.5], [1.0, 0.0]], atol=1e-12)


def test_difference_form_equals_the_operator():
    grid, flow = corner_to_corner((2, 4, 5), (20.0, 15.0, 10.0), seed=2)
    faces = exponential(flow.flux, conductances(grid, 300.0, jnp.float64))
    field = jnp.asarray(np.random.default_rng(0).random(grid.shape))
    expected = assemble(*faces, flow.outflow)(field)
    found = by_differences(*faces, flow.inflow, field)
    np.testing.assert_allclose(found[grid.active], expected[grid.active], rtol=1e-9)


def test_van_albada_is_a_limited_mean_with_exact_derivatives():
    a = jnp.asarray([1.0, 1.0, 3.0, -2.0, 1.0, 0.0, 1e-20])
    b = jnp.asarray([1.0, 2.0, 1.0, -1.0, -1.0, 1.0, 1e-20])
    mean, by_a, by_b = van_albada(a, b)
    np.testing.assert_allclose(mean[:6], [1.0, 1.2, 1.2, -1.2, 0.0, 0.0])
    np.testing.assert_allclose(by_a * a + by_b * b, mean, atol=1e-15)  # homogeneous of degree one
    np.testing.assert_allclose(
        by_a[:4], (van_albada(a + 1e-6, b)[0] - van_albada(a - 1e-6, b)[0])[:4] / 2e-6, rtol=1e-8
    )


def test_limited_flux_is_second_order_and_upwind_first():
    def errors(cells: int) -> tuple[float, float]:
        grid, flow = channel(cells)
        h = grid.spacing_um[2]
        field = jnp.exp((jnp.arange(float(cells)) + 0.5) * h / 300.0)[None, None, :] * jnp.sinh(h / 600.0) / (h / 600.0)
        exact = flow.flux[2] * jnp.exp((jnp.arange(float(cells)) + 1.0) * h / 300.0)[None, None, :]
        still = tuple(0.0 * face for face in grid.faces)
        first = face_flux(*upwind(flow.flux, still), field)[2]
        second = first + limited_correction(flow.flux, grid.faces, field)[2]
        return tuple(float(jnp.abs(f - exact)[0, 0, 1:-2].max()) for f in (first, second))

    coarse, fine = errors(20), errors(40)
    assert np.log2(coarse[0] / fine[0]) == pytest.approx(1.0, abs=0.1)
    assert np.log2(coarse[1] / fine[1]) > 1.9


def test_wide_operator_is_the_jacobian_of_the_limited_scheme():
    grid, flow = corner_to_corner((3, 5, 6), (20.0, 15.0, 10.0), seed=3)
    random = np.random.default_rng(0)
    field, direction, weight = (
        jnp.asarray(a) * (grid.volume > 0).astype(float) for a in random.random((3, *grid.shape))
    )
    conductance = conductances(grid, 50.0, jnp.float64)
    faces = upwind(flow.flux, conductance)

    def scheme(u):
        total = (
            c + a for c, a in zip(face_flux(*faces, u), limited_correction(flow.flux, conductance, u), strict=True)
        )
        return divergence(tuple(total)) + flow.outflow * u

    jacobian = with_limiter(assemble(*faces, flow.outflow), flow.flux, conductance, field)
    expected = jax.jvp(scheme, (field,), (direction,))[1]
    np.testing.assert_allclose(jacobian(direction), expected, atol=1e-10 * jnp.abs(expected).max())
    assert jnp.vdot(weight, jacobian(direction)) == pytest.approx(jnp.vdot(jacobian.transposed(weight), direction))


def test_limited_flux_of_nothing_has_finite_derivatives_in_float32():
    grid, flow = channel(6)
    flow = flow.astype(jnp.float32)
    faces = conductances(grid, 1.0, jnp.float32)
    zeros = jnp.zeros(grid.shape, jnp.float32)
    gradient = jax.jit(jax.grad(lambda u: jnp.sum(limited_correction(flow.flux, faces, u)[2])))(zeros)
    assert bool(jnp.isfinite(gradient).all())
