"""The derivative of a whole run by every class of its inputs: both modes, both precisions, and where inputs are zero.

The registry enters through `with_parameters`, so that the rest of the healthy liver is derived inside what is
differentiated. A hexagon of cut cells with the thickest scars that a scenario may have, two days in steps of 12 h.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.assembly import TOLERANCE, build_lobule, with_parameters
from hepatojax.build import build
from hepatojax.checks.verify.coupling import in_single_precision, with_numerics
from hepatojax.checks.verify.gradient import (
    QUICK_TO_COMPILE,
    along_direction,
    difference,
    one_by_one,
    random_direction,
    shifted,
)
from hepatojax.checks.verify.perfusion import TIGHT
from hepatojax.model import Disease
from hepatojax.parameters.registry import registry_of
from hepatojax.scenario import (
    ROUTES,
    ArmSpec,
    DiseaseSpec,
    GridSpec,
    InfusionSpec,
    LobuleSpec,
    RunSpec,
    Scenario,
)
from hepatojax.simulate import simulate
from hepatojax.status import Status
from hepatojax.therapy.product import CellProduct
from hepatojax.therapy.schedule import DoseSchedule

pytestmark = [pytest.mark.slow, pytest.mark.verification]  # four programs of the whole model, minutes to compile

END_H, STEPS_PER_DAY = 48.0, 2
SHORTEST_H = 1e-3
SCENARIO = Scenario(
    lobule=LobuleSpec(permeability_log_sd=0.3, fibrotic_septa=6, fibrotic_contrast=1e6),
    grid=GridSpec(cells=(7, 8, 2)),
    disease=DiseaseSpec(activity=0.3, lesion_fraction=0.5, lesion_from_zone=0.4),
    run=RunSpec(steps_per_day=STEPS_PER_DAY, precision="float64"),
    arms=(ArmSpec("treated", tuple(InfusionSpec(h, 1e6, ROUTES[0], duration_h=3.0) for h in (5.3, 11.1, 30.0))),),
)
REGISTRY = registry_of(SCENARIO)
AT_BUILD = ("geometry.lobule", "geometry.central", "geometry.portal", "product.")  # the product is a class of its own
NUMBERS = {row.name: float(row.value) for row in REGISTRY.rows if not row.name.startswith(AT_BUILD)}
ENDPOINTS = ("functional_mass", "meld_smooth", "survival", "msc_liver")
READINGS = (*ENDPOINTS, "clustering of cells")


class Place(NamedTuple):
    """All that a gradient may touch; the patient's covariates are numbers of the registry."""

    schedule: DoseSchedule
    numbers: dict[str, jax.Array]
    product: CellProduct
    disease: Disease
    fields: dict[str, jax.Array]


