"""The certificate passes what is right and fails what is wrong, each test by its own figure."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.status import SimulationError
from hepatojax.studies.certificate import (
    DECADES,
    DIFFERENCE_STEPS,
    MARGIN,
    TAYLOR_STEPS,
    certify,
    rates_of,
    taylor_rates,
)
from hepatojax.studies.program import FORWARD, REVERSE, Outcome

STEPS = tuple(np.geomspace(1e-2, 1e-5, 7))
PLACE = np.asarray([0.3, 0.6])


def smooth(x):
    return jnp.sin(3.0 * x[0]) * jnp.exp(x[1]) + x[1] ** 3


def with_wrong_derivative(fault, only_forward=False):
    """sin(3 x0) exp(x1) + x1^3 with a derivative by x1 that is off by a factor 1 + fault."""

    @jax.custom_jvp
    def function(x):
        return smooth(x)

    @function.defjvp
    def rule(primals, tangents):
        slope = jax.grad(smooth)(primals[0]) * jnp.asarray([1.0, 1.0 + fault])
        return function(primals[0]), slope @ tangents[0]

    return function


def figure(certificate, name):
    return next(f for f in certificate.figures if name in f.name)


def test_taylor_rates_of_a_right_gradient_are_one_and_two():
    rates = taylor_rates(smooth, jnp.asarray(PLACE), jnp.asarray([1.0, -1.0]), STEPS)
    assert rates.r0 == pytest.approx(1.0, abs=0.01)
    assert rates.r1 == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("fault", [0.0, 1e-4])
def test_a_kink_a_few_thousandths_away_does_not_fail_a_right_gradient(stand_in, fault):
    """A kink of the value, wherever it comes from; along a month an edge of a macro-step is that close.

    Of the steps only those below the kink tell a rate, and the certificate says that they are fewer than wanted.
    """
    function = smooth if fault == 0.0 else with_wrong_derivative(fault)

    def kinked(x):
        beside = x - (MARGIN + (1.0 - 2.0 * MARGIN) * jnp.asarray(PLACE)) - jnp.asarray([1.3e-4, -2.1e-4])
        return function(x) + 3.0 * jnp.sum(jnp.abs(beside))

    found = certify(stand_in(kinked), PLACE)
    assert found.passed == (fault == 0.0)
    rate = figure(found, "R1")
    assert 0.5 < rate.decades <= np.log10(2.1e-4 / TAYLOR_STEPS[-1])
    assert rate.range_in_words.endswith("decades of step, fewer than 3")


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_smooth_function_shows_its_rates_over_three_decades_of_step(stand_in, scale):
    certificate = certify(stand_in(lambda x: scale * smooth(x), lambda x: x[0] ** 2 + x[1] - 1.0), PLACE)
    for name, wanted in (("R0", 1.0), ("R1", 2.0)):
        rate = figure(certificate, name)
        assert rate.value == pytest.approx(wanted, abs=0.03)
        assert rate.decades >= DECADES
        assert rate.range_in_words == f"over {rate.decades:.1f} decades of step"
    assert figure(certificate, "difference by x0").range_in_words == ""


def test_steps_that_are_not_yet_asymptotic_are_left_out():
    """R1 = 3 h^2 + 3e4 h^4 is no square at large steps: twice the square at 1e-2, 1.01 times at 1e-3."""
    steps = np.asarray(TAYLOR_STEPS)
    rates = rates_of(TAYLOR_STEPS, 1.0 + steps + 3.0 * steps**2 + 3e4 * steps**4, 1.0, 1.0, 1e-14)
    assert rates.r1 == pytest.approx(2.0, abs=0.03)
    assert 2.5 < rates.r1_decades < 4.0


@pytest.mark.parametrize("fault", [1e-1, 1e-3, 1e-5])
def test_a_wrong_derivative_is_never_left_out_with_the_large_steps(fault):
    """Large steps hide it behind the square; the small ones, down to round-off, show it."""
    steps = np.asarray(TAYLOR_STEPS)
    rates = rates_of(TAYLOR_STEPS, 1.0 + (1.0 + fault) * steps + steps**2, 1.0, 1.0, 1e-14)
    assert rates.r1 < 1.9


@pytest.mark.parametrize("slope", [0.0, *(sign * 10.0**-power for power in range(2, 9) for sign in (1.0, -1.0))])
def test_next_to_a_stationary_place_no_rate_is_below_its_order(slope):
    """f(h) = 2 + s h - h^2 returns to f(0) at h = s: a remainder that vanishes there by chance shows nothing."""
    steps = np.asarray(TAYLOR_STEPS)
    rates = rates_of(TAYLOR_STEPS, 2.0 + slope * steps - steps**2, 2.0, slope, 1e-12)
    assert rates.r1 == pytest.approx(2.0, abs=0.02)
    assert np.isnan(rates.r0) or rates.r0 > 0.9


def test_an_optimum_is_judged_by_the_derivatives_that_the_problem_has_elsewhere(stand_in):
    """At the top of a hill single precision has no digit of the gradient, and needs none."""

    def hill(x):
        return 3.0 - jnp.sum((x - 0.5 - 1e-7) ** 2) + (x.dtype == jnp.float32) * 1e-4 * x[0]

    program, top = stand_in(hill, twin=True), np.asarray([0.5, 0.5])
    assert "float32 against float64" in [f.name for f in certify(program, top).faults]
    assert certify(program, top, typical=np.asarray([0.5])).passed
    assert not certify(program, top, typical=np.asarray([0.01])).passed


@pytest.mark.parametrize("place", [[0.0, 1.0], [1.0, 1.0], [0.93, 0.02]])
def test_the_taylor_test_stays_inside_the_bounds(stand_in, place):
    for seed in range(4):
        found = certify(stand_in(smooth), np.asarray(place), seed)
        end = found.place + TAYLOR_STEPS[0] * found.direction
        assert (end >= 0.0).all() and (end <= 1.0).all() and set(np.abs(found.direction)) == {1.0}


def test_a_run_that_fails_far_away_only_shortens_the_range(stand_in):
    near = certify(stand_in(smooth, dies=lambda x: jnp.abs(x[0] - 0.308) > 0.05), PLACE)
    assert near.passed, near.faults
    whole = certify(stand_in(smooth), PLACE)
    assert figure(near, "R0").decades < figure(whole, "R0").decades


def test_taylor_rates_take_any_tree():
    tree, way = {"a": jnp.asarray(0.3), "b": jnp.ones(3)}, {"a": jnp.asarray(1.0), "b": -jnp.ones(3)}
    assert taylor_rates(lambda t: jnp.sin(t["a"]) * jnp.sum(t["b"] ** 2), tree, way).r1 == pytest.approx(2.0, abs=0.02)


def test_taylor_rate_of_a_wrong_gradient_is_one():
    rates = taylor_rates(with_wrong_derivative(0.01), jnp.asarray(PLACE), jnp.asarray([1.0, -1.0]), STEPS)
    assert rates.r0 == pytest.approx(1.0, abs=0.01)
    assert rates.r1 == pytest.approx(1.0, abs=0.05)


def test_rates_look_past_round_off():
    """With noise of 1e-9 the remainder of the small steps is no remainder."""
    steps = np.asarray(STEPS)
    noisy = steps + steps**2 + 1e-9 * np.random.default_rng(0).uniform(-1.0, 1.0, 7)
    assert rates_of(STEPS, noisy, 0.0, 1.0, 1e-6).r1 == pytest.approx(2.0, abs=0.05)


def test_a_linear_function_has_no_second_rate():
    rates = taylor_rates(lambda x: 2.0 * x[0] + x[1], jnp.asarray(PLACE), jnp.asarray([1.0, 1.0]), STEPS)
    assert rates.r0 == pytest.approx(1.0, abs=1e-6)
    assert np.isnan(rates.r1)


@pytest.mark.parametrize("limits", [0, 2])
def test_a_right_gradient_passes_in_either_mode(stand_in, limits):
    program = stand_in(smooth, *[lambda x: x[0] ** 2 + x[1] - 1.0] * limits, twin=True)
    assert program.mode == (FORWARD if limits else REVERSE)
    certificate = certify(program, PLACE)
    assert certificate.passed, certificate.faults
    assert all(f.tested for f in certificate.figures)
    assert figure(certificate, "R1").value == pytest.approx(2.0, abs=0.02)
    assert 0.0 < figure(certificate, "float32").value < 1e-5


def test_without_a_twin_single_precision_is_recorded_as_not_tested(stand_in):
    certificate = certify(stand_in(smooth), PLACE)
    assert certificate.passed
    assert not figure(certificate, "float32").tested


@pytest.mark.parametrize("fault", [1e-2, 1e-4, -2.0])
def test_a_wrong_derivative_fails_by_its_variable(stand_in, fault):
    certificate = certify(stand_in(with_wrong_derivative(fault)), PLACE)
    assert not certificate.passed
    assert figure(certificate, "difference by x0").passed
    assert figure(certificate, "difference by x1").value == pytest.approx(abs(fault / (1.0 + fault)), rel=1e-3)


def test_a_wrong_derivative_of_a_limit_fails_too(stand_in):
    wrong = with_wrong_derivative(1e-2)
    assert not certify(stand_in(smooth, lambda x: wrong(x) - 1.0), PLACE).passed
    assert certify(stand_in(smooth, lambda x: smooth(x) - 1.0), PLACE).passed


def test_modes_that_disagree_fail(stand_in):
    program = stand_in(smooth)
    object.__setattr__(program, "push", lambda x, d: np.asarray([1.001 * program.pull(x, np.ones(1)) @ d]))
    certificate = certify(program, PLACE)
    assert [f.name for f in certificate.faults] == ["forward against reverse mode"]


@pytest.mark.parametrize("mode", ["push", "pull"])
def test_a_derivative_that_is_no_number_fails(stand_in, mode):
    program = stand_in(smooth)
    size = 1 if mode == "push" else 2
    object.__setattr__(program, mode, lambda x, seed: np.full(size, np.nan))
    assert "forward against reverse mode" in [f.name for f in certify(program, PLACE).faults]


def test_a_limit_that_single_precision_spoils_fails(stand_in):
    def spoilt(x):
        return x[0] * jnp.where(x.dtype == jnp.float32, 1.01, 1.0) + x[1] - 2.0

    certificate = certify(stand_in(smooth, spoilt, twin=True), PLACE)
    assert [f.name for f in certificate.faults] == ["float32 against float64"]


def test_a_gradient_that_depends_on_its_scale_fails(stand_in):
    """As a solver of the reverse pass does that compares its residual with an absolute tolerance."""

    @jax.custom_vjp
    def dull(x):
        return x

    dull.defvjp(lambda x: (x, None), lambda _, g: (jnp.where(jnp.abs(g) < 1e-5, 0.0, g),))

    def objective(x):
        return smooth(dull(x))

    program = stand_in(objective)
    forward = stand_in(smooth)
    object.__setattr__(program, "push", forward.push)  # a rule for reverse mode has no forward mode
    certificate = certify(program, PLACE)
    assert [f.name for f in certificate.faults] == ["gradient of the objective times 1e-06"]


def test_a_kink_of_the_second_derivative_is_not_taken_for_an_error(stand_in):
    """As where an infusion crosses the edge of a macro-step."""
    edge = certify(stand_in(smooth), PLACE).place[0] + 2.5e-3

    def bent(x):
        return smooth(x) + jnp.where(x[0] > edge, (x[0] - edge) ** 2, 0.0)

    certificate = certify(stand_in(bent), PLACE)
    assert certificate.passed, certificate.faults


def test_a_place_on_the_bounds_is_tested_inside(stand_in):
    program = stand_in(lambda x: jnp.sqrt(x[0]) + jnp.sqrt(1.0 - x[1]))
    certificate = certify(program, np.asarray([0.0, 1.0]))
    assert np.isfinite([f.value for f in certificate.figures if f.tested]).all()


def test_a_failed_simulation_is_no_number(stand_in):
    with pytest.raises(SimulationError, match="oxygen did not converge"):
        certify(stand_in(smooth, dies=lambda x: x[0] < 0.5), PLACE)
    near = stand_in(smooth, dies=lambda x: x[0] > 0.312)
    assert not certify(near, PLACE).passed


def test_limits_that_take_no_simulation_come_last_with_their_slopes(stand_in):
    program = stand_in(
        smooth, lambda x: x[0] - 1.0, closed=lambda x, _: jnp.stack([x[0] * x[1], x[1]]), closed_names=("a", "b")
    )
    here = program.linearise(PLACE)
    np.testing.assert_allclose(here.outcome.limits, [-0.7, 0.18, 0.6])
    np.testing.assert_allclose(here.jacobian[1:], [[1.0, 0.0], [0.6, 0.3], [0.0, 1.0]])
    assert program.simulated == 2


def test_both_modes_give_one_jacobian(stand_in):
    program = stand_in(smooth, lambda x: x[0] * x[1], lambda x: x[0] ** 2)
    assert program.mode == FORWARD
    reverse = np.stack([program.pull(PLACE, row) for row in np.eye(3)])
    np.testing.assert_allclose(program.linearise(PLACE).jacobian, reverse, rtol=1e-14)


def test_many_places_are_those_one_by_one(stand_in):
    program = stand_in(smooth, lambda x: x[0] * x[1], dies=lambda x: x[0] > 0.9)
    places = np.random.default_rng(0).uniform(size=(11, 2))
    many = program.evaluate_many(places)
    for index, place in enumerate(places):
        one = program.evaluate(place)
        assert isinstance(one, Outcome)
        for found, wanted in zip(many, one, strict=True):
            np.testing.assert_allclose(found[index], wanted)


def test_the_place_beside_a_start_of_the_run_is_no_edge_of_a_macro_step():
    """The slope by a start jumps at an edge of steps of six hours; a range from 0 on has its lower bound on one."""
    highest_h, step_h = np.concatenate([np.arange(10.0, 680.0, 10.0), np.arange(12.0, 673.0, 12.0)]), 6.0
    place_h = MARGIN * highest_h
    to_edge_h = np.abs(place_h - step_h * np.round(place_h / step_h))
    assert (to_edge_h > 10.0 * DIFFERENCE_STEPS[-1] * highest_h).all()
    assert pytest.approx(0.0205) == MARGIN  # as the documentation says
    assert 2.0 * DIFFERENCE_STEPS[0] <= MARGIN  # the farthest place of a difference is inside the bounds
