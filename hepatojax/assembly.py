"""Geometry, parameters and the resting lobule of a scenario: the model of a healthy liver.

First the lobule on its grid, then every number of the registry in canonical units at the place where it acts, then the
constants and states at which this very lobule stands still. `with_parameters` does the last two anew for other numbers
and carries a derivative through both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hepatojax.biology.parameters import biology_parameters
from hepatojax.biology.secretion import SIGNALS
from hepatojax.body.biodistribution import BiodistributionParameters
from hepatojax.body.circulation import CirculationParameters, Patient
from hepatojax.body.growth import GrowthParameters
from hepatojax.body.hazards import HazardParameters
from hepatojax.body.immune_memory import ImmuneMemoryParameters
from hepatojax.body.liver_tests import LiverTestParameters
from hepatojax.body.plasma import body_signal
from hepatojax.body.toxin import ToxinParameters
from hepatojax.model import Disease, LiverModel, ModelParameters, Numerics
from hepatojax.parameters.registry import (
    ParameterError,
    Parameters,
    from_registry,
    replaced,
)
from hepatojax.presets import Presets, digest, kept
from hepatojax.rest import STANDS_STILL, Rest, derive_rest, first_guess, rest_state, with_rest
from hepatojax.scenario import DEFAULT_SPACING_UM, LobuleSpec, PatientSpec, Scenario, domain_extent_um, grid_cells
from hepatojax.state import LiverState
from hepatojax.status import SimulationError, Status
from hepatojax.therapy.product import cell_product
from hepatojax.tissue.geometry import Lobule
from hepatojax.tissue.heterogeneity import random_permeability
from hepatojax.tissue.hexagon import hexagonal_lobule, radial_column, well_mixed
from hepatojax.tissue.labels import lobule_from_labels
from hepatojax.tissue.migration import MigrationParameters
from hepatojax.tissue.oxygen import OxygenParameters
from hepatojax.tissue.perfusion import PerfusionParameters
from hepatojax.tissue.signals import SignalParameters
from hepatojax.units import HOURS_PER_DAY, SECONDS_PER_MINUTE

_BUILT_ONCE = ("geometry.lobule", "geometry.central", "geometry.portal", "product.hgf_by_source")
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}


def build_lobule(scenario: Scenario, parameters: Parameters, labels: np.ndarray | None = None) -> Lobule:
    """The geometry of a scenario on its grid, with its heterogeneity; septa are scars, see `hepatojax.onset`.

    Args:
        scenario: checked.
        parameters: see `registry_of`; they hold the sizes.
        labels: image (nz, ny, nx) for the geometry "labels", whose cells are voxels of `grid.spacing_um`.

    Returns:
        The healthy lobule at rest size: volumes [um3], well factors [um] and maps [-], each (nz, ny, nx).

    Raises:
        ValueError: the scenario wants a label image and none is given, or the image cannot be a lobule.
    """
    spec, geometry = scenario.lobule, parameters.geometry
    if spec.geometry == "labels":
        return _labelled_lobule(scenario, parameters, labels)
    sizes = {
        "radius_um": geometry.lobule_radius_um,
        "height_um": geometry.lobule_height_um,
        "central_vein_radius_um": geometry.central_vein_radius_um,
    }
    cells = grid_cells(scenario.grid, spec.geometry, domain_extent_um(spec, **sizes))
    sizes["portal_tract_radius_um"] = geometry.portal_tract_radius_um
    if spec.geometry == "well_mixed":
        return well_mixed(**sizes)
    if spec.geometry == "column":
        return radial_column(cells[0], **sizes)
    tiling = spec.tiling if spec.geometry == "tiling" else (1, 1)
    lobule = hexagonal_lobule(cells, **sizes, inlet_septa=spec.inlet_septa, tiling=tiling)
    return _heterogeneous(spec, lobule)


def _labelled_lobule(scenario: Scenario, parameters: Parameters, labels: np.ndarray | None) -> Lobule:
    """The lobule of a label image, whose voxels are cubes of the scenario's spacing or of the default one [um]."""
    if labels is None:
        raise ValueError('lobule.geometry = "labels" needs a label image')
    spec, geometry = scenario.lobule, parameters.geometry
    spacing = scenario.grid.spacing_um or DEFAULT_SPACING_UM
    lobule = lobule_from_labels(
        labels,
        (spacing, spacing, spacing),
        geometry.central_vein_radius_um,
        geometry.portal_tract_radius_um,
        lobules=spec.lobules_in_image,
    )
    return _heterogeneous(spec, lobule)


