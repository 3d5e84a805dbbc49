"""The body's mechanisms against their NumPy twin, and what their equations imply."""

import importlib.util
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepatojax.body import biodistribution, growth, hazards, immune_memory, liver_tests
from hepatojax.mechanism import Fields, bolus, check_composition
from hepatojax.numerics.positive_step import step_states
from hepatojax.parameters.registry import from_registry, load_parameters

_SPEC = importlib.util.spec_from_file_location("body_twin", Path(__file__).parents[2] / "reference" / "body_twin.py")
twin = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(twin)

HUMAN = load_parameters("human")
PARAMETERS = {
    growth: from_registry(growth.GrowthParameters, HUMAN.growth),
    immune_memory: from_registry(
        immune_memory.ImmuneMemoryParameters, HUMAN.immune_memory, HUMAN.amplification, HUMAN.patient, HUMAN.cells
    ),
    liver_tests: from_registry(liver_tests.LiverTestParameters, HUMAN.liver_tests),
    hazards: from_registry(hazards.HazardParameters, HUMAN.hazards),
}
INPUTS = (
    *("activity", "potency_education", "msc_deaths_liver", "portal_gradient_relative"),
    *(
        "liver_volume",
        "rest_mass",
        "rest_function",
        "msc_lung",
        "mean_occupancy",
        "mean_mass_local",
        "mean_function_local",
    ),
    *("mean_macrophage_m1", "mean_inflammation", "mean_necrosis", "mean_division", "mean_collagen", "mean_blocked"),
)
MODULES = (growth, immune_memory, liver_tests, hazards)
MECHANISMS = tuple((m, PARAMETERS[module]) for module in MODULES for m in module.MECHANISMS)
STATES = tuple(f.name for module in MODULES for f in module.FIELDS if f.kind == "state" and f.name not in INPUTS)


def random_fields(seed):
    r = np.random.default_rng(seed)
    values = {name: r.uniform(0.05, 1.5) for name in (*INPUTS, *STATES)}
    values |= {
        "msc_lung": r.uniform(0, 4e3),
        "mean_inflammation": r.uniform(0, 0.9),
        "albumin_g_l": 30.0,
        "alt_u_l": 200.0,
    }
    values |= {"ast_u_l": 90.0, "bilirubin_mg_dl": r.uniform(0.5, 20.0), "regulatory_t": r.uniform(0.5, 9.0)}
    return Fields({name: jnp.asarray(float(v)) for name, v in values.items()})


def rates_of(fields):
    """d/dt of the states [unit/h] and all fields."""
    slope = dict.fromkeys(STATES, 0.0)
    for mechanism, p in MECHANISMS:
        if mechanism.kind == "algebraic":
            fields = fields.with_(mechanism(fields, p))
            continue
        rates = mechanism(fields, p)
        for name, value in rates.production.items():
            slope[name] += value
        for name, value in rates.loss.items():
            slope[name] -= value * fields[name]
        for t in rates.transfers:
            slope[t.source] -= t.rate * fields[t.source]
            slope[t.target] += t.gain * t.rate * fields[t.source]
    return slope, fields


def test_mechanisms_fit_together_and_every_field_is_declared():
    provided = tuple(name.removeprefix("mean_") for name in INPUTS)
    check_composition(tuple(m for m, _ in MECHANISMS), provided, STATES)
    declared = {f.name for module in MODULES for f in module.FIELDS}
    assert declared - {"liver_volume"} == {name for m, _ in MECHANISMS for name in m.writes}
    assert {f.name for f in biodistribution.FIELDS} >= {"msc_lung", "label_other"}


@pytest.mark.parametrize("seed", range(5))
def test_rates_equal_the_twin(seed):
    slope, fields = rates_of(random_fields(seed))
    y = {name: float(value) for name, value in fields.items()}
    np.testing.assert_allclose(24.0 * y["growth_rate"], twin.growth_per_day(y["mean_occupancy"]), rtol=1e-12)
    mass, function = (y["liver_volume"] * y[f"mean_{k}_local"] / y[f"rest_{k}"] for k in ("mass", "function"))
    np.testing.assert_allclose([y["mass"], y["function"]], [mass, function], rtol=1e-12)
    np.testing.assert_allclose(y["load_excess"], twin.excess(mass), rtol=3e-6 / min(mass, 1.0))
    np.testing.assert_allclose(y["functional_excess"], twin.excess(function), rtol=3e-6 / min(function, 1.0))
    np.testing.assert_allclose(y["load_response"], twin.hill(y["load_excess"], 5.0, 1.5), rtol=1e-12)
    for name, value in twin.chemistry(y).items():
        np.testing.assert_allclose(y[name], value, rtol=1e-12)
    for name in ("mean_necrosis", "mean_division"):
        y[name] *= 24.0
    y |= {"deaths_all": 24.0 * y["msc_deaths_liver"], "deaths_education": 24.0 * y["msc_deaths_liver"]}
    for name, value in twin.derivatives(y).items():
        np.testing.assert_allclose(24.0 * slope[name], value, rtol=1e-11, atol=1e-13, err_msg=name)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_production_and_loss_are_never_negative(seed):
    fields = random_fields(seed)
    for mechanism, p in MECHANISMS:
        if mechanism.kind == "algebraic":
            fields = fields.with_(mechanism(fields, p))
            continue
        rates = mechanism(fields, p)
        values = [*rates.production.values(), *rates.loss.values(), *(t.rate for t in rates.transfers)]
        assert all(float(v) >= 0.0 for v in values), mechanism.name


