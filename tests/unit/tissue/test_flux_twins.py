"""Fluxes of carried species against loops over faces: M-matrices, constants, limits, and monotone advection."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from tests.reference import dense
from tests.reference.flows import block, corner_to_corner

SHAPE = (3, 4, 5)
SCHEMES = {"upwind": (upwind, dense.upwind_coefficients), "exponential": (exponential, dense.exponential_coefficients)}
every_scheme = pytest.mark.parametrize("name", SCHEMES)


def bernoulli(x):
    """B(x), the coefficient against a flow x at a conductance of 1."""
    return exponential((x,), (jnp.ones_like(x),))[1][0]


jitted = jax.jit(bernoulli)
bernoulli_slope = jax.jit(jax.vmap(jax.grad(bernoulli)))
mean_of = jax.jit(van_albada)


def random_flow(seed=0, speed=3.0):
    """Flux of either sign through open faces, and conductances that are zero on closed ones."""
    conductance = dense.random_faces(SHAPE, seed, 0.85)
    rng = np.random.default_rng(seed + 1)
    flux = tuple(speed * rng.standard_normal(SHAPE) * (t > 0) for t in conductance)
    return flux, conductance


def random_field(seed=5):
    return np.random.default_rng(seed).random(SHAPE)


@jax.jit
def limited(flux, conductance, field):
    """Upwind flux with its correction, without diffusion."""
    first = face_flux(*upwind(flux, tuple(jnp.zeros_like(q) for q in flux)), field)
    return tuple(a + b for a, b in zip(first, limited_correction(flux, conductance, field), strict=True))


@every_scheme
@pytest.mark.parametrize("speed", [0.01, 3.0, 300.0])
def test_coefficients_of_every_face_are_those_of_the_scheme(name, speed):
    flux, conductance = random_flow(speed=speed)
    scheme, one_face = SCHEMES[name]
    forward, backward = jax.tree.map(np.asarray, jax.jit(scheme)(dense.as_jax(flux), dense.as_jax(conductance)))
    for axis in range(3):
        for below, _ in dense.inner_faces(SHAPE, axis):
            wanted = one_face(flux[axis][below], conductance[axis][below])
            found = float(forward[axis][below]), float(backward[axis][below])
            np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-300)


@every_scheme
def test_coefficients_are_positive_and_differ_by_the_flux(name):
    """A face carries a constant c as q c, so that constants are kept by a balanced flow."""
    flux, conductance = (dense.as_jax(faces) for faces in random_flow())
    forward, backward = jax.tree.map(np.asarray, SCHEMES[name][0](flux, conductance))
    for f, b, q in zip(forward, backward, flux, strict=True):
        assert min(f.min(), b.min()) >= 0.0
        np.testing.assert_allclose(f - b, q, rtol=1e-12, atol=1e-13)


@every_scheme
def test_reversed_flow_exchanges_the_two_coefficients(name):
    """So the operator of the reversed flow is the transposed one, off the diagonal."""
    flux, conductance = (dense.as_jax(faces) for faces in random_flow())
    forward, backward = SCHEMES[name][0](flux, conductance)
    back, forth = SCHEMES[name][0](tuple(-q for q in flux), conductance)
    for one, two in ((forward, forth), (backward, back)):
        for a, b in zip(one, two, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-13)


def test_exponential_flux_lies_between_central_and_upwind():
    """(F + B) / 2 is T at no flow, T + q^2 / 12 T for slow flow, |q| / 2 for fast flow, and never below either."""
    conductance = jnp.ones((1, 1, 7))
    flux = jnp.asarray([0.0, 1e-3, 0.3, 2.0, -2.0, 60.0, -900.0])[None, None]
    forward, backward = (np.asarray(faces[0]) for faces in jax.jit(exponential)((flux,), (conductance,)))
    spread = 0.5 * (forward + backward)[0, 0]
    q = np.asarray(flux[0, 0])
    np.testing.assert_allclose(spread[:2], 1.0 + q[:2] ** 2 / 12.0, rtol=1e-12)
    np.testing.assert_allclose(spread[5:], 0.5 * np.abs(q[5:]), rtol=1e-12)
    assert np.all(np.asarray(spread) >= np.maximum(1.0, 0.5 * np.abs(q)) - 1e-13)
    assert np.all(np.asarray(spread) <= 1.0 + 0.5 * np.abs(q) + 1e-13)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_without_diffusion_an_exponential_flux_is_upwind_however_slow(dtype):
    """Cells that only drift have T = 0 and any q; by T itself the coefficients have no slope there, as T B(q/T) has."""
    flux = jnp.asarray([-3.0, -5e-3, -1e-9, 0.0, 1e-9, 5e-3, 3.0], dtype)
    both, still = jax.jit(lambda q, t: jnp.stack([each[0] for each in exponential((q,), (t,))])), jnp.zeros_like(flux)
    np.testing.assert_array_equal(both(flux, still), np.stack([np.maximum(flux, 0), np.maximum(-flux, 0)]))
    np.testing.assert_array_equal(jax.jacobian(both, 1)(flux, still), 0.0)


@pytest.mark.parametrize("peclet", [-60.0, -3.0, -0.011, -0.009, 0.0, 1e-4, 0.009, 0.011, 3.0, 60.0])
def test_the_slopes_of_exponential_coefficients_are_those_of_the_scheme(peclet):
    """By flow and by conductance, against complex steps of T B(x), whose series at x = 0 is known."""

    def exact(q, t):
        x = q / t
        return t * (1.0 - x / 2.0 + x * x / 12.0) if abs(x) < 1e-3 else q / np.expm1(x)

    def coefficients(q, t):
        return jnp.stack([each[0] for each in exponential((q,), (t,))])

    t, tiny = 2.0, 1e-30j
    found = jax.jacfwd(coefficients, (0, 1))(jnp.asarray(peclet * t), jnp.asarray(t))
    by_flow = [-exact(-peclet * t + tiny, t).imag / 1e-30, exact(peclet * t + tiny, t).imag / 1e-30]
    by_conductance = [exact(sign * peclet * t, t + tiny).imag / 1e-30 for sign in (-1.0, 1.0)]
    np.testing.assert_allclose(found[0], by_flow, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found[1], by_conductance, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_bernoulli_has_all_digits_a_falling_slope_and_its_product(dtype):
    """B(x) B(-x) = (x/2)^2 / sinh^2(x/2); the slope lies in (-1, 0)."""
    x = jnp.asarray([-80.0, -3.0, -0.1, -0.011, -0.009, -1e-4, 0.0, 1e-4, 0.009, 0.011, 0.1, 3.0, 80.0], dtype)
    eps = float(jnp.finfo(dtype).eps)
    exact = [dense.exponential_coefficients(float(v), 1.0)[1] for v in x]
    value = np.asarray(jitted(x), float)
    np.testing.assert_allclose(value, exact, rtol=300 * eps)
    half = np.where(x == 0, 1.0, np.asarray(x, float) / 2)
    product = np.where(x == 0, 1.0, (half / np.sinh(half)) ** 2)
    np.testing.assert_allclose(value * value[::-1], product, rtol=600 * eps)  # the places are symmetric
    slope = np.asarray(bernoulli_slope(x), float)
    assert slope.min() >= -1.0 - 200 * eps and slope.max() <= 0.0
    assert np.all(np.diff(slope) > -1e5 * eps)


def test_bernoulli_and_its_slope_are_finite_in_single_precision_from_tiny_to_huge():
    x = [-1e25, -1e9, -1e4, -104.0, -88.0, -1e-9, -1e-30, 0.0, 1e-30, 1e-9, 88.0, 104.0, 1e4, 1e9, 1e25]
    x = jnp.asarray(x, jnp.float32)
    value, slope = np.asarray(jitted(x)), np.asarray(bernoulli_slope(x))
    assert np.isfinite(value).all() and np.isfinite(slope).all()
    np.testing.assert_allclose(value[:3], [1e25, 1e9, 1e4])
    np.testing.assert_array_equal(value[-3:], 0.0)


@settings(max_examples=25, deadline=None)
@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_limited_mean_is_between_the_smaller_difference_and_the_plain_mean(a, b):
    x, y = jnp.asarray(a), jnp.asarray(b)
    mean, by_a, by_b = (float(v) for v in mean_of(x, y))
    assert min(a, b) * (1 - 1e-12) <= mean <= 0.5 * (a + b) * (1 + 1e-12)
    swapped, *slopes = (float(v) for v in mean_of(y, x))
    np.testing.assert_allclose([mean, by_a, by_b], [swapped, *slopes[::-1]], rtol=1e-12)
    mirrored = [float(v) for v in mean_of(-x, -y)]
    np.testing.assert_allclose(mirrored, [-mean, by_a, by_b], rtol=1e-12)
    assert mean_of(x, -y)[0] == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_limited_flux_is_the_loop_over_faces(seed):
    flux, conductance = random_flow(seed)
    field = random_field(seed)
    found = limited(dense.as_jax(flux), dense.as_jax(conductance), jnp.asarray(field))
    for mine, theirs in zip(found, dense.limited_flux(flux, conductance, field), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-13)


def test_limited_flux_knows_no_level_and_no_unit():
    """F(a u + b) = a F(u) + b q for every a, negative ones too."""
    flux, conductance = (dense.as_jax(faces) for faces in random_flow())
    field = jnp.asarray(random_field())
    plain, moved = limited(flux, conductance, field), limited(flux, conductance, 7.0 - 3.0 * field)
    for p, m, q in zip(plain, moved, flux, strict=True):
        np.testing.assert_allclose(m, 7.0 * q - 3.0 * p, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_limited_flux_of_a_straight_profile_takes_the_value_on_the_face(axis, sign):
    ramp = np.arange(SHAPE[axis]) * np.ones(SHAPE[:axis] + SHAPE[axis + 1 :] + (1,))
    field = jnp.asarray(np.moveaxis(ramp, -1, axis))
    faces = [np.asarray(f) for f in block(SHAPE, (1.0, 1.0, 1.0)).faces]
    flux = dense.as_jax([sign * f for f in faces])
    found = np.moveaxis(np.asarray(limited(flux, dense.as_jax(faces), field)[axis]), axis, -1)
    inner = slice(1, -1) if sign > 0 else slice(0, -2)
    wanted = sign * (np.arange(SHAPE[axis]) + 0.5)[inner]
    np.testing.assert_allclose(found[..., inner], np.broadcast_to(wanted, found[..., inner].shape), rtol=1e-13)


def test_limited_flux_has_the_mirror_image_of_a_mirrored_field():
    flux, conductance = random_flow(2)
    field = random_field()
    straight = limited(dense.as_jax(flux), dense.as_jax(conductance), jnp.asarray(field))[2]

    def mirrored(face):
        return np.concatenate([face[:, :, -2::-1], face[:, :, -1:]], 2)

    turned = [flux[0][:, :, ::-1], flux[1][:, :, ::-1], -mirrored(flux[2])]
    open_faces = [conductance[0][:, :, ::-1], conductance[1][:, :, ::-1], mirrored(conductance[2])]
    back = limited(dense.as_jax(turned), dense.as_jax(open_faces), jnp.asarray(field[:, :, ::-1].copy()))[2]
    np.testing.assert_allclose(back, -mirrored(np.asarray(straight)), rtol=1e-12, atol=1e-14)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=20, max_size=20), st.sampled_from([-1.0, 1.0]))
def test_limited_advection_round_a_long_row_adds_no_variation(values, direction):
    """An explicit step at Courant number 1/2; the ends are held apart by flat stretches."""
    u = np.r_[np.full(3, values[0]), values, np.full(3, values[-1])]
    flux = np.full((1, 1, u.size), direction)
    flux[..., -1] = 0.0
    closed = np.zeros_like(flux)
    through = _advected((closed, closed, flux), (closed, closed, np.abs(flux)), u[None, None])
    new = (u - 0.5 * np.asarray(through)[0, 0])[1:-1]
    assert np.abs(np.diff(new)).sum() <= np.abs(np.diff(u)).sum() * (1 + 1e-12) + 1e-12
    assert u.min() - 1e-12 <= new.min() and new.max() <= u.max() + 1e-12


@jax.jit
def _advected(flux, conductance, field):
    return divergence(limited(flux, conductance, field))


@pytest.mark.parametrize("seed", range(2))
def test_wide_operator_is_the_difference_quotient_of_the_loop(seed):
    """Every column of the Jacobian by central differences of the NumPy flux; and its transpose is that transposed."""
    flux, conductance = random_flow(seed)
    field = random_field(seed + 3)
    step, columns = 1e-6, []
    for cell in np.ndindex(SHAPE):
        shift = np.zeros(SHAPE)
        shift[cell] = step
        up, down = (dense.divergence(dense.limited_flux(flux, conductance, field + s)) for s in (shift, -shift))
        columns.append((up - down).ravel() / (2 * step))
    jacobian = np.array(columns).T
    arrays = tuple(dense.as_jax(faces) for faces in (flux, conductance))
    still = tuple(jnp.zeros_like(q) for q in arrays[0])
    matrix = assemble(*upwind(arrays[0], still), jnp.ones(SHAPE))
    matrix = type(matrix)(matrix.forward, matrix.backward, matrix.diagonal - 1.0)  # no sink, no identity rows
    wide = with_limiter(matrix, *arrays, jnp.asarray(field))
    np.testing.assert_allclose(dense.columns_of(wide, SHAPE), jacobian, atol=1e-7 * np.abs(jacobian).max())
    np.testing.assert_allclose(dense.columns_of(wide.transposed, SHAPE), jacobian.T, atol=1e-7 * np.abs(jacobian).max())


@every_scheme
@pytest.mark.parametrize("seed", [1, 2])
def test_carried_substance_obeys_the_maximum_principle(name, seed):
    """With one inlet level, zero loss: everything is at that level. With losses: between nothing and the level."""
    grid, flow = corner_to_corner(SHAPE, (20.0, 15.0, 10.0), seed=seed)
    faces = SCHEMES[name][0](flow.flux, conductances(grid, 30.0, jnp.float64))
    active = np.asarray(grid.active).ravel()
    inflow = np.asarray(flow.inflow).ravel()
    for loss in (0.0, 0.01):
        matrix = dense.columns_of(assemble(*faces, flow.outflow + loss * grid.volume), SHAPE)
        level = np.linalg.solve(matrix, 3.0 * inflow)[active]
        if loss == 0.0:
            np.testing.assert_allclose(level, 3.0, rtol=1e-9)
        assert 0.0 < level.min() <= level.max() <= 3.0 * (1 + 1e-9)


def test_difference_form_is_the_operator_plus_what_its_rows_lack():
    """For any faces: A u in differences with row sums r is A u of the assembled operator of that row sum."""
    forward, backward = (dense.as_jax(dense.random_faces(SHAPE, k)) for k in (0, 1))
    row_sum = jnp.asarray(random_field(1))
    matrix = dense.columns_of(partial(by_differences, forward, backward, row_sum), SHAPE)
    np.testing.assert_allclose(matrix.sum(1), row_sum.ravel(), atol=1e-13)
    assembled = dense.columns_of(assemble(forward, backward, row_sum), SHAPE)
    off = ~np.eye(len(matrix), dtype=bool)
    np.testing.assert_allclose(matrix[off], assembled[off], rtol=1e-14)
