"""The peak of plugged sinusoids over a course: as high as it is, and smooth where infusions slide over an edge."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.biology.stem_cells import plug_release
from hepatojax.macro_step import _arrivals, _distribute, _plugged_at_ends
from hepatojax.mechanism import Fields
from hepatojax.numerics.positive_step import step_states
from hepatojax.numerics.safe_math import smooth_peak
from hepatojax.scenario import InfusionSpec
from hepatojax.therapy.schedule import schedule_of

STEPS, STEP_H = 4, 6.0
EDGE_H = 12.0


@pytest.fixture(scope="module")
def peaks(small_liver):
    """The peak of a schedule over four macro-steps, with plugging as the only state that moves."""
    model, state = small_liver
    empty = {name: jnp.zeros_like(value) for name, value in state.body.items() if name != "liver_volume"}
    state = state.replace(body={**state.body, **empty})
    parameters = model.parameters.biology.stem_cells

    def rates(states):
        return plug_release(Fields(states), parameters)

    def advance(state, schedule):
        start_h = state.step.astype(jnp.float64) * STEP_H
        courses, trapped = _distribute(model, state, schedule, start_h, state.voxel["debris"])
        sources = {"plugging": _arrivals(model, state, courses, trapped, state.quasi_steady)["plugging"]}
        end, _ = step_states({"plugging": state.voxel["plugging"]}, rates, STEP_H, sources=sources)
        peak = _plugged_at_ends(model, state, schedule, trapped, state.quasi_steady, end["plugging"])
        pools = {f"{kind}_{o}": amount for kind in courses for o, amount in courses[kind].pools.items()}
        voxel = {**state.voxel, **end}
        return state.replace(voxel=voxel, body={**state.body, **pools}, step=state.step + 1), peak

    def course(schedule):
        begin = state.replace(voxel={**state.voxel, "plugging": jnp.zeros(model.grid.shape)})
        return jax.lax.scan(lambda s, _: advance(s, schedule), begin, None, length=STEPS)[1]

    def peak(schedule, width):
        readings = course(schedule)
        return smooth_peak(readings.values.ravel(), width, readings.weights.ravel())

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield Peaks(jax.jit(course), jax.jit(jax.value_and_grad(peak)))


class Peaks(NamedTuple):
    """What is compiled once: schedule -> readings of four macro-steps, and the peak with its derivatives."""

    readings: Callable
    peak: Callable

    def at(self, schedule, width):
        return float(self.peak(schedule, width)[0])

    def by_start(self, schedule, width):
        return float(self.peak(schedule, width)[1].start_h[0])

    def by_cells(self, schedule, width):
        return float(self.peak(schedule, width)[1].cells_per_kg[1])


def dosed(*infusions):
    return schedule_of([InfusionSpec(start_h, cells, route, hours) for start_h, cells, route, hours in infusions], 2)


def slid(schedule, hours):
    """The first infusion later by some hours."""
    return dataclasses.replace(schedule, start_h=schedule.start_h.at[0].add(hours))


def with_cells(schedule, cells):
    """The second infusion with this dose."""
    return dataclasses.replace(schedule, cells_per_kg=schedule.cells_per_kg.at[1].set(cells))


@pytest.mark.parametrize("route", ["portal", "intravenous"])
@pytest.mark.parametrize("duration_h", [0.5, 9.0])
def test_the_derivative_is_continuous_where_an_end_slides_over_an_edge(peaks, route, duration_h):
    """Cells come at a rate of some peak / duration, which is what a reading at a fixed time would lose there."""
    schedule = dosed((EDGE_H - duration_h, 1e6, route, duration_h))
    top = float(peaks.readings(schedule).values.max())
    about = [slid(schedule, hours) for hours in (-1e-6, 0.0, 1e-6)]
    assert np.ptp([peaks.by_start(each, 0.01 * top) for each in about]) < 0.03 * top / duration_h
    assert np.ptp([peaks.at(each, 0.01 * top) for each in about]) < 1e-8 * top


@pytest.mark.parametrize("at_h", [-2.0, -0.3, -0.01, 0.01, 0.2, 0.7, 2.0])
def test_the_derivative_is_that_of_differences_on_both_sides_of_an_edge(peaks, at_h):
    schedule, width, h = slid(dosed((EDGE_H - 0.5, 1e6, "portal", 0.5)), at_h), 2e-3, 1e-3
    differences = (peaks.at(slid(schedule, h), width) - peaks.at(slid(schedule, -h), width)) / (2.0 * h)
    assert peaks.by_start(schedule, width) == pytest.approx(differences, rel=1e-3, abs=1e-9)


def test_two_ends_of_one_step_hand_the_peak_over_smoothly(peaks):
    """The second infusion brings ever more, until its end is higher than that of the first; between, both count."""
    width, infusions = 1e-3, dosed((6.5, 1e6, "portal", 0.5), (9.0, 1e4, "portal", 0.5))
    cells = np.linspace(1e4, 3e5, 59)
    slopes = np.asarray([peaks.by_cells(with_cells(infusions, each), width) for each in cells])
    assert slopes[0] < 1e-3 * slopes.max()
    assert np.abs(np.diff(slopes)).max() < 0.5 * slopes.max()
    middle = cells[int(np.argmax(np.diff(slopes)))]
    ahead, behind = (peaks.at(with_cells(infusions, middle * (1.0 + e)), width) for e in (1e-3, -1e-3))
    found = peaks.by_cells(with_cells(infusions, middle), width)
    assert found == pytest.approx((ahead - behind) / (2e-3 * middle), rel=1e-3)


def test_the_smooth_peak_is_that_of_the_differential_equation(peaks, small_liver):
    """One infusion, at its end: w' = q u - k w while it runs."""
    model, state = small_liver
    schedule, width, p = dosed((8.1, 1e6, "portal", 1.7)), 1e-3, model.parameters
    litres = model.patient.liver_volume_l * state.body["liver_volume"]
    cells = model.patient.body_mass_kg * p.biodistribution.portal_liver_share  # of 1e6 cells/kg
    rate, k = cells / 1.7 * model.product.plugging / p.sinusoids_per_litre / litres, p.biology.stem_cells.unplug_rate
    w = state.quasi_steady.arrival * (-rate * np.expm1(-k * 1.7) / k)
    true = float(model.grid.mean(-jnp.expm1(-w)))
    assert true * (1.0 - 1e-3) <= peaks.at(schedule, width) <= true * (1.0 + 1e-3) + width * np.log(STEPS + 2)


