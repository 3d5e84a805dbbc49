"""Second derivatives and flat ranges with known answers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.status import SimulationError
from hepatojax.studies.curvature import BOUND, Curvature, flatness
from hepatojax.studies.objective import StudyError

PLACE = np.asarray([0.3, 0.6])
DIRECTION = np.asarray([1.0, -2.0])
TOP = np.asarray([0.5, 0.4])


def polynomial(x):
    """x0^3 x1 + 2 x1^2 x0 - x1^3."""
    return x[0] ** 3 * x[1] + 2.0 * x[1] ** 2 * x[0] - x[1] ** 3


def hessian(x):
    """Of `polynomial`, by hand."""
    mixed = 3.0 * x[0] ** 2 + 4.0 * x[1]
    return np.asarray([[6.0 * x[0] * x[1], mixed], [mixed, 4.0 * x[0] - 6.0 * x[1]]])


def hill(x):
    """1 - (x0 - 0.5)^2 - 4 (x1 - 0.4)^2."""
    return 1.0 - (x[0] - 0.5) ** 2 - 4.0 * (x[1] - 0.4) ** 2


def wrong_second_derivative():
    """A polynomial whose gradient is right and whose gradient's derivative is not."""

    @jax.custom_jvp
    def gradient(x):
        return jax.grad(polynomial)(x)

    gradient.defjvp(lambda x, t: (gradient(*x), 1.01 * (jax.hessian(polynomial)(x[0]) @ t[0])))

    @jax.custom_jvp
    def function(x):
        return polynomial(x)

    function.defjvp(lambda x, t: (polynomial(*x), gradient(*x) @ t[0]))
    return function


@pytest.mark.parametrize("excesses", [0, 2])
def test_a_product_is_that_of_the_hessian_in_either_mode(stand_in, excesses):
    program = stand_in(polynomial, *[lambda x: x[0] - 2.0] * excesses)
    assert program.mode == ("forward" if excesses else "reverse")
    found = Curvature(program).times(PLACE, DIRECTION)
    np.testing.assert_allclose(found.product, hessian(PLACE) @ DIRECTION, rtol=1e-9)
    np.testing.assert_allclose(found.differences, hessian(PLACE) @ DIRECTION, rtol=1e-9)
    assert found.counts and found.disagreement < 1e-9 < found.bound


def test_a_diagonal_holds_the_product_along_each_variable(stand_in):
    found = Curvature(stand_in(polynomial)).diagonal(PLACE)
    np.testing.assert_allclose([each.product for each in found], hessian(PLACE), rtol=1e-9)


