"""What the equations of the tissue imply exactly: half-lives, steady states, invariant bounds, limits, symmetries."""

import dataclasses
import math

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from scipy.linalg import expm

from hepatojax.biology import hepatocytes, immunity, injury, matrix, metabolism, secretion, stem_cells, vessels
from hepatojax.biology.rest import balance, gain_and_loss, rest_collagen
from hepatojax.mechanism import Fields
from tests.reference.biology_cases import all_rates, draw, evaluate

ONE = jnp.ones((1, 1, 1))
BOUNDED = ("identity", "zonation", "stellate", "vascular_integrity", "capillarisation")


def point(**values):
    """A field of one cell for every number, scalars as they are."""
    return Fields({name: value * ONE for name, value in values.items()})


def linear_system(rates, states):
    """The matrix M and the vector P of dy/dt = P + M y at one point, transfers included."""
    system, supply = np.zeros((len(states), len(states))), np.zeros(len(states))
    for n, name in enumerate(states):
        supply[n] = float(jnp.sum(rates.production.get(name, 0.0 * ONE)))
        system[n, n] -= float(jnp.sum(rates.loss.get(name, 0.0 * ONE)))
    for move in rates.transfers:
        source, target = states.index(move.source), states.index(move.target)
        system[source, source] -= float(jnp.sum(move.rate))
        system[target, source] += move.gain * float(jnp.sum(move.rate))
    return system, supply


def half_life(mechanism, parameters, state, **fields):
    """Half-life [d] of a state that nothing supplies and that turns into nothing else."""
    given = dict.fromkeys(mechanism.writes, 0.0) | fields
    system, _ = linear_system(mechanism(point(**given), parameters), mechanism.writes)
    where = mechanism.writes.index(state)
    return math.log(2.0) / -system[where, where] / 24.0


COLLAGEN = dict(stellate=0.0, myofibroblast=0.0, tgf_beta=0.0, rest_tgf_response=0.0, rest_collagen_deposition=0.0)


@pytest.mark.parametrize(
    ("mechanism", "room", "state", "days", "fields"),
    [
        (matrix.collagen_turnover, "matrix", "collagen_crosslinked", 577.6, {**COLLAGEN, "matrix_degradation": 1.0}),
        (matrix.collagen_turnover, "matrix", "collagen_crosslinked", 288.8, {**COLLAGEN, "matrix_degradation": 2.0}),
        (matrix.collagen_turnover, "matrix", "collagen_fresh", 43.3, {**COLLAGEN, "matrix_degradation": 1.0}),
        (matrix.myofibroblast_turnover, "matrix", "myofibroblast", 23.1, {"msc_death": 0.0}),
        (stem_cells.msc_turnover, "stem_cells", "msc_adherent", 1.507, {}),
        (stem_cells.label_turnover, "stem_cells", "msc_label", 34.66, {}),
        (stem_cells.plug_release, "stem_cells", "plugging", 0.6931, {}),
        (hepatocytes.identity_turnover, "hepatocytes", "identity", 17.33, {"inflammation": 0.0}),
        (hepatocytes.identity_turnover, "hepatocytes", "identity", 4.332, {"inflammation": 1.0}),
        (metabolism.zonation_relaxation, "metabolism", "zonation", 3.466, {"oxygen": 40.0}),
    ],
)
def test_half_lives_in_days_are_those_of_the_stated_rates(p, mechanism, room, state, days, fields):
    """ln 2 over 0.0012, 0.012 + 0.004, 0.03, 0.46, 0.02, 1, 0.04, 0.04 + 0.12 and 1/5 per day."""
    assert half_life(mechanism, getattr(p, room), state, **fields) == pytest.approx(days, rel=1e-3)


def test_integrity_stays_at_one_in_healthy_tissue(p):
    well = point(vascular_integrity=1.0, tnf_toxicity=0.0, atp=1.0, vegf_drive=1.0)
    gain, loss = gain_and_loss(vessels.endothelial_turnover(well, p.vessels), "vascular_integrity", well)
    assert float(gain[0, 0, 0]) == float(loss[0, 0, 0]) == p.vessels.repair_rate


