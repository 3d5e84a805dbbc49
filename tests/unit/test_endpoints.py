"""Endpoints of a course: parts sum to wholes, amounts of cells are densities times volumes, units are known."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.biology.immunity import M2_ORIGINS
from hepatojax.body.scores import meld
from hepatojax.coupling import Evidence
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
    assert {"meld", "meld_3", "child_pugh", "oxygen_min", "hypoxic_fraction"} == rough


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
