"""What the equations of the body imply exactly: half-lives, steady states, laws of scaling, ceilings, limits."""

import dataclasses
import itertools
import math

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from hepatojax.assembly import model_parameters
from hepatojax.body import growth, hazards, immune_memory, liver_tests
from hepatojax.body.circulation import arterial_share, liver_inflow
from hepatojax.body.plasma import body_signal, domain_closure
from hepatojax.body.toxin import mean_toxin_response
from hepatojax.mechanism import Fields
from hepatojax.parameters.registry import load_parameters
from tests.reference import body_cases

P = model_parameters(load_parameters())


def scalars(**values):
    return Fields({name: jnp.asarray(float(value)) for name, value in values.items()})


@pytest.mark.parametrize(
    ("mechanism", "state", "hours"),
    [
        (liver_tests.synthesis, "factor_vii", 5.04),
        (liver_tests.synthesis, "albumin_g_l", 475.3),  # 19.8 d
        (liver_tests.transaminases, "alt_u_l", 47.5),
        (liver_tests.transaminases, "ast_u_l", 18.1),
    ],
)
def test_half_lives_of_liver_proteins_are_those_of_the_clinic(mechanism, state, hours):
    values = dict.fromkeys((*mechanism.reads, *mechanism.writes), 0.5)
    assert math.log(2.0) / mechanism(scalars(**values), P.liver_tests).loss[state] == pytest.approx(hours, rel=2e-3)


@pytest.mark.parametrize(
    ("function", "bilirubin", "albumin", "inr"),
    [
        (1.0, 0.7 / 1.015, 42.0, 1.0),
        (0.5, 0.7 / 0.265, 42.0 * 0.5**0.4, (0.53 / 1.03) ** -0.58),
        (0.2, 0.7 / 0.055, 42.0 * 0.2**0.4, (0.23 / 1.03) ** -0.58),
        (0.0, 0.7 / 0.015, 0.0, (0.03 / 1.03) ** -0.58),  # 47 mg/dl and INR 7.8: no liver
    ],
)
def test_tests_of_a_liver_at_constant_function(function, bilirubin, albumin, inr):
    steady = liver_tests.steady_tests(*(jnp.asarray(v) for v in (function, 0.0, 0.0)), P.liver_tests)
    np.testing.assert_allclose(steady["bilirubin_mg_dl"], bilirubin, rtol=1e-12)
    np.testing.assert_allclose(steady["albumin_g_l"], albumin, rtol=1e-12)
    chemistry = liver_tests.clinical_chemistry(Fields({**steady, "functional_excess": jnp.asarray(0.0)}), P.liver_tests)
    np.testing.assert_allclose(chemistry["inr"], inr, rtol=1e-12)
    np.testing.assert_allclose(chemistry["creatinine_mg_dl"], 0.9, rtol=1e-12)


def test_enzymes_released_by_one_lysis_are_their_release_over_their_rate():
    """The area under the rise of ALT after a pulse of lysis is a / k, as it is for any linear clearance."""
    lysis = jnp.asarray(1e-3)
    steady = liver_tests.steady_tests(jnp.asarray(1.0), jnp.asarray(0.0), lysis, P.liver_tests)
    assert float(steady["alt_u_l"]) == pytest.approx(25.0 + 3e4 * 24e-3 / 0.35, rel=1e-12)
    assert float(steady["ast_u_l"]) == pytest.approx(25.0 + 7.1e4 * 24e-3 / 0.92, rel=1e-12)
    assert float(steady["ast_u_l"] / steady["alt_u_l"]) < 1.0  # ALT lasts longer


@settings(max_examples=20, deadline=None)
@given(volume=st.floats(0.05, 2.0), local=st.floats(0.05, 1.2))
def test_mass_is_volume_times_density_and_nothing_else(volume, local):
    """Half the lobules and lobules half empty bear the same load; the load of a share F is 1/F - 1 - x0 far from it."""
    fields = dict(mean_function_local=local, rest_mass=0.8, rest_function=0.8)
    by_volume = growth.loads(scalars(liver_volume=volume, mean_mass_local=local, **fields), P.growth)
    swapped = growth.loads(scalars(liver_volume=1.0, mean_mass_local=local * volume, **fields), P.growth)
    for name in ("mass", "load_excess", "load_response"):
        np.testing.assert_allclose(by_volume[name], swapped[name], rtol=1e-9)
    load = 1.0 / (volume * local / 0.8) - 1.0 - 0.1
    excess = float(by_volume["load_excess"])
    guard = 1e-5 * (1.0 + abs(load) / (volume * local))  # of a liver without function
    assert max(load, 0.0) - guard <= excess <= max(load, 0.0) + 0.025 + guard  # P leaks e/2 at most


