"""Units: the ones that numbers are held in, and how a number written in another unit gets there. No JAX here.

Lengths are held in um, slow rates per hour, times of solves in s, concentrations in mM or nM, pressures in Pa,
partial pressures in mmHg, cell densities in cells/mm3, body pools of cells in 1e6 cells.

A file may state any unit of the table; each is a factor away from its canonical one. A unit that is not in the table
is refused and never guessed, for a wrong power of ten would go unseen.
"""

from __future__ import annotations

from typing import Any

SECONDS_PER_MINUTE = 60.0
SECONDS_PER_HOUR = 3600.0
HOURS_PER_DAY = 24.0
UM3_PER_LITRE = 1e15
UM3_PER_MM3 = 1e9
PA_PER_MMHG = 133.322

CANONICAL = (
    "-",
    "um",
    "um2",
    "um3",
    "um2/s",
    "um2/h",
    "um/h",
    "s",
    "1/s",
    "h",
    "1/h",
    "Pa",
    "Pa s",
    "mmHg",
    "mM",
    "mM/s",
    "mM/mmHg",
    "nM",
    "nM/h",
    "nmol/h",
    "l",
    "l/h",
    "ml/min/g",
    "l/h/kg",
    "kg",
    "kg/l",
    "l/kg",
    "mg/kg",
    "g/l",
    "mg/dl",
    "mg/dl/h",
    "U/l",
    "U/l/h",
    "ng/1e6/h",
    "kDa",
    "cells",
    "1e6 cells",
    "1e6 cells/kg",
    "cells/kg",
    "cells/mm3",
    "cells/mm3/h",
    "deg",
    "year",
)

_CONVERTED = {
    "d": ("h", HOURS_PER_DAY),
    "min": ("h", 1.0 / 60.0),
    "1/d": ("1/h", 1.0 / HOURS_PER_DAY),
    "m": ("um", 1e6),
    "mm": ("um", 1e3),
    "m2": ("um2", 1e12),
    "m2/s": ("um2/s", 1e12),
    "um2/d": ("um2/h", 1.0 / HOURS_PER_DAY),
    "mm3": ("um3", UM3_PER_MM3),
    "mol/m3": ("mM", 1.0),
    "mol/m3/s": ("mM/s", 1.0),
    "mol/m3/Pa": ("mM/mmHg", PA_PER_MMHG),
    "uM/mmHg": ("mM/mmHg", 1e-3),
    "pM": ("nM", 1e-3),
    "nM/d": ("nM/h", 1.0 / HOURS_PER_DAY),
    "nmol/d": ("nmol/h", 1.0 / HOURS_PER_DAY),
    "ml": ("l", 1e-3),
    "l/d": ("l/h", 1.0 / HOURS_PER_DAY),
    "l/min": ("l/h", 60.0),
    "mg/dl/d": ("mg/dl/h", 1.0 / HOURS_PER_DAY),
    "U/l/d": ("U/l/h", 1.0 / HOURS_PER_DAY),
    "ng/1e6/d": ("ng/1e6/h", 1.0 / HOURS_PER_DAY),
    "cells/m3": ("cells/mm3", 1e-9),
    "1e6 cells/l": ("cells/mm3", 1.0),
    "%": ("-", 1e-2),
}

UNITS: dict[str, tuple[str, float]] = {unit: (unit, 1.0) for unit in CANONICAL} | _CONVERTED
"""Every unit that a file may state -> (canonical unit, factor)."""


class UnitError(ValueError):
    """A unit that the package does not know."""


def to_canonical(value: Any, unit: str) -> Any:
    """A number stated in `unit`, in the canonical unit: value x factor.

    Args:
        value: number or array of any shape [unit].
        unit: a key of `UNITS`.

    Returns:
        The same quantity [canonical unit of `unit`], in the same shape.

    Raises:
        UnitError: the unit is unknown.
    """
    return value * _entry(unit)[1]


def _entry(unit: str) -> tuple[str, float]:
    try:
        return UNITS[unit]
    except KeyError:
        raise UnitError(f"unknown unit {unit!r}; known are {', '.join(sorted(UNITS))}") from None
