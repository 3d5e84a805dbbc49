"""The liver at day 0: what a resection, a lesion, a flare and a lift from a column conserve, and who is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.assembly import TOLERANCE, build_lobule, model_parameters, require_rest
from hepatojax.failure import Failure, failure, first_failure
from hepatojax.macro_step import LedgerTerms, StepReport
from hepatojax.mechanism import Fields
from hepatojax.onset import Column, diseased, lifted, require_success, resected, scarred, wounded
from hepatojax.parameters.registry import load_parameters, registry_of
from hepatojax.rest import first_guess
from hepatojax.scenario import DiseaseSpec, GridSpec, LobuleSpec, Scenario, domain_extent_um, grid_cells, is_arm_name
from hepatojax.status import SimulationError, Status

CELLS = ("quiescent", "primed", "injured")


@pytest.mark.parametrize("fraction", [0.0, 0.4, 0.9, 1.0])
@pytest.mark.parametrize("zone", [0.0, 0.5])
def test_a_lesion_turns_hepatocytes_into_debris_and_makes_none(small_liver, fraction, zone):
    """The sum of cells and debris is the same in every voxel; below the zone nothing happens."""
    model, state = small_liver
    after = wounded(DiseaseSpec(lesion_fraction=fraction, lesion_from_zone=zone), model, state)
    before_all, after_all = (sum(s.voxel[name] for name in (*CELLS, "debris")) for s in (state, after))
    np.testing.assert_allclose(after_all, before_all, rtol=1e-14)
    inside = np.asarray(model.lobule.zone) >= zone
    for name in CELLS:
        left = np.where(inside, 1.0 - fraction, 1.0)
        np.testing.assert_allclose(after.voxel[name], left * state.voxel[name], rtol=1e-14)
    others = set(state.voxel) - {*CELLS, "debris"}
    assert all(np.array_equal(after.voxel[name], state.voxel[name]) for name in others)


def test_resection_takes_lobules_and_leaves_each_as_it_was(small_liver):
    model, state = small_liver
    after = resected(DiseaseSpec(resected_fraction=0.7), state)
    np.testing.assert_allclose(after.body["liver_volume"], 0.3 * state.body["liver_volume"], rtol=1e-15)
    assert after.voxel is state.voxel
    twice = resected(DiseaseSpec(resected_fraction=0.5), resected(DiseaseSpec(resected_fraction=0.4), state))
    np.testing.assert_allclose(twice.body["liver_volume"], after.body["liver_volume"], rtol=1e-15)
    # each of the lobules left grows in length by the cube root of what is missing
    whole = dataclasses.replace(model, lobule_share=0.3)
    np.testing.assert_allclose(whole.linear_scale(jnp.asarray(0.3)), 1.0, rtol=1e-15)
    np.testing.assert_allclose(whole.linear_scale(jnp.asarray(2.4)), 2.0, rtol=1e-15)
    np.testing.assert_allclose(whole.domains, 0.3 * model.domains, rtol=1e-15)


def test_a_flare_that_began_before_day_0_is_what_is_left_of_it(small_liver):
    spec = DiseaseSpec(activity=1.0, flare=12.0, flare_start_h=0.0, flare_duration_h=336.0, flare_lead_h=96.0)
    model = diseased(Scenario(disease=spec), small_liver[0])
    for start, expected in ((-102.0, 1.0), (-96.0, 13.0), (0.0, 13.0), (234.0, 13.0), (237.0, 7.0), (240.0, 1.0)):
        assert float(model.disease.mean_activity(jnp.asarray(start), 6.0)) == pytest.approx(expected)
    later = diseased(Scenario(disease=dataclasses.replace(spec, flare_start_h=240.0)), small_liver[0])
    assert [float(later.disease.mean_activity(jnp.asarray(t), 6.0)) for t in (138.0, 144.0, 474.0, 480.0)] == [
        1,
        13,
        13,
        1,
    ]
    assert model.lobule is small_liver[0].lobule and scarred(LobuleSpec(), model.lobule) is model.lobule


def test_a_lift_keeps_what_is_linear_in_the_zone_and_the_body(small_liver):
    model, state = small_liver
    places = jnp.linspace(0.0, 1.0, 4)[None, None]
    column = Column(places, dict.fromkeys(state.voxel, 0.2 + 0.5 * places), {"liver_volume": jnp.asarray(0.7)})
    after = lifted(model, state, column)
    for values in after.voxel.values():
        np.testing.assert_allclose(values, 0.2 + 0.5 * model.lobule.zone, rtol=1e-12)
    assert after.body == column.body


def test_the_first_failure_before_day_0_is_told_with_its_day_and_its_place(small_liver):
    """Three macro-steps of 6 h up to step -4: the second of them ends 30 h before day 0."""
    model, state = small_liver
    state = state.replace(step=jnp.asarray(-4, jnp.int32))
    sound, cell = first_failure(), jnp.asarray(5)
    for found, said in (
        (failure(Status.NOT_FINITE, "debris", cell, model.grid), "a value is not finite: field debris, worst at"),
        (
            failure(Status.SIGNALS_NOT_CONVERGED, "tnf", cell, model.grid),
            "signals did not converge: field tnf, residual 0.02 of what is made after 7 sweeps, worst at",
        ),
    ):
        require_success(model, state, reports_of(sound, sound), "lobule")
        with pytest.raises(SimulationError) as refused:
            require_success(model, state, reports_of(sound, found, failure(Status.DEAD_LIVER)), "lobule")
        assert str(refused.value).startswith(f"before day 0, lobule, day -1.25: {said} voxel (0, 0, 5); try more")
        assert refused.value.status == int(found.status)


def reports_of(*failures: Failure) -> StepReport:
    """Reports of macro-steps that ended so."""
    statistics = {"signal_residual_tnf": jnp.asarray(0.02), "signal_sweeps": jnp.asarray(7.0)}
    steps = [StepReport(Fields({}), LedgerTerms({}, {}, {}), statistics, each) for each in failures]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *steps)


def test_a_rest_that_moves_or_that_needs_a_negative_constant_is_refused(small_liver):
    guess = first_guess(small_liver[0])
    still = dataclasses.replace(guess, change=jnp.asarray(1e-12))
    require_rest(still)
    for change in (1e-3, np.nan):
        with pytest.raises(SimulationError, match="the resting lobule was not found"):
            require_rest(dataclasses.replace(guess, change=jnp.asarray(change)))
    negative = {**guess.lowest, "rest_apoptosis": jnp.asarray(-1e-9)}
    with pytest.raises(SimulationError, match="rest_apoptosis, which is negative"):
        require_rest(dataclasses.replace(still, lowest=negative))


def test_direct_only_switches_amplification_off_and_an_override_stays():
    plain, direct = (
        registry_of(Scenario(parameters={"injury.killing_rate": 0.4}, direct_only=d)) for d in (False, True)
    )
    assert plain.amplification.relay_rate > 0.0 == direct.amplification.relay_rate
    assert plain.injury.killing_rate == direct.injury.killing_rate == pytest.approx(0.4 / 24.0)


@pytest.mark.parametrize("species", ["human", "rat", "mouse"])
def test_numbers_that_assembly_derives_are_those_of_the_organ(species):
    """1 ml/min/g is 1/60 per second; sinusoids of the liver are those of a litre times its litres."""
    registry = load_parameters(species)
    p = model_parameters(registry)
    assert 60.0 * p.perfusion_at_rest == pytest.approx(registry.perfusion.flow_at_rest_ml_min_g)
    whole = p.sinusoids_per_litre * 1e6 * registry.patient.liver_volume_l
    assert whole == pytest.approx(registry.geometry.sinusoids_per_liver)
    assert p.signals["tnf"].uptake_floor == 1.0 and p.signals["hgf"].uptake_floor == registry.signals.hgf.uptake_floor
    assert TOLERANCE["float64"] < TOLERANCE["float32"]


@pytest.mark.parametrize("radius", [400.0, 500.0, 750.0])
def test_column_and_well_mixed_lobule_have_the_area_of_the_hexagon(radius):
    """pi rim^2 = 3 sqrt(3) / 2 r^2, with the central vein cut out of the column."""
    sizes = {"radius_um": radius, "height_um": 100.0, "central_vein_radius_um": 40.0}
    column = domain_extent_um(LobuleSpec(geometry="column"), **sizes)
    rim = column[0] + 40.0
    np.testing.assert_allclose(np.pi * rim**2, 1.5 * np.sqrt(3.0) * radius**2, rtol=1e-14)
    assert column[1] == pytest.approx(2.0 * rim) and column[2] == 100.0
    assert domain_extent_um(LobuleSpec(geometry="well_mixed"), **sizes)[0] == pytest.approx(rim)
    one, two = (domain_extent_um(LobuleSpec(geometry="tiling", tiling=t), **sizes) for t in ((1, 1), (3, 2)))
    assert two[0] == pytest.approx(3.5 * one[0]) and two[1] - one[1] == pytest.approx(1.5 * radius)
    assert grid_cells(GridSpec(spacing_um=25.0), "column", (500.0, 900.0, 300.0)) == (20, 1, 1)
    assert grid_cells(GridSpec(spacing_um=26.0), "hexagon", (500.0, 26.0, 1.0)) == (20, 1, 1)


@pytest.mark.parametrize(("geometry", "vein"), [("column", 1.0), ("well_mixed", 0.0), ("hexagon", 0.0)])
def test_a_built_lobule_holds_the_prism_of_its_hexagon(geometry, vein):
    """3 sqrt(3) / 2 r^2 h; the column alone leaves out the lumen of the central vein, the others count it as tissue."""
    scenario = Scenario(lobule=LobuleSpec(geometry=geometry), grid=GridSpec(cells=(24, 24, 1)))
    lobule = build_lobule(scenario, load_parameters())
    area = 1.5 * np.sqrt(3.0) * 500.0**2 - vein * np.pi * 40.0**2
    np.testing.assert_allclose(float(lobule.grid.total_volume) / lobule.lobules, area * 300.0, rtol=1e-12)


@pytest.mark.parametrize("name", ["a", "arm-1.b_C", "a" * 64, "0"])
def test_an_arm_is_named_like_a_folder(name):
    assert is_arm_name(name)


@pytest.mark.parametrize("name", ["", "..", "a..b", "-a", ".a", "a" * 65, "Figures", "a b", "a/b", "ä"])
def test_what_would_not_be_a_folder_beside_others_is_no_name_of_an_arm(name):
    assert not is_arm_name(name)
