"""Rules that every entry of the registry obeys, for every species, and that no number of it is dead."""

import dataclasses
import math
import re

import numpy as np
import pytest

from hepatojax.assembly import model_parameters
from hepatojax.body.circulation import Patient
from hepatojax.io.scenario import scenario_from_table
from hepatojax.parameters import registry
from hepatojax.parameters.registry import (
    EVIDENCE,
    ParameterError,
    from_registry,
    load_parameters,
    registry_of,
    replaced,
    switched_off,
)
from hepatojax.scenario import REGISTERED, SPECIES, PatientSpec, ProductSpec, Scenario
from hepatojax.therapy.product import CellProduct, cell_product
from hepatojax.units import UNITS

LOADED = {species: load_parameters(species) for species in SPECIES}
HUMAN = LOADED["human"]
LEAVES = registry._leaves()


@pytest.mark.parametrize("species", SPECIES)
def test_every_entry_is_inside_its_range(species):
    for row in LOADED[species].rows:
        assert row.low <= row.value <= row.high, row.name
        assert math.isfinite(row.canonical) and row.low < row.high, row.name
        assert row.off is None or not row.low < row.off < row.high, f"{row.name}: the off value is no usual one"


@pytest.mark.parametrize("species", SPECIES)
def test_every_entry_states_source_evidence_unit_and_meaning(species):
    for row in LOADED[species].rows:
        assert row.evidence in EVIDENCE and row.unit in UNITS, row.name
        assert len(row.source) > 4, row.name
        cited = re.search(r"[A-Z0-9]", row.source)  # a document, an author or a page; only an assumption may have none
        assert cited or row.evidence == "assumed", f"{row.name}: {row.source}"
        assert len(row.meaning) > 8 and row.meaning.strip() == row.meaning and "\n" not in row.meaning, row.name
        assert re.fullmatch(r"[a-z0-9_]+(\.[a-zA-Z0-9_]+)+", row.name), row.name


def test_every_species_has_the_same_parameters_and_differs_only_where_it_has_a_row():
    """A leaf without a row for a species keeps value, unit, range and source of its own."""
    for species, parameters in LOADED.items():
        assert [row.name for row in parameters.rows] == [row.name for row in HUMAN.rows]
        for row, human in zip(parameters.rows, HUMAN.rows, strict=True):
            own = LEAVES[row.name].get(species, {})
            assert (row == human) or own, f"{row.name} differs for {species} without a row"
            kept = {key for key in ("unit", "low", "high", "source", "meaning") if key not in own}
            assert all(getattr(row, key) == getattr(human, key) for key in kept), row.name
            assert row.species == (species if own else LEAVES[row.name]["species"])


@pytest.mark.parametrize("species", ["rat", "mouse", "pig"])
def test_sizes_of_species_are_ordered_as_animals_are(species):
    """Body, liver, sinusoids and clearance are below the human ones, and the liver weighs 1 to 8 % of the body."""
    own = LOADED[species]
    mass, volume = own.patient.body_mass_kg, own.patient.liver_volume_l
    assert mass < HUMAN.patient.body_mass_kg and volume < HUMAN.patient.liver_volume_l
    assert own.geometry.sinusoids_per_liver < HUMAN.geometry.sinusoids_per_liver
    assert 0.01 < volume / mass < 0.08
    for name in ("tnf", "hgf"):
        assert own.signals[name].body_clearance_l_h < HUMAN.signals[name].body_clearance_l_h


@pytest.mark.parametrize("species", SPECIES)
def test_shares_of_one_whole_leave_a_remainder(species):
    b = LOADED[species].biodistribution
    assert b.systemic_liver_share + b.systemic_spleen_share < 1.0 and b.label_liver_share + b.label_spleen_share < 1.0
    assert 2.0 * b.systemic_liver_share < 1.0  # an injured liver takes up to twice its share
    assert LOADED[species].matrix.mmp_m2 < 1.0  # activity of metalloproteinases stays positive


