"""Doses of equal gain with a closed form, their derivative, and what has none."""

import numpy as np
import pytest

from hepatojax.studies.equivalence import equivalent_doses
from hepatojax.studies.objective import StudyError
from hepatojax.studies.variables import Variable

AMOUNT = Variable("cells_per_kg[0]", 1e4, 1e8, "log")
HOMING = Variable("product.homing", 0.25, 4.0, "log")
LINEAR = Variable("product.homing", 0.25, 4.0)
VALUES = (0.5, 1.0, 2.0)
HALF, GAIN = 1e6, 0.2


def saturating(attribute):
    """An objective of 7 without cells, with a gain of h d / (d h + 1e6)."""

    def objective(x):
        d = AMOUNT.value(x[0]) * attribute.value(x[1])
        return 7.0 + d / (d + HALF)

    return objective


@pytest.fixture
def doses(stand_in):
    """The doses of equal gain of a stand-in."""

    def find(objective=None, *excesses, attribute=HOMING, gain=GAIN, values=VALUES, dies=None, **options):
        program = stand_in(objective or saturating(attribute), *excesses, dies=dies)
        return equivalent_doses(program, gain, values, variables=(AMOUNT, attribute), **options)

    return find


@pytest.mark.parametrize("attribute", [HOMING, LINEAR])
def test_half_the_dose_does_with_twice_the_homing(doses, attribute):
    """d = K g / ((1 - g) h), so that d log d / d log h = -1."""
    for found, value in zip(doses(attribute=attribute), VALUES, strict=True):
        assert found.converged
        assert found.value == value
        assert found.dose == pytest.approx(HALF * GAIN / (1.0 - GAIN) / value, rel=1e-3)
        assert found.elasticity == pytest.approx(-1.0, rel=1e-6)
        assert found.slope == pytest.approx(-1.0 / value, rel=1e-6)


def test_the_derivative_is_that_of_the_curve(doses):
    """A gain d h^0.3 / (d h^0.3 + K) + 0.02 h: no power law, so the slope differs from place to place."""

    def objective(x):
        h, d = HOMING.value(x[1]), AMOUNT.value(x[0])
        e = d * h**0.3
        return e / (e + HALF) + 0.02 * h * d / (d + HALF)

    values = 1.0 + 0.1 * np.arange(-2, 3)
    found = doses(objective, values=values.tolist())
    logs = np.log([each.dose for each in found])
    slope = (8.0 * (logs[3] - logs[1]) - (logs[4] - logs[0])) / (12.0 * 0.1)
    assert found[2].slope == pytest.approx(slope, rel=1e-2)  # doses are known to 1e-4 of the range
    assert found[0].slope != pytest.approx(found[4].slope, rel=1e-2)


def test_harms_at_equal_gain_are_told(doses):
    """A harm that grows with the dose alone falls as homing rises."""
    found = doses(None, lambda x: AMOUNT.value(x[0]) / HALF - 1.0)
    for each in found:
        assert each.limits[0] == pytest.approx(each.dose / HALF - 1.0, abs=1e-3)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"gain": 2.0}, "the gain reaches 0.9"),
        ({"gain": 1e-4}, "below the bounds of the amount"),
        ({"dies": lambda x: AMOUNT.value(x[0]) > 1e7}, "oxygen did not converge"),
        ({"dies": lambda x: (x[0] > 0.34) & (x[0] < 0.36), "values": (1.0,), "doses": 5}, "oxygen did not converge"),
    ],
)
def test_where_there_is_no_dose_there_is_a_reason_and_no_number(doses, options, reason):
    for found in doses(**options):
        assert reason in found.reason
        assert np.isnan(found.dose) and np.isnan(found.elasticity) and not found.converged


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"values": (5.0,)}, "product.homing: 5 leaves"),
        ({"gain": 0.0}, "gain is 0"),
        ({"doses": 2}, "doses is 2"),
        ({"attribute": Variable("start_h[0]", 1.0, 2.0)}, "one of the product"),
    ],
)
def test_what_is_no_equivalence_is_refused(doses, options, message):
    with pytest.raises(StudyError, match=message):
        doses(saturating(HOMING), **options)