def test_a_liver_without_function_bears_the_largest_load():
    dead = growth.loads(
        scalars(liver_volume=1.0, mean_mass_local=0.0, mean_function_local=0.0, rest_mass=1.0, rest_function=1.0),
        P.growth,
    )
    assert float(dead["load_excess"]) == pytest.approx(1e6, rel=1e-3)
    assert float(dead["load_response"]) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("severity", [0.0, 20.0, 1e3])
@pytest.mark.parametrize("suppression", [0.0, 1.0])
def test_hazard_of_infection_stays_below_its_ceiling(severity, suppression):
    """Never above 5 h_max = 0.08 per day."""
    fields = scalars(
        meld=6.0 + severity,
        immune_suppression=suppression,
        **dict.fromkeys(("mean_blocked", "portal_gradient_relative", "msc_lung", "mortality_hazard"), 0.0),
    )
    found = 24.0 * float(hazards.hazard_rates(fields, P.hazards)["infection_rate"])
    by_meld = 5e-4 * math.exp(min(0.12 * severity, 700.0))
    ceiling = 0.016 * (1.0 + 4.0 * suppression)
    assert found == pytest.approx(ceiling * by_meld / (0.016 + by_meld), rel=1e-9)
    assert found <= ceiling <= 0.08 * (1 + 1e-12)


@pytest.mark.parametrize(
    ("blocked", "pressure", "lung", "per_day"),
    [
        (0.0, 1.0, 0.0, 0.0),
        (0.5, 1.0, 0.0, 0.05),
        (0.0, 5.0, 0.0, 0.01),
        (0.0, 1.0, 3e3, 0.025),
        (0.5, 5.0, 3e3, 0.085),
    ],
)
def test_harms_of_the_treatment_add_and_are_half_at_their_half_effects(blocked, pressure, lung, per_day):
    sharp = dataclasses.replace(P.hazards, portal_smoothing=0.0)
    fields = dict(mean_blocked=blocked, portal_gradient_relative=pressure, msc_lung=lung)
    well = dict(meld=6.0, immune_suppression=0.0, mortality_hazard=0.0)
    rates = hazards.hazard_rates(scalars(**fields, **well), sharp)
    assert 24.0 * float(rates["device_rate"]) == pytest.approx(per_day, abs=1e-12)
    background = 24.0 * float(rates["mortality_rate"] - rates["device_rate"] - 0.3 * rates["infection_rate"])
    assert background == pytest.approx(2.1e-4, rel=1e-9)


def test_five_points_of_meld_double_the_hazard_of_death():
    """Every ln 2 / 0.13 = 5.33 points."""
    fields = body_cases.draw(51).with_(dict.fromkeys(("mean_blocked", "msc_lung"), jnp.asarray(0.0)))
    fields = fields.with_({"portal_gradient_relative": jnp.asarray(-1e6), "immune_suppression": jnp.asarray(0.0)})
    harmless = dataclasses.replace(P.hazards, infection_fatality=0.0, portal_rate=0.0)
    low, high = (
        float(hazards.hazard_rates(fields.with_({"meld": jnp.asarray(m)}), harmless)["mortality_rate"])
        for m in (15.0, 15.0 + math.log(2.0) / 0.13)
    )
    assert high == pytest.approx(2.0 * low, rel=1e-12)


@pytest.mark.parametrize(("regulation", "restraint"), [(1.0, 1.0), (0.0, 3.0), (2.5, 0.5), (1e12, 0.0)])
def test_effector_cells_settle_at_cause_times_costimulation_times_restraint(regulation, restraint):
    """(1 + 1/0.5) / (1 + tr/0.5) is 1 at rest, 1/2 at tr = 2.5; half the cause at ag = 3, half the help at m1 = 0.4."""
    fields = scalars(activity=3.0, mean_macrophage_m1=0.4, regulatory_t=regulation, effector_t=0.3)
    rates = immune_memory.effector_t_cells(fields, P.immune_memory)
    steady = float(rates.production["effector_t"] / rates.loss["effector_t"])
    assert steady == pytest.approx(0.5 * (0.1 + 0.5) * restraint, abs=1e-11)
    healthy = immune_memory.effector_t_cells(fields.with_({"activity": jnp.asarray(0.0)}), P.immune_memory)
    assert float(healthy.production["effector_t"]) == 0.0


