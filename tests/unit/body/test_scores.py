"""Clinical scores at hand-computed points and at the edges of their classes."""

import jax.numpy as jnp
import numpy as np

from hepatojax.body.scores import albi, child_pugh, meld, meld_3, smooth_meld


def scalars(*values):
    return tuple(jnp.asarray(float(v)) for v in values)


def test_meld():
    np.testing.assert_allclose(meld(*scalars(0.7, 0.9, 0.8)), 6.43)
    by_hand = 3.78 * np.log(10.0) + 11.2 * np.log(2.0) + 9.57 * np.log(1.5) + 6.43
    np.testing.assert_allclose(meld(*scalars(10, 2, 1.5)), by_hand)
    np.testing.assert_allclose(meld(*scalars(5, 1.5, 4)), meld(*scalars(5, 1.5, 9)))
    np.testing.assert_allclose(meld(*scalars(50, 9, 4)), 40.0)


def test_smooth_meld_tends_to_meld_off_the_floors():
    exact, smooth = meld(*scalars(10, 2, 1.5)), smooth_meld(*scalars(10, 2, 1.5), 0.05)
    np.testing.assert_allclose(smooth, exact, atol=0.02)


def test_meld_3():
    np.testing.assert_allclose(meld_3(*scalars(0.5, 1.0, 0.7, 40)), 6.0)
    b, r, c = np.log(3.0), np.log(1.8), np.log(1.4)
    by_hand = 1.33 + 4.56 * b + 0.82 * 7 - 0.24 * 7 * b + 9.09 * r + 11.14 * c + 1.85 * 0.7 - 1.83 * 0.7 * c + 6
    np.testing.assert_allclose(meld_3(*scalars(3, 1.8, 1.4, 28), sodium_mM=130.0, female=1.0), by_hand, rtol=1e-14)
    np.testing.assert_allclose(meld_3(*scalars(3, 1.8, 3, 28)), meld_3(*scalars(3, 1.8, 5, 28)))


def test_child_pugh():
    assert float(child_pugh(*scalars(1.0, 40.0, 1.1))) == 5.0
    assert float(child_pugh(*scalars(2.5, 30.0, 2.0))) == 8.0
    assert float(child_pugh(*scalars(3.5, 25.0, 2.5), ascites=3, encephalopathy=3)) == 15.0


def test_albi():
    np.testing.assert_allclose(albi(*scalars(1.0, 40.0)), 0.66 * np.log10(17.1) - 3.4)
