"""The exact solutions and measures of the checks are themselves exact."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepatojax.checks.verify.exact import (
    ROOT3,
    box_grid,
    derivative,
    diffusion,
    lattice_pressure,
    observed_order,
    points,
    root_mean_square,
    shells,
)

RADIUS = 500.0
PLACE = tuple(jnp.asarray(a) for a in np.random.default_rng(0).uniform(0.2, 1.5, (3, 7)))
GRIDS = (8, 12, 16, 24)


@settings(max_examples=20, deadline=None)
@given(st.floats(-1.0, 5.0), st.floats(1e-6, 1e6))
def test_order_of_a_power_law_is_its_exponent_whatever_its_size(order, size):
    errors = [size * n**-order for n in GRIDS]
    assert observed_order(GRIDS, errors) == pytest.approx(order, abs=1e-9)
    assert observed_order(GRIDS[::-1], errors[::-1]) == pytest.approx(order, abs=1e-9)


def test_an_error_that_stops_falling_lowers_the_observed_order():
    """The planted floor of a fault: a method of second order with a constant error is not of order 1.8."""
    clean = [n**-2.0 for n in GRIDS]
    assert observed_order(GRIDS, clean) > 1.99
    assert observed_order(GRIDS, [e + 2e-3 for e in clean]) < 1.8
    assert observed_order(GRIDS, [e + n**-1.0 for e, n in zip(clean, GRIDS, strict=True)]) < 1.2
    assert np.isnan(observed_order(GRIDS, [*clean[:-1], np.nan]))


def test_root_mean_square_is_a_norm_over_the_weighted_cells():
    rng = np.random.default_rng(1)
    error, weight = rng.standard_normal((2, 3, 4)), rng.random((2, 3, 4))
    weight[0, 0] = 0.0
    value = root_mean_square(error, weight)
    assert value == pytest.approx(np.sqrt(np.average(error**2, weights=weight)))
    assert root_mean_square(-3.0 * error, 7.0 * weight) == pytest.approx(3.0 * value)
    assert root_mean_square(np.full((2, 3, 4), 0.3), weight) == pytest.approx(0.3)
    outside = np.where(weight == 0.0, 1e9, error)
    assert root_mean_square(outside, weight) == pytest.approx(value)
    assert np.isnan(root_mean_square(np.full((2, 3, 4), np.nan), weight))


@pytest.mark.parametrize("cells", [(2, 3, 4)])
def test_a_box_is_full_and_closed_and_conducts_as_its_sides_say(cells):
    size = (30.0, 60.0, 40.0)
    grid = box_grid(cells, size)
    np.testing.assert_allclose(np.sum(grid.volume), np.prod(size), rtol=1e-14)
    for axis, (n, length) in enumerate(zip(cells, size, strict=True)):
        face = np.moveaxis(np.asarray(grid.faces[axis]), axis, 0)
        assert not face[-1].any()
        side_by_side = face[: n - 1].reshape(n - 1, -1).sum(1)
        np.testing.assert_allclose(side_by_side, np.prod(size) / length / (length / n), rtol=1e-13)
        centre = np.asarray(points(grid)[axis])
        np.testing.assert_allclose(centre.mean(), length / 2, rtol=1e-14)
        np.testing.assert_allclose(centre.min(), length / n / 2, rtol=1e-14)


@pytest.mark.parametrize(("dimension", "whole"), [(1, 3.0), (2, np.pi * 15.0), (3, 4.0 / 3.0 * np.pi * 63.0)])
def test_shells_fill_the_body_between_their_walls(dimension, whole):
    edges = np.asarray([1.0, 1.3, 2.2, 3.0, 4.0])
    grid = shells(edges, dimension)
    np.testing.assert_allclose(np.sum(grid.volume), whole, rtol=1e-13)
    assert float(grid.faces[2][0, 0, -1]) == 0.0


@pytest.mark.parametrize(("dimension", "field"), [(1, lambda r: r), (2, np.log), (3, lambda r: -1.0 / r)])
def test_the_flux_of_a_harmonic_field_is_the_same_through_every_shell(dimension, field):
    """c f'(r) r^(d - 1) with c = 1, 2 pi or 4 pi, to second order in the shells."""
    content = {1: 1.0, 2: 2.0 * np.pi, 3: 4.0 * np.pi}[dimension]
    worst = []
    for n in GRIDS:
        edges = np.linspace(1.0, 2.0, n + 1)
        through = np.asarray(shells(edges, dimension).faces[2])[0, 0, :-1] * np.diff(
            field(0.5 * (edges[:-1] + edges[1:]))
        )
        worst.append(np.abs(through / content - 1.0).max())
    if dimension == 1:
        assert max(worst) < 1e-13
    else:
        assert observed_order(GRIDS, worst) == pytest.approx(2.0, abs=0.15)


