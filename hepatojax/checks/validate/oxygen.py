"""Oxygen of the resting human lobule: V18 and V19.

One solve of the quasi-steady fields at rest gives all of it: flow from the body circuit, portal and arterial blood
mixed by content, uptake by every cell state. Neither target was used in a fit (docs/validation.md).
"""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from hepatojax.body.biodistribution import ORGANS
from hepatojax.body.circulation import arterial_share
from hepatojax.checks.records import Check, Record, at_least, within
from hepatojax.checks.validate.course import healthy
from hepatojax.coupling import Evidence, solve_quasi_steady
from hepatojax.mechanism import Fields
from hepatojax.model import LiverModel, inputs
from hepatojax.state import LiverState, QuasiSteady
from hepatojax.tissue.oxygen import mixed_inlet_mmHg
from hepatojax.units import SECONDS_PER_MINUTE

QUARTER = 0.25
RADIAL = "V18: PMC3753504; bands 60..70 and 25..35 mmHg widened by 5"
UPTAKE = "V19: derived from recalled values; 2.2..2.8 and 1.5..3, widened by 20 %"


@jax.jit
def solved(model: LiverModel, state: LiverState, fields: Fields) -> tuple[QuasiSteady, Fields, Evidence]:
    """Quasi-steady fields at given slow states, as a macro-step solves them.

    Args:
        model: healthy or not.
        state: only its earlier quasi-steady fields count, which start the solvers.
        fields: slow states and inputs, see `fields_of`.

    Returns:
        The solved fields, the fields with what was derived on the way, and the ledger of the solves.
    """
    return solve_quasi_steady(model, fields, state.quasi_steady)


def fields_of(model: LiverModel, state: LiverState) -> Fields:
    """Slow states and inputs of a liver without cause and without cells in the body.

    Args:
        model: gives the inputs.
        state: gives the states of voxels, (nz, ny, nx), and of the body.

    Returns:
        What `solved` reads.
    """
    nothing = jnp.zeros(())
    unharmed = dict.fromkeys(("activity", "toxin_response"), nothing)
    given = inputs(model, unharmed, dict.fromkeys(ORGANS, nothing), nothing)
    return Fields({**given, **state.voxel, **state.body})


def radial_oxygen() -> Iterator[Record]:
    """Oxygen at inlet and outlet, falling all the way, and where it is used.

    The inlet must have 55..75 mmHg and the last cell 20..40 mmHg, monotone between (V18, both bands widened by 5 mmHg).
    Uptake must be 1.76..3.36 umol/min/ml, and in the periportal quarter 1.2..3.6 times that of the pericentral one,
    both bands those of V19 widened by 20 %.

    Yields:
        Pressures [mmHg], the smallest fall from cell to cell [mmHg], uptake [umol/min/ml] and the ratio of zones [-].

    Reference: VALIDATION V18 and V19.
    """
    study = healthy("human")
    model, p = study.model, study.model.parameters
    quasi, fields, evidence = solved(model, study.state, fields_of(model, study.state))
    share = arterial_share(quasi.circulation.relative, p.circulation)
    inlet = mixed_inlet_mmHg(p.portal_mmHg, p.arterial_mmHg, share, p.oxygen)
    oxygen = np.ravel(quasi.oxygen)
    yield within("V18", "oxygen of the inlet", float(inlet), 55.0, 75.0, "mmHg", RADIAL)
    yield within("V18", "oxygen of the last cell before the central vein", oxygen[-1], 20.0, 40.0, "mmHg", RADIAL)
    yield at_least("V18", "smallest fall from cell to cell", np.min(-np.diff(oxygen)), 0.0, "mmHg", RADIAL)
    taken = float(evidence.terms["oxygen"]["uptake"] / model.grid.total_volume) * SECONDS_PER_MINUTE
    yield within("V19", "oxygen uptake", taken, 1.76, 3.36, "umol/min/ml", UPTAKE)
    used = np.ravel(fields.oxygen_demand) * oxygen / (p.oxygen.uptake_half_saturation_mmHg + oxygen)
    zone, volume = np.ravel(model.lobule.zone), np.ravel(model.grid.volume)
    portal, central = (
        float(np.sum(used * volume * part) / np.sum(volume * part)) for part in (zone < QUARTER, zone > 1.0 - QUARTER)
    )
    yield within("V19", "uptake, periportal over pericentral quarter", portal / central, 1.2, 3.6, "-", UPTAKE)


CHECKS = (Check("V18-V19", "Oxygen of the resting lobule", radial_oxygen),)
