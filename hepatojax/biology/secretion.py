"""Secretion of the seven signals: a table of who makes what. A new signal is an entry here and in the TOML.

Rates are true to their units: ng per 1e6 cells and time become nM/h by numbers of cells and molar masses alone, and
every other factor (potency, licensing, load, hypoxia, debris) has a name. What MSC make directly stays as small as it
is (PARAMETERS section 0, finding 1). Signals are solved in the order of `SIGNALS`; HGF comes last, because the mean of
TNF licenses the MSC that make it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from hepatojax.mechanism import Fields, FieldSpec, algebraic, pytree
from hepatojax.numerics.safe_math import hill
from hepatojax.parameters.registry import Scalar

_UNLICENSED = ("tnf", "il6", "il10", "tgf_beta", "vegf", "cxcl12")
SIGNALS = (*_UNLICENSED, "hgf")  # in the order of their solves: HGF waits for TNF
_GRAMS_PER_KILODALTON = 1e3


@pytree
class SecretionParameters:
    """Registry subjects `signals` (signal -> name -> value), `cells` and parts of others.

    Attributes:
        signals: by signal: secretion_<population> [ng/1e6/h], molar_mass_kda [kDa], gains and shares [-]; of HGF also
            uptake_rate_1_h [1/h].
        hepatocyte_density, macrophage_density, stellate_density: healthy densities that turn relative ones into cells
            [cells/mm3].
        rest_stellate: activated share of stellate cells at rest, whose HGF the resident term holds already [-].
        debris_half_saturation: debris at half of the release of HGF from the matrix [-].
    """

    signals: dict[str, dict[str, Scalar]]
    hepatocyte_density: Scalar  # [cells/mm3]
    macrophage_density: Scalar  # [cells/mm3]
    stellate_density: Scalar  # [cells/mm3]
    rest_stellate: Scalar  # [-], subject `matrix`
    debris_half_saturation: Scalar  # [-], subject `immunity`


@dataclass(frozen=True)
class Source:
    """One population that makes one signal, at signals.<signal>.secretion_<population> [ng/1e6/h].

    Attributes:
        signal: one of `SIGNALS`.
        population: as in the name of its rate in the registry, and as `secretion_by_population` reports it.
        cells: (fields, parameters) -> secreting cells [cells/mm3 = 1e6 cells/l], modifiers of the rate included.
    """

    signal: str
    population: str
    cells: Callable[[Fields, SecretionParameters], Any]


def _resident_hgf(fields: Fields, p: SecretionParameters) -> Any:
    """Resident cells: their total at rest and under load, less what M2 and stellate cells make at rest.

        cells = n_h (1 + a Hx) - (s_2 n_m + s_s n_s s_rest) / s_0   [cells/mm3]

    so that at rest the three together make s_0 n_h.
    """
    own = p.signals["hgf"]
    m2 = own["secretion_macrophage_m2"] * p.macrophage_density
    stellate = own["secretion_stellate"] * p.stellate_density * p.rest_stellate
    total = p.hepatocyte_density * (1.0 + own["load_gain"] * fields.load_response)
    return total - (m2 + stellate) / own["secretion_resident"]


SOURCES = (
    Source("tnf", "macrophage_m1", lambda f, p: p.macrophage_density * f.macrophage_m1),
    Source("il6", "macrophage_m1", lambda f, p: p.macrophage_density * f.macrophage_m1),
    Source(
        "il6", "resident", lambda f, p: p.macrophage_density * (1.0 + p.signals["il6"]["load_gain"] * f.load_response)
    ),
    Source("il10", "macrophage_m2", lambda f, p: p.macrophage_density * f.macrophage_m2),
    Source("tgf_beta", "stellate", lambda f, p: _active(p) * p.stellate_density * (f.stellate + f.myofibroblast)),
    Source("tgf_beta", "macrophage_m2", lambda f, p: _active(p) * p.macrophage_density * f.macrophage_m2),
    Source("tgf_beta", "msc", lambda f, p: _active(p) * f.msc_viable),
    Source(
        "vegf", "hepatocyte", lambda f, p: p.hepatocyte_density * (1.0 + p.signals["vegf"]["hypoxia_gain"] * f.hypoxia)
    ),
    Source("vegf", "msc", lambda f, p: f.potency_vegf * f.msc_viable),
    Source(
        "cxcl12",
        "hepatocyte",
        lambda f, p: p.hepatocyte_density * (1.0 + p.signals["cxcl12"]["debris_gain"] * f.debris_response),
    ),
    Source("cxcl12", "msc", lambda f, p: f.msc_viable),
    Source("hgf", "resident", _resident_hgf),
    Source("hgf", "macrophage_m2", lambda f, p: p.macrophage_density * f.macrophage_m2),
    Source("hgf", "stellate", lambda f, p: p.stellate_density * f.stellate),
    Source("hgf", "msc", lambda f, p: f.potency_hgf * f.licensing * f.msc_viable),
)

FIELDS = (
    *(
        FieldSpec(f"secretion_{signal}", "nM/h", "voxel", "algebraic", f"secretion of {signal} into the tissue")
        for signal in SIGNALS
    ),
    FieldSpec("hgf_uptake", "1/h", "voxel", "algebraic", "intrinsic uptake of HGF from plasma at low level"),
    FieldSpec("hgf_active", "nM", "voxel", "algebraic", "active HGF of the tissue"),
)


def _active(p: SecretionParameters) -> Scalar:
    """Share of the secreted TGF-beta that becomes active [-]; the latent rest is not modelled."""
    return p.signals["tgf_beta"]["active_share"]


def secretion_by_population(signal: str, fields: Fields, p: SecretionParameters) -> dict[str, Float[Array, "nz ny nx"]]:
    """Who makes a signal: population -> secretion per bulk tissue volume.

        s [nM/h] = rate [ng/1e6/h] x cells [1e6/l] / molar mass [g/mol]

    Args:
        signal: one of `SIGNALS`.
        fields: what the rows of the signal in `SOURCES` read: relative densities [-] and msc_viable [cells/mm3], each
            (nz, ny, nx), and scalars [-].
        p: rates [ng/1e6/h], molar masses [kDa], densities [cells/mm3].

    Returns:
        population -> [nM/h], each (nz, ny, nx).

    Reference: BIOLOGY A4.
    """
    own = p.signals[signal]
    per_cell = {row.population: own[f"secretion_{row.population}"] for row in SOURCES if row.signal == signal}
    grams_per_mole = own["molar_mass_kda"] * _GRAMS_PER_KILODALTON
    like = fields.macrophage_m2
    return {
        row.population: jnp.broadcast_to(per_cell[row.population] * row.cells(fields, p) / grams_per_mole, like.shape)
        for row in SOURCES
        if row.signal == signal
    }


def _total(signal: str, fields: Fields, p: SecretionParameters) -> Any:
    return sum(secretion_by_population(signal, fields, p).values())


@algebraic(
    reads=(
        "macrophage_m1",
        "macrophage_m2",
        "stellate",
        "myofibroblast",
        "msc_viable",
        "hypoxia",
        "debris_response",
        "load_response",
        "potency_vegf",
    ),
    writes=tuple(f"secretion_{signal}" for signal in _UNLICENSED),
)
def secretion(fields: Fields, p: SecretionParameters) -> dict[str, Array]:
    """Secretion of TNF, IL-6, IL-10, active TGF-beta, VEGF and CXCL12, summed over `SOURCES`.

        TNF: m1;  IL-6: m1, resident (1 + 100 Hx);  IL-10: m2;  TGF-beta: active share of (s + myo), m2, MSC
        VEGF: hepatocytes (1 + 2 hypoxia), MSC;  CXCL12: hepatocytes (1 + 3 H_d), MSC

    Args:
        fields: macrophage_m1, macrophage_m2, stellate, myofibroblast, hypoxia, debris_response [-], msc_viable
            [cells/mm3], each (nz, ny, nx); scalars load_response Hx, potency_vegf [-].
        p: rates [ng/1e6/h], gains [-], densities [cells/mm3].

    Returns:
        secretion_<signal> [nM/h] per bulk tissue volume.

    Reference: BIOLOGY A4; PARAMETERS section 4.
    """
    return {f"secretion_{signal}": _total(signal, fields, p) for signal in _UNLICENSED}


@algebraic(
    reads=("macrophage_m2", "stellate", "msc_viable", "load_response", "licensing", "potency_hgf"),
    writes=("secretion_hgf",),
)
def hgf_secretion(fields: Fields, p: SecretionParameters) -> dict[str, Array]:
    """Secretion of HGF; it waits for TNF, whose mean licenses the MSC.

        s = s_0 (1 + a Hx) + s_2 (m2 - 1) + s_s (s - s_rest) + s_M f lic MSC

    with f the potency of the product on HGF and each s_ the rate times the density over the molar mass.

    Args:
        fields: macrophage_m2, stellate [-], msc_viable [cells/mm3], each (nz, ny, nx); scalars load_response Hx,
            licensing lic, potency_hgf f [-].
        p: rates [ng/1e6/h], gain a [-], densities [cells/mm3].

    Returns:
        secretion_hgf [nM/h] per bulk tissue volume.

    Reference: BIOLOGY A4.
    """
    return {"secretion_hgf": _total("hgf", fields, p)}


@algebraic(reads=("quiescent", "primed", "injured"), writes=("hgf_uptake",))
def hgf_uptake(fields: Fields, p: SecretionParameters) -> dict[str, Array]:
    """Uptake of HGF from plasma at low level, k (q + p + w i); the solve of the signal saturates it.

    Args:
        fields: quiescent q, primed p, injured i [-], each (nz, ny, nx).
        p: signals.hgf.uptake_rate_1_h k [1/h], uptake_injured w [-].

    Returns:
        hgf_uptake [1/h] per bulk tissue volume.

    Reference: BIOLOGY A4; PARAMETERS C1, C2.
    """
    own = p.signals["hgf"]
    cells = fields.quiescent + fields.primed + own["uptake_injured"] * fields.injured
    return {"hgf_uptake": own["uptake_rate_1_h"] * cells}


@algebraic(reads=("hgf", "debris", "load_response"), writes=("hgf_active",))
def hgf_activation(fields: Fields, p: SecretionParameters) -> dict[str, Array]:
    """Active HGF of the tissue, released from the matrix under load and next to debris.

        h = f (1 + a_x H(Hx, K_x) + a_d H(d, K_d)) c_t

    Args:
        fields: hgf c_t [nM] and debris d [-], each (nz, ny, nx); scalar load_response Hx [-].
        p: active fraction f, gains a, half saturations [-].

    Returns:
        hgf_active [nM].

    Reference: BIOLOGY A4.
    """
    gain = sum(_activation_gains(fields, p).values())
    return {"hgf_active": p.signals["hgf"]["active_fraction"] * (1.0 + gain) * fields.hgf}


def _activation_gains(fields: Fields, p: SecretionParameters) -> dict[str, Any]:
    """What the matrix adds to the active fraction of HGF, over that fraction [-]."""
    own = p.signals["hgf"]
    load = hill(fields.load_response, own["activation_load_half_saturation"])
    debris = hill(fields.debris, p.debris_half_saturation)
    return {
        "matrix_under_load": own["activation_load_gain"] * load,
        "matrix_at_debris": own["activation_debris_gain"] * debris,
    }


ACTIVE_HGF_ORIGINS = ("constitutive", "matrix_under_load", "matrix_at_debris")


def active_hgf_by_origin(fields: Fields, p: SecretionParameters) -> dict[str, Float[Array, "nz ny nx"]]:
    """Where the active HGF comes from: the fraction active without injury, and what the matrix releases on top.

        h = f c_t + f a_x H(Hx, K_x) c_t + f a_d H(d, K_d) c_t

    Args:
        fields: what `hgf_activation` reads: hgf c_t [nM] and debris d [-], each (nz, ny, nx), load_response Hx [-].
        p: active fraction f, gains a, half saturations [-].

    Returns:
        origin of `ACTIVE_HGF_ORIGINS` -> active HGF [nM], each (nz, ny, nx); their sum is `hgf_active`.

    Reference: BIOLOGY A4.
    """
    active = p.signals["hgf"]["active_fraction"] * fields.hgf
    return {"constitutive": active, **{origin: gain * active for origin, gain in _activation_gains(fields, p).items()}}