def wave(z, y, x):
    return jnp.sin(2.0 * x) * jnp.exp(y) * z**3


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_derivatives_of_functions_of_the_place(axis):
    z, y, x = PLACE
    exact = (3.0 * wave(z, y, x) / z, wave(z, y, x), 2.0 * jnp.cos(2.0 * x) * jnp.exp(y) * z**3)[axis]
    np.testing.assert_allclose(derivative(wave, axis)(*PLACE), exact, rtol=1e-13)


def test_diffusion_with_numbers_is_the_weighted_laplacian_and_with_functions_the_product_rule():
    """d(k df) = k d2f + dk df along each axis."""
    z, y, x = PLACE
    f = wave(z, y, x)
    plain = diffusion(wave, (2.0, 3.0, 5.0))(*PLACE)
    np.testing.assert_allclose(plain, 2.0 * 6.0 * f / z**2 + 3.0 * f - 5.0 * 4.0 * f, rtol=1e-12)
    k = lambda z, y, x: 1.0 + x * y  # noqa: E731
    uneven = diffusion(wave, (0.0, k, k))(*PLACE)
    exact = k(z, y, x) * (f - 4.0 * f) + x * f + y * 2.0 * jnp.cos(2.0 * x) * jnp.exp(y) * z**3
    np.testing.assert_allclose(uneven, exact, rtol=1e-12)


def somewhere(count=40, clear=120.0, seed=2):
    """Points of a lobule away from its vessels."""
    x, y = np.random.default_rng(seed).uniform(-1.0, 1.0, (2, 50 * count)) * RADIUS
    inside = (np.abs(x) < 0.5 * ROOT3 * RADIUS) & (np.abs(x) / ROOT3 + np.abs(y) < RADIUS)
    corners = RADIUS * np.exp(1j * np.pi * (np.arange(6) / 3 + 0.5))
    far = np.min(np.abs(x + 1j * y - np.r_[corners, 0.0][:, None]), axis=0) > clear
    return x[inside & far][:count], y[inside & far][:count]


def test_pressure_of_the_lattice_is_harmonic_between_the_vessels():
    """The five-point Laplacian falls with the square of its step."""
    x, y = somewhere()
    worst = []
    for h in (40.0, 20.0, 10.0):
        around = sum(lattice_pressure(x + dx, y + dy, RADIUS) for dx, dy in ((h, 0), (-h, 0), (0, h), (0, -h)))
        worst.append(np.abs((around - 4.0 * lattice_pressure(x, y, RADIUS)) / h**2).max() * RADIUS**2)
    assert worst[1] < 0.35 * worst[0] and worst[2] < 0.35 * worst[1]


@pytest.mark.parametrize("shift", [(ROOT3, 0.0), (0.5 * ROOT3, 1.5), (-ROOT3, 3.0)])
def test_pressure_of_the_lattice_repeats_from_lobule_to_lobule(shift):
    x, y = somewhere()
    moved = lattice_pressure(x + shift[0] * RADIUS, y + shift[1] * RADIUS, RADIUS)
    np.testing.assert_allclose(moved, lattice_pressure(x, y, RADIUS), atol=1e-9)


@pytest.mark.parametrize("sixths", range(1, 6))
def test_pressure_of_the_lattice_has_the_symmetry_of_the_hexagon(sixths):
    x, y = somewhere()
    turned = (x + 1j * y) * np.exp(1j * np.pi * sixths / 3)
    here = lattice_pressure(x, y, RADIUS)
    np.testing.assert_allclose(lattice_pressure(turned.real, turned.imag, RADIUS), here, atol=1e-10)
    np.testing.assert_allclose(lattice_pressure(-turned.real, turned.imag, RADIUS), here, atol=1e-10)


@pytest.mark.parametrize(("place", "strength"), [((0.0, 0.0), 1.0), ((0.0, RADIUS), -0.5), ((0.0, -RADIUS), -0.5)])
def test_the_vein_drains_what_half_of_each_tract_brings(place, strength):
    """The flux of grad p through a circle: 1 into the vein, -1/2 at a tract, of which a lobule has two."""
    circle = np.exp(2j * np.pi * np.arange(64) / 64)
    radius, h = 100.0, 1e-2
    at = [place[0] + 1j * place[1] + (radius + s) * circle for s in (-h, h)]
    slope = np.subtract(*(lattice_pressure(z.real, z.imag, RADIUS) for z in at[::-1])) / (2 * h)
    np.testing.assert_allclose(2.0 * np.pi * radius * slope.mean(), strength, atol=1e-5)


def test_no_blood_crosses_the_border_of_a_lobule():
    along = np.linspace(-0.35, 0.35, 8) * RADIUS
    normal = np.exp(1j * np.pi * np.arange(6) / 3)
    z = (0.5 * ROOT3 * RADIUS + 1j * along) * normal[:, None]
    h = 1e-2 * normal[:, None]
    outside, inside = (lattice_pressure(p.real, p.imag, RADIUS) for p in (z + h, z - h))
    np.testing.assert_allclose((outside - inside) / 2e-2 * RADIUS, 0.0, atol=1e-6)
