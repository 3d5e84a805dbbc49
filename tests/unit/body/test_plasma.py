"""The body's side of a signal, per domain."""

import jax.numpy as jnp
import numpy as np

from hepatojax.body.plasma import body_signal, domain_closure
from hepatojax.parameters.registry import load_parameters

SIGNALS = load_parameters().signals


def test_hgf_without_a_liver_settles_at_production_over_clearance():
    closure = domain_closure(body_signal(SIGNALS.hgf), 0.0, 0.0, 1.0, 1e6)
    np.testing.assert_allclose(closure.source_nM_um3_s / closure.clearance_um3_s, 1.01 / 247.0, rtol=1e-12)


def test_liver_total_does_not_depend_on_the_number_of_domains():
    one, many = (domain_closure(body_signal(SIGNALS.tnf), jnp.asarray(0.3), jnp.asarray(5.0), 1.0, n) for n in (1, 1e6))
    np.testing.assert_allclose(one.clearance_um3_s, 250.0 / 86400.0 * 1e15, rtol=1e-12)
    np.testing.assert_allclose(one.clearance_um3_s, many.clearance_um3_s * 1e6, rtol=1e-12)
    assert one.source_nM_um3_s == 0.0


def test_cells_in_the_lung_secrete_units_true():
    """1e6 MSC make 1 ng HGF a day: 1/88000 nmol/d."""
    table = {"body_clearance_l_h": 1.0, "secretion_msc": 1.0 / 24.0, "molar_mass_kda": 88.0}
    closure = domain_closure(body_signal(table), 0.0, jnp.asarray(1.0), 1.0, 1.0)
    np.testing.assert_allclose(closure.source_nM_um3_s, 1.0 / 88000.0 / 86400.0 * 1e15, rtol=1e-12)


def test_load_raises_production():
    signal = body_signal(SIGNALS.hgf)
    low, high = (domain_closure(signal, jnp.asarray(x), 0.0, 1.0, 1.0).source_nM_um3_s for x in (0.0, 1.0))
    np.testing.assert_allclose(high / low, 21.0, rtol=1e-12)
