"""The certificate passes what is right and fails what is wrong, each test by its own figure."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.status import SimulationError
from hepatojax.studies.certificate import certify, rates_of, taylor_rates
from hepatojax.studies.problem import FORWARD, REVERSE, Outcome

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
    r0, r1 = taylor_rates(smooth, jnp.asarray(PLACE), jnp.asarray([1.0, -1.0]), STEPS)
    assert r0 == pytest.approx(1.0, abs=0.01)
    assert r1 == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("fault", [0.0, 1e-4])
def test_a_kink_a_few_thousandths_away_does_not_fail_a_right_gradient(stand_in, fault):
    """A kink of the value, wherever it comes from; along a month an edge of a macro-step is that close."""
    function = smooth if fault == 0.0 else with_wrong_derivative(fault)

    def kinked(x):
        beside = x - (0.02 + 0.96 * jnp.asarray(PLACE)) - jnp.asarray([1.3e-4, -2.1e-4])
        return function(x) + 3.0 * jnp.sum(jnp.abs(beside))

    found = certify(stand_in(kinked), PLACE)
    assert found.passed == (fault == 0.0)


def test_taylor_rates_take_any_tree():
    tree, way = {"a": jnp.asarray(0.3), "b": jnp.ones(3)}, {"a": jnp.asarray(1.0), "b": -jnp.ones(3)}
    assert taylor_rates(lambda t: jnp.sin(t["a"]) * jnp.sum(t["b"] ** 2), tree, way).r1 == pytest.approx(2.0, abs=0.02)


def test_taylor_rate_of_a_wrong_gradient_is_one():
    r0, r1 = taylor_rates(with_wrong_derivative(0.01), jnp.asarray(PLACE), jnp.asarray([1.0, -1.0]), STEPS)
    assert r0 == pytest.approx(1.0, abs=0.01)
    assert r1 == pytest.approx(1.0, abs=0.05)


def test_rates_look_past_round_off():
    """With noise of 1e-9 the remainder of the small steps is no remainder."""
    steps = np.asarray(STEPS)
    noisy = steps + steps**2 + 1e-9 * np.random.default_rng(0).uniform(-1.0, 1.0, 7)
    assert rates_of(STEPS, noisy, 0.0, 1.0, 1e-6).r1 == pytest.approx(2.0, abs=0.05)


def test_a_linear_function_has_no_second_rate():
    r0, r1 = taylor_rates(lambda x: 2.0 * x[0] + x[1], jnp.asarray(PLACE), jnp.asarray([1.0, 1.0]), STEPS)
    assert r0 == pytest.approx(1.0, abs=1e-6)
    assert np.isnan(r1)


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
