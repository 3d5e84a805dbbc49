"""Doses of equal gain with a closed form, their derivative, and what has none."""

import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.studies.equivalence import elasticities, equivalent_doses
from hepatojax.studies.objective import StudyError
from hepatojax.studies.program import Program
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


def test_what_the_attribute_does_for_other_infusions_is_no_gain(doses):
    """Another infusion of 1e6 profits from homing too: the gain is that over the course without the free one."""

    def objective(x):
        e = (AMOUNT.value(x[0]) + HALF) * HOMING.value(x[1])
        return e / (e + HALF)

    values = 1.0 + 0.1 * np.arange(-2, 3)
    found = doses(objective, gain=0.1, values=values.tolist())
    without = values / (values + 1.0)
    expected = HALF * ((without + 0.1) / (0.9 - without) / values - 1.0)
    np.testing.assert_allclose([each.dose for each in found], expected, rtol=2e-3)
    logs = np.log(expected)
    slope = (8.0 * (logs[3] - logs[1]) - (logs[4] - logs[0])) / (12.0 * 0.1)
    assert found[2].slope == pytest.approx(slope, rel=2e-2)


def test_elasticities_of_every_attribute_at_once(stand_in):
    """e = d h p^0.3 / (e + K) over what homing does without the dose: -1 and -0.3, whatever else homing does."""
    potency = Variable("product.potency_hgf", 0.5, 8.0)

    def objective(x):
        e = AMOUNT.value(x[0]) * HOMING.value(x[1]) * potency.value(x[2]) ** 0.3
        return e / (e + HALF) + 3.0 * HOMING.value(x[1])

    found = elasticities(stand_in(objective, variables=3), (AMOUNT, HOMING, potency), 3e5, (2.0, 1.5))
    assert found == {"homing": pytest.approx(-1.0, rel=1e-9), "potency_hgf": pytest.approx(-0.3, rel=1e-9)}


@pytest.mark.parametrize("values", [(1.0,), (1.0, 1.0, 1.0)])
def test_elasticities_want_a_value_of_every_attribute(stand_in, values):
    with pytest.raises(StudyError, match=rf"then {len(values)} of the product; got .*homing.*homing"):
        elasticities(stand_in(saturating(HOMING), variables=3), (AMOUNT, HOMING, LINEAR), 3e5, values)


def test_no_place_is_computed_twice(doses, monkeypatch):
    """A gain that is linear in log dose: Newton's method ends at its start, where the slope is wanted too."""
    seen, linearise = [], Program.linearise
    monkeypatch.setattr(Program, "linearise", lambda self, x: seen.append(tuple(x)) or linearise(self, x))

    def objective(x):
        return jnp.where(x[0] > -jnp.inf, 0.5 * x[0] + 0.1 * x[1], 0.0)

    (found,) = doses(objective, attribute=LINEAR, values=(LINEAR.low,))
    assert found.converged
    assert found.dose == pytest.approx(float(AMOUNT.value(jnp.asarray(GAIN / 0.5))))
    assert len(seen) == len(set(seen))


def test_a_limit_without_a_number_where_no_cells_are_given_is_not_asked_for(doses):
    """As a ratio to the cells given, which nothing is where nothing is given."""
    found = doses(None, lambda x: jnp.where(jnp.isinf(x[0]), jnp.nan, AMOUNT.value(x[0]) / HALF - 1.0))
    assert all(each.converged for each in found)
    assert all(np.isfinite(each.slope) for each in found)


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
        ({"objective": lambda x: jnp.where(x[0] > 0.2, saturating(HOMING)(x), jnp.nan)}, "a value is not finite"),
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
        ({"attribute": Variable("start_h[0]", 1.0, 2.0)}, "then 1 of the product; got .*start_h"),
    ],
)
def test_what_is_no_equivalence_is_refused(doses, options, message):
    with pytest.raises(StudyError, match=message):
        doses(saturating(HOMING), **options)
