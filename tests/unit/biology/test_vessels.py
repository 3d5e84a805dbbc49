import jax
import jax.numpy as jnp
import numpy as np

from hepatojax.biology.rest import balance
from hepatojax.biology.vessels import endothelial_turnover, sinusoidal_conductance
from hepatojax.mechanism import Fields

ONE = jnp.ones((1, 1, 3))
HEALTHY = Fields({"vascular_integrity": ONE, "tnf_toxicity": 0 * ONE, "vegf_drive": ONE, "atp": ONE})


def rate_of_change(fields, p):
    rates = endothelial_turnover(fields, p)
    return rates.production["vascular_integrity"] - rates.loss["vascular_integrity"] * fields.vascular_integrity


def test_integrity_stays_at_one_in_healthy_tissue(p):
    np.testing.assert_array_equal(rate_of_change(HEALTHY, p.vessels), 0.0)


def test_integrity_tends_to_repair_over_repair_plus_damage(p):
    fields = HEALTHY.with_({"tnf_toxicity": 0.3 * ONE, "atp": 0.8 * ONE})
    expected = p.vessels.repair_rate / (p.vessels.repair_rate + p.vessels.damage_rate * 0.5)
    steady = balance(endothelial_turnover(fields, p.vessels), ("vascular_integrity",), fields)
    np.testing.assert_allclose(steady["vascular_integrity"], expected, rtol=1e-14)


def test_more_toxicity_never_repairs(p):
    def total(toxicity):
        return jnp.sum(rate_of_change(HEALTHY.with_({"tnf_toxicity": toxicity}), p.vessels))

    assert np.all(jax.grad(total)(jnp.array([[[0.0, 0.4, 0.9]]])) <= 0)


def test_conductance_is_one_at_rest_and_falls_to_the_collateral_path(p):
    rest = Fields({"vascular_integrity": ONE, "collagen": p.vessels.rest_collagen * ONE, "blocked": 0 * ONE})
    plugged = rest.with_({"blocked": ONE})
    at_rest = sinusoidal_conductance(rest, p.vessels)["conductance_factor"]
    np.testing.assert_allclose(at_rest, 1.0, rtol=1e-14)
    at_plug = sinusoidal_conductance(plugged, p.vessels)["conductance_factor"]
    np.testing.assert_allclose(at_plug, p.vessels.collateral_share, rtol=1e-14)


def test_conductance_falls_with_collagen_even_beyond_closure(p):
    collagen = jnp.linspace(0.0, 0.9, 60).reshape(1, 1, 60)
    like = jnp.ones_like(collagen)
    fields = Fields({"vascular_integrity": like, "collagen": collagen, "blocked": 0 * like})
    assert np.all(np.diff(sinusoidal_conductance(fields, p.vessels)["conductance_factor"]) < 0)
