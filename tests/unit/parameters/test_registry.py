import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from hepatojax.parameters import registry
from hepatojax.parameters.registry import ParameterError, from_registry, load_parameters, switched_off
from hepatojax.scenario import SPECIES

LEAF = dict(value=2, unit="1/d", low=1, high=3, species="human", evidence="assumed", source="here", meaning="a rate")


@pytest.fixture
def one_leaf(monkeypatch):
    def use(**changes):
        monkeypatch.setattr(registry, "_leaves", lambda: {"room.rate": {**LEAF, **changes}})

    return use


@pytest.mark.parametrize("species", SPECIES)
def test_every_species_loads(species):
    assert load_parameters(species).species == species


def test_values_come_in_canonical_units():
    parameters = load_parameters()
    assert parameters.hepatocytes.priming_rate == pytest.approx(1.4 / 24)
    assert parameters.perfusion.permeability_um2 == pytest.approx(3.4e-2)
    assert parameters.signals.hgf.molar_mass_kda == 88.0
    assert parameters.signals.tnf.diffusivity_tissue_um2_s == pytest.approx(50.0)


def test_a_species_row_replaces_keys_of_the_leaf():
    row = {row.name: row for row in load_parameters("rat").table()}["oxygen.p50_mmHg"]
    assert (row.value, row.species, row.unit) == (37.0, "rat", "mmHg")


def test_overrides_are_in_the_unit_of_the_file_and_change_the_hash():
    changed = load_parameters(overrides={"hepatocytes.priming_rate": 1.2})
    assert changed.hepatocytes.priming_rate == pytest.approx(1.2 / 24)
    assert [row.name for row in changed.rows if row.overridden] == ["hepatocytes.priming_rate"]
    assert changed.hash != load_parameters().hash


def test_the_hash_is_that_of_the_values():
    assert load_parameters().hash == load_parameters().hash
    assert load_parameters("mouse").hash != load_parameters("rat").hash


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"hepatocytes.priming_rate": 9.0}, "parameters.hepatocytes.priming_rate: 9 is outside 0.8..2 [1/d] (human)"),
        ({"hepatocytes.primingrate": 1.0}, "unknown parameter, did you mean hepatocytes.priming_rate?"),
        ({"hepatocytes.priming_rate": float("nan")}, "nan is not a finite number"),
        ({"hepatocytes.priming_rate": True}, "True is not a finite number"),
        ({"hepatocytes.priming_rate": "1"}, "'1' is not a finite number"),
    ],
)
def test_bad_overrides_are_refused_in_one_line(overrides, message):
    with pytest.raises(ParameterError) as error:
        load_parameters(overrides=overrides)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_names_are_refused():
    parameters = load_parameters()
    with pytest.raises(ParameterError, match="did you mean hepatocytes"):
        _ = parameters.hepatocyte
    with pytest.raises(ParameterError, match="did you mean priming_rate"):
        _ = parameters.hepatocytes.priming_rat
    with pytest.raises(ParameterError, match="'dog' is not one of"):
        load_parameters("dog")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(value=4), "4 is outside 1..3"),
        (dict(unit="1/fortnight"), "unknown unit"),
        (dict(evidence="hearsay"), "evidence"),
        (dict(low=3, high=1, value=2), "outside"),
        (dict(colour="red"), "unknown"),
        (dict(value=4, outside="by intent"), "unknown ['outside']"),
        (dict(value=True), "not a finite number"),
        (dict(rat=dict(value=5)), "5 is outside 1..3 [1/d] (rat)"),
    ],
)
def test_a_bad_leaf_is_refused(one_leaf, changes, message):
    one_leaf(**changes)
    with pytest.raises(ParameterError) as error:
        load_parameters("rat")
    assert message in str(error.value)


def test_amplification_can_be_switched_off():
    off = switched_off("amplification")
    parameters = load_parameters(overrides=off)
    assert len(off) == len(parameters.amplification) == 6
    assert set(parameters.amplification.values()) == {0.0}


def test_a_dataclass_takes_its_fields_by_name():
    @dataclass
    class Rates:
        priming_rate: float
        killing_rate: float

    parameters = load_parameters()
    rates = from_registry(Rates, parameters.hepatocytes, parameters.injury)
    assert rates == Rates(parameters.hepatocytes.priming_rate, parameters.injury.killing_rate)
    with pytest.raises(ParameterError, match=r"Rates.killing_rate: found in 0 of 1"):
        from_registry(Rates, parameters.hepatocytes)
    with pytest.raises(ParameterError, match=r"found in 2 of 2"):
        from_registry(Rates, parameters.hepatocytes, parameters.hepatocytes)


def test_registry_and_units_do_not_import_jax(fresh_python):
    code = (
        "import sys; from hepatojax.parameters.registry import load_parameters as l; l(); print('jax' in sys.modules)"
    )
    assert fresh_python(code).strip() == "False"


def test_documentation_names_every_parameter_on_an_edge_of_its_range():
    """Off by default (zero) does not count."""
    rows = load_parameters().rows
    on_edge = {row.name for row in rows if row.value in (row.low, row.high) and row.low < row.high and row.value != 0}
    text = (Path(__file__).parents[3] / "docs" / "validation.md").read_text(encoding="utf-8")
    sentence = text[text.index("stand on an edge") :].split(".\n")[0]
    assert on_edge == {name for name in re.findall(r"`([a-z0-9_.A-Z]+)`", sentence) if "." in name}
