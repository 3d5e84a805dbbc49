"""Serum HGF as functional mass is lost: V24.

A liver that has lost hepatocytes makes more HGF and takes up less of it. Each diagnosis stands for a share of
functional mass that is left, the one that VALIDATION V24 gives it; levels are those of plasma at once, before anything
regrows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from hepatojax.checks.records import Check, Record, at_least, smallest, within
from hepatojax.checks.validate.course import column_case, healthy
from hepatojax.checks.validate.oxygen import fields_of, solved
from hepatojax.parameters.registry import load_parameters

SOURCE = "V24: 10.1002/hep.1840210119, each within a factor 3; fitted"
LADDER = (
    ("healthy", 1.0, 0.27),
    ("acute hepatitis", 0.8, 0.45),
    ("chronic hepatitis", 0.8, 0.40),
    ("cirrhosis", 0.5, 1.05),
    ("fulminant failure", 0.2, 16.4),
)


def ladder() -> Iterator[Record]:
    """Plasma HGF at once after a share of the hepatocytes is gone from every place.

    Each level must lie within a factor 3 of the measured one (0.27, 0.45, 0.40, 1.05 and 16.4 ng/ml at functional mass
    1, 0.8, 0.8, 0.5 and 0.2), and none be below that of a larger liver.

    Yields:
        Level of each diagnosis [ng/ml], and the smallest ratio from step to step [-].

    Reference: VALIDATION V24.
    """
    study = healthy("human")
    mass = load_parameters(column_case().species).signals.hgf.molar_mass_kda
    levels = {}
    for remaining in sorted({step[1] for step in LADDER}, reverse=True):
        voxel = dict(study.state.voxel)
        voxel |= {name: remaining * voxel[name] for name in ("quiescent", "primed")}
        state = replace(study.state, voxel=voxel)
        quasi, _, _ = solved(study.model, state, fields_of(study.model, state))
        levels[remaining] = float(quasi.inlet["hgf"]) * mass
    for name, remaining, measured in LADDER:
        quantity = f"serum HGF, {name} (functional mass {remaining:g})"
        yield within("V24", quantity, levels[remaining], measured / 3.0, measured * 3.0, "ng/ml", SOURCE)
    rising = list(levels.values())
    rise = smallest(b / a for a, b in pairwise(rising))
    yield at_least("V24", "smallest rise from step to step of the ladder", rise, 1.0, "-", SOURCE)


CHECKS = (Check("V24", "Serum HGF, healthy to fulminant failure", ladder),)
