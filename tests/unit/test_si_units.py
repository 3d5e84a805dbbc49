"""Every conversion of `units` against SI: a unit is taken apart into factors, each with its size in SI units."""

import math
import re

import pytest

from hepatojax.units import CANONICAL, UNITS, to_canonical

SIZE = {  # in m, s, kg, mol, Pa; what has no dimension, or one of its own, counts as one
    "": 1.0, "-": 1.0, "1": 1.0, "%": 1e-2, "cells": 1.0, "U": 1.0, "deg": 1.0, "year": 3.15576e7,
    "m": 1.0, "mm": 1e-3, "um": 1e-6, "m2": 1.0, "um2": 1e-12, "m3": 1.0, "mm3": 1e-9, "um3": 1e-18, "l": 1e-3,
    "ml": 1e-6, "dl": 1e-4, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "kg": 1.0, "g": 1e-3, "mg": 1e-6,
    "ng": 1e-12, "mol": 1.0, "nmol": 1e-9, "mM": 1.0, "uM": 1e-3, "nM": 1e-6, "pM": 1e-9, "Pa": 1.0,
    "mmHg": 133.322, "1e6": 1e6, "kDa": 1.0,
}  # fmt: skip


def size(unit):
    """Of a unit a b/c/d: the product of the factors before the first slash over those behind the slashes."""
    above, *below = unit.split("/")
    return math.prod(SIZE[part] for part in above.split(" ")) / math.prod(SIZE[part] for part in below)


@pytest.mark.parametrize("unit", sorted(UNITS))
def test_a_factor_is_the_ratio_of_sizes_in_si(unit):
    canonical, factor = UNITS[unit]
    if unit in ("-", "%"):
        assert factor == size(unit)
    assert factor == pytest.approx(size(unit) / size(canonical), rel=1e-12)
    assert canonical in CANONICAL and to_canonical(2.0, unit) == 2.0 * factor


@pytest.mark.parametrize("unit", sorted(UNITS))
def test_a_unit_and_its_canonical_one_are_of_one_kind(unit):
    """Both are rates, or concentrations, or lengths: they differ in size only."""
    kinds = (
        ("time", ["s", "min", "h", "d", "year"]), ("length", ["m", "mm", "um"]), ("area", ["m2", "um2"]),
        ("volume", ["m3", "mm3", "um3", "l", "ml", "dl"]), ("mass", ["kg", "g", "mg", "ng"]),
        ("amount", ["mol", "nmol"]), ("level", ["mM", "uM", "nM", "pM"]), ("pressure", ["Pa", "mmHg"]),
    )  # fmt: skip

    def dimensions(text):
        above, *below = text.split("/")
        powers = dict.fromkeys((name for name, _ in kinds), 0)
        for part, sign in [*((p, 1) for p in above.split(" ")), *((p, -1) for p in below)]:
            for name, members in kinds:
                powers[name] += sign * (part in members)
        cubes = 3 * powers.pop("volume") + 2 * powers.pop("area") + powers.pop("length")
        level = powers.pop("level")
        powers["amount"] += level
        return {**powers, "length": cubes - 3 * level}

    assert dimensions(unit) == dimensions(UNITS[unit][0])


def test_numbers_that_a_reader_knows():
    """A day, a litre, a pressure, and molar masses: 1 mg of a 150 Da toxin in a litre is 6.7 uM."""
    assert to_canonical(1.0, "d") == 24.0
    assert (
        to_canonical(1.5, "l") * 1e15 == to_canonical(1.5e6, "mm3") * 1.0
    )  # 1.5 million lobules of a cubic millimetre
    assert to_canonical(1.0, "mol/m3") == to_canonical(1.0, "mM")
    assert to_canonical(5e-11, "m2/s") == pytest.approx(50.0)
    assert re.fullmatch(r"[A-Za-z0-9/% .-]+", "".join(UNITS))
