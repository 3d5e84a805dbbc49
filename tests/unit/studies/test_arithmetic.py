"""The arithmetic of studies against closed forms and plain NumPy: readings, transforms, roots, proofs, fronts."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepatojax.parameters.registry import load_parameters
from hepatojax.scenario import ROUTES, InfusionSpec, ProductSpec
from hepatojax.status import Status
from hepatojax.studies.certificate import MARGIN, Figure, GradientCertificate, certify, rates_of
from hepatojax.studies.line import STEPS, Line, Reading, crossing, highest
from hepatojax.studies.objective import CELLS_UNIT, Aim, Course, Limit, cells_by_route, smooth_peak
from hepatojax.studies.pareto import pareto_front
from hepatojax.studies.patients import patient_gradients, stacked
from hepatojax.studies.program import Outcome, Program
from hepatojax.studies.variables import PRODUCT_RANGES, RANGES, Variable, dosed, mixed
from hepatojax.therapy.product import CellProduct, cell_product
from hepatojax.therapy.schedule import schedule_of

SERIES = st.lists(st.floats(-5.0, 5.0), min_size=1, max_size=9).map(lambda values: np.resize(values, 9))
DOSES = schedule_of((InfusionSpec(5.0, 1e6, "portal"), InfusionSpec(50.0, 3e6, "intravenous")), 3)
PRODUCT = cell_product(ProductSpec(), load_parameters().product)


def course(values, name="albumin_g_l"):
    return Course({name: jnp.asarray(values)}, DOSES, (0, 1))


@settings(deadline=None, max_examples=25)
@given(series=SERIES, scale=st.floats(0.1, 10.0), sharpness=st.floats(1.0, 1e4))
def test_readings_lie_between_their_bounds_and_a_trough_is_the_peak_upside_down(series, scale, sharpness):
    room = scale / sharpness * math.log(len(series)) + 1e-9
    read = {at: float(Aim("albumin_g_l", at, scale=scale, sharpness=sharpness).reading(course(series))) for at in TIMES}
    assert read["end"] == series[-1] and read["mean"] == pytest.approx(series.mean(), abs=1e-12)
    assert series.max() - 1e-9 <= read["peak"] <= series.max() + room
    assert series.min() - room <= read["trough"] <= series.min() + 1e-9
    mirrored = Aim("albumin_g_l", "peak", scale=scale, sharpness=sharpness).reading(course(-series))
    assert float(mirrored) == pytest.approx(-read["trough"], abs=1e-12)


TIMES = ("end", "mean", "peak", "trough")


@settings(deadline=None, max_examples=25)
@given(series=SERIES, width=st.floats(1e-3, 2.0), shift=st.floats(-1e3, 1e3), factor=st.floats(0.1, 100.0))
def test_a_smooth_peak_knows_no_unit_and_no_order(series, width, shift, factor):
    """It moves with the series, scales with it and its width, and does not care when something happened."""
    peak = lambda y, w: float(smooth_peak(jnp.asarray(y), w))  # noqa: E731
    found = peak(series, width)
    assert peak(series + shift, width) == pytest.approx(found + shift, abs=1e-9)
    assert peak(factor * series, factor * width) == pytest.approx(factor * found, rel=1e-9, abs=1e-9)
    assert peak(series[::-1], width) == pytest.approx(found, abs=1e-12)
    assert peak(np.full(9, 3.0), width) == pytest.approx(3.0 + width * math.log(9.0), rel=1e-12)


@pytest.mark.parametrize("far", [1e4, 1e8, -1e8])
def test_a_smooth_peak_neither_overflows_nor_loses_its_slope_far_from_zero(far):
    value, slope = jax.value_and_grad(smooth_peak)(jnp.asarray([far, far - 1.0]), 1e-3)
    assert float(value) == pytest.approx(far, rel=1e-15)
    np.testing.assert_allclose(slope, [1.0, 0.0], atol=1e-12)


@pytest.mark.parametrize(
    ("most", "least", "sign"),
    [(2.0, None, 1.0), (None, 2.0, -1.0), (-4.0, None, 1.0), (None, -4.0, -1.0), (0.0, None, 1.0), (None, 0.0, -1.0)],
)
def test_an_excess_is_zero_at_its_bound_and_grows_by_one_in_the_size_of_it(most, least, sign):
    limit = Limit("albumin_g_l", most=most, least=least)
    at = lambda value: float(limit.excess(course([value]))[0])  # noqa: E731
    assert at(limit.bound) == 0.0 and limit.scale == (abs(limit.bound) or 1.0)
    assert at(limit.bound + sign * limit.scale) == pytest.approx(1.0)
    assert at(limit.bound - sign * limit.scale) == pytest.approx(-1.0)
    excesses = np.asarray([-0.5, 0.0, 2.0])
    readings = np.asarray([limit.reading_at(float(excess)) for excess in excesses])
    np.testing.assert_allclose(readings, limit.bound + sign * excesses * limit.scale, rtol=1e-15)
    np.testing.assert_allclose(limit.excess_at(readings), excesses, atol=1e-15)


def test_cells_by_route_add_up_to_those_that_were_infused():
    table = np.asarray(cells_by_route(DOSES))
    assert table.shape == (3, len(ROUTES))
    np.testing.assert_allclose(table.sum(axis=1), np.asarray(DOSES.cells_per_kg) / CELLS_UNIT)
    by_route = {route: float(Aim(f"total_{route}").reading(course([0.0]))) for route in ROUTES}
    assert sum(by_route.values()) == pytest.approx(float(Aim("total_cells").reading(course([0.0]))))
    assert by_route == pytest.approx({**dict.fromkeys(ROUTES, 0.0), "portal": 1.0, "intravenous": 3.0})


EVERY = [
    *(Variable(f"{entry}[1]", 0.5 + low, 40.0) for entry, (low, _) in RANGES.items()),
    *(Variable(f"{entry}[1]", 0.5, 40.0, "log") for entry in RANGES),
    *(
        Variable(f"product.{name}", 1.0, high)
        for name, (_, top) in PRODUCT_RANGES.items()
        if (high := min(top, 2.0)) > 1
    ),
    *(
        Variable(f"product.{name}", 0.25, 1.0, "log")
        for name, (low, _) in PRODUCT_RANGES.items()
        if 0 < 0.25 and low < 0.25
    ),
    *(Variable(f"route_mix[0].{route}", 0.1, 0.9) for route in ROUTES),
]


@pytest.mark.parametrize("variable", EVERY, ids=lambda variable: f"{variable.name} {variable.scale}")
def test_every_entry_that_may_be_chosen_moves_alone_with_its_right_derivative_and_back(variable):
    x = np.asarray([0.0, 0.37, 1.0])
    at = lambda x: float(variable.value(jnp.asarray(x)))  # noqa: E731
    values = np.asarray([at(place) for place in x])
    assert [values[0], values[-1]] == pytest.approx([variable.low, variable.high], rel=1e-14)
    assert [variable.place(value) for value in values] == pytest.approx(x, abs=1e-12)
    slope = float(jax.grad(variable.value)(0.37))
    assert slope == pytest.approx((at(0.37 + 1e-5) - at(0.37 - 1e-5)) / 2e-5, rel=1e-8)
    schedule, product = dosed((variable,), DOSES, PRODUCT, jnp.asarray([0.37]))
    changed = [
        f"{name}{list(map(int, where))}"
        for name in ("start_h", "duration_h", "cells_per_kg", "route_mix")
        for where in np.argwhere(np.asarray(getattr(schedule, name)) != np.asarray(getattr(DOSES, name)))
    ]
    changed += [f.name for f in dataclasses.fields(CellProduct) if getattr(product, f.name) != getattr(PRODUCT, f.name)]
    if variable.route:
        assert all(name.startswith("route_mix[0, ") for name in changed) and changed
        assert float(schedule.route_mix[0, ROUTES.index(variable.route)]) == pytest.approx(values[1])
    else:
        assert set(changed) <= {variable.entry if variable.row is None else f"{variable.entry}[1]"}
        held = product if variable.row is None else schedule
        assert float(np.atleast_1d(getattr(held, variable.entry))[variable.row or 0]) == pytest.approx(values[1])


@settings(deadline=None, max_examples=25)
@given(shares=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=4), order=st.permutations(ROUTES))
def test_any_number_of_shares_breaks_the_stick_and_keeps_the_simplex(shares, order):
    """Each takes its share of what is left; what nobody takes goes to the other routes as before."""
    before = np.asarray([0.1, 0.2, 0.3, 0.25, 0.15])
    mix = np.asarray(mixed(jnp.asarray(before), {r: jnp.asarray(s) for r, s in zip(order, shares, strict=False)}))
    left, wanted = 1.0, np.zeros(5)
    for route, share in zip(order, shares, strict=False):
        wanted[ROUTES.index(route)], left = left * share, left * (1.0 - share)
    others = [ROUTES.index(route) for route in order[len(shares) :]]
    wanted[others] = left * before[others] / before[others].sum()
    np.testing.assert_allclose(mix, wanted, atol=1e-15)
    assert mix.min() >= 0.0 and mix.sum() == pytest.approx(1.0, abs=1e-15)


def test_what_one_route_gains_the_others_lose():
    """The derivative of a mix by each of its shares sums to zero over the routes."""
    before = jnp.asarray([0.1, 0.2, 0.3, 0.25, 0.15])
    mix_of = lambda s: mixed(before, {"portal": s[0], "direct": s[1], "arterial": s[2]})  # noqa: E731
    slopes = jax.jacfwd(mix_of)(jnp.asarray([0.2, 0.0, 1.0]))
    assert np.isfinite(slopes).all()
    np.testing.assert_allclose(slopes.sum(axis=0), 0.0, atol=1e-15)


def reading(f, slope):
    calls = []

    def read(x):
        calls.append(x)
        return Reading(float(f(x)), float(slope(x)))

    return read, calls


ROOTS = {
    "a line": (lambda x: 0.3 - x, lambda x: -1.0, 0.3),
    "a triple root": (lambda x: (0.3 - x) ** 3, lambda x: -3.0 * (0.3 - x) ** 2, 0.3),
    "a root of infinite slope": (lambda x: np.cbrt(0.3 - x), lambda x: -(np.abs(0.3 - x + 1e-30) ** (-2 / 3)) / 3, 0.3),
    "a jump": (lambda x: 1.0 if x < 0.3 else -1.0, lambda x: 0.0, 0.3),
    "a plateau and a cliff": (lambda x: min(1.0, 300.0 * (0.3 - x)), lambda x: 0.0 if x < 0.29667 else -300.0, 0.3),
    "a slope of the wrong sign": (lambda x: 0.3 - x, lambda x: 1.0, 0.3),
    "a slope a thousand times too small": (lambda x: 0.3 - x, lambda x: -1e-3, 0.3),
    "a slope that is no number": (lambda x: 0.3 - x, lambda x: math.nan, 0.3),
    "an exponential": (lambda x: math.exp(-40.0 * x) - math.exp(-12.0), lambda x: -40.0 * math.exp(-40.0 * x), 0.3),
}


@pytest.mark.parametrize("case", ROOTS)
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("start", [0.05, 0.3, 0.95])
def test_a_change_of_sign_is_bracketed_whatever_the_slope_says(case, mirrored, start):
    f, slope, root = ROOTS[case]
    if mirrored:
        read, calls = reading(lambda x: f(1.0 - x), lambda x: -slope(1.0 - x))
        x, converged = crossing(read, 1.0, 0.0, 1.0 - start)
        x, calls[:] = 1.0 - x, [1.0 - at for at in calls]
    else:
        read, calls = reading(f, slope)
        x, converged = crossing(read, 0.0, 1.0, start)
    assert converged and x == pytest.approx(root, abs=2e-4)
    assert min(calls) >= 0.0 and max(calls) <= 1.0  # nothing is read outside the bracket
    assert len(calls) <= STEPS


def test_newton_converges_in_a_few_steps_and_bisection_in_as_many_as_it_has_bits():
    newton, calls = reading(lambda x: math.cos(x) - x, lambda x: -math.sin(x) - 1.0)
    x, converged = crossing(newton, 0.0, 1.0, 0.5, tolerance=1e-12)
    assert converged and x == pytest.approx(0.7390851332151607, abs=1e-12) and len(calls) <= 6
    halving, calls = reading(lambda x: 0.3 - x, lambda x: 0.0)
    assert crossing(halving, 0.0, 1.0, 0.5)[0] == pytest.approx(0.3, abs=1e-4)
    np.testing.assert_allclose(calls[:5], [0.5, 0.25, 0.375, 0.3125, 0.28125])
    assert len(calls) == math.ceil(math.log2(1.0 / 1e-4)) - 1


def test_a_root_that_too_few_steps_do_not_find_is_not_called_known(monkeypatch):
    monkeypatch.setattr("hepatojax.studies.line.STEPS", 6)
    inside, converged = crossing(lambda x: Reading(0.3 - x, 0.0), 0.0, 1.0, 0.5)
    assert not converged and 0.0 < 0.3 - inside < 0.03  # inside, where the reading has not changed its sign
    x, converged = highest(lambda x: Reading(-abs(x - 0.3), 1.0 if x < 0.3 else -1.0), 0.0, 1.0, tolerance=1e-9)
    assert not converged and abs(x - 0.3) < 0.3


@settings(deadline=None, max_examples=25)
@given(
    top=st.floats(0.05, 0.95), left=st.floats(0.1, 50.0), right=st.floats(0.1, 50.0), power=st.sampled_from((1, 2, 4))
)
def test_the_top_of_any_lopsided_hill_is_found_from_both_sides(top, left, right, power):
    def f(x):
        return -(left if x < top else right) * abs(x - top) ** power

    def slope(x):
        return (left if x < top else -right) * power * abs(x - top) ** (power - 1)

    for ends in ((0.0, 1.0), (1.0, 0.0)):
        read, calls = reading(f, slope)
        x, converged = highest(read, *ends)
        assert converged and x == pytest.approx(top, abs=1.1e-4)
        assert f(x) >= max(f(0.0), f(1.0)) and min(calls) >= 0.0 and max(calls) <= 1.0


def test_a_line_counts_what_it_computes_and_a_scan_takes_no_dose_for_a_place(stand_in):
    line = Line(stand_in(lambda x: jnp.where(jnp.isinf(x[0]), -1.0, x[0]), variables=1))
    np.testing.assert_array_equal(line.scan([-math.inf, 0.0, 1.0]).objective, [-1.0, 0.0, 1.0])
    for x in (0.5, 0.25, 0.5):
        assert line.at(x).jacobian.tolist() == [[1.0]]
    assert (line.forward, line.jacobians) == (3, 2)


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0, 3.0])
def test_rates_are_the_power_of_the_remainder(power):
    """f(h) = 2 + 5 h + 3 h^p: without the slope the first order speaks, with it the power p."""
    steps = np.geomspace(1e-2, 1e-5, 7)
    rates = rates_of(tuple(steps), 2.0 + 5.0 * steps + 3.0 * steps**power, 2.0, 5.0, 1e-16)
    assert rates.r0 == pytest.approx(1.0, abs=0.03)
    assert rates.r1 == pytest.approx(power, abs=1e-2)
    assert rates.r0_decades == pytest.approx(3.0)
    for nothing in (2.0, np.nan):  # a constant has no rates
        none = rates_of(tuple(steps), np.full(7, nothing), 2.0, 0.0, 1e-16)
        assert np.isnan([none.r0, none.r1]).all() and none.r0_decades == none.r1_decades == 0.0


def test_a_figure_without_a_number_never_holds_unless_it_does_not_apply():
    holds = {
        (1.0, 1.0, "at most"): True, (1.0, 1.0, "at least"): True, (1.1, 1.0, "at most"): False,
        (0.9, 1.0, "at least"): False, (math.nan, 1.0, "at most"): False, (math.nan, 1.0, "at least"): False,
        (math.inf, 1.0, "at most"): False, (-math.inf, 1.0, "at least"): False,
    }  # fmt: skip
    figures = tuple(Figure(f"{number}", *figure) for number, figure in enumerate(holds))
    assert [figure.passed for figure in figures] == list(holds.values())
    assert all(dataclasses.replace(figure, tested=False).passed for figure in figures)
    certificate = GradientCertificate(np.zeros(1), np.ones(1), figures)
    assert not certificate.passed and certificate.faults == tuple(f for f in figures if not f.passed)
    assert GradientCertificate(np.zeros(1), np.ones(1), figures[:2]).passed


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_a_polynomial_of_fourth_degree_is_certified_in_any_unit_and_its_differences_are_exact(stand_in, scale):
    """Differences of fourth order have no error there but round-off."""
    certificate = certify(
        stand_in(lambda x: scale * (x[0] ** 4 - 2.0 * x[1] ** 3 * x[0] + x[1])), np.asarray([0.4, 0.7])
    )
    assert certificate.passed, certificate.faults
    differences = [figure.value for figure in certificate.figures if figure.name.startswith("difference by")]
    assert len(differences) == 2 and max(differences) < 1e-10
    np.testing.assert_allclose(certificate.place, MARGIN + (1.0 - 2.0 * MARGIN) * np.asarray([0.4, 0.7]))
    assert set(np.abs(certificate.direction)) == {1.0}


def test_the_slope_of_a_front_is_the_derivative_of_its_objective(stand_in):
    """max x0 + 2 x1 under x0^2 + x1^2 <= r^2 (1 + e): 5^(1/2) r (1 + e)^(1/2), its slope half of that over 1 + e."""
    radius, epsilons = 0.5, (-0.3, -0.1, 0.1, 0.3)
    program = stand_in(lambda x: x[0] + 2.0 * x[1], lambda x: (x[0] ** 2 + x[1] ** 2) / radius**2 - 1.0)
    front = pareto_front(program, "limit 0", epsilons, starts=2, certificate=False)
    grown = 1.0 + np.asarray(epsilons)
    best = np.sqrt(5.0 * grown) * radius
    np.testing.assert_allclose([point.optimum.objective for point in front.points], best, rtol=1e-6)
    np.testing.assert_allclose(front.slopes, 0.5 * best / grown, rtol=1e-3)
    assert (np.diff(best) > 0).all() and (np.diff(front.slopes) < 0).all()  # a concave front: each step buys less


def quadratic():
    """a - (x - b)^2 under x <= c, for patients (a, b, c)."""

    def function(x, inputs):
        a, b, c = inputs
        return Outcome(a - (x[0] - b) ** 2, (x[0] - c)[None], jnp.asarray(int(Status.OK)))

    return Program(function, (jnp.zeros(()),) * 3, ("x0",), ("limit",))


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_patients_come_back_in_their_order_whatever_the_batch(batch):
    rows = np.random.default_rng(0).uniform(size=(7, 3))
    inputs, x = [tuple(map(jnp.asarray, row)) for row in rows], np.linspace(0.0, 1.0, 7)[:, None]
    found = patient_gradients(quadratic(), inputs, x, batch)
    a, b, c = rows.T
    np.testing.assert_allclose(found.outcome.objective, a - (x[:, 0] - b) ** 2, rtol=1e-14)
    np.testing.assert_allclose(found.outcome.limits[:, 0], x[:, 0] - c, rtol=1e-14)
    np.testing.assert_allclose(found.jacobian[:, :, 0], np.stack([-2.0 * (x[:, 0] - b), np.ones(7)], 1), rtol=1e-14)
    turned = patient_gradients(quadratic(), inputs[::-1], x[::-1], batch)
    np.testing.assert_array_equal(turned.jacobian[::-1], found.jacobian)
    np.testing.assert_array_equal(stacked(inputs)[1], b)