@pytest.fixture(scope="module", autouse=True)
def promotion():
    """Of dtypes and ranks, as a user has it."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


class Programs:
    """Readings of a run with their derivative along a direction, and the gradient of a weighted sum of them."""

    def __init__(self, model, state, healthy):
        def readings(place):
            changed = dataclasses.replace(model, product=place.product, disease=place.disease)
            changed = with_parameters(changed, REGISTRY, place.numbers, healthy)
            fields = {name: field.astype(model.numerics.dtype) for name, field in place.fields.items()}
            run = simulate(changed, state.replace(voxel=fields), place.schedule, end_h=END_H, start_h=0.0)
            cells = run.state.voxel["msc_adherent"].astype(float)
            clustering = model.grid.mean(cells**2) / model.grid.mean(cells) ** 2
            values = jnp.stack([*(run.endpoints[name][-1] for name in ENDPOINTS), clustering])
            return jnp.log(values), run.status

        def along(place, way):
            return jax.jvp(readings, (place,), (way,), has_aux=True)

        def weighted(place, weight):
            value, status = readings(place)
            return weight @ value, status

        self._along = jax.jit(along, compiler_options=QUICK_TO_COMPILE)
        self._gradient = jax.jit(jax.grad(weighted, has_aux=True), compiler_options=QUICK_TO_COMPILE)

    def along(self, place, way):
        """Logarithms of the readings, and their derivatives along a direction, each (k,)."""
        value, slope, status = self._along(place, way)
        assert status == Status.OK
        return np.asarray(value), np.asarray(slope)

    def gradient(self, place, weight):
        """Derivative of the weighted sum of the logarithms by every number of the place."""
        gradient, status = self._gradient(place, jnp.asarray(weight))
        assert status == Status.OK
        return gradient


@pytest.fixture(scope="module")
def patient(promotion):
    """A wounded liver in float64, tightly solved, its place with nothing at zero, and its lobule without scars."""
    model, state, schedule = build(SCENARIO, arm="treated")
    model = with_numerics(model, tolerance=TIGHT, pressure_tolerance=TIGHT)
    schedule = dataclasses.replace(schedule, route_mix=jnp.full((3, len(ROUTES)), 1.0 / len(ROUTES)))
    numbers = {**NUMBERS, "stem_cells.engraftment_rate": 0.02, "stem_cells.differentiation_rate": 0.02}  # [1/d]
    disease = Disease(0.3, flare=0.2, flare_start_h=3.1, flare_end_h=15.7, toxin_mg_kg=100.0, toxin_h=2.3)
    filled = {name: jnp.where(field > 0, field, 1e-3) for name, field in state.voxel.items()}
    place = Place(schedule, numbers, model.product, disease, filled)
    healthy = jax.tree.map(jnp.asarray, build_lobule(SCENARIO, REGISTRY))
    return model, state, healthy, jax.tree.map(lambda leaf: jnp.asarray(leaf, float), place)


@pytest.fixture(scope="module")
def double(patient):
    return Programs(*patient[:3])


@pytest.fixture(scope="module")
def single(patient):
    model, state, healthy, _ = patient
    model = with_numerics(model, precision="float32", tolerance=TOLERANCE["float32"])
    return Programs(model, in_single_precision(state), healthy)


def with_zeros(place):
    """The place with exact zeros: a dose, a potency, a toxin, rates, states in half the cells or all; and a bolus."""
    schedule = dataclasses.replace(
        place.schedule,
        cells_per_kg=place.schedule.cells_per_kg.at[0].set(0.0),
        duration_h=place.schedule.duration_h.at[1].set(SHORTEST_H),
        route_mix=jax.nn.one_hot(jnp.asarray([0, 1, 2]), len(ROUTES)),
    )
    numbers = {**place.numbers, "stem_cells.engraftment_rate": jnp.zeros(()), "amplification.relay_rate": jnp.zeros(())}
    product = dataclasses.replace(place.product, potency_vegf=jnp.zeros(()), licensed=jnp.zeros(()))
    empty = ("primed", "injured", "debris", "collagen_fresh", "macrophage_educated", "plugging")
    gone = ("msc_adherent", "msc_engrafted", "msc_label", "msc_derived")
    fields = {name: field.at[..., ::2].set(0.0) if name in empty else field for name, field in place.fields.items()}
    fields |= {name: jnp.zeros_like(fields[name]) for name in gone}
    return Place(schedule, numbers, product, dataclasses.replace(place.disease, toxin_mg_kg=jnp.zeros(())), fields)


def of_its_size(gradient, place):
    """A gradient for a change of each number by its own size; of the largest beside it where it is zero, or by 1."""

    def scaled(slope, value):
        size = np.abs(np.asarray(value))
        return (np.asarray(slope) * np.where(size > 0, size, np.max(size) or 1.0)).ravel()

    return np.concatenate([scaled(*pair) for pair in zip(*map(jax.tree.leaves, (gradient, place)), strict=True)])


@pytest.mark.parametrize(("precision", "bound"), [("double", 1e-9), ("single", 1e-3)])
def test_both_modes_agree_in_all_classes_at_once(patient, precision, bound, request):
    program, place = request.getfixturevalue(precision), patient[-1]
    way, weight = random_direction(place, seed=3), np.asarray([1.0, -2.0, 3.0, 0.5, 0.7])
    forward = weight @ program.along(place, way)[1]
    reverse = along_direction(program.gradient(place, weight), way)
    assert abs(reverse / forward - 1.0) <= bound


def test_both_modes_agree_in_each_class(patient, double):
    """One class after the other, so that a strong one hides none."""
    place = patient[-1]
    weight = np.asarray([1.0, -2.0, 3.0, 0.5, 0.7])
    gradient, still = double.gradient(place, weight), jax.tree.map(jnp.zeros_like, place)
    ways = {name: still._replace(schedule=way) for name, way in one_by_one(place.schedule).items()}
    for name in Place._fields[1:]:
        ways[name] = still._replace(**{name: random_direction(getattr(place, name), seed=5)})
    for name, way in ways.items():
        forward = weight @ double.along(place, way)[1]
        assert forward != 0.0
        assert abs(along_direction(gradient, way) / forward - 1.0) <= 1e-9, name


@pytest.mark.parametrize(
    ("number", "reading"),
    [
        ("immune_memory.effector_rate", "functional_mass"),
        ("immune_memory.monocyte_homing_rate", "meld_smooth"),
        ("amplification.phagocytes_per_msc", "functional_mass"),
        ("amplification.contact_rate", "meld_smooth"),
        ("migration.msc_motility", "clustering of cells"),
        ("migration.crowding_diffusivity", "functional_mass"),
    ],
)
def test_memory_amplification_and_migration_agree_with_differences(patient, double, number, reading):
    place, at = patient[-1], READINGS.index(reading)
    still = jax.tree.map(jnp.zeros_like, place)
    way = still._replace(numbers={**still.numbers, number: place.numbers[number]})
    slope = along_direction(double.gradient(place, np.eye(len(READINGS))[at]), way)
    expected = difference(lambda t: double.along(shifted(place, way, t), way)[0][at], step=0.02)
    assert abs(slope / expected - 1.0) <= 1e-6


@pytest.mark.parametrize("zeros", [False, True])
def test_a_gradient_in_float32_is_finite_and_that_of_float64(patient, double, single, zeros):
    place = with_zeros(patient[-1]) if zeros else patient[-1]
    for reading, weight in zip(READINGS, np.eye(len(READINGS)), strict=True):
        coarse, fine = (program.gradient(place, weight) for program in (single, double))
        for leaf in jax.tree.leaves((coarse, fine)):
            assert np.isfinite(leaf).all(), reading
        coarse, fine = of_its_size(coarse, place), of_its_size(fine, place)
        assert np.linalg.norm(coarse - fine) <= 2e-3 * np.linalg.norm(fine), reading