def at_rest():
    """The healthy body: function 1, inflammation at the leak of its smooth positive part."""
    p, inflammation = PARAMETERS[liver_tests], jnp.asarray(1e-3)
    one, none = jnp.asarray(1.0), jnp.asarray(0.0)
    values = dict.fromkeys((*INPUTS, *STATES), none)
    for name in ("potency_education", "portal_gradient_relative", "rest_mass", "rest_function", "mean_occupancy"):
        values[name] = one
    for name in ("mean_mass_local", "mean_function_local", "liver_volume", "regulatory_t"):
        values[name] = one
    values |= liver_tests.steady_tests(one, inflammation, none, p) | {"mean_inflammation": inflammation}
    return Fields(values)


def test_rest_is_a_steady_state():
    slope, fields = rates_of(at_rest())
    integrals = {f.name for f in hazards.FIELDS}
    # the smooth positive part leaks e/2 into the excess of regulation: suppression settles at 2e-9 instead of 0
    assert all(abs(v) < 1e-10 for name, v in slope.items() if name not in integrals)
    assert abs(float(fields.load_response)) < 0.01 and abs(float(fields.education_influx)) == 0.0


def test_every_endpoint_has_a_finite_gradient_at_rest():
    def total(values):
        slope, fields = rates_of(Fields(values))
        return sum(slope.values()) + sum(fields[name] for name in ("meld", "survival", "load_response"))

    gradient = jax.grad(total)(dict(at_rest()))
    assert all(np.isfinite(g) for g in gradient.values())


def test_a_dead_liver_stays_finite():
    dead = at_rest().with_({"mean_mass_local": jnp.asarray(0.0), "mean_function_local": jnp.asarray(0.0)})
    slope, fields = rates_of(dead)
    assert all(np.isfinite(v) for v in (*slope.values(), *fields.values()))


def test_one_intravenous_dose_raises_regulation_as_the_page_says():
    """BIOLOGY A8: 18 x 15 x 70/1e4 = 1.9 of the resting pool, of which 1.7 is there at week 4."""
    p = PARAMETERS[immune_memory]

    def rates(y):
        fields = Fields(y | {"msc_deaths_liver": 70.0 * p_dead * jnp.exp(-p_dead * y["t"]), "potency_education": 1.0})
        made = immune_memory.regulatory_t_cells(fields, p)
        return type(made)(made.production | {"t": 1.0}, made.loss, made.transfers)

    p_dead = 1.39 / 24.0
    y = {"treg_precursors": jnp.asarray(0.0), "regulatory_t": jnp.asarray(1.0), "t": jnp.asarray(0.0)}
    end = jax.lax.fori_loop(0, 28 * 8, lambda _, y: step_states(y, rates, 3.0)[0], y)
    assert 1.55 < float(end["regulatory_t"]) - 1.0 < 1.85


def test_deaths_outside_the_liver_induce_regulation_and_educate_fewer_monocytes():
    p = PARAMETERS[immune_memory]
    deaths = {"lung": bolus(4.0, 0.25), "spleen": bolus(2.0, 0.5), "other": bolus(1.0, 0.75)}
    made = immune_memory.educated_outside(deaths, 1.3, p)
    per_msc = 1.3 * p.phagocytes_per_msc
    np.testing.assert_allclose(
        made["treg_precursors"].amount, 7.0 * p.tregs_per_phagocyte * per_msc / p.treg_pool, rtol=1e-14
    )
    homing = per_msc * p.lung_homing
    np.testing.assert_allclose(made["educated_monocytes"].amount, homing * (6.0 + p.other_organ_share), rtol=1e-14)
    mean = 4.0 * 0.75 + 2.0 * 0.5 + p.other_organ_share * 0.25
    np.testing.assert_allclose(made["educated_monocytes"].mean, homing * mean, rtol=1e-14)


def test_incidence_of_infection_is_that_of_competing_risks():
    """At constant hazards CI = h_inf / h (1 - exp(-h t)) with h = h_mort + h_dev + h_inf."""
    p = PARAMETERS[hazards]
    infection, device, other = 0.01, 0.002, 0.005
    death = other + device + p.infection_fatality * infection
    constant = {"infection_rate": infection, "device_rate": device, "mortality_rate": death}
    constant = {name: jnp.asarray(value) for name, value in constant.items()}
    names = hazards.accumulated_hazards.writes

    def rates(y):
        return hazards.accumulated_hazards(Fields(y | constant), p)

    end = jax.lax.fori_loop(0, 400, lambda _, y: step_states(y, rates, 0.25)[0], dict.fromkeys(names, jnp.asarray(0.0)))
    total = other + device + infection
    np.testing.assert_allclose(end["infection_incidence"], infection / total * -math.expm1(-total * 100.0), rtol=1e-5)


def test_steady_tests_do_not_move():
    f, j, lysis = jnp.asarray(0.4), jnp.asarray(0.3), jnp.asarray(1e-4)
    tests = liver_tests.steady_tests(f, j, lysis, PARAMETERS[liver_tests])
    fields = at_rest().with_(tests | {"mean_function_local": f, "mean_inflammation": j, "mean_necrosis": lysis})
    slope, _ = rates_of(fields)
    assert all(abs(float(slope[name])) < 1e-12 for name in tests)
