"""The cell product of a scenario."""

import pytest

from hepatojax.parameters.registry import load_parameters
from hepatojax.scenario import CELL_SOURCES, ProductSpec
from hepatojax.therapy.product import cell_product

SUBJECT = load_parameters().product


def test_every_source_of_the_scenario_is_known():
    assert set(CELL_SOURCES) == set(SUBJECT.hgf_by_source)


def test_source_multiplies_the_potency():
    product = cell_product(ProductSpec(source="umbilical_cord", potency_hgf=2.0), SUBJECT)
    assert product.potency_hgf == 2.0 * SUBJECT.hgf_by_source.umbilical_cord
    assert product.potency_education == 1.0


def test_wider_cells_plug_more():
    small, usual = (
        cell_product(ProductSpec(), subject).plugging for subject in ({**SUBJECT, "diameter_um": 8.0}, SUBJECT)
    )
    assert small < 0.5
    assert usual == pytest.approx(1.0, abs=1e-3)


def test_unknown_source():
    with pytest.raises(ValueError, match="source"):
        cell_product(ProductSpec(source="teratoma"), SUBJECT)


def test_batches_are_lognormal_about_the_median():
    spread = SUBJECT.batch_spread
    weak, median, strong = (cell_product(ProductSpec(batch=z, potency_hgf=2.0), SUBJECT) for z in (-1.0, 0.0, 2.0))
    assert median.potencies()["potency_hgf"] == 2.0
    assert weak.potencies()["potency_hgf"] == pytest.approx(2.0 / spread)
    assert strong.potencies()["potency_education"] == pytest.approx(spread**2)
