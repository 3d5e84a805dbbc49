import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.biology.secretion import SIGNALS, hgf_secretion, secretion_by_population
from tests.reference.biology_cases import draw, evaluate


@pytest.mark.parametrize("signal", SIGNALS)
def test_the_split_by_population_sums_to_the_total(p, signal):
    fields = evaluate(draw(8), p)
    parts = secretion_by_population(signal, fields, p.secretion)
    np.testing.assert_allclose(sum(parts.values()), fields[f"secretion_{signal}"], rtol=1e-14)
    assert all(np.all(np.asarray(part) >= 0) for part in parts.values())


def test_resting_liver_makes_its_share_of_the_hgf_turnover(p):
    one = jnp.ones((1, 1, 1))
    fields = draw(1, shape=(1, 1, 1)).with_(
        {
            "macrophage_m2": one,
            "stellate": p.secretion.rest_stellate * one,
            "msc_viable": 0 * one,
            "load_response": jnp.asarray(0.0),
            "licensing": jnp.asarray(1.0),
        }
    )
    turnover_nmol_d = 0.6 * (247 + 576) * 3.07e-3  # BIOLOGY A4
    made = 24 * 1.5 * hgf_secretion(fields, p.secretion)["secretion_hgf"]
    np.testing.assert_allclose(made, turnover_nmol_d, rtol=2e-3)


def test_secretion_of_msc_is_small_and_true_to_units(p):
    """1 ng per 1e6 cells and day over 1e6 cells/l is 1 ng/l/d, or 1/88 pM/d of HGF."""
    one = jnp.ones((1, 1, 1))
    fields = draw(1, shape=(1, 1, 1)).with_(
        {"msc_viable": one, "licensing": jnp.asarray(1.0), "potency_hgf": jnp.asarray(1.0)}
    )
    made = secretion_by_population("hgf", fields, p.secretion)["msc"]
    np.testing.assert_allclose(24 * made, 1e-3 / 88, rtol=1e-12)
