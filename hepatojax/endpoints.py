"""Named endpoints: what a run is judged by, at every macro-step, with its unit and whether it is smooth.

Five groups: what the clinic sees, the tissue, blood, where the cells are, and sources, which split an effect by who
brings it about, so that each amplification can be told from the direct effect of the cells. Means are over the volume
of the tissue. An objective may use an endpoint only if it is smooth; a cap, a class or a count serves reports.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Float

from hepatojax.biology.immunity import M2_ORIGINS, m2_by_origin
from hepatojax.biology.secretion import (
    ACTIVE_HGF_ORIGINS,
    SIGNALS,
    active_hgf_by_origin,
    secretion_by_population,
)
from hepatojax.body.biodistribution import ORGANS
from hepatojax.body.immune_memory import RESTRAINT_ORIGINS, restraint_by_origin
from hepatojax.body.scores import albi, child_pugh, meld, meld_3
from hepatojax.coupling import Evidence
from hepatojax.mechanism import MEAN, Fields, pytree
from hepatojax.model import LiverModel
from hepatojax.parameters.registry import Scalar
from hepatojax.scenario import ASCITES, ENCEPHALOPATHY
from hepatojax.state import QuasiSteady
from hepatojax.tissue.oxygen import saturation
from hepatojax.units import SECONDS_PER_HOUR, SECONDS_PER_MINUTE

ZONES = {"periportal": (0.0, 1.0 / 3.0), "midzonal": (1.0 / 3.0, 2.0 / 3.0), "pericentral": (2.0 / 3.0, 1.0)}


class Reading(NamedTuple):
    """What endpoints are computed from: the liver, its fields at the end of a step, and the solves of the step.

    Attributes:
        model: of the patient's liver.
        fields: states at the end of the step and what follows from them, voxel fields (nz, ny, nx).
        solved: quasi-steady fields at the middle of the step.
        evidence: what the solves say of themselves, with extraction and outlet of oxygen.
    """

    model: LiverModel
    fields: Fields
    solved: QuasiSteady
    evidence: Evidence

    def mean(self, name: str) -> Float[Array, ""]:
        """Volume mean of a voxel field over the tissue, float64 [unit of the field]."""
        return self.model.grid.mean(self.fields[name])


@pytree
class Readings:
    """What the smooth peak of an endpoint is taken of: readings at moments within macro-steps.

    Attributes:
        values: in the unit of the endpoint, (t, k); of one macro-step (k,).
        weights: 1 where a reading counts and 0 where it does not [-], of the same shape.
    """

    values: Float[Array, "*t k"]
    weights: Float[Array, "*t k"]


@dataclass(frozen=True)
class Endpoint:
    """A number that a run reports at every macro-step.

    Attributes:
        name: key in `Solution.endpoints` and in files.
        unit: as in `hepatojax.units`.
        meaning: one line for tables and axes.
        value: of a reading, in this unit, a scalar.
        smooth: True if a derivative of it means something; a cap, a class, a count or a maximum has none.
        smooth_peak: True if its peak over a run has a derivative although it has none itself: a smooth maximum takes
            the readings within each macro-step, `Solution.peaks`, out of which it is the largest.
    """

    name: str
    unit: str
    meaning: str
    value: Callable[[Reading], Any]
    smooth: bool = True
    smooth_peak: bool = False


def _field(name: str, unit: str, meaning: str, source: str | None = None) -> Endpoint:
    return Endpoint(name, unit, meaning, lambda r: r.fields[source or name])


def _mean(name: str, unit: str, meaning: str, source: str) -> Endpoint:
    return Endpoint(name, unit, meaning, lambda r: r.mean(source))


def _score(name: str, meaning: str, score: Callable[..., Array], *levels: str, smooth: bool = False) -> Endpoint:
    """A clinical score [-] of blood tests, given by their names in the order of its arguments."""
    return Endpoint(name, "-", meaning, lambda r: score(*(r.fields[level] for level in levels)), smooth)


def _meld_3(r: Reading) -> Array:
    """MELD 3.0 [-], with sex and sodium of the patient, which the model does not change."""
    f, patient = r.fields, r.model.patient
    levels = (f.bilirubin_mg_dl, f.inr, f.creatinine_mg_dl, f.albumin_g_l)
    return meld_3(*levels, sodium_mM=patient.sodium_mmol_l, female=float(patient.sex == "female"))


def _child_pugh(r: Reading) -> Array:
    """Child-Pugh points [-], with ascites and encephalopathy of the patient, which the model does not change."""
    f, patient = r.fields, r.model.patient
    points = (ASCITES.index(patient.ascites) + 1, ENCEPHALOPATHY.index(patient.encephalopathy) + 1)
    return child_pugh(f.bilirubin_mg_dl, f.albumin_g_l, f.inr, *points)


def _cells_in_liver(r: Reading, field: str) -> Array:
    """A density [cells/mm3] over the whole liver, V L <n> [1e6 cells]; one per time gives a rate [1e6 cells/h]."""
    return r.model.patient.liver_volume_l * r.fields.liver_volume * r.mean(field)


def _cells_per_lobule(r: Reading, field: str) -> Array:
    """Expected number of cells in one lobule, those of the liver over the lobules that are left [cells]."""
    return _cells_in_liver(r, field) * 1e6 / (r.model.domains * r.model.lobule.lobules)


def _perfusion(r: Reading) -> Array:
    """Flow of the liver over its own mass, a tissue density of 1 g/ml as in the registry [ml/min/g]."""
    at_rest = r.model.parameters.perfusion_at_rest * SECONDS_PER_MINUTE
    return at_rest * r.fields.flow_relative / r.fields.liver_volume


def _share_below(r: Reading, threshold: Scalar) -> Array:
    """Share of the tissue volume whose oxygen is below a threshold [mmHg]; it jumps from cell to cell."""
    return r.model.grid.mean((r.fields.oxygen < threshold).astype(r.fields.oxygen.dtype))


def _in_zone(field: str, low: float, high: float) -> Callable[[Reading], Array]:
    """Volume mean of a field where the zone coordinate is in low..high [-]; 0 where the grid has no such cell."""

    def value(r: Reading) -> Array:
        zone = r.model.lobule.zone
        inside = ((zone >= low) & ((zone < high) | (high == 1.0))).astype(jnp.float64)
        volume = jnp.where(inside > 0, r.model.grid.volume, 0.0)
        total = jnp.sum(volume)
        return jnp.sum(volume * r.fields[field].astype(jnp.float64)) / jnp.where(total > 0, total, 1.0)

    return value


CLINIC = (
    _field("functional_mass", "-", "liver function over rest", "function"),
    _field("mass", "-", "functioning liver mass over rest"),
    _field("liver_volume", "-", "liver volume over rest"),
    _score("meld", "MELD with floors and cap", meld, "bilirubin_mg_dl", "inr", "creatinine_mg_dl"),
    _field("meld_smooth", "-", "MELD with smooth floors, for gradients", "meld"),
    Endpoint("meld_3", "-", "MELD 3.0", _meld_3, smooth=False),
    Endpoint("child_pugh", "-", "Child-Pugh points", _child_pugh, smooth=False),
    _score("albi", "albumin-bilirubin score", albi, "bilirubin_mg_dl", "albumin_g_l", smooth=True),
    _field("bilirubin_mg_dl", "mg/dl", "bilirubin in plasma"),
    _field("albumin_g_l", "g/l", "albumin in plasma"),
    _field("inr", "-", "international normalised ratio"),
    _field("creatinine_mg_dl", "mg/dl", "creatinine in plasma"),
    _field("alt_u_l", "U/l", "alanine aminotransferase in plasma"),
    _field("ast_u_l", "U/l", "aspartate aminotransferase in plasma"),
    _field("survival", "-", "probability of being alive"),
    _field("infection_incidence", "-", "cumulative incidence of infection, death competing"),
    _field("hcc_hazard", "-", "integral of the hazard of liver cancer"),
    _field("immune_suppression", "-", "suppression of the defence against infection"),
    _field("effector_t", "-", "effector T cells against the cause"),
    _field("regulatory_t", "-", "regulatory T cells over rest"),
    _field("activity", "-", "activity of the cause"),
)
TISSUE = (
    _mean("quiescent", "-", "quiescent hepatocytes, mean over the lobule", "quiescent"),
    _mean("primed", "-", "primed hepatocytes, mean over the lobule", "primed"),
    _mean("injured", "-", "injured hepatocytes, mean over the lobule", "injured"),
    _mean("debris", "-", "dead hepatocytes not yet cleared, mean over the lobule", "debris"),
    *(
        Endpoint(f"debris_{zone}", "-", f"dead hepatocytes, mean over the {zone} third", _in_zone("debris", *bounds))
        for zone, bounds in ZONES.items()
    ),
    _mean("identity", "-", "hepatocyte identity, mean over the lobule", "identity"),
    _mean("collagen", "-", "volume fraction of collagen, mean over the lobule", "collagen"),
    _mean("macrophage_m1", "-", "inflammatory macrophages, mean over the lobule", "macrophage_m1"),
    _mean("macrophage_m2", "-", "resolving macrophages, mean over the lobule", "macrophage_m2"),
    _mean("inflammation", "-", "inflammation index, mean over the lobule", "inflammation"),
    _mean("vascular_integrity", "-", "intact endothelium, mean over the lobule", "vascular_integrity"),
    _mean("oxygen_mean", "mmHg", "partial pressure of oxygen, mean over the lobule", "oxygen"),
    Endpoint(
        "oxygen_min",
        "mmHg",
        "lowest partial pressure of oxygen",
        lambda r: jnp.min(jnp.where(r.model.grid.active, r.fields.oxygen, jnp.inf)),
        smooth=False,
    ),
    Endpoint(
        "hypoxic_fraction",
        "-",
        "share of the tissue below the half saturation of the hypoxic response, 10 mmHg by default",
        lambda r: _share_below(r, r.model.parameters.biology.metabolism.hypoxia_half_saturation),
        smooth=False,
    ),
    Endpoint("oxygen_extraction", "-", "oxygen taken up over oxygen delivered", lambda r: r.evidence.extraction),
    Endpoint(
        "oxygen_outlet", "mmHg", "partial pressure of oxygen in the blood that leaves", lambda r: r.evidence.outlet_mmHg
    ),
    Endpoint(
        "saturation_outlet",
        "-",
        "oxygen saturation of the blood that leaves",
        lambda r: saturation(r.evidence.outlet_mmHg, r.model.parameters.oxygen),
    ),
)
BLOOD = (
    _field("flow", "-", "blood flow of the liver over rest", "flow_relative"),
    Endpoint("perfusion", "ml/min/g", "blood flow of the liver over its mass", _perfusion),
    _field("portal_gradient", "-", "portal pressure gradient over rest", "portal_gradient_relative"),
    _mean("blocked_fraction", "-", "sinusoids plugged by cells", "blocked"),
    Endpoint(
        "blocked_peak",
        "-",
        "sinusoids plugged by cells, largest share at the ends of infusions and of the macro-step",
        lambda r: r.fields["blocked_peak"],
        smooth=False,
        smooth_peak=True,
    ),
    *(
        Endpoint(f"{name}_plasma", "nM", f"plasma level of {name}", lambda r, name=name: r.solved.inlet[name])
        for name in SIGNALS
    ),
)
CELLS = (
    *(_field(f"msc_{organ}", "1e6 cells", f"viable MSC in {organ}") for organ in ORGANS),
    Endpoint("msc_liver", "1e6 cells", "viable MSC in the liver", lambda r: _cells_in_liver(r, "msc_viable")),
    Endpoint(
        "msc_per_lobule", "cells", "expected viable MSC in one lobule", lambda r: _cells_per_lobule(r, "msc_viable")
    ),
    *(_field(f"label_{organ}", "1e6 cells", f"label of MSC in {organ}") for organ in ORGANS),
    Endpoint("label_liver", "1e6 cells", "label of MSC in the liver", lambda r: _cells_in_liver(r, "msc_label")),
    Endpoint("label_per_lobule", "cells", "expected labels in one lobule", lambda r: _cells_per_lobule(r, "msc_label")),
)


def _source_of_hgf(population: str) -> Endpoint:
    def value(r: Reading) -> Array:
        made = secretion_by_population("hgf", r.fields, r.model.parameters.biology.secretion)
        return r.model.grid.mean(made[population])

    return Endpoint(f"source_hgf_by_{population}", "nM/h", f"HGF made by {population}, mean over the lobule", value)


def _source_of_active_hgf(origin: str) -> Endpoint:
    """Active HGF of one origin over the exchange time [nM/h], which makes a level comparable with secretion."""

    def value(r: Reading) -> Array:
        active = active_hgf_by_origin(r.fields, r.model.parameters.biology.secretion)[origin]
        return r.model.grid.mean(active) * SECONDS_PER_HOUR / r.model.parameters.signals["hgf"].exchange_time_s

    how = origin.replace("_", " ")
    meaning = f"HGF made active: {how}, at the pace of its exchange with plasma, mean over the lobule"
    return Endpoint(f"source_active_hgf_by_{origin}", "nM/h", meaning, value)


def _source_of_m2(origin: str) -> Endpoint:
    def value(r: Reading) -> Array:
        return r.model.grid.mean(m2_by_origin(r.fields, r.model.parameters.biology.immunity)[origin])

    return Endpoint(
        f"source_m2_by_{origin}", "1/h", f"M2 macrophages that come by {origin}, mean over the lobule", value
    )


def _source_of_regulation(organ: str) -> Endpoint:
    """MSC that die in one organ [1e6 cells/h]; outside the liver the mean over the step, in it that at its end."""

    def value(r: Reading) -> Array:
        if organ == "liver":
            return _cells_in_liver(r, "msc_death")
        return r.fields.deaths_outside[organ]

    meaning = f"viable MSC that die in {organ} and educate phagocytes"
    return Endpoint(f"source_education_by_{organ}", "1e6 cells/h", meaning, value)


def _source_of_restraint(origin: str) -> Endpoint:
    def value(r: Reading) -> Array:
        fields = r.fields.with_({f"{MEAN}macrophage_m1": r.mean("macrophage_m1")})
        return restraint_by_origin(fields, r.model.parameters.immune_memory)[origin]

    meaning = f"effector T cells kept from being made by {origin.replace('_', ' ')}"
    return Endpoint(f"source_restraint_by_{origin}", "1/h", meaning, value)


SOURCES = (
    *(_source_of_hgf(population) for population in ("resident", "macrophage_m2", "stellate", "msc")),
    *(_source_of_active_hgf(origin) for origin in ACTIVE_HGF_ORIGINS),
    *(_source_of_m2(origin) for origin in M2_ORIGINS),
    *(_source_of_regulation(organ) for organ in (*ORGANS, "liver")),
    *(_source_of_restraint(origin) for origin in RESTRAINT_ORIGINS),
)

ENDPOINTS: dict[str, Endpoint] = {e.name: e for e in (*CLINIC, *TISSUE, *BLOOD, *CELLS, *SOURCES)}


@dataclass(frozen=True)
class LiverFunction:
    """What the clinic sees of a course, each over the macro-steps, (t,).

    Attributes:
        times_h: end of each macro-step [h].
        functional_mass: function of the whole liver over rest [-].
        meld: with floors and cap, not rounded [-].
        bilirubin_mg_dl: in plasma [mg/dl].
        albumin_g_l: in plasma [g/l].
        inr: international normalised ratio [-].
        creatinine_mg_dl: in plasma [mg/dl].
    """

    times_h: Float[Array, " t"]
    functional_mass: Float[Array, " t"]
    meld: Float[Array, " t"]
    bilirubin_mg_dl: Float[Array, " t"]
    albumin_g_l: Float[Array, " t"]
    inr: Float[Array, " t"]
    creatinine_mg_dl: Float[Array, " t"]


@runtime_checkable
class _Course(Protocol):
    """The part of a solution that `liver_function` reads."""

    @property
    def times_h(self) -> Array:
        """End of each macro-step [h], (t,)."""
        ...

    @property
    def endpoints(self) -> Fields:
        """Named endpoints over the macro-steps, each (t,)."""
        ...


def liver_function(solution: _Course) -> LiverFunction:
    """The liver tests and scores of a solution.

    Args:
        solution: from `hepatojax.simulate`.

    Returns:
        Each over the macro-steps, (t,), in the units of `LiverFunction`.
    """
    names = [field.name for field in fields(LiverFunction)][1:]
    return LiverFunction(solution.times_h, **{name: solution.endpoints[name] for name in names})


def endpoints_of(model: LiverModel, fields: Fields, solved: QuasiSteady, evidence: Evidence) -> Fields:
    """All endpoints at one moment.

    Args:
        model: the patient's liver.
        fields: states at the end of a macro-step and what follows from them, with `blocked_peak` [-] within it.
        solved: quasi-steady fields of the macro-step.
        evidence: of its solves.

    Returns:
        name -> float64 scalar, in the order of `ENDPOINTS` and in its units.
    """
    reading = Reading(model, fields, solved, evidence)
    return Fields({e.name: jnp.asarray(e.value(reading)).astype(jnp.float64) for e in ENDPOINTS.values()})
