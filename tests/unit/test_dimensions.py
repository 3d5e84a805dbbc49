"""Dimensional homogeneity: another unit of time, length, amount or mass changes no equation of tissue and body.

Every number of the registry and every field is rescaled by the exponents that its declared unit has in one base
dimension; whatever a mechanism returns must then rescale by those of its own declared unit. A wrong unit in the
registry, a wrong unit of a field, a forgotten density or a hidden constant with a dimension breaks this.
"""

import numpy as np
import pytest

from hepatojax.assembly import model_parameters
from hepatojax.mechanism import Fields
from hepatojax.model import SPECIFICATIONS
from hepatojax.parameters.registry import load_parameters, replaced
from hepatojax.units import UNITS
from tests.reference import biology_cases, body_cases

FACTOR = 1.7

# exponents of time (h), length, amount of a signal, its mass, pressure of oxygen, cells, enzyme, protein; a second is
# another clock: only flow, oxygen and signals run on it
UNIT = {
    "-": {}, "cells": {}, "h": dict(T=1), "1/h": dict(T=-1), "mmHg": dict(O=1), "um3": dict(L=3), "l": dict(L=3),
    "nM": dict(N=1, L=-3), "nM/h": dict(N=1, L=-3, T=-1), "mM/s": dict(N=1, L=-3, S=-1), "kDa": dict(M=1, N=-1),
    "ng/1e6/h": dict(M=1, C=-1, T=-1), "cells/mm3": dict(C=1, L=-3), "cells/mm3/h": dict(C=1, L=-3, T=-1),
    "1e6 cells": dict(C=1), "1e6 cells/h": dict(C=1, T=-1), "U/l": dict(U=1), "g/l": dict(G=1),
}  # fmt: skip
INPUT = {
    **dict.fromkeys(("tnf", "il6", "il10", "tgf_beta", "vegf", "cxcl12", "hgf", "mean_tnf", "rest_vegf"), "nM"),
    **dict.fromkeys(("rest_apoptosis", "rest_collagen_deposition", "education_influx"), "1/h"),
    **dict.fromkeys(("mean_necrosis", "mean_division"), "1/h"),
    "oxygen": "mmHg",
    "msc_deaths_liver": "1e6 cells/h",
}
SPECIFIED = {spec.name: spec.unit for spec in SPECIFICATIONS}


def unit_of(name):
    """Declared unit of a field; an input without one in the table is a pure number."""
    return SPECIFIED.get(name) or INPUT.get(name, "-")


def factor(unit, dimension):
    """What a value in a unit is multiplied by; units of other rooms (um2/s, mg/dl) do not enter and stay."""
    return FACTOR ** UNIT.get(unit, {}).get(dimension, 0)


def rescaled(values, dimension):
    return Fields({name: value * factor(unit_of(name), dimension) for name, value in values.items()})


def parameters_in(dimension):
    registry = load_parameters()
    scaled = {row.name: row.value * factor(UNITS[row.unit][0], dimension) for row in registry.rows}
    return model_parameters(replaced(registry, scaled))


def assert_rescaled(found, expected, dimension, unit=None):
    """found = factor x expected, by the unit of each name or one unit for all."""
    for name, value in expected.items():
        scale = factor(unit or unit_of(name), dimension)
        np.testing.assert_allclose(found[name], scale * np.asarray(value), rtol=1e-10, err_msg=name)


@pytest.mark.parametrize("dimension", ["T", "L", "N", "M", "O"])
def test_tissue_does_not_depend_on_the_unit(dimension):
    """Cells are counted: the Poisson mean of the contact knows one cell, so that they are no dimension here."""
    start = biology_cases.draw(21, shape=(1, 2, 2))
    before = biology_cases.evaluate(start, parameters_in("none").biology)
    after = biology_cases.evaluate(rescaled(start, dimension), parameters_in(dimension).biology)
    assert_rescaled(after, before, dimension)
    per_time = 1.0 / FACTOR if dimension == "T" else 1.0
    pairs = zip(
        biology_cases.all_rates(after, parameters_in(dimension).biology),
        biology_cases.all_rates(before, parameters_in("none").biology),
        strict=True,
    )
    for new, old in pairs:
        made = {name: value * per_time for name, value in old.production.items()}
        assert_rescaled(new.production, made, dimension)
        assert_rescaled(new.loss, old.loss, dimension, "1/h")
        for one, other in zip(new.transfers, old.transfers, strict=True):
            np.testing.assert_allclose(one.rate, np.asarray(other.rate) * factor("1/h", dimension), rtol=1e-10)


@pytest.mark.parametrize("dimension", ["T", "L", "C", "U", "G"])
def test_body_does_not_depend_on_the_unit(dimension):
    start = body_cases.draw(22)
    before = body_cases.evaluate(start, parameters_in("none"))
    after = body_cases.evaluate(rescaled(start, dimension), parameters_in(dimension))
    assert_rescaled(after, before, dimension)
    per_time = 1.0 / FACTOR if dimension == "T" else 1.0
    slopes = {name: value * per_time for name, value in body_cases.slopes(before, parameters_in("none")).items()}
    assert_rescaled(body_cases.slopes(after, parameters_in(dimension)), slopes, dimension)


def test_a_lobule_of_the_whole_liver_and_a_lobule_of_half_of_it_have_the_same_tissue():
    """Twice the liver with twice the cells of the body: densities, influx and trapped cells per sinusoid are equal."""
    registry = load_parameters()
    rows = {row.name: row.value for row in registry.rows}
    doubled = ("patient.liver_volume_l", "geometry.sinusoids_per_liver")
    large = model_parameters(replaced(registry, {name: 2.0 * rows[name] for name in doubled}))
    usual, fields = model_parameters(registry), body_cases.draw(23)
    twice = fields.with_({"educated_monocytes": 2.0 * fields.educated_monocytes})
    found, expected = body_cases.evaluate(twice, large), body_cases.evaluate(fields, usual)
    np.testing.assert_allclose(found.education_influx, expected.education_influx, rtol=1e-14)
    assert large.sinusoids_per_litre == pytest.approx(usual.sinusoids_per_litre, rel=1e-14)
