"""What the body outside the lobules does to a signal in plasma: it clears it, and it may make some.

The lobule on the grid is one of many equal ones, which all send their blood into the same plasma. Each sees its equal
part of the body's clearance and production, so that plasma and field are solved together, see
`hepatojax.tissue.signals`. MSC in the lungs and other organs secrete into plasma here, those of the liver on the grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxtyping import Array, Float

from hepatojax.mechanism import pytree
from hepatojax.parameters.registry import Scalar
from hepatojax.units import SECONDS_PER_HOUR, UM3_PER_LITRE


@pytree
class BodySignal:
    """Body side of one signal, from its table in the registry subject `signals`.

    Attributes:
        clearance_l_h: of plasma [l/h].
        production_nmol_h: at rest [nmol/h].
        load_gain: rise of the production at full mass load [-].
        secretion_msc: by MSC outside the liver, its active share [ng/1e6/h].
        molar_mass_kda: [kDa].
    """

    clearance_l_h: Scalar
    production_nmol_h: Scalar
    load_gain: Scalar
    secretion_msc: Scalar
    molar_mass_kda: Scalar


@pytree
class DomainClosure:
    """The body as one of equal domains sees it.

    Attributes:
        clearance_um3_s: of plasma outside the liver [um3/s].
        source_nM_um3_s: made outside the liver [nM um3/s].
    """

    clearance_um3_s: Float[Array, ""] | float
    source_nM_um3_s: Float[Array, ""] | float


def body_signal(table: Mapping[str, Any]) -> BodySignal:
    """Body side of a signal; a signal without production or secretion has none.

    Args:
        table: one signal of the registry subject `signals`, in canonical units.

    Returns:
        Clearance [l/h], production [nmol/h], secretion by MSC [ng/1e6/h] times the active share where there is one.
    """
    return BodySignal(
        clearance_l_h=table["body_clearance_l_h"],
        production_nmol_h=table.get("body_production_nmol_h", 0.0),
        load_gain=table.get("load_gain", 0.0),
        secretion_msc=table.get("secretion_msc", 0.0) * table.get("active_share", 1.0),
        molar_mass_kda=table["molar_mass_kda"],
    )


def domain_closure(
    signal: BodySignal,
    load_response: Float[Array, ""] | float,
    msc_outside: Float[Array, ""] | float,
    potency: Scalar,
    domains: Scalar,
) -> DomainClosure:
    """Clearance and source of the body for one domain.

        CL = CL_body / N,   S = (P0 (1 + a Hx) + s n_msc f / M) / N

    Args:
        signal: clearance CL_body [l/h], production P0 [nmol/h], its gain a [-], secretion s [ng/1e6/h], molar mass M
            [kDa].
        load_response: Hx [-].
        msc_outside: viable MSC outside the liver n_msc [1e6 cells], mean over the step.
        potency: of the product on this signal f [-].
        domains: number N of such domains in the liver [-].

    Returns:
        Clearance CL [um3/s] and source S [nM um3/s] of one domain.

    Reference: BIOLOGY A4; MODEL 6 (lung MSC secrete to plasma).
    """
    per_domain = UM3_PER_LITRE / SECONDS_PER_HOUR / domains
    made = signal.production_nmol_h * (1.0 + signal.load_gain * load_response)
    from_msc = signal.secretion_msc * potency * msc_outside / (signal.molar_mass_kda * 1e3)
    return DomainClosure(signal.clearance_l_h * per_domain, (made + from_msc) * per_domain)