@pytest.mark.parametrize("excesses", [0, 2])
def test_a_wrong_second_derivative_does_not_count_and_is_not_given(stand_in, excesses):
    program = stand_in(wrong_second_derivative(), *[lambda x: x[0] - 2.0] * excesses)
    found = Curvature(program).times(PLACE, DIRECTION)
    assert not found.counts
    np.testing.assert_allclose(found.disagreement, 0.01 / 1.01, rtol=1e-6)
    with pytest.raises(StudyError, match=r"it is 9\.9e-03 off the differences of the gradient, allowed 1e-04"):
        _ = found.product
    np.testing.assert_allclose(found.unproven, 1.01 * hessian(PLACE) @ DIRECTION, rtol=1e-9)
    np.testing.assert_allclose(found.differences, hessian(PLACE) @ DIRECTION, rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_unit_of_the_objective_does_not_matter(stand_in, scale):
    found = Curvature(stand_in(lambda x: scale * polynomial(x))).times(PLACE, DIRECTION)
    assert found.disagreement < 1e-9
    wrong = wrong_second_derivative()
    assert not Curvature(stand_in(lambda x: scale * wrong(x))).times(PLACE, DIRECTION).counts


def test_a_linear_objective_has_no_curvature_and_that_counts(stand_in):
    found = Curvature(stand_in(lambda x: 3.0 * x[0] - x[1])).times(PLACE, DIRECTION)
    assert found.counts
    np.testing.assert_array_equal(found.product, 0.0)
    assert Curvature(stand_in(lambda x: 0.0 * x[0])).times(PLACE, DIRECTION).disagreement == 0.0


def test_on_a_bound_the_differences_stay_inside(stand_in):
    """Beyond the bounds the stand-in fails, as a dose below zero would."""
    program = stand_in(polynomial, dies=lambda x: (x < 0.0).any() | (x > 1.0).any())
    found = Curvature(program).times(np.asarray([0.0, 1.0]), DIRECTION)
    assert found.counts
    assert (found.place > 0.0).all() and (found.place < 1.0).all()
    np.testing.assert_allclose(found.product, hessian(found.place) @ DIRECTION, rtol=1e-9)


def test_a_kink_of_the_gradient_a_step_away_does_not_spoil_the_differences(stand_in):
    program = stand_in(lambda x: polynomial(x) + 10.0 * jax.nn.relu(x[0] - 0.3007) ** 2)
    found = Curvature(program).times(PLACE, np.asarray([1.0, 0.0]))
    assert found.counts
    np.testing.assert_allclose(found.product, hessian(PLACE)[0], rtol=1e-6)


def test_where_neighbours_fail_nothing_counts(stand_in):
    found = Curvature(stand_in(polynomial, dies=lambda x: x[0] != PLACE[0])).times(PLACE, DIRECTION)
    assert np.isnan(found.disagreement)
    assert not found.counts


def test_what_has_no_second_derivative_is_refused(stand_in):
    with pytest.raises(SimulationError, match="no second derivative: oxygen did not converge"):
        Curvature(stand_in(polynomial, dies=lambda x: x[0] > 0.0)).times(PLACE, DIRECTION)
    with pytest.raises(StudyError, match="not all zero"):
        Curvature(stand_in(polynomial)).times(PLACE, np.zeros(2))
    single = dataclasses.replace(stand_in(polynomial), inputs=jnp.zeros((), jnp.float32), precision="float32")
    with pytest.raises(StudyError, match="want float64"):
        Curvature(single).times(PLACE, DIRECTION)


def test_a_program_in_float32_is_curved_in_float64(stand_in):
    double = stand_in(polynomial, twin=True)
    single = dataclasses.replace(double, inputs=double.twin, twin=double.inputs, precision="float32")
    assert Curvature(single).times(PLACE, DIRECTION).disagreement < 1e-9


@pytest.mark.parametrize("curved", [False, True])
def test_a_quadratic_is_as_flat_as_by_hand(stand_in, curved):
    """(t / 1)^2 = 0.05 x 0.8 along x0 and 4 t^2 = 0.05 x 0.8 along x1."""
    program = stand_in(hill)
    ranges = flatness(program, TOP, 0.8, curvature=Curvature(program) if curved else None)
    assert [each.variable for each in ranges] == ["x0", "x1"]
    for each, centre, half in zip(ranges, (0.5, 0.4), (0.2, 0.1), strict=True):
        np.testing.assert_allclose([each.low.x, each.high.x], [centre - half, centre + half], atol=1e-4)
        assert centre - half <= each.low.x < each.high.x <= centre + half  # resolved from inside
        assert each.low.by == each.high.by == "objective"
        assert each.high.value == each.high.x
        np.testing.assert_allclose(each.quadratic, half if curved else np.nan, rtol=1e-6)


def test_the_expected_ends_of_a_best_place_on_a_limit_count_the_slope(stand_in):
    """At x0 = 0.3 the hill still rises by 0.4: 0.4 t + t^2 = 0.04 down, -0.4 t + t^2 = 0.04 up."""
    program = stand_in(hill, lambda x: x[0] - 0.3)
    first, second = flatness(program, np.asarray([0.3, 0.4]), 0.8, curvature=Curvature(program))
    np.testing.assert_allclose(first.quadratic, [np.sqrt(0.08) - 0.2, np.sqrt(0.08) + 0.2], rtol=1e-6)
    np.testing.assert_allclose(0.3 - first.low.x, np.sqrt(0.08) - 0.2, atol=1.1e-4)
    assert (first.low.by, first.high.by) == ("objective", "limit 0")
    np.testing.assert_allclose(second.quadratic, 0.1, rtol=1e-6)


def test_no_end_is_expected_where_the_objective_rises(stand_in):
    """x0^2 from 0.6: down 1.2 t - t^2 = 0.05 loses, up nothing does; x1^2 at its lowest loses nowhere."""
    program = stand_in(lambda x: jnp.sum((x - jnp.asarray([0.0, 0.5])) ** 2))
    first, second = flatness(program, np.asarray([0.6, 0.5]), 1.0, curvature=Curvature(program))
    np.testing.assert_allclose(first.quadratic, [0.6 - np.sqrt(0.31), np.nan], rtol=1e-6)
    assert np.isnan(second.quadratic).all()


def test_the_bound_of_a_variable_and_a_limit_end_a_range(stand_in):
    program = stand_in(hill, lambda x: x[0] - 0.6)
    first, second = flatness(program, TOP, 80.0)
    assert (first.low.x, first.low.by) == (0.0, "bound")
    np.testing.assert_allclose(first.high.x, 0.6, atol=1.1e-4)
    assert first.high.by == "limit 0"
    assert (second.low.x, second.low.by, second.high.x, second.high.by) == (0.0, "bound", 1.0, "bound")


def test_an_active_limit_and_a_place_on_a_bound_leave_no_way(stand_in):
    program = stand_in(lambda x: x[0] + x[1], lambda x: x[0] - 0.6)
    first, second = flatness(program, np.asarray([0.6, 1.0]), 1.0)
    np.testing.assert_allclose([first.low.x, first.high.x], [0.55, 0.6], atol=1.1e-4)
    assert first.high.by == "limit 0"
    np.testing.assert_allclose([second.low.x, second.high.x], [0.95, 1.0], atol=1.1e-4)
    assert second.high.by == "bound"


def test_a_failing_simulation_ends_a_range_and_says_how(stand_in):
    program = stand_in(hill, dies=lambda x: x[0] > 0.55)
    first, _ = flatness(program, TOP, 0.8)
    np.testing.assert_allclose(first.high.x, 0.55, atol=1.1e-4)
    assert first.high.by == "oxygen did not converge"


def test_a_dip_on_the_way_ends_a_range_though_it_rises_again(stand_in):
    program = stand_in(lambda x: -jnp.exp(-(((x[0] - 0.75) / 0.1) ** 2)) + 0.0 * x[1])
    first, _ = flatness(program, np.asarray([0.2, 0.5]), 1.0, share=0.5)
    np.testing.assert_allclose(first.high.x, 0.75 - 0.1 * np.sqrt(np.log(2.0)), atol=1.1e-4)


def test_a_curvature_that_does_not_count_places_no_bracket(stand_in):
    program = stand_in(wrong_second_derivative())
    for each in flatness(program, PLACE, 0.5, curvature=Curvature(program)):
        assert np.isnan(each.quadratic).all()
        assert each.low.x < each.high.x


def test_what_cannot_be_flat_is_refused(stand_in):
    with pytest.raises(StudyError, match="positive gain"):
        flatness(stand_in(hill), TOP, 0.0)
    with pytest.raises(StudyError, match="breaks the limit limit 0"):
        flatness(stand_in(hill, lambda x: x[0]), TOP, 1.0)
    with pytest.raises(SimulationError, match="the range cannot be found: oxygen did not converge"):
        flatness(stand_in(hill, dies=lambda x: x[0] > 0.0), TOP, 1.0)


def test_the_bound_is_tighter_than_what_goes_wrong():
    assert BOUND == 1e-4
