"""The window about a schedule: where limits are kept, what ends it, and what is not known."""

import numpy as np
import pytest

from hepatojax.status import Status
from hepatojax.studies.multiples import FAILED, RANGE, multiples_of
from hepatojax.studies.program import Outcome

FACTORS = tuple(k / 4 for k in range(9))
SIZES = np.asarray(FACTORS)
NAMES = ("most", "least")


def found(excess, status=None):
    codes = np.zeros(len(FACTORS), np.int32) if status is None else np.asarray(status, np.int32)
    return multiples_of(Outcome(SIZES**2, excess, codes), FACTORS, NAMES)


def test_straight_limits_end_the_window_where_they_are_zero():
    """A harm that rises through its bound at 1.6 and a benefit that is too small below 0.3."""
    (low, below), (high, above) = found(np.column_stack([SIZES - 1.6, 0.3 - SIZES])).allowed
    assert (low, high) == (pytest.approx(0.3), pytest.approx(1.6))
    assert (below, above) == ("least", "most")


def test_of_two_limits_the_one_that_breaks_first_ends_it():
    _, (high, above) = found(np.column_stack([SIZES - 1.4, 2.0 * (SIZES - 1.3)])).allowed
    assert (high, above) == (pytest.approx(1.3), "least")


def test_without_a_limit_that_breaks_the_range_ends_it():
    assert found(np.full((len(FACTORS), 2), -0.1)).allowed == ((0.0, RANGE), (2.0, RANGE))


def test_a_schedule_that_breaks_a_limit_has_no_window():
    assert found(np.full((len(FACTORS), 2), 0.1)).allowed is None


def test_a_schedule_that_fails_has_no_window_though_nothing_limits_it():
    codes = np.where(SIZES == 1.0, Status.OXYGEN_NOT_CONVERGED, Status.OK)
    assert found(np.zeros((len(FACTORS), 0)), codes).allowed is None


@pytest.mark.parametrize("number", [np.nan, np.inf, -0.1])
def test_what_could_not_be_simulated_ends_it_and_has_no_number(number):
    excess, status = np.full((len(FACTORS), 2), -0.1), np.zeros(len(FACTORS))
    excess[6] = number
    status[6] = Status.OK if np.isnan(number) else Status.OXYGEN_NOT_CONVERGED
    window = found(excess, status)
    assert window.allowed == ((0.0, RANGE), (1.25, FAILED))
    assert np.isnan(window.objective[6]) and np.isnan(window.limits[6]).all() and window.status[6] != Status.OK
