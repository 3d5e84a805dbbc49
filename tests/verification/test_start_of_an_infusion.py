"""The derivative by the start of an infusion is that of the model, not of its macro-steps, and has no jump at an edge.

Half an hour of a portal infusion slides through the steps of an injured column. One program differentiates forward at
any length and number of macro-steps. `benchmarks/timing.py` draws the same at two weeks.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from hepatojax.build import build
from hepatojax.checks.validate.course import column_case
from hepatojax.checks.verify.coupling import with_numerics, with_step
from hepatojax.checks.verify.gradient import QUICK_TO_COMPILE
from hepatojax.checks.verify.perfusion import TIGHT
from hepatojax.macro_step import macro_step
from hepatojax.scenario import DiseaseSpec, GridSpec, InfusionSpec
from hepatojax.status import Status

pytestmark = [pytest.mark.slow, pytest.mark.verification]  # the whole model, differentiated: a minute or two to compile

CELLS = 4
DAYS = 3
COARSE, FINE = 6, 96  # macro-steps a day
STEP_H = 24.0 / COARSE
DURATION_H = 0.5
STARTS, MARGIN_H = 16, 0.2
EDGE_H = 16.0
ENDPOINTS = ("functional_mass", "msc_liver")


@pytest.fixture(scope="module")
def respond():
    """Starts [h], macro-steps a day -> endpoints on day 3 and their derivatives by the start, (starts, endpoints)."""
    dose = InfusionSpec(start_h=8.0, duration_h=DURATION_H, cells_per_kg=1e6, route="portal")
    case = column_case(disease=DiseaseSpec(lesion_fraction=0.5, activity=0.5), dose=dose)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        model, state, schedule = build(dataclasses.replace(case, grid=GridSpec(cells=(CELLS, 1, 1))), arm="treated")
        model = with_numerics(model, tolerance=TIGHT, pressure_tolerance=TIGHT)

        def course(start, step_h, count):
            moved = dataclasses.replace(schedule, start_h=schedule.start_h.at[0].set(start))

            def advance(_, carry):
                after, report = macro_step(with_step(model, step_h), carry[0], moved)
                told = jnp.stack([report.endpoints[name] for name in ENDPOINTS])
                return after, told, jnp.maximum(carry[2], report.status)

            begin = (state, jnp.zeros(len(ENDPOINTS)), jnp.zeros((), jnp.int32))
            return lax.fori_loop(0, count, advance, begin)[1:]

        def by_start(start, step_h, count):
            return jax.jvp(lambda s: course(s, step_h, count), (start,), (jnp.ones(()),))

        program = jax.jit(jax.vmap(by_start, (0, None, None)), compiler_options=QUICK_TO_COMPILE)

        def responses(starts, per_day):
            padded = np.resize(np.asarray(starts, float), STARTS)  # one shape, one program
            (value, status), (slope, _) = program(padded, 24.0 / per_day, DAYS * per_day)
            assert (status == Status.OK).all()
            return np.asarray(value)[: len(starts)], np.asarray(slope)[: len(starts)]

        yield responses


def drawn():
    """Seeded starts, none closer to an edge of a macro-step than the margin."""
    starts = np.random.default_rng(0).uniform(STEP_H, 9.0 * STEP_H, 64)
    return starts[np.minimum(starts % STEP_H, -starts % STEP_H) >= MARGIN_H][:STARTS]


def test_the_derivative_by_the_start_is_that_of_sixteen_times_smaller_steps(respond):
    starts = drawn()
    assert len(starts) == STARTS
    (_, coarse), (_, fine) = (respond(starts, per_day) for per_day in (COARSE, FINE))
    off = np.abs(coarse / fine - 1.0)
    assert (off <= 0.05).all(), off.max(axis=0)


def test_the_derivative_is_that_of_the_value_between_edges(respond):
    """Away from an edge central differences of the value are the derivative, to what tight solves leave."""
    starts, h = np.asarray([13.1, 14.7, 15.8, 17.3]), 1e-2
    around = np.concatenate([starts + k * h for k in (-2, -1, 1, 2)])
    value = respond(around, COARSE)[0].reshape(4, len(starts), -1)
    expected = (8.0 * (value[2] - value[1]) - (value[3] - value[0])) / (12.0 * h)
    np.testing.assert_allclose(respond(starts, COARSE)[1], expected, rtol=1e-5)


@pytest.mark.parametrize("crossing", [EDGE_H, EDGE_H - DURATION_H], ids=["start", "end"])
def test_value_and_derivative_are_continuous_where_an_infusion_crosses_an_edge(respond, crossing):
    """The difference of both sides falls with their distance, to at most a thousandth of the derivative."""
    distances = np.asarray([1e-1, 1e-2, 1e-3, 1e-4])
    value, slope = respond(np.concatenate([crossing - distances, crossing + distances]), COARSE)
    jumps = np.abs((slope[4:] - slope[:4]) / slope[4:])
    steps = np.abs(value[4:] - value[:4])
    np.testing.assert_allclose(steps, np.abs(slope[4:]) * 2.0 * distances[:, None], rtol=0.02)
    assert (jumps[0] <= 0.02).all() and (jumps[-1] <= 1e-3).all(), jumps
