"""Fewer infusions: which goes first, what the others take over, and what cannot be reduced."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.status import Status
from hepatojax.studies.fewer import fewer_infusions
from hepatojax.studies.objective import StudyError
from hepatojax.studies.optimise import optimise_dose
from hepatojax.studies.optimum import Verdict
from hepatojax.studies.program import Outcome, Program

WORTH = np.asarray([1.0, 0.2, 0.6])  # of a little of each amount
BUDGET = 1.5


def saturating(x):
    """Each amount gains worth (1 - exp(-3 x)); the last x is a time, best at 0.3 plus a tenth of the first amount."""
    return jnp.sum(WORTH * (1.0 - jnp.exp(-3.0 * x[:3]))) - (x[3] - 0.3 - 0.1 * x[0]) ** 2


def program(budget=BUDGET):
    def function(x, inputs):
        return Outcome(saturating(x), (jnp.sum(x[:3]) - budget)[None], jnp.asarray(int(Status.OK)))

    names = (*(f"cells_per_kg[{i}]" for i in range(3)), "start_h[0]")
    return Program(function, jnp.zeros(()), names, ("total_cells",))


def shared(worth, budget):
    """The best split of a budget by hand: 3 w exp(-3 x) is equal for all that get something, and x is at most 1."""
    price, top = 1e-9, 10.0
    for _ in range(200):
        middle = 0.5 * (price + top)
        amounts = np.clip(np.log(3.0 * worth / middle) / 3.0, 0.0, 1.0)
        price, top = (middle, top) if amounts.sum() > budget else (price, middle)
    return amounts


def test_the_least_missed_goes_first_and_the_others_take_over():
    whole = optimise_dose(program(), starts=2)
    told = []
    stages = fewer_infusions(program(), whole, on_stage=told.append)
    assert [stage.dropped for stage in stages] == ["", "cells_per_kg[1]", "cells_per_kg[2]"]
    assert stages[1:] == tuple(told)
    assert stages[0].optimum is whole
    left = np.ones(3)
    for stage in stages:
        left = np.where([f"cells_per_kg[{i}]" in stage.kept for i in range(3)], left, 0.0)
        expected = np.where(left > 0, shared(np.where(left > 0, WORTH, 1e-30), BUDGET), 0.0)
        assert stage.converged
        np.testing.assert_allclose(stage.optimum.x[:3], expected, atol=2e-3)
        assert stage.optimum.x[3] == pytest.approx(0.3 + 0.1 * expected[0], abs=2e-3)
    objectives = [stage.optimum.objective for stage in stages]
    assert objectives == sorted(objectives, reverse=True)


def test_what_went_is_exactly_zero_and_stays():
    stages = fewer_infusions(program(), optimise_dose(program(), starts=2), keep=1)
    assert stages[1].optimum.x[1] == 0.0
    np.testing.assert_array_equal(stages[2].optimum.x[1:3], 0.0)
    assert stages[2].optimum.values["cells_per_kg[2]"] == 0.0


def inside(x):
    """Amounts that are best inside their bounds, where no limit is active and the gradient vanishes."""
    return jnp.sum(WORTH * (1.0 - jnp.exp(-3.0 * x[:3])) - 0.3 * x[:3]) - (x[3] - 0.3) ** 2


def unbounded(objective):
    def function(x, inputs):
        return Outcome(objective(x), jnp.zeros(0), jnp.asarray(int(Status.OK)))

    return dataclasses.replace(program(), function=function, limits=())


def test_an_optimum_where_the_gradient_vanishes_is_still_judged_by_the_first_search():
    stages = fewer_infusions(unbounded(inside), optimise_dose(unbounded(inside), starts=2))
    assert [stage.optimum.verdict for stage in stages] == [Verdict.CONVERGED] * 3
    np.testing.assert_allclose(stages[-1].optimum.x[0], np.log(10.0) / 3.0, atol=2e-3)


def test_an_amount_that_is_already_zero_goes_without_a_loss():
    def useless(x):
        return inside(x) - 2.0 * x[1]

    whole = optimise_dose(unbounded(useless), starts=2)
    stage = fewer_infusions(unbounded(useless), whole, keep=2)[1]
    assert stage.dropped == "cells_per_kg[1]"
    assert stage.converged
    assert stage.optimum.objective == pytest.approx(whole.objective, abs=1e-6)


def test_a_schedule_without_a_number_is_not_the_least_missed():
    def undefined(x):
        return jnp.where(x[0] > 0.0, inside(x), jnp.nan)

    stages = fewer_infusions(unbounded(undefined), optimise_dose(unbounded(undefined), starts=2))
    assert [stage.dropped for stage in stages] == ["", "cells_per_kg[1]", "cells_per_kg[2]"]


def test_a_closed_limit_reads_what_is_left():
    """The same budget as a limit that takes no simulation."""

    def function(x, inputs):
        return Outcome(saturating(x), jnp.zeros(0), jnp.asarray(int(Status.OK)))

    closed = dataclasses.replace(program(), function=function, closed=lambda x, inputs: (jnp.sum(x[:3]) - BUDGET)[None])
    one = fewer_infusions(closed, optimise_dose(closed, starts=2))
    other = fewer_infusions(program(), optimise_dose(program(), starts=2))
    for left, right in zip(one, other, strict=True):
        np.testing.assert_allclose(left.optimum.x, right.optimum.x, atol=1e-3)


@pytest.mark.parametrize("keep", [0, 3])
def test_how_many_to_keep_is_checked(keep):
    whole = optimise_dose(program(), starts=2, certificate=False)
    with pytest.raises(StudyError, match=f"keep is {keep}"):
        fewer_infusions(program(), whole, keep=keep)


def test_only_an_optimum_is_reduced():
    none = dataclasses.replace(optimise_dose(program(), starts=2, certificate=False), verdict=Verdict.STALLED)
    with pytest.raises(StudyError, match="its verdict is stalled"):
        fewer_infusions(program(), none)
