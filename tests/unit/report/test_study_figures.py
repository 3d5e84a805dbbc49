"""Figures of doses of equal gain and of schedules: what a reader must find in them."""

import numpy as np
import pytest

from hepatojax.report.figures.equivalence import equal_gain
from hepatojax.report.figures.schedules import NamedSchedule, schedule_rows
from hepatojax.scenario import ROUTES, InfusionSpec
from hepatojax.studies.equivalence import EquivalentDose
from hepatojax.therapy.schedule import schedule_of


def curve(elasticity):
    doses = [EquivalentDose(v, 1e6 * v**elasticity, elasticity / v, np.zeros(0), True, "") for v in (0.5, 1.0, 2.0)]
    return (*doses, EquivalentDose(4.0, np.nan, np.nan, np.zeros(0), False, "the gain reaches 0.5 at most"))


def test_doses_of_equal_gain_stand_with_their_tangents_and_those_without_a_dose_do_not():
    curves = {"intravenous": {"homing": curve(-0.1)}, "portal": {"homing": curve(-0.5)}}
    worth = {"intravenous": {"homing": -0.1, "viability": -1.0}, "portal": {"homing": -0.5, "viability": -1.0}}
    left, right = equal_gain(curves, worth, "title").axes
    dots, *tangents = left.lines[:4]
    np.testing.assert_array_equal(dots.get_xdata(), [0.5, 1.0, 2.0])
    for tangent, value in zip(tangents, (0.5, 1.0, 2.0), strict=True):
        (x0, x1), (y0, y1) = tangent.get_xdata(), tangent.get_ydata()
        assert np.log(y1 / y0) / np.log(x1 / x0) == pytest.approx(-0.1)
        assert np.sqrt(x0 * x1) == pytest.approx(value)
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["homing, intravenous", "homing, portal"]
    assert [bar.get_width() for bar in right.patches] == pytest.approx([0.1, 1.0, 0.5, 1.0])


@pytest.mark.parametrize("routes", [1, 2, 3, 5])
def test_bars_of_any_number_of_routes_stand_side_by_side_about_their_attribute(routes):
    worth = {route: {"homing": -0.1, "viability": -1.0} for route in ROUTES[:routes]}
    curves = {route: {"homing": curve(-0.1)} for route in worth}
    bars = equal_gain(curves, worth, "title").axes[1].patches
    ends = np.asarray([(bar.get_y(), bar.get_y() + bar.get_height()) for bar in bars]).reshape(routes, 2, 2)
    for number, of_attribute in enumerate(ends.swapaxes(0, 1)):
        assert of_attribute.mean() == pytest.approx(number)
        assert (of_attribute[1:, 0] > of_attribute[:-1, 1]).all()
        assert np.abs(of_attribute - number).max() < 0.5


def test_schedules_stand_in_rows_with_what_they_lead_to():
    two = schedule_of([InfusionSpec(start_h=start, cells_per_kg=2e6, route="portal") for start in (24.0, 240.0)], 3)
    courses = [NamedSchedule("no cells", schedule_of([]), "MELD 23"), NamedSchedule("best of 2", two, "MELD 18")]
    (panel,) = schedule_rows({"portal": courses}, 672.0, "title").axes
    assert [(bar.get_x(), bar.get_height()) for bar in panel.patches] == [(1.0, 2.0), (10.0, 2.0)]
    assert panel.get_title(loc="right") == "best of 2: MELD 18"
    assert "no cells: MELD 23" in panel.texts[0].get_text()
    assert panel.get_xlim()[1] == 28.0
