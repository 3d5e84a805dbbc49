import pytest

from hepatojax.units import CANONICAL, UNITS, UnitError, to_canonical


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (24.0, "1/d", 1.0),
        (2.0, "d", 48.0),
        (1.0, "m2", 1e12),
        (3.0, "m2/s", 3e12),
        (24.0, "um2/d", 1.0),
        (1.0, "mol/m3/Pa", 133.322),
        (1.5e13, "cells/m3", 1.5e4),
        (7.0, "1e6 cells/l", 7.0),
        (1.0, "mm3", 1e9),
        (1.35, "uM/mmHg", 1.35e-3),
    ],
)
def test_conversion(value, unit, expected):
    assert to_canonical(value, unit) == pytest.approx(expected, rel=1e-15)


def test_canonical_units_are_fixed_points():
    assert {canonical for canonical, _ in UNITS.values()} == set(CANONICAL)
    assert all(to_canonical(3.0, unit) == 3.0 for unit in CANONICAL)


def test_unknown_unit_is_named():
    with pytest.raises(UnitError, match="unknown unit 'furlong'"):
        to_canonical(1.0, "furlong")