@pytest.mark.parametrize(("toxicity", "energy"), [(0.0, 0.5), (1.0, 1.0), (1.0, 0.0)])
def test_integrity_under_harm_settles_where_repair_meets_damage(p, toxicity, energy):
    """With equal rates of repair and damage, v / (1 - v) is the inverse of the harm T + 1 - a."""
    equal = dataclasses.replace(p.vessels, damage_rate=p.vessels.repair_rate)
    harmed = point(vascular_integrity=0.3, tnf_toxicity=toxicity, atp=energy, vegf_drive=1.0)
    v = float(
        balance(vessels.endothelial_turnover(harmed, equal), ("vascular_integrity",), harmed)["vascular_integrity"][
            0, 0, 0
        ]
    )
    assert (1.0 - v) / v == pytest.approx(toxicity + 1.0 - energy, rel=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_no_rate_leads_out_of_the_bounds_of_a_share(p, seed):
    """A share cannot rise at one, and its steady state lies between 0 and 1, whatever the other fields are."""
    fields = evaluate(draw(seed, shape=(1, 1, 3)), p)
    for rates in all_rates(fields, p):
        for name in BOUNDED:
            if name in rates.loss:
                assert np.all(np.asarray(rates.production[name]) <= np.asarray(rates.loss[name]) * (1 + 1e-12)), name


def test_engraftment_follows_batemans_chain(p):
    """Adherent cells feed engrafted ones: n_e(t) = n0 k_g (e^{-a t} - e^{-b t}) / (b - a)."""
    fast = dataclasses.replace(p.stem_cells, engraftment_rate=2e-3, differentiation_rate=5e-4)
    states = ("msc_adherent", "msc_engrafted", "msc_derived")
    system, supply = linear_system(stem_cells.msc_turnover(point(**dict.fromkeys(states, 0.0)), fast), states)
    np.testing.assert_array_equal(supply, 0.0)
    hours, start = 100.0, 40.0
    a, b = fast.death_rate + fast.engraftment_rate, fast.engrafted_death_rate + fast.differentiation_rate
    adherent, engrafted, _ = expm(system * hours) @ [start, 0.0, 0.0]
    assert adherent == pytest.approx(start * math.exp(-a * hours), rel=1e-12)
    exact = start * fast.engraftment_rate * (math.exp(-a * hours) - math.exp(-b * hours)) / (b - a)
    assert engrafted == pytest.approx(exact, rel=1e-10)
    full = point(msc_adherent=0.0, msc_engrafted=1.2e5, msc_derived=0.0)
    made = stem_cells.msc_turnover(full, fast).production["msc_derived"]  # a full density of them, per hepatocyte
    np.testing.assert_allclose(made, fast.differentiation_rate, rtol=1e-12)


@settings(max_examples=25, deadline=None)
@given(prime=st.floats(0.0, 1.0), growth=st.floats(0.0, 1.0))
def test_a_healthy_cycle_grows_if_cells_are_primed_and_divide(p, prime, growth):
    """The growth rate s of q and p solves s^2 + (a + b + r) s - a b = 0: it is positive as soon as a b is."""
    h = p.hepatocytes
    a, b, r = h.priming_rate * prime, h.division_rate * growth, h.quiescence_rate * (1.0 - growth)
    names = ("injury_rate", "repair_rate", "necrosis_rate", "debris_clearance", "rest_apoptosis")
    rates = dict(priming_rate=a, division_rate=b, growth_drive=growth, **dict.fromkeys(names, 0.0))
    cells = ("quiescent", "primed", "injured", "debris")
    system, _ = linear_system(hepatocytes.hepatocyte_turnover(point(**dict.fromkeys(cells, 1.0), **rates), h), cells)
    largest = max(np.linalg.eigvals(system[:2, :2]).real)
    exact = 0.5 * (math.sqrt((a + b + r) ** 2 + 4.0 * a * b) - (a + b + r))
    assert largest == pytest.approx(exact, abs=1e-9)
    assert np.all(system - np.diag(np.diag(system)) >= 0.0)  # a positive system: no cell number can turn negative
    np.testing.assert_allclose(system.sum(axis=0), [0.0, b, 0.0, 0.0], atol=1e-15)  # only division adds cells


def test_without_energy_no_cell_is_primed_divides_or_recovers(p):
    starved = evaluate(draw(41, shape=(1, 1, 3)).with_({"oxygen": jnp.zeros((1, 1, 3))}), p)
    for name in ("atp", "priming_rate", "division_rate", "repair_rate", "mass_local", "function_local"):
        np.testing.assert_array_equal(starved[name], 0.0, err_msg=name)
    np.testing.assert_array_equal(starved.hypoxia, 1.0)
    rested = (1.0 + starved.tnf_toxicity + 4.0) * p.injury.necrosis_rate
    np.testing.assert_allclose(starved.necrosis_rate, rested, rtol=1e-12)


@pytest.mark.parametrize("zonation", [-3.0, 0.0, 2.0])
def test_zonation_moves_the_cause_and_does_not_add_to_it(p, zonation):
    """The mean injury by the cause is ag (k_dir + k_imm te), wherever it acts."""
    own = dataclasses.replace(p.injury, cause_zonation=zonation)
    fields = evaluate(draw(42, shape=(1, 1, 50)), p).with_({"zone": jnp.linspace(0.0, 1.0, 50)[None, None]})
    fields = fields.with_(injury.harm_zonation(fields, own))
    fields = fields.with_({"mean_cause_weight": jnp.mean(fields.cause_weight), "toxin_response": jnp.asarray(0.0)})
    healthy = fields.with_({"activity": jnp.asarray(0.0)})
    by_cause = injury.injury_rates(fields, own)["injury_rate"] - injury.injury_rates(healthy, own)["injury_rate"]
    exact = fields.activity * (own.direct_rate + own.immune_rate * fields.effector_t)
    np.testing.assert_allclose(jnp.mean(by_cause), exact, rtol=1e-10)


def test_toxin_is_activated_ten_times_as_much_at_the_central_vein(p):
    weight = injury.harm_zonation(Fields({"zone": jnp.asarray([[[0.0, 0.5, 1.0]]])}), p.injury)["toxin_weight"][0, 0]
    assert float(weight[2] / weight[0]) == pytest.approx(10.0, rel=0.01)
    assert float(weight[1]) == 1.0


def test_zonation_of_oxygen_demand_is_antisymmetric_about_the_middle(p):
    """Demand at xi and 1 - xi sums to twice the unzonated one, so that the lobule's uptake does not depend on it."""
    place = jnp.linspace(0.0, 1.0, 5)[None, None]
    cells = dict.fromkeys(
        ("quiescent", "primed", "injured", "msc_derived", "macrophage_m1", "macrophage_m2"), 0.3 * jnp.ones((1, 1, 5))
    )
    demand = metabolism.respiration(Fields({**cells, "zone": place}), p.metabolism)["oxygen_demand"]
    flat = metabolism.respiration(
        Fields({**cells, "zone": place}), dataclasses.replace(p.metabolism, uptake_zonation=0.0)
    )
    np.testing.assert_allclose(demand + demand[..., ::-1], 2.0 * flat["oxygen_demand"], rtol=1e-14)
    assert float(demand[0, 0, 0] / demand[0, 0, -1]) == pytest.approx(1.35 / 0.65)


def test_conductance_is_one_at_rest_and_collateral_when_all_is_closed(p):
    v = p.vessels
    places = {
        "vascular_integrity": [1.0, 1.0, 0.0, 0.5],
        "collagen": [v.rest_collagen] * 4,
        "blocked": [0.0, 1.0, 0.0, 0.0],
    }
    fields = Fields({name: jnp.asarray([[values]]) for name, values in places.items()})
    found = vessels.sinusoidal_conductance(fields, v)["conductance_factor"][0, 0]
    k = v.collateral_share
    np.testing.assert_allclose(found, [1.0, k, k, 0.5 * (1.0 + k)], rtol=1e-14)


def test_scar_narrows_sinusoids_by_the_square_of_the_open_width(p):
    """Far from closure P is the identity: at c = 0.3 of 0.6 half the width is open, and (0.5 / 0.95)^2 conducts."""
    sharp = dataclasses.replace(p.vessels, collagen_smoothing=1e-9, collateral_share=0.0)
    scar = point(vascular_integrity=1.0, collagen=0.3, blocked=0.0)
    np.testing.assert_allclose(
        vessels.sinusoidal_conductance(scar, sharp)["conductance_factor"], (0.5 / 0.95) ** 2, rtol=1e-12
    )
    closed = vessels.matrix_openness(jnp.asarray(0.6), p.vessels)
    assert float(closed) == pytest.approx(0.5 * p.vessels.collagen_smoothing)


@given(drive=st.floats(1e-3, 1e3))
@settings(max_examples=25, deadline=None)
def test_more_and_less_vegf_act_alike_in_opposite_directions(drive):
    """s(1/g) = -s(g), and repair never turns negative: s > -1."""
    up, down = (float(vessels.vegf_response(jnp.asarray(g))) for g in (drive, 1.0 / drive))
    assert up == pytest.approx(-down, abs=1e-12) and -1.0 < up < 1.0


@given(first=st.floats(0.0, 5.0), second=st.floats(0.0, 5.0))
@settings(max_examples=20, deadline=None)
def test_plugs_of_two_infusions_block_independently(p, first, second):
    """Poisson occupancy: a sinusoid is open if neither has plugged it."""
    load = Fields({"plugging": jnp.asarray([[[first, second, first + second]]])})
    a, b, both = np.asarray(1.0 - stem_cells.sinusoid_blocking(load, p.stem_cells)["blocked"])[0, 0]
    assert both == pytest.approx(a * b, abs=1e-14)


@given(mean=st.floats(1e-6, 1e4), rivals=st.floats(0.75, 100.0))
@settings(max_examples=25, deadline=None)
def test_contact_lies_below_its_value_at_the_mean_density(mean, rivals):
    """n / (n + a) is concave, so that few scattered cells touch less than the same density spread evenly (Jensen)."""
    found = float(stem_cells.poisson_saturation(jnp.asarray(mean), jnp.asarray(rivals)))
    assert 0.0 < found <= mean / (mean + rivals) * (1.0 + 1e-12)
    small = float(stem_cells.poisson_saturation(jnp.asarray(1e-9), jnp.asarray(rivals)))
    assert small == pytest.approx(1e-9 / (1.0 + rivals), rel=1e-6)  # one cell alone: P(N = 1) / (1 + a)


@pytest.mark.parametrize(("tnf", "licensed"), [(0.0, 0.0), (0.03, 0.0), (1e9, 0.0), (0.0, 1.0), (0.7, 1.0)])
def test_licensing_lies_between_one_and_full(p, tnf, licensed):
    scalars = Fields({"mean_tnf": jnp.asarray(tnf), "licensed": jnp.asarray(licensed)})
    found = stem_cells.msc_licensing(scalars, p.stem_cells)
    full = 1.0 + p.stem_cells.licensing
    expected = full if licensed == 1.0 else {0.0: 1.0, 0.03: 0.5 * (1.0 + full), 1e9: full}[tnf]
    np.testing.assert_allclose(found["licensing"], expected, rtol=1e-9)
    np.testing.assert_allclose(found["licensing_outside"], full if licensed else 1.0, rtol=1e-15)


def test_an_unreachable_half_saturation_switches_a_response_off(p):
    """In the limit K -> infinity contact, IL-10, education and killing by TNF leave what a healthy tissue has."""
    fields = evaluate(draw(43, shape=(1, 1, 3)), p)
    deaf = dataclasses.replace(p.injury, killing_half_saturation=1e30, inflammation_half_saturation=1e30)
    sensed = injury.tnf_sensing(fields.with_({"rest_inflammation": 0.0 * fields.tnf}), deaf)
    np.testing.assert_allclose(sensed["tnf_toxicity"], 0.0, atol=1e-30)
    np.testing.assert_allclose(sensed["inflammation"], 0.5 * deaf.inflammation_smoothing, rtol=1e-12)
    alone = dataclasses.replace(
        p.immunity,
        switch_debris_half_saturation=1e30,
        switch_il10_half_saturation=1e30,
        contact_half_saturation=1e30,
        contact_rate=0.0,
    )
    np.testing.assert_allclose(immunity.macrophage_switch(fields, alone)["switch_rate"], alone.switch_rate, rtol=1e-12)


def test_macrophages_of_rest_settle_at_recruitment_over_loss_and_switch(p):
    """m1 = rec / (k_1 + sw) = 0.01 / 0.25 without debris, cytokines or cells; all of them leave through M2."""
    zero = dict.fromkeys(
        ("debris_response", "tnf", "debris", "il10", "macrophage_educated", "msc_contact", "macrophage_m1"), 0.0
    )
    scalars = dict(effector_t=0.0, portal_gradient_relative=1.0, licensing=1.0, education_influx=0.0)
    fields = point(**zero, macrophage_m2=1.0, rest_m2_influx=0.96).with_(
        {n: jnp.asarray(v) for n, v in scalars.items()}
    )
    sharp = dataclasses.replace(p.immunity, gut_smoothing=0.0)
    fields = fields.with_(immunity.macrophage_recruitment(fields, sharp) | immunity.macrophage_switch(fields, sharp))
    steady = balance(immunity.macrophage_turnover(fields, sharp), ("macrophage_m1", "macrophage_m2"), fields)
    np.testing.assert_allclose(steady["macrophage_m1"], 0.04, rtol=1e-12)
    np.testing.assert_allclose(steady["macrophage_m2"], 0.96 + 0.04, rtol=1e-12)


def test_collagen_of_rest_is_whole_and_mostly_crosslinked(p):
    """k_x / k_2 = 10/3: three parts fresh to ten crosslinked, together the rest collagen."""
    parts = rest_collagen(p.matrix)
    assert sum(parts.values()) == pytest.approx(p.matrix.rest_collagen, rel=1e-15)
    assert parts["collagen_crosslinked"] / parts["collagen_fresh"] == pytest.approx(10.0 / 3.0, rel=1e-12)


def test_metalloproteinases_stay_active_between_their_bounds(p):
    """Without M2 activity falls by k_2, with endless M2 it rises by k_2; it is positive because k_2 < 1."""
    ends = Fields({"macrophage_m2": jnp.asarray([[[0.0, 1.0, 1e12]]]), "msc_ratio": jnp.zeros((1, 1, 3))})
    found = matrix.matrix_degradation(ends, p.matrix)["matrix_degradation"][0, 0]
    np.testing.assert_allclose(found, [0.5, 1.0, 1.5], rtol=1e-10)


@pytest.mark.parametrize("signal", secretion.SIGNALS)
def test_secretion_is_linear_in_the_cells_that_make_it(p, signal):
    """An affine function of the cells: the second difference along any direction of cell densities vanishes."""
    cells = ("macrophage_m1", "macrophage_m2", "stellate", "myofibroblast", "msc_viable")
    fields = evaluate(draw(44, shape=(1, 1, 2)), p)

    @jax.jit
    def made(share):
        moved = fields.with_({name: share * fields[name] for name in cells})
        return sum(secretion.secretion_by_population(signal, moved, p.secretion).values())

    low, middle, high = (made(jnp.asarray(s)) for s in (0.0, 1.0, 2.0))
    np.testing.assert_allclose(low + high, 2.0 * middle, rtol=1e-12)
