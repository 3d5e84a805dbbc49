"""Every mechanism of tissue and body against the equations of docs/model.md, all numbers of the registry at random.

With random numbers no parameter can stand for another of the same default, and no neutral default (an exponent of one,
a rate of zero) hides a term.
"""

from types import SimpleNamespace

import numpy as np
import pytest

from hepatojax.assembly import model_parameters
from hepatojax.biology.immunity import M2_ORIGINS, m2_by_origin
from hepatojax.biology.rest import gain_and_loss
from hepatojax.biology.secretion import SIGNALS, secretion_by_population
from hepatojax.parameters.registry import load_parameters, replaced
from tests.reference import biology_cases, body_cases
from tests.reference import registry_twin as twin

SEEDS = (11, 12, 13)


def shaken(seed):
    """The registry with every number scaled by 0.7 to 1.4, and those that are zero drawn between 0.001 and 0.01."""
    rng = np.random.default_rng(seed)
    parameters = load_parameters()
    values = {
        row.name: row.value * rng.uniform(0.7, 1.4) if row.value else rng.uniform(1e-3, 1e-2) for row in parameters.rows
    }
    return replaced(parameters, values)


def named(fields):
    return SimpleNamespace(**{name: np.asarray(fields[name]) for name in fields})


def assert_agree(found, expected):
    """Equal to round-off, relative to the largest value of each field; no field may be left out."""
    assert sorted(found) == sorted(expected)
    for name, values in expected.items():
        scale = np.max(np.abs(values))
        np.testing.assert_allclose(np.asarray(found[name]), values, rtol=1e-11, atol=1e-12 * scale, err_msg=name)


@pytest.fixture(scope="module", params=SEEDS)
def tissue(request):
    """Numbers, parameters of biology, and evaluated fields of the tissue."""
    parameters = shaken(request.param)
    p = model_parameters(parameters).biology
    return twin.numbers(parameters), p, biology_cases.evaluate(biology_cases.draw(request.param), p)


@pytest.fixture(scope="module", params=SEEDS)
def body(request):
    """Numbers, parameters of the model, and evaluated fields of the body."""
    parameters = shaken(request.param)
    p = model_parameters(parameters)
    return twin.numbers(parameters), p, body_cases.evaluate(body_cases.draw(request.param), p)


def test_derived_fields_of_the_tissue_agree_at_any_numbers(tissue):
    r, _, fields = tissue
    y = named(fields)
    expected = twin.structure(y, r) | twin.energy(y, r) | twin.signals(y, r) | twin.responses(y, r)
    written = {name for mechanism, _ in biology_cases.ALGEBRAIC for name in mechanism.writes}
    assert_agree({name: fields[name] for name in written}, expected)


def test_slopes_of_the_tissue_agree_at_any_numbers(tissue):
    r, p, fields = tissue
    rates = biology_cases.all_rates(fields, p)
    found = {}
    for name in biology_cases.STATES:
        gain, loss = map(sum, zip(*(gain_and_loss(one, name, fields) for one in rates), strict=True))
        found[name] = np.broadcast_to(gain - loss * fields[name], fields[name].shape)
    assert_agree(found, twin.tissue_slopes(named(fields), r))


def test_derived_fields_of_the_body_agree_at_any_numbers(body):
    r, _, fields = body
    expected = twin.body(named(fields), r)
    found = {name: fields[name] for mechanism, _ in body_cases.ALGEBRAIC for name in mechanism.writes}
    for name in ("load_excess", "functional_excess", "load_response", "creatinine_mg_dl", "meld"):
        # the guard of 1/F - 1 in a liver without function shifts the load by 1e-6 of itself, and what follows from it
        np.testing.assert_allclose(found.pop(name), expected.pop(name), rtol=2e-5, err_msg=name)
    for name in ("infection_rate", "mortality_rate"):
        np.testing.assert_allclose(found.pop(name), expected.pop(name), rtol=1e-5, err_msg=name)
    assert_agree(found, expected)


def test_slopes_of_the_body_agree_at_any_numbers(body):
    r, p, fields = body
    assert_agree(body_cases.slopes(fields, p), twin.body_slopes(named(fields), r))


def test_m2_by_origin_is_the_gain_of_m2_but_for_the_resting_influx(tissue):
    r, p, fields = tissue
    parts = m2_by_origin(fields, p.immunity)
    assert tuple(parts) == M2_ORIGINS
    slope = twin.tissue_slopes(named(fields), r)["macrophage_m2"]
    own = r.immunity.m2_loss_rate * (np.asarray(fields.rest_m2_influx) - np.asarray(fields.macrophage_m2))
    np.testing.assert_allclose(sum(np.asarray(part) for part in parts.values()), slope - own, rtol=1e-11)


@pytest.mark.parametrize("signal", SIGNALS)
def test_populations_make_what_the_equation_of_their_signal_says(tissue, signal):
    r, p, fields = tissue
    parts = secretion_by_population(signal, fields, p.secretion)
    total = twin.signals(named(fields), r)[f"secretion_{signal}"]
    np.testing.assert_allclose(sum(np.asarray(part) for part in parts.values()), total, rtol=1e-11)
    without_cells = fields.with_({"msc_viable": 0.0 * fields.msc_viable})
    bare = twin.signals(named(without_cells), r)[f"secretion_{signal}"]
    msc = np.asarray(parts.get("msc", 0.0))
    np.testing.assert_allclose(msc, total - bare, rtol=1e-9, atol=1e-12 * np.max(total))