@pytest.mark.parametrize("at_h", [EDGE_H - 0.2, EDGE_H + 0.5])
def test_an_infusion_of_no_cells_across_an_edge_leaves_the_peak_alone(peaks, at_h):
    """Released by the lungs, cells of the first infusion plug most at the end of a macro-step."""
    width, slow = 1e-5, (1.0, 1e6, "intravenous", 0.5)
    alone = peaks.at(dosed(slow, (20.0, 0.0, "portal", 0.5)), width)
    assert peaks.at(dosed(slow, (at_h - 1.0, 0.0, "portal", 1.0)), width) == pytest.approx(alone, abs=width * np.log(2))


@pytest.mark.parametrize("late_h", [-1e-14, 0.0, 7e-15, 1e-9])
def test_an_infusion_that_ends_with_the_run_but_for_rounding_is_read(peaks, late_h):
    schedule = dosed((STEPS * STEP_H - 0.5, 1e6, "portal", 0.5))
    before = peaks.at(slid(schedule, -1e-3), 1e-3)
    assert peaks.at(slid(schedule, late_h), 1e-3) == pytest.approx(before, rel=1e-2)


def test_a_peak_of_released_cells_is_read_while_a_long_infusion_runs_on(peaks):
    """The true peak is that of the ends of macro-steps, which the states hold whole."""
    alone = peaks.at(dosed((0.5, 1e8, "intravenous", 0.5), (0.1, 0.0, "portal", 90.0)), 1e-5)
    assert peaks.at(dosed((0.5, 1e8, "intravenous", 0.5), (0.1, 1e6, "portal", 90.0)), 1e-5) > 1.04 * alone


def test_no_cells_are_no_peak_and_its_derivative_is_finite(peaks):
    nothing = dosed((3.0, 0.0, "portal", 0.5), (9.0, 0.0, "portal", 0.5))
    assert float(jnp.abs(peaks.readings(nothing).values).max()) == 0.0
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(peaks.peak(nothing, 1e-3)[1]))
    assert peaks.by_cells(nothing, 1e-3) > 0.0