def _heterogeneous(spec: LobuleSpec, lobule: Lobule) -> Lobule:
    """The lobule with the heterogeneity of its permeability."""
    if spec.permeability_log_sd == 0:
        return lobule
    return random_permeability(lobule, spec.permeability_log_sd, spec.permeability_correlation_um, spec.seed)


def resting_model(
    scenario: Scenario, parameters: Parameters, lobule: Lobule, presets: Presets | None = None
) -> tuple[LiverModel, LiverState]:
    """The model of a healthy liver with the constants of its rest, derived on its own grid, and its resting state.

    Args:
        scenario: checked.
        parameters: see `registry_of`.
        lobule: its geometry.
        presets: where the rest is kept between runs; without it it is derived anew.

    Returns:
        The model, without disease and with all its lobules, and the state at step 0. The state on the grid is in the
        precision of the run, constants of rest and the body are in float64.

    Raises:
        SimulationError: the rest does not stand still, or a constant of it is negative.
    """
    run = scenario.run
    numerics = Numerics(
        macro_step_h=HOURS_PER_DAY / run.steps_per_day,
        precision=run.precision,
        transport=run.transport,
        drive=run.drive,
        pressure_drop_pa=run.pressure_drop_pa or 0.0,
        tolerance=TOLERANCE[run.precision],
    )
    lobule = jax.tree.map(jnp.asarray, lobule)
    model = LiverModel(
        lobule=lobule,
        parameters=model_parameters(parameters),
        rest={},
        rest_resistance=jnp.ones(()),
        patient=treated_patient(scenario.patient, parameters),
        product=cell_product(scenario.product, parameters.product),
        disease=Disease(activity=0.0),
        lobule_share=1.0,
        numerics=numerics,
    )
    drive = (run.transport, run.drive, run.pressure_drop_pa)
    key = repr(("rest", digest(lobule), scenario.species, *drive, parameters.hash))
    rest = kept(presets, key, jax.eval_shape(first_guess, model), lambda: _derive_rest(model))
    require_rest(rest)
    model = dataclasses.replace(model, rest=rest.constants, rest_resistance=rest.resistance)
    return model, _rest_state(model, rest)


_derive_rest = jax.jit(derive_rest)
_rest_state = jax.jit(rest_state)  # op by op, its small programs would be compiled anew at every start


def treated_patient(spec: PatientSpec, parameters: Parameters) -> Patient:
    """The patient: sizes from the registry, and from the scenario what is not modelled and scores read.

    Args:
        spec: of the scenario.
        parameters: see `registry_of`; they hold a body mass that the scenario sets.

    Returns:
        Body mass [kg], volume of the healthy liver [l], plasma sodium [mmol/l], and words for scores.
    """
    return dataclasses.replace(
        from_registry(Patient, parameters.patient),
        sex=spec.sex,
        sodium_mmol_l=spec.sodium_mmol_l,
        ascites=spec.ascites,
        encephalopathy=spec.encephalopathy,
    )


def require_rest(rest: Rest) -> None:
    """Refuse a lobule that has no rest.

    Args:
        rest: as it came out of the sweeps; `change` [-] below `STANDS_STILL` and no `lowest` below zero pass.

    Raises:
        SimulationError: the sweeps did not settle, or a constant that must be positive is negative.
    """
    if not float(rest.change) < STANDS_STILL:
        raise SimulationError(
            Status.REST_NOT_CONVERGED,
            Status.REST_NOT_CONVERGED.describe(residual=float(rest.change), relative_to="the state"),
        )
    for name, value in rest.lowest.items():
        if float(value) < 0.0:
            raise SimulationError(
                Status.REST_NOT_CONVERGED, Status.REST_NOT_CONVERGED.describe(field=f"{name}, which is negative")
            )


