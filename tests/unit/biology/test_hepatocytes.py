import jax
import jax.numpy as jnp
import numpy as np

from hepatojax.biology.hepatocytes import hepatocyte_turnover, regeneration_drives
from hepatojax.biology.rest import gain_and_loss
from tests.reference.biology_cases import draw, evaluate

CELLS = ("quiescent", "primed", "injured", "debris")


def test_cells_change_by_division_apoptosis_and_clearance_alone(p):
    fields = evaluate(draw(5), p)
    rates = hepatocyte_turnover(fields, p.hepatocytes)
    total = 0.0
    for name in CELLS:
        gain, loss = gain_and_loss(rates, name, fields)
        total = total + gain - loss * fields[name]
    expected = fields.division - fields.rest_apoptosis * fields.quiescent - fields.debris_clearance * fields.debris
    np.testing.assert_allclose(total, expected, rtol=1e-10, atol=1e-14)


def test_free_space_drives_without_any_signal(p):
    like = jnp.ones((1, 1, 1))
    silent = dict.fromkeys(("il6", "tnf", "tgf_beta", "hgf_active", "inflammation"), 0 * like)
    fields = draw(1, shape=(1, 1, 1)).with_({**silent, "atp": like, "occupancy": 0 * like})
    drives = regeneration_drives(fields, p.hepatocytes)
    np.testing.assert_allclose(drives["growth_drive"], drives["free_space_drive"], rtol=1e-12)
    np.testing.assert_allclose(drives["priming_drive"], drives["free_space_drive"], rtol=1e-12)
    assert drives["free_space_drive"] > 0.5


def test_drives_are_monotone_in_the_signals(p):
    fields = evaluate(draw(6), p)

    def drive(name, key):
        return jax.grad(lambda c: jnp.sum(regeneration_drives(fields.with_({name: c}), p.hepatocytes)[key]))(
            fields[name]
        )

    assert np.all(drive("hgf_active", "growth_drive") >= 0)
    assert np.all(drive("tgf_beta", "growth_drive") <= 0)
    assert np.all(drive("il6", "priming_drive") >= 0)
    assert np.all(drive("inflammation", "priming_drive") <= 0)
    assert np.all(drive("occupancy", "priming_drive") <= 0)
