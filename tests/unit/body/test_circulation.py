"""Supply of the liver by the body."""

import jax
import jax.numpy as jnp
import numpy as np

from hepatojax.body.circulation import CirculationParameters, arterial_share, liver_inflow
from hepatojax.parameters.registry import from_registry, load_parameters

P = from_registry(CirculationParameters, load_parameters().circulation)


def test_rest():
    inflow = liver_inflow(jnp.asarray(1.0), P)
    np.testing.assert_allclose([inflow.relative, inflow.gradient], 1.0, rtol=1e-15)
    np.testing.assert_allclose(inflow.arterial_share, P.arterial_share_at_rest, rtol=1e-15)


def test_a_stiff_liver_gets_less_blood_at_a_higher_gradient():
    slope = jax.grad(lambda g: liver_inflow(g, P).relative)(jnp.asarray(0.3))
    rise = jax.grad(lambda g: liver_inflow(g, P).gradient)(jnp.asarray(0.3))
    assert slope > 0 > rise
    np.testing.assert_allclose(liver_inflow(jnp.asarray(0.25), P).relative, 1.0 / (0.4 + 0.6 / 0.5), rtol=1e-14)


def test_artery_makes_up_its_share_of_lost_portal_flow():
    """d(arterial flow) = -b d(portal flow) at rest."""
    arterial = lambda q: q * arterial_share(q, P)  # noqa: E731
    lost = jax.grad(arterial)(jnp.asarray(1.0))
    np.testing.assert_allclose(lost, -P.arterial_buffer * (1.0 - lost), rtol=1e-12)


def test_share_stays_a_share():
    share = jnp.stack([arterial_share(jnp.asarray(q), P) for q in (1e-3, 0.5, 1.0, 2.5)])
    assert jnp.all((share > 0) & (share < 1)) and jnp.all(jnp.diff(share) < 0)
