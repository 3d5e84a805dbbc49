"""Endpoints of a course: parts sum to wholes, amounts of cells are densities times volumes, units are known."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.biology.immunity import M2_ORIGINS
from hepatojax.body.immune_memory import effector_t_cells
from hepatojax.body.scores import meld
from hepatojax.coupling import Evidence, blood_flow
from hepatojax.endpoints import ENDPOINTS, SOURCES, ZONES, Reading
from hepatojax.mechanism import Fields
from hepatojax.units import UNITS
from tests.reference.biology_cases import draw, evaluate


@pytest.fixture(scope="module")
def reading(small_liver):
    """A random tissue and body of the small liver, with all that follows from them."""
    model, state = small_liver
    fields = evaluate(draw(71, shape=model.grid.shape), model.parameters.biology)
    body = {name: jnp.asarray(value) for name, value in state.body.items() if name not in fields}
    levels = {"inr": 1.7, "creatinine_mg_dl": 1.2, "bilirubin_mg_dl": 4.0, "meld": 21.0, "function": 0.4, "mass": 0.5}
    outside = {organ: jnp.asarray(float(n)) for n, organ in enumerate(("lung", "spleen", "other"), 1)}
    fields = fields.with_({**body, **{name: jnp.asarray(v) for name, v in levels.items()}, "deaths_outside": outside})
    empty = object.__new__(Evidence)
    return Reading(model, fields, state.quasi_steady, empty)


def value(reading, name):
    return float(ENDPOINTS[name].value(reading))


def test_names_and_units_are_of_the_table_and_meanings_differ():
    assert all(
        name == e.name and e.unit.removesuffix("/h") in UNITS | {"1": ()} and e.meaning for name, e in ENDPOINTS.items()
    )
    assert len({e.meaning for e in ENDPOINTS.values()}) == len(ENDPOINTS)
    rough = {name for name, e in ENDPOINTS.items() if not e.smooth}
    assert {"meld", "meld_3", "child_pugh", "oxygen_min", "hypoxic_fraction", "blocked_peak"} == rough


def test_bedside_findings_of_the_patient_enter_the_scores(reading):
    """By hand: ascites and encephalopathy add points; 1.33 for a woman; low sodium 0.82 - 0.24 ln 4 per mmol/l."""
    found = dict(sex="female", sodium_mmol_l=130.0, ascites="moderate", encephalopathy="grade_1_2")
    patient = dataclasses.replace(reading.model.patient, **found)
    ill = reading._replace(model=dataclasses.replace(reading.model, patient=patient))
    assert value(ill, "child_pugh") == value(reading, "child_pugh") + 3.0
    added = 1.33 + 7.0 * (0.82 - 0.24 * math.log(4.0))
    assert value(ill, "meld_3") == pytest.approx(value(reading, "meld_3") + added, rel=1e-12)
    assert value(ill, "meld") == value(reading, "meld")


def test_thirds_of_the_lobule_make_up_its_mean(reading):
    """Volume-weighted debris of the three zones is that of the lobule: no cell is counted twice or left out."""
    zone, volume = (np.asarray(a) for a in (reading.model.lobule.zone, reading.model.grid.volume))
    inside = [(zone >= low) & ((zone < high) | (high == 1.0)) for low, high in ZONES.values()]
    assert np.all(sum(part.astype(int) for part in inside) == 1)
    parts = [value(reading, f"debris_{name}") * volume[part].sum() for name, part in zip(ZONES, inside, strict=True)]
    assert sum(parts) / volume.sum() == pytest.approx(value(reading, "debris"), rel=1e-12)


@pytest.mark.parametrize(("kind", "field"), [("msc", "msc_viable"), ("label", "msc_label")])
def test_cells_of_all_lobules_are_the_cells_of_the_liver(reading, kind, field):
    """Density [1e6/l] times litres; a lobule has its share of the lobules that are left."""
    liver = value(reading, f"{kind}_liver")
    litres = 1.5 * float(reading.fields.liver_volume)
    assert liver == pytest.approx(litres * float(reading.mean(field)), rel=1e-12)
    lobules = float(reading.model.domains * reading.model.lobule.lobules)
    assert value(reading, f"{kind}_per_lobule") * lobules == pytest.approx(1e6 * liver, rel=1e-12)
    half = reading._replace(model=dataclasses.replace(reading.model, lobule_share=0.5))
    per_lobule = float(ENDPOINTS[f"{kind}_per_lobule"].value(half))
    assert per_lobule == pytest.approx(2.0 * value(reading, f"{kind}_per_lobule"), rel=1e-12)


def test_sources_are_the_parts_of_their_totals(reading):
    by_cells = [value(reading, e.name) for e in SOURCES if e.name.startswith("source_hgf_by_")]
    assert len(by_cells) == 4 and sum(by_cells) == pytest.approx(float(reading.mean("secretion_hgf")), rel=1e-12)
    switched = sum(value(reading, f"source_m2_by_{origin}") for origin in M2_ORIGINS if origin != "education")
    product = reading.fields.switch_rate * reading.fields.macrophage_m1
    assert switched == pytest.approx(float(reading.model.grid.mean(product)), rel=1e-12)
    assert value(reading, "source_m2_by_education") == pytest.approx(float(reading.fields.education_influx))
    died = [value(reading, f"source_education_by_{organ}") for organ in ("lung", "spleen", "other")]
    assert died == [1.0, 2.0, 3.0]


def test_active_hgf_by_origin_is_what_the_tissue_holds(reading):
    """Each origin is a share of the active level over the exchange time; without load and debris the matrix is mute."""
    of_hgf = reading.model.parameters.signals["hgf"]
    parts = {e.name: value(reading, e.name) for e in SOURCES if e.name.startswith("source_active_hgf_by_")}
    level = sum(parts.values()) * of_hgf.exchange_time_s / 3600.0
    assert level == pytest.approx(float(reading.mean("hgf_active")), rel=1e-12)
    none = jnp.zeros_like(reading.fields.debris)
    calm = reading._replace(fields=reading.fields.with_({"debris": none, "load_response": jnp.zeros(())}))
    assert value(calm, "source_active_hgf_by_matrix_under_load") == 0.0
    assert value(calm, "source_active_hgf_by_matrix_at_debris") == 0.0
    unbound = "source_active_hgf_by_constitutive"
    assert value(calm, unbound) == parts[unbound] > 0.0


def test_effector_cells_held_back_are_those_that_regulation_costs(reading):
    """By the resting pool what the cause would make without it, and by the memory what it would make without that."""
    mean_m1, p = reading.mean("macrophage_m1"), reading.model.parameters.immune_memory

    def made(regulatory_t: float) -> float:
        fields = {
            "activity": jnp.asarray(0.7),
            "regulatory_t": jnp.asarray(regulatory_t),
            "mean_macrophage_m1": mean_m1,
        }
        return float(effector_t_cells(reading.fields.with_(fields), p).production["effector_t"])

    active = {"activity": jnp.asarray(0.7), "regulatory_t": jnp.asarray(3.0)}
    remembered = reading._replace(fields=reading.fields.with_(active))
    at_rest = value(remembered, "source_restraint_by_resting_regulation")
    assert at_rest == pytest.approx(made(0.0) - made(1.0), rel=1e-12)
    memory = value(remembered, "source_restraint_by_regulatory_memory")
    assert memory == pytest.approx(made(1.0) - made(3.0), rel=1e-12) and memory > 0.0


@pytest.mark.parametrize("share", [1.0, 0.4])
def test_perfusion_is_the_flow_of_a_lobule_over_its_tissue(reading, share):
    """[um3/s] over [um3] as [ml/min/g] at 1 g/ml: 1 at rest, and higher where fewer lobules share the flow."""
    volume, relative = 0.7, 0.8
    model = dataclasses.replace(reading.model, lobule_share=share)
    fields = Fields({**reading.fields, "liver_volume": jnp.asarray(volume), "flow_relative": jnp.asarray(relative)})
    now = reading._replace(model=model, fields=fields)
    tissue = float(model.grid.scaled(model.linear_scale(fields.liver_volume)).total_volume)
    by_lobule = 60.0 * float(blood_flow(model, fields.flow_relative)) / tissue
    assert value(now, "perfusion") == pytest.approx(by_lobule, rel=1e-12)
    assert value(now, "perfusion") == pytest.approx(1.0 * relative / volume, rel=1e-12)


def test_blood_that_leaves_at_p50_is_half_saturated(reading):
    evidence = object.__new__(Evidence)
    object.__setattr__(evidence, "outlet_mmHg", jnp.asarray(27.0))
    leaving = reading._replace(evidence=evidence)
    assert value(leaving, "oxygen_outlet") == 27.0
    assert value(leaving, "saturation_outlet") == pytest.approx(0.5, rel=1e-12)


def test_oxygen_endpoints_count_tissue_alone(reading):
    """A cell outside the tissue has no volume: its oxygen enters neither mean, minimum nor share."""
    oxygen, volume = jnp.full((1, 1, 6), 40.0), np.asarray(reading.model.grid.volume).copy()
    oxygen = oxygen.at[0, 0, 0].set(1.0).at[0, 0, 5].set(9.0)
    volume[0, 0, 0] = 0.0
    grid = dataclasses.replace(reading.model.grid, volume=jnp.asarray(volume))
    model = dataclasses.replace(reading.model, lobule=reading.model.lobule.replace(grid=grid))
    cut = Reading(model, reading.fields.with_({"oxygen": oxygen}), reading.solved, reading.evidence)
    assert value(cut, "oxygen_min") == 9.0
    share = volume[0, 0, 5] / volume.sum()
    assert value(cut, "hypoxic_fraction") == pytest.approx(share, rel=1e-12)
    assert value(cut, "oxygen_mean") == pytest.approx(40.0 - 31.0 * share, rel=1e-12)


def test_scores_are_those_of_the_blood_tests_beside_them(reading):
    levels = (jnp.asarray(value(reading, name)) for name in ("bilirubin_mg_dl", "inr", "creatinine_mg_dl"))
    assert value(reading, "meld") == pytest.approx(float(meld(*levels)), rel=1e-15)
    assert value(reading, "meld_smooth") == 21.0 and value(reading, "functional_mass") == 0.4
    raised = Fields({**reading.fields, "bilirubin_mg_dl": jnp.asarray(2.5)})
    assert value(reading._replace(fields=raised), "child_pugh") == value(reading, "child_pugh") - 1.0
