"""Clinical scores at cases worked out by hand, at the edges of their classes, and their exact laws."""

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from hepatojax.body.scores import albi, child_pugh, meld, meld_3, smooth_meld

LEVEL = st.floats(0.1, 30.0)


def arrays(*values):
    return tuple(jnp.asarray(float(v)) for v in values)


@pytest.mark.parametrize(
    ("bilirubin", "inr", "creatinine", "score"),
    [
        (1.0, 1.0, 1.0, 6.43),
        (0.3, 0.8, 0.5, 6.43),  # every level below one counts as one
        (2.7, 1.6, 1.2, 3.78 * 0.993252 + 11.2 * 0.470004 + 9.57 * 0.182322 + 6.43),  # 17.2
        (4.0, 1.0, 1.0, 3.78 * 1.386294 + 6.43),  # 11.7
        (1.0, 2.5, 1.0, 11.2 * 0.916291 + 6.43),  # 16.7
        (1.0, 1.0, 4.0, 9.57 * 1.386294 + 6.43),  # 19.7, the ceiling of creatinine
        (1.0, 1.0, 12.0, 9.57 * 1.386294 + 6.43),
        (20.0, 3.0, 2.0, 3.78 * 2.995732 + 11.2 * 1.098612 + 9.57 * 0.693147 + 6.43),  # 36.7
        (30.0, 6.0, 4.0, 40.0),
    ],
)
def test_meld_of_cases_by_hand(bilirubin, inr, creatinine, score):
    assert float(meld(*arrays(bilirubin, inr, creatinine))) == pytest.approx(score, abs=2e-5)


@pytest.mark.parametrize(
    ("levels", "sodium", "female", "score"),
    [
        ((2.0, 1.5, 1.0, 35.0), 137.0, 0.0, 4.56 * 0.693147 + 9.09 * 0.405465 + 6.0),
        ((2.0, 1.5, 1.0, 35.0), 137.0, 1.0, 4.56 * 0.693147 + 9.09 * 0.405465 + 6.0 + 1.33),
        ((1.0, 1.0, 1.0, 35.0), 125.0, 0.0, 0.82 * 12.0 + 6.0),
        ((1.0, 1.0, 1.0, 35.0), 118.0, 0.0, 0.82 * 12.0 + 6.0),
        ((1.0, 1.0, 1.0, 35.0), 145.0, 0.0, 6.0),
        ((1.0, 1.0, 3.0, 15.0), 137.0, 0.0, 11.14 * 1.098612 + 1.85 * 2.0 - 1.83 * 2.0 * 1.098612 + 6.0),
        ((1.0, 1.0, 7.0, 9.0), 137.0, 0.0, 11.14 * 1.098612 + 1.85 * 2.0 - 1.83 * 2.0 * 1.098612 + 6.0),
        ((1.0, 1.0, 1.0, 50.0), 137.0, 0.0, 6.0),
        ((10.0, 1.0, 1.0, 35.0), 130.0, 0.0, 4.56 * 2.302585 + 0.82 * 7.0 - 0.24 * 7.0 * 2.302585 + 6.0),
        ((40.0, 5.0, 3.0, 20.0), 125.0, 1.0, 40.0),
    ],
)
def test_meld_3_of_cases_by_hand(levels, sodium, female, score):
    assert float(meld_3(*arrays(*levels), sodium_mM=sodium, female=female)) == pytest.approx(score, abs=2e-5)


@pytest.mark.parametrize(
    ("bilirubin", "albumin", "inr", "points"),
    [
        (1.99, 35.1, 1.69, 3),
        (2.0, 35.1, 1.69, 4),
        (3.0, 35.1, 1.69, 4),
        (3.01, 35.1, 1.69, 5),
        (1.0, 35.0, 1.0, 4),
        (1.0, 28.0, 1.0, 4),
        (1.0, 27.9, 1.0, 5),
        (1.0, 40.0, 1.7, 4),
        (1.0, 40.0, 2.3, 4),
        (1.0, 40.0, 2.31, 5),
        (2.5, 31.0, 2.0, 6),
        (9.0, 20.0, 4.0, 9),
    ],
)
def test_child_pugh_at_the_edges_of_its_classes(bilirubin, albumin, inr, points):
    """Points for the three tests, beside one each for ascites and encephalopathy that are absent."""
    assert float(child_pugh(*arrays(bilirubin, albumin, inr))) == points + 2.0
    assert float(child_pugh(*arrays(bilirubin, albumin, inr), ascites=3, encephalopathy=2)) == points + 5.0


