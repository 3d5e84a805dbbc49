"""The front of a quadratic: its optimum moves along a line as the harm is allowed to grow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.studies.objective import StudyError
from hepatojax.studies.optimise import optimise_dose
from hepatojax.studies.optimum import Verdict
from hepatojax.studies.pareto import pareto_front

TOP = np.asarray([0.8, 0.6])
EPSILONS = (-0.5, -0.25, 0.0, 0.25, 0.6)


def hill(x):
    return 2.0 - jnp.sum((x - TOP) ** 2)


def harm(x):
    return x[0] + x[1] - 1.0


def best(epsilon):
    """The foot of the normal from the top on x + y = 1 + epsilon, its objective, and the multiplier."""
    short = max((TOP.sum() - 1.0 - epsilon) / 2.0, 0.0)
    return TOP - short, 2.0 - 2.0 * short**2, 2.0 * short


@pytest.mark.parametrize("epsilons", [EPSILONS, EPSILONS[::-1]])
@pytest.mark.parametrize("closed", [False, True])
def test_front_of_a_quadratic(stand_in, epsilons, closed):
    other = lambda x: x[0] - 2.0  # noqa: E731  never active, so that the harm is not the first limit
    if closed:
        program = stand_in(hill, other, closed=lambda x, inputs: harm(x)[None], closed_names=("harm",))
    else:
        program = stand_in(hill, other, harm)
    name = program.limits[-1]
    found = []
    front = pareto_front(program, name, epsilons, starts=2, certificate=False, on_point=found.append)
    assert [point.epsilon for point in front.points] == list(epsilons)
    assert tuple(found) == front.points
    assert all(point.converged for point in front.points)
    for point, slope in zip(front.points, front.slopes, strict=True):
        x, objective, multiplier = best(point.epsilon)
        np.testing.assert_allclose(point.optimum.x, x, atol=1e-4)
        assert point.optimum.objective == pytest.approx(objective, abs=1e-6)
        assert slope == pytest.approx(multiplier, abs=1e-3)


def test_each_optimum_starts_from_the_one_before(stand_in):
    front = pareto_front(stand_in(hill, harm), "limit 0", EPSILONS, starts=4, certificate=False)
    assert len(front.points[0].optimum.starts) == 4
    for earlier, later in zip(front.points, front.points[1:], strict=False):
        assert len(later.optimum.starts) == 1
        np.testing.assert_array_equal(later.optimum.best.first, earlier.optimum.x)


def test_a_limit_that_is_not_active_needs_no_new_search(stand_in):
    """Beyond 0.4 the top itself keeps the harm: the gradient vanishes there, and one start is enough all the same."""
    front = pareto_front(stand_in(hill, harm), "limit 0", (0.3, 0.5, 0.6), starts=4, certificate=False)
    assert all(point.converged for point in front.points)
    assert [len(point.optimum.starts) for point in front.points] == [4, 1, 1]


def test_a_harm_that_cannot_be_kept_is_no_point_of_the_front(stand_in):
    front = pareto_front(stand_in(hill, harm), "limit 0", (-1.5, -0.5), starts=2, certificate=False)
    assert front.points[0].optimum.verdict == Verdict.INFEASIBLE
    assert np.isnan(front.slopes[0])
    assert front.points[1].converged  # sought anew from several starts
    assert len(front.points[1].optimum.starts) == 2


def test_no_point_of_a_wrong_gradient_counts(stand_in):
    """A gradient that is too small by three tenths finds every optimum, and is proven at none."""

    @jax.custom_jvp
    def wrong(x):
        return hill(x)

    wrong.defjvp(lambda x, t: (hill(x[0]), 0.7 * (jax.grad(hill)(x[0]) @ t[0])))
    front = pareto_front(stand_in(wrong, harm), "limit 0", EPSILONS[:3], starts=2)
    assert [point.optimum.verdict for point in front.points] == [Verdict.FAILED_CERTIFICATE] * 3
    assert np.isnan(front.slopes).all()


def test_one_passed_certificate_is_enough(stand_in):
    front = pareto_front(stand_in(hill, harm), "limit 0", (-1.5, -0.5, 0.0), starts=2)
    assert [point.optimum.verdict for point in front.points] == ["infeasible", "converged", "converged"]
    assert [point.optimum.certificate is None for point in front.points] == [False, True, True]


@pytest.mark.parametrize(
    ("name", "epsilons", "message"),
    [("limit 7", (0.0,), "not among"), ("limit 0", (0.0, 0.2, 0.1), "rise, or that fall"), ("limit 0", (), "rise")],
)
def test_what_is_no_front_is_refused(stand_in, name, epsilons, message):
    with pytest.raises(StudyError, match=message):
        pareto_front(stand_in(hill, harm), name, epsilons)


def test_a_search_may_start_from_given_places(stand_in):
    first = np.asarray([[0.1, 0.2], [0.9, 0.1]])
    found = optimise_dose(stand_in(hill), first=first, certificate=False)
    assert found.verdict == Verdict.CONVERGED
    np.testing.assert_array_equal([start.first for start in found.starts], first)