@settings(max_examples=20, deadline=None)
@given(conductance=st.floats(1e-3, 1e3))
def test_flow_is_gradient_times_conductance(conductance):
    """Ohm's law of the liver, and of the gut before it: Q (s + (1 - s) G^-n) is the constant pressure of the body."""
    found = liver_inflow(jnp.asarray(conductance), P.circulation)
    assert float(found.gradient) * conductance == pytest.approx(float(found.relative), rel=1e-12)
    assert float(found.relative) * (0.4 + 0.6 / math.sqrt(conductance)) == pytest.approx(1.0, rel=1e-12)
    assert float(found.relative) < 1.0 / 0.4


def test_odds_of_arterial_blood_fall_as_a_power_of_the_inflow():
    """Equal ratios of inflow change the odds by equal factors."""
    share = [float(arterial_share(jnp.asarray(q), P.circulation)) for q in (0.25, 0.5, 1.0, 2.0)]
    odds = [s / (1.0 - s) for s in share]
    ratios = [b / a for a, b in itertools.pairwise(odds)]
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-10)
    assert ratios[0] < 1.0 and odds[2] == pytest.approx(1.0 / 3.0)


@settings(max_examples=20, deadline=None)
@given(dose=st.floats(0.0, 1e4), taken=st.floats(-5.0, 15.0), cut=st.floats(0.5, 11.5))
def test_response_to_a_toxin_is_a_mean(dose, taken, cut):
    """It lies in 0..1, and the means of two parts make the mean of the whole, weighted by their lengths."""
    args = jnp.asarray(dose), jnp.asarray(taken)
    whole, first, second = (
        float(mean_toxin_response(*args, jnp.asarray(a), b - a, P.toxin))
        for a, b in ((0.0, 12.0), (0.0, cut), (cut, 12.0))
    )
    assert 12.0 * whole == pytest.approx(cut * first + (12.0 - cut) * second, abs=1e-9)
    assert -1e-15 <= whole <= 1.0


def test_a_toxin_acts_by_its_level_over_its_half_saturation_alone():
    """Twice the dose in twice the volume, of twice the mass or at twice the half saturation: the same response."""
    usual = mean_toxin_response(jnp.asarray(300.0), jnp.asarray(1.0), jnp.asarray(0.0), 6.0, P.toxin)
    for name in ("distribution_volume_l_kg", "molar_mass_kda", "half_saturation_mM"):
        other = dataclasses.replace(P.toxin, **{name: 2.0 * getattr(P.toxin, name)})
        twice = mean_toxin_response(jnp.asarray(600.0), jnp.asarray(1.0), jnp.asarray(0.0), 6.0, other)
        np.testing.assert_allclose(twice, usual, rtol=1e-12)
    endless = mean_toxin_response(jnp.asarray(1e9), jnp.asarray(0.0), jnp.asarray(0.0), 6.0, P.toxin)
    assert float(endless) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("name", ["hgf", "tgf_beta", "vegf", "cxcl12", "tnf"])
def test_the_source_of_the_body_adds_up_from_production_and_cells(name):
    """Affine in the cells outside the liver with the potency as factor, and independent of them in its clearance."""
    signal = body_signal(load_parameters().signals[name])
    none, some, more = (domain_closure(signal, 0.0, jnp.asarray(n), 1.5, 1e6) for n in (0.0, 10.0, 20.0))
    rise = float(some.source_nM_um3_s - none.source_nM_um3_s)
    np.testing.assert_allclose(more.source_nM_um3_s - none.source_nM_um3_s, 2.0 * rise, rtol=1e-9, atol=1e-15)
    assert (rise > 0.0) == (name != "tnf")  # MSC make no TNF
    assert none.clearance_um3_s == more.clearance_um3_s > 0.0


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_gradients_of_the_body_are_finite_where_everything_is_zero(dtype):
    """A liver that is gone, in a body without cells or cause, at exact zeros."""
    start = body_cases.draw(52, dtype=dtype)
    zero = {name: jnp.zeros((), dtype) for name in start if name not in ("rest_mass", "rest_function")}

    def total(fields):
        done = body_cases.evaluate(fields, P)
        return sum(body_cases.slopes(done, P).values()) + sum(
            done[name] for name in ("meld", "load_response", "survival")
        )

    value, slopes = jax.jit(jax.value_and_grad(total))(start.with_(zero))
    assert np.isfinite(value) and all(np.isfinite(slopes[name]) for name in slopes)
    assert all(slopes[name].dtype == dtype for name in slopes)