@pytest.mark.parametrize(
    ("umol_l", "albumin", "score", "grade"),
    [
        (10.0, 40.0, 0.66 - 3.4, 1),
        (10.0, 38.0, 0.66 - 3.23, 2),
        (100.0, 35.0, 1.32 - 2.975, 2),
        (100.0, 30.0, -1.23, 3),
    ],
)
def test_albi_at_powers_of_ten(umol_l, albumin, score, grade):
    """Bilirubin of 10 and 100 umol/l, molar mass 584.7: 1 mg/dl is 17.1 umol/l."""
    found = float(albi(*arrays(umol_l / 17.1, albumin)))
    assert found == pytest.approx(score, abs=1e-12)
    assert 1 + (found > -2.60) + (found > -1.39) == grade
    assert pytest.approx(1e4 / 584.7, rel=1e-3) == 17.1


@settings(max_examples=25, deadline=None)
@given(bilirubin=LEVEL, inr=LEVEL, creatinine=st.floats(0.1, 4.0), smoothing=st.sampled_from([0.025, 0.05, 0.1]))
def test_smooth_meld_lies_above_the_floors_by_no_more_than_its_leak(bilirubin, inr, creatinine, smoothing):
    """ln(1 + P) exceeds ln(max(v, 1)) by at most e / 2 for each level, in all (3.78 + 11.2 + 9.57) e / 2."""
    floors = [max(v, 1.0) for v in (bilirubin, inr, creatinine)]
    exact = 3.78 * np.log(floors[0]) + 11.2 * np.log(floors[1]) + 9.57 * np.log(floors[2]) + 6.43
    smooth = float(smooth_meld(*arrays(bilirubin, inr, creatinine), smoothing))
    assert -1e-9 <= smooth - exact <= 24.55 * smoothing / 2.0
    assert float(meld(*arrays(bilirubin, inr, creatinine))) == pytest.approx(min(exact, 40.0), rel=1e-12)


@pytest.mark.parametrize(("place", "weight"), [(0, 3.78), (1, 11.2), (2, 9.57)])
def test_doubling_a_level_adds_its_weight_times_log_two(place, weight):
    low, high = [1.5, 1.2, 1.1], [1.5, 1.2, 1.1]
    high[place] *= 2.0
    gained = float(meld(*arrays(*high)) - meld(*arrays(*low)))
    assert gained == pytest.approx(weight * np.log(2.0), rel=1e-12)


def test_low_sodium_stops_mattering_where_bilirubin_says_it_all():
    """0.82 - 0.24 ln b vanishes at b = exp(0.82 / 0.24) = 30.5 mg/dl; below it every missing mM adds."""
    balanced = float(np.exp(0.82 / 0.24))
    for bilirubin, sign in ((1.0, 1.0), (balanced, 0.0), (45.0, -1.0)):
        low, usual = (float(meld_3(*arrays(bilirubin, 1.0, 1.0, 35.0), sodium_mM=na)) for na in (130.0, 137.0))
        assert np.sign(round(low - usual, 9)) == sign


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_the_scores_with_a_derivative_have_it_at_zero_levels_and_keep_their_type(dtype):
    zero, one = jnp.zeros((), dtype), jnp.ones((), dtype)
    slopes = jax.grad(lambda *v: smooth_meld(*v, 0.05), (0, 1, 2))(zero, zero, zero)
    assert all(np.isfinite(s) and 0.0 <= s < 1e-2 * 11.2 and s.dtype == dtype for s in slopes)
    by_bilirubin, by_albumin = jax.grad(albi, (0, 1))(one, 40.0 * one)
    np.testing.assert_allclose([by_bilirubin, by_albumin], [0.66 / np.log(10.0), -0.085], rtol=1e-6)
    many = jnp.linspace(0.5, 5.0, 4, dtype=dtype)
    assert child_pugh(many, 10.0 * many, many).dtype == meld_3(many, many, many, 10.0 * many).dtype == dtype
