"""Multigrid for what the blood carries: coarse levels have the same flow, and cycles solve at any Péclet number."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.numerics.grid import AXES
from hepatojax.numerics.linear_solve import bicgstab
from hepatojax.numerics.multigrid import build_hierarchy, coarsening_plan, restrict, v_cycle
from hepatojax.tissue.transport import conductances, exponential, upwind
from tests.reference import dense
from tests.reference.flows import block, corner_to_corner

SHAPE, SPACING = (4, 16, 16), (20.0, 20.0, 20.0)
PLAN = coarsening_plan(SHAPE, SPACING, coarsest_cells=40)


build = jax.jit(build_hierarchy, static_argnames="plan")


@partial(jax.jit, static_argnames="tolerance")
def solve(matrix, rhs, tolerance):
    zero = jnp.zeros_like(rhs)
    return bicgstab(matrix.finest, lambda r: v_cycle(matrix, r, 2), rhs, zero, tolerance=tolerance, max_iterations=100)


def transport(diffusivity_um2_s, dtype=jnp.float64):
    """Faces and outlet of a flow through an uneven block with a hole."""
    grid, flow = corner_to_corner(SHAPE, SPACING, seed=1)
    flow = flow.astype(dtype)
    return (*exponential(flow.flux, conductances(grid, diffusivity_um2_s, dtype)), flow.outflow)


def test_a_coarse_face_has_the_flow_of_its_fine_faces():
    """Where all flows one way and nothing diffuses, the coarse level is restriction times matrix times prolongation."""
    shape = (2, 4, 6)
    grid = block(shape, SPACING)
    flux = tuple((1.0 + a) * jnp.asarray(grid.faces[a] > 0, jnp.float64) for a in AXES)
    sink = jnp.linspace(0.5, 2.0, 48).reshape(shape)
    hierarchy = build(*upwind(flux, tuple(0.0 * q for q in flux)), sink, plan=(AXES,))
    down = dense.columns_of(partial(restrict, axes=AXES), shape)
    fine, coarse = (dense.columns_of(a, a.diagonal.shape) for a in hierarchy.operators)
    np.testing.assert_allclose(coarse, down @ fine @ down.T, rtol=1e-13)


def coarse_faces_by_cell(forward, backward, axes):
    """Coefficients of coarse faces, forward and backward, summed up fine face by fine face."""
    shape = forward[0].shape
    coarse = tuple((n + 1) // 2 if a in axes else n for a, n in enumerate(shape))
    net, both = np.zeros((3, *coarse)), np.zeros((3, *coarse))
    for axis in AXES:
        for below, above in dense.inner_faces(shape, axis):
            here, there = (tuple(i // 2 if a in axes else i for a, i in enumerate(cell)) for cell in (below, above))
            if here != there:
                f, b = float(forward[axis][below]), float(backward[axis][below])
                net[axis][here] += f - b
                both[axis][here] += min(f, b) * (0.5 if axis in axes else 1.0)
    return both + np.maximum(net, 0.0), both + np.maximum(-net, 0.0)


@pytest.mark.parametrize("plan", [((0, 1, 2), (1, 2)), ((1, 2), (0, 1, 2)), ((2,), (1,), (0,))])
def test_coarse_faces_are_those_summed_one_by_one_on_odd_sizes(plan):
    grid, flow = corner_to_corner((3, 7, 9), SPACING, seed=2)
    forward, backward = exponential(flow.flux, conductances(grid, 30.0, jnp.float64))
    hierarchy = build(forward, backward, flow.outflow, plan=plan)
    for axes, operator in zip(plan, hierarchy.operators[1:], strict=True):
        forward, backward = coarse_faces_by_cell(forward, backward, axes)
        np.testing.assert_allclose(operator.forward, forward, rtol=1e-12, atol=1e-9)
        np.testing.assert_allclose(operator.backward, backward, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("diffusivity", [0.0, 100.0])
def test_every_level_is_an_m_matrix_whose_columns_lose_what_the_sink_takes(diffusivity):
    """A cell without tissue keeps its identity row, but where it shares a coarse cell with tissue."""
    forward, backward, sink = transport(diffusivity)
    down = np.eye(sink.size)
    for operator, axes in zip(build(forward, backward, sink, plan=PLAN).operators, (*PLAN, ()), strict=True):
        matrix = dense.columns_of(operator, operator.diagonal.shape)
        filled = np.abs(matrix).sum(0) > np.diag(matrix)
        np.testing.assert_allclose(matrix.sum(0)[filled], (down @ np.asarray(sink).ravel())[filled], atol=1e-8)
        assert (matrix[~np.eye(len(matrix), dtype=bool)] <= 0).all()
        assert (np.diag(matrix) > 0).all()
        down = dense.columns_of(partial(restrict, axes=axes), operator.diagonal.shape) @ down


def test_a_cycle_of_the_transposed_operator_is_the_transposed_cycle():
    hierarchy = build(*transport(30.0), plan=PLAN)
    u, v = np.random.default_rng(3).standard_normal((2, *SHAPE))
    cycle = jax.jit(partial(v_cycle, sweeps=2))
    there, back = cycle(hierarchy, jnp.asarray(u)), cycle(hierarchy.transposed, jnp.asarray(v))
    np.testing.assert_allclose(np.vdot(v, there), np.vdot(u, back), rtol=1e-11)


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float64, 1e-10), (jnp.float32, 1e-4)])
@pytest.mark.parametrize("diffusivity", [0.0, 1.0, 30.0, 1000.0, 1e5])
def test_cycles_solve_transport_at_any_peclet_number(diffusivity, dtype, tolerance):
    """From pure advection to diffusion that flow hardly moves, over log-normal permeabilities."""
    hierarchy = build(*transport(diffusivity, dtype), plan=PLAN)
    rhs = jnp.asarray(np.random.default_rng(5).random(SHAPE), dtype)

    for matrix in (hierarchy, hierarchy.transposed):
        found = solve(matrix, rhs, tolerance)
        rest, rounded = (
            float(jnp.linalg.norm(field.ravel()) / jnp.linalg.norm(rhs.ravel()))
            for field in (rhs - matrix.finest(found.value), matrix.finest.diagonal * found.value)
        )
        assert rest < 2.0 * tolerance + 4.0 * float(jnp.finfo(dtype).eps) * rounded
        assert int(found.iterations) <= 20