def test_the_hash_knows_values_and_neither_order_nor_who_set_them():
    first = {"hepatocytes.priming_rate": 1.2, "injury.killing_rate": 0.4}
    hashes = {load_parameters("human", dict(order)).hash for order in (first.items(), reversed(first.items()))}
    assert len(hashes) == 1
    default = {row.name: row.value for row in HUMAN.rows if row.name == "hepatocytes.priming_rate"}
    assert load_parameters("human", default).hash == HUMAN.hash
    assert load_parameters("human", {"hepatocytes.priming_rate": 1.4 + 1e-12}).hash != HUMAN.hash
    assert re.fullmatch(r"[0-9a-f]{64}", HUMAN.hash)


def test_each_number_alone_changes_the_hash():
    some = HUMAN.rows[::4]
    hashes = {replaced(HUMAN, {row.name: row.value + 1.0}).hash for row in some}
    assert len(hashes | {HUMAN.hash}) == len(some) + 1


def test_no_number_of_the_registry_is_dead():
    """Every one reaches a parameter of the model, of the patient or of the product, or is one that `build` reads."""

    def seen_by_the_model(parameters):
        own = (
            from_registry(Patient, parameters.patient),
            *(parameters.product.get(f.name) for f in dataclasses.fields(CellProduct)),
        )
        return repr((model_parameters(parameters), own))

    plain = seen_by_the_model(HUMAN)
    dead = [row.name for row in HUMAN.rows if seen_by_the_model(replaced(HUMAN, {row.name: row.value + 0.5})) == plain]
    built = ("geometry.lobule_", "geometry.central_", "geometry.portal_", "product.hgf_by_source.")
    assert [name for name in dead if not name.startswith(built)] == []


def test_ends_of_a_range_are_allowed_and_what_lies_beyond_is_not():
    for row in HUMAN.rows[::17]:
        for value, allowed in ((row.low, True), (row.high, True), (np.nextafter(row.low, -np.inf), False)):
            if allowed or value == row.off:
                assert load_parameters("human", {row.name: float(value)}).table()
            else:
                with pytest.raises(ParameterError, match="is outside"):
                    load_parameters("human", {row.name: float(value)})


def test_what_is_switched_off_is_allowed_and_nothing_else_moves():
    off = load_parameters("human", switched_off("amplification"))
    changed = {new.name for new, old in zip(off.rows, HUMAN.rows, strict=True) if new.value != old.value}
    assert changed == set(switched_off("amplification")) and all(name.startswith("amplification.") for name in changed)
    assert switched_off("hepatocytes") == {}


@pytest.mark.parametrize("value", [float("inf"), None, [1.0], "", 1j])
def test_what_is_no_finite_number_is_refused(value):
    with pytest.raises(ParameterError, match="is not a finite number"):
        load_parameters("human", {"injury.killing_rate": value})


def test_what_a_section_replaces_is_the_row_that_is_built_with_and_recorded():
    sections = {"patient": {"body_mass_kg": 0.3}, "lobule": {"radius_um": 400.0}, "product": {"diameter_um": 20.0}}
    parameters = registry_of(scenario_from_table({"species": "rat", **sections}))
    said = {row.name: row.value for row in parameters.table() if row.overridden}
    assert said == {"patient.body_mass_kg": 0.3, "geometry.lobule_radius_um": 400.0, "product.diameter_um": 20.0}
    assert parameters.patient.body_mass_kg == 0.3 and parameters.hash == load_parameters("rat", said).hash
    assert cell_product(ProductSpec(), parameters.product).diameter_um == 20.0


def test_what_a_section_replaces_is_in_range_however_the_scenario_was_made():
    with pytest.raises(ParameterError, match=r"patient\.body_mass_kg: 300 is outside"):
        registry_of(Scenario(species="rat", patient=PatientSpec(body_mass_kg=300.0)))


def test_every_key_that_replaces_a_number_of_the_registry_has_its_unit_and_no_default():
    for key, name in REGISTERED.items():
        row = next(row for row in HUMAN.rows if row.name == name)
        assert key.endswith(f"_{row.unit}")
    assert Scenario().replacements() == {}


@pytest.mark.parametrize("species", SPECIES)
def test_the_widest_vessels_leave_tissue_in_the_smallest_lobule(species: str):
    rows = {row.name.removeprefix("geometry."): row for row in LOADED[species].rows}
    vessels = rows["central_vein_radius_um"].high + rows["portal_tract_radius_um"].high
    assert vessels <= 0.5 * rows["lobule_radius_um"].low
