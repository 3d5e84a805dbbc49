"""Darcy flow through layers, networks and scaled tissue: exact resistances, reciprocity, and what raises them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.checks.verify.exact import box_grid
from hepatojax.checks.verify.perfusion import block
from hepatojax.tissue.perfusion import PerfusionParameters, pressure_system, solve_perfusion
from tests.reference import dense

SHAPE, SPACING = (2, 3, 6), (10.0, 20.0, 30.0)
UNIT = PerfusionParameters(1.0, 1.0, 1.0)
EVEN = jnp.ones(SHAPE)
WALL = 1e3  # well factor of the two ends [um]: they resist little, but enough to leave digits in 1 - p


@pytest.fixture(scope="module")
def solve():
    """One compilation for all boxes of this file."""
    return jax.jit(lambda lobule, factor, p: solve_perfusion(lobule, factor, p, tolerance=1e-13))


def box(permeability, axis=2, wall=WALL):
    """A box of tissue fed over its first plane along an axis, and drained over its last."""
    size = tuple(n * h for n, h in zip(SHAPE, SPACING, strict=True))
    ends = np.zeros((2, *SHAPE))
    np.moveaxis(ends[0], axis, 0)[0] = wall
    np.moveaxis(ends[1], axis, 0)[-1] = wall
    permeability = jnp.asarray(np.broadcast_to(permeability, SHAPE))
    return block(box_grid(SHAPE, size), jnp.asarray(ends[0]), jnp.asarray(ends[1]), permeability)


def random_box(seed=0):
    rng = np.random.default_rng(seed)
    wells = rng.uniform(0.0, 20.0, (2, *SHAPE)) * (rng.random((2, *SHAPE)) < 0.15)
    wells[0, 0, 0, 0] = wells[1, -1, -1, -1] = 5.0
    return box(np.exp(rng.standard_normal(SHAPE))).replace(inlet=jnp.asarray(wells[0]), outlet=jnp.asarray(wells[1]))


def in_series(k, axis):
    """Ends, half cells and whole layers one after the other, per plane of cells."""
    n, h = SHAPE[axis], SPACING[axis]
    area = np.prod(SPACING) / h
    planes = np.prod(SHAPE) / n
    layers = np.sum(0.5 * h / k[:-1] + 0.5 * h / k[1:]) / (area * planes)
    return layers + (1.0 / k[0] + 1.0 / k[-1]) / (WALL * planes)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_layers_across_the_flow_resist_one_after_the_other(solve, axis):
    """Harmonic means make every jump of the permeability exact: the drop over a layer is its length over k."""
    k = np.asarray([1.0, 1e-2, 5.0, 1e-4, 2.0, 0.3])[: SHAPE[axis]]
    column = k.reshape([-1 if a == axis else 1 for a in range(3)])
    perfusion = solve(box(column, axis), EVEN, UNIT)
    assert bool(perfusion.converged)
    np.testing.assert_allclose(perfusion.resistance, in_series(k, axis), rtol=1e-9)
    fluxes = np.moveaxis(np.asarray(perfusion.flow.flux[axis]), axis, 0)[:-1]
    np.testing.assert_allclose(fluxes.reshape(len(k) - 1, -1).sum(1), 1.0, rtol=1e-8)


def test_layers_along_the_flow_conduct_side_by_side(solve):
    k = np.asarray([1e-3, 1.0, 30.0])[None, :, None]
    each = [1.0 / float(solve(box(v), EVEN, UNIT).resistance) for v in k.ravel()]
    perfusion = solve(box(k), EVEN, UNIT)
    np.testing.assert_allclose(1.0 / perfusion.resistance, np.mean(each), rtol=1e-9)
    shares = np.asarray(perfusion.flow.flux[2])[:, :, 2].sum(0)
    np.testing.assert_allclose(shares / shares.sum(), k.ravel() / k.sum(), rtol=1e-9)
    assert float(jnp.abs(perfusion.flow.flux[1]).max()) < 1e-9  # no flow from layer to layer


@pytest.mark.parametrize("ratio", [0.2, 2.3, 10.0])
def test_the_axial_ratio_acts_along_z_alone(solve, ratio):
    """Along z the tissue conducts `ratio` times as well (not the wells); across it nothing changes."""
    parameters = PerfusionParameters(1.0, ratio, 1.0)
    across = [float(solve(box(1.0, 2), EVEN, p).resistance) for p in (UNIT, parameters)]
    np.testing.assert_allclose(across[1], across[0], rtol=1e-10)
    ends = 2.0 / (WALL * SHAPE[1] * SHAPE[2])
    along = [float(solve(box(1.0, 0), EVEN, p).resistance) - ends for p in (UNIT, parameters)]
    np.testing.assert_allclose(along[0] / along[1], ratio, rtol=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_pressure_is_that_of_the_dense_system(solve, seed):
    lobule = random_box(seed)
    parameters = PerfusionParameters(0.3, 2.3, 0.7)
    system = pressure_system(lobule, EVEN, parameters)
    k = np.asarray(lobule.permeability) * 0.3 / 0.7
    faces = []
    for axis, face in enumerate(lobule.grid.faces):
        conductance, face = np.zeros(SHAPE), np.asarray(face)
        for below, above in dense.inner_faces(SHAPE, axis):
            both = 2.0 / (1.0 / k[below] + 1.0 / k[above])
            conductance[below] = float(face[below]) * both * (2.3 if axis == 0 else 1.0)
        np.testing.assert_allclose(system.conductance[axis], conductance, rtol=1e-13)
        faces.append(conductance)
    wells = [np.asarray(w) * k for w in (lobule.inlet, lobule.outlet)]
    pressure = np.linalg.solve(dense.flux_matrix(faces, faces, wells[0] + wells[1]), wells[0].ravel()).reshape(SHAPE)
    perfusion = solve(lobule, EVEN, parameters)
    np.testing.assert_allclose(perfusion.pressure, pressure, atol=1e-10)
    np.testing.assert_allclose(perfusion.resistance, 1.0 / np.sum(wells[0] * (1.0 - pressure)), rtol=1e-9)


@pytest.mark.parametrize(("permeability", "viscosity"), [(2.0, 1.0), (1.0, 3.0), (1e-2, 3.5e-3)])
def test_resistance_goes_with_viscosity_over_permeability_and_the_field_does_not_care(solve, permeability, viscosity):
    lobule = random_box()
    one = solve(lobule, EVEN, PerfusionParameters(1.0, 2.3, 1.0))
    two = solve(lobule, EVEN, PerfusionParameters(permeability, 2.3, viscosity))
    np.testing.assert_allclose(two.resistance, one.resistance * viscosity / permeability, rtol=1e-9)
    np.testing.assert_allclose(two.pressure, one.pressure, atol=1e-10)
    for mine, theirs in zip(two.flow.flux, one.flow.flux, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-9)


def test_a_factor_on_the_permeability_is_a_permeability(solve):
    lobule = random_box()
    factor = jnp.asarray(np.random.default_rng(3).uniform(0.2, 4.0, SHAPE))
    by_factor = solve(lobule, factor, UNIT)
    by_map = solve(lobule.replace(permeability=lobule.permeability * factor), EVEN, UNIT)
    np.testing.assert_allclose(by_factor.pressure, by_map.pressure, atol=1e-12)


def test_exchanging_inlet_and_outlet_mirrors_the_pressure_and_keeps_the_resistance(solve):
    lobule = random_box()
    there = solve(lobule, EVEN, UNIT)
    back = solve(lobule.replace(inlet=lobule.outlet, outlet=lobule.inlet), EVEN, UNIT)
    np.testing.assert_allclose(back.pressure, 1.0 - there.pressure, atol=1e-10)
    np.testing.assert_allclose(back.resistance, there.resistance, rtol=1e-10)
    for one, two in zip(there.flow.flux, back.flow.flux, strict=True):
        np.testing.assert_allclose(two, -one, atol=1e-10)


def test_power_put_in_is_the_power_lost_in_faces_and_wells(solve):
    """Drop x flow = sum of flow^2 over conductance: Tellegen's theorem."""
    lobule = random_box(1)
    perfusion = solve(lobule, EVEN, UNIT)
    system = pressure_system(lobule, EVEN, UNIT)
    flows = (*perfusion.flow.flux, perfusion.flow.inflow, perfusion.flow.outflow)
    lost = 0.0
    for flow, conductance in zip(flows, (*system.conductance, system.inlet, system.outlet), strict=True):
        passed = np.asarray(conductance) > 0
        lost += np.sum(np.asarray(flow)[passed] ** 2 / np.asarray(conductance)[passed])
    np.testing.assert_allclose(lost, perfusion.resistance, rtol=1e-9)


def test_no_cell_made_more_permeable_raises_the_resistance():
    """Rayleigh's law; and the slopes times the permeabilities add up to -R, for R is of degree -1 in all of them."""
    lobule = random_box(2)
    both = jax.jit(jax.value_and_grad(lambda f: solve_perfusion(lobule, f, UNIT, tolerance=1e-13).resistance))
    factor = jnp.asarray(np.random.default_rng(4).uniform(0.3, 3.0, SHAPE))
    resistance, slope = both(factor)
    assert float(slope.max()) < 1e-12 * float(resistance)
    np.testing.assert_allclose(np.vdot(slope, factor), -resistance, rtol=1e-9)