def with_parameters(
    model: LiverModel, parameters: Parameters, values: Mapping[str, Any], healthy: Lobule | None = None
) -> LiverModel:
    """The model with some numbers of the registry replaced wherever they act, and its rest derived anew.

    Pure and differentiable in the values: this is the derivative by a parameter. One number of the registry stands in
    several leaves of `LiverModel.parameters`, and what it does to the rest is in none of them.

    Args:
        model: of `hepatojax.build`.
        parameters: the registry that it was built from.
        values: "subject.name" -> value in the unit of the file; no range is checked.
        healthy: the lobule without its fibrotic septa, if it has some.

    Returns:
        The model; where these values have no rest, its constants of rest are not numbers. A start state that belongs
        to other values is not changed.

    Raises:
        ParameterError: an unknown name, or one that only `build` uses: geometry, and the source of a product.
    """
    for name in values:
        if name.startswith(_BUILT_ONCE):
            raise ParameterError(f"parameters.{name}: only `build` uses it; build another model")
    changed = replaced(parameters, values)
    own = {subject: _of(subject, changed, values) for subject in ("patient", "product")}
    new = dataclasses.replace(
        model,
        lobule=model.lobule if healthy is None else healthy,
        parameters=model_parameters(changed),
        patient=dataclasses.replace(model.patient, **own["patient"]),
        product=dataclasses.replace(model.product, **own["product"]),
    )
    return dataclasses.replace(with_rest(new), lobule=model.lobule)


def _of(subject: str, parameters: Parameters, values: Mapping[str, Any]) -> dict[str, Any]:
    """The replaced numbers of a subject, in canonical units."""
    names = (name.removeprefix(f"{subject}.") for name in values if name.startswith(f"{subject}."))
    return {name: parameters.subjects[subject][name] for name in names}


def model_parameters(parameters: Parameters) -> ModelParameters:
    """All parameters of the model, from the registry of a species.

    Args:
        parameters: see `registry_of`; values may be traced.

    Returns:
        Every number at the place where it acts, in canonical units. Two are derived here: flow per tissue volume [1/s]
        from that per mass at a density of 1 g/ml, and sinusoids per volume of healthy liver [1e6/l].
    """
    r = parameters
    return ModelParameters(
        biology=biology_parameters(r),
        growth=from_registry(GrowthParameters, r.growth),
        immune_memory=from_registry(ImmuneMemoryParameters, r.immune_memory, r.amplification, r.patient, r.cells),
        circulation=from_registry(CirculationParameters, r.circulation),
        biodistribution=from_registry(BiodistributionParameters, r.biodistribution),
        liver_tests=from_registry(LiverTestParameters, r.liver_tests),
        hazards=from_registry(HazardParameters, r.hazards),
        toxin=from_registry(ToxinParameters, r.toxin),
        perfusion=from_registry(PerfusionParameters, r.perfusion),
        oxygen=from_registry(OxygenParameters, r.oxygen),
        signals={name: signal_parameters(r.signals[name]) for name in SIGNALS},
        body_signals={name: body_signal(r.signals[name]) for name in SIGNALS},
        migration=from_registry(MigrationParameters, r.migration),
        adhesion_per_transit=r.migration.adhesion_per_transit,
        haematocrit=r.perfusion.haematocrit,
        perfusion_at_rest=r.perfusion.flow_at_rest_ml_min_g / SECONDS_PER_MINUTE,
        portal_mmHg=r.oxygen.portal_mmHg,
        arterial_mmHg=r.oxygen.arterial_mmHg,
        sinusoids_per_litre=r.geometry.sinusoids_per_liver * 1e-6 / r.patient.liver_volume_l,
    )


def signal_parameters(table: Any) -> SignalParameters:
    """Transport of one signal; one without saturable uptake takes none up, so its floor and half saturation are 1.

    Args:
        table: of the signal in the registry subject `signals`, in canonical units.

    Returns:
        Diffusivities in tissue and plasma [um2/s], exchange time [s], floor [-] and half saturation [nM] of the uptake.
    """
    return SignalParameters(
        diffusivity_tissue_um2_s=table["diffusivity_tissue_um2_s"],
        diffusivity_plasma_um2_s=table["diffusivity_plasma_um2_s"],
        exchange_time_s=table["exchange_time_s"],
        uptake_floor=table.get("uptake_floor", 1.0),
        uptake_half_saturation_nM=table.get("uptake_half_saturation_nM", 1.0),
    )
