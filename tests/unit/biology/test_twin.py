"""Every mechanism against the independent NumPy twin, at random states."""

import numpy as np
import pytest

from hepatojax.biology.rest import gain_and_loss
from tests.reference import biology_twin as twin
from tests.reference.biology_cases import ALGEBRAIC, STATES, all_rates, draw, evaluate

SEEDS = (1, 2, 3)


def numpy_of(fields):
    return {name: np.asarray(fields[name]) for name in fields}


def assert_equal(left, right, name):
    scale = np.max(np.abs(right))
    np.testing.assert_allclose(np.asarray(left), right, rtol=1e-12, atol=1e-12 * scale, err_msg=name)


@pytest.mark.parametrize("seed", SEEDS)
def test_algebraic_fields_agree_with_the_twin(p, seed):
    start = draw(seed)
    fields = evaluate(start, p, ALGEBRAIC)
    y = numpy_of(start)
    o = twin.before_oxygen(y) | twin.after_oxygen(y)
    for name, value in o.items():
        assert_equal(fields[name], value, name)
    for signal, per_day in twin.secretions(y, o).items():
        assert_equal(24 * fields[f"secretion_{signal}"], per_day, signal)
    r = twin.responses(y, o)
    names = {"T": "tnf_toxicity", "J": "inflammation", "loc": "free_space_drive", "prime": "priming_drive"}
    names |= {"G": "growth_drive", "hgf_active": "hgf_active", "g": "vegf_drive"}
    for short, name in names.items():
        assert_equal(fields[name], r[short], name)
    for short, name in {"k_inj": "injury_rate", "k_rep": "repair_rate", "k_nec": "necrosis_rate"}.items():
        assert_equal(24 * fields[name], r[short], name)


@pytest.mark.parametrize("seed", SEEDS)
def test_rates_of_change_agree_with_the_twin(p, seed):
    start = draw(seed)
    fields = evaluate(start, p)
    rates = all_rates(fields, p)
    y = numpy_of(start)
    o = twin.before_oxygen(y) | twin.after_oxygen(y)
    r = twin.responses(y, o)
    expected = twin.hepatocytes(y, o, r) | twin.matrix_and_vessels(y, o, r) | twin.stem_cells(y)
    expected |= twin.macrophages(y, np.asarray(fields.msc_contact / fields.potency_contact))
    assert sorted(expected) == sorted(STATES)
    for name, per_day in expected.items():
        gain, loss = map(sum, zip(*(gain_and_loss(one, name, fields) for one in rates), strict=True))
        assert_equal(24 * (gain - loss * fields[name]), per_day, name)


def test_contact_is_the_poisson_mean_of_the_series(p):
    fields = evaluate(draw(4), p)
    series = np.vectorize(twin.poisson_contact)(
        np.asarray(fields.msc_viable), np.asarray(fields.macrophage_m1)
    ) * np.asarray(fields.potency_contact)
    np.testing.assert_allclose(np.asarray(fields.msc_contact), series, rtol=0.02)
