"""The resting lobule: constants and balances make every rate of change vanish."""

import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.biology.hepatocytes import identity_turnover
from hepatojax.biology.matrix import collagen_turnover, matrix_degradation
from hepatojax.biology.rest import balance, gain_and_loss, rest_collagen, rest_constants, rest_responses
from tests.reference.biology_cases import all_rates, draw, evaluate

HELD = {"rest_apoptosis": "quiescent", "rest_m2_influx": "macrophage_m2", "rest_stellate_activation": "stellate"}
HELD |= {"rest_collagen_deposition": "collagen_fresh"}


@pytest.fixture(scope="module")
def resting(p):
    fields = draw(7)
    fields = fields.with_(rest_responses(fields, p))
    fields = evaluate(fields, p)
    return fields.with_(rest_constants(fields, p))


@pytest.mark.parametrize("state", HELD.values())
def test_derived_constants_hold_their_state_still(p, resting, state):
    for one in all_rates(resting, p):
        gain, loss = gain_and_loss(one, state, resting)
        np.testing.assert_allclose(gain + jnp.zeros(()), loss * resting[state], rtol=1e-9, atol=1e-15)


def test_responses_of_rest_take_inflammation_to_zero_and_vegf_to_one(p, resting):
    leak = 0.5 * p.injury.inflammation_smoothing
    np.testing.assert_allclose(resting.inflammation, leak, rtol=1e-12)
    np.testing.assert_allclose(resting.vegf_drive, 1.0, rtol=1e-14)


def test_balance_is_the_exact_steady_state_of_identity(p, resting):
    rates = identity_turnover(resting, p.hepatocytes)
    gain, loss = p.hepatocytes.identity_gain_rate, p.hepatocytes.identity_loss_rate
    expected = gain / (gain + loss * resting.inflammation)
    np.testing.assert_allclose(balance(rates, ("identity",), resting)["identity"], expected, rtol=1e-14)


def test_resting_collagen_is_the_balance_at_resting_stellate_cells(p):
    m, like = p.matrix, jnp.ones((1, 1, 2))
    fields = draw(3, shape=(1, 1, 2))
    fields = fields.with_({name: value * like for name, value in rest_collagen(m).items()})
    fields = fields.with_({"stellate": m.rest_stellate * like, "macrophage_m2": like, "myofibroblast": 0.0 * like})
    fields = fields.with_({"msc_ratio": 0.0 * like})
    fields = fields.with_(matrix_degradation(fields, m))
    fields = fields.with_(rest_responses(fields, p))
    deposition = (m.fresh_degradation_rate + m.crosslink_rate) * fields.collagen_fresh / m.rest_stellate
    rates = collagen_turnover(fields.with_({"rest_collagen_deposition": deposition}), m)
    for name, value in balance(rates, ("collagen_fresh", "collagen_crosslinked"), fields).items():
        np.testing.assert_allclose(value, fields[name], rtol=1e-12)
