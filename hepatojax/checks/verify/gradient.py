"""The derivative rule of every solve: forward and reverse mode against each other and against differences.

Two levels. Each solve alone, in a hexagon, in a random direction of all its inputs at once; a fault shows where it is.
Then a day of treatment as a whole, each objective by each class of inputs, for what each rule gets right may still be
lost between them. All runs are in float64 and solve to 1e-12, so that what is left between the derivative and the
differences is not the tolerance of a solver (NUMERICS decision 12).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hepatojax.body.circulation import Patient
from hepatojax.checks.records import Check, Record, at_most, largest
from hepatojax.checks.verify.coupling import treated, with_numerics
from hepatojax.checks.verify.oxygen import BLOOD, HUMAN_FLOW
from hepatojax.checks.verify.perfusion import TIGHT
from hepatojax.checks.verify.transport import hexagon_with_flow
from hepatojax.model import Disease, LiverModel, ModelParameters
from hepatojax.scenario import ROUTES, InfusionSpec, LobuleSpec
from hepatojax.simulate import simulate
from hepatojax.state import LiverState
from hepatojax.therapy.product import CellProduct
from hepatojax.therapy.schedule import DoseSchedule, schedule_of
from hepatojax.tissue.arrival import unit_arrival
from hepatojax.tissue.migration import migrate
from hepatojax.tissue.oxygen import solve_oxygen
from hepatojax.tissue.perfusion import solve_perfusion
from hepatojax.tissue.signals import BodyClosure, SignalParameters, solve_signal

CELLS = (10, 12, 3)
STEP = 1e-4  # of the differences, relative
QUICK_TO_COMPILE = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
ENGRAFTMENT_1_H = 1e-3
# Steps of the differences of V10, relative: as long as truncation allows, for what hardly acts drowns in round-off.
SCHEDULE_STEPS = {"start_h": 6e-3, "duration_h": 1.2e-2, "cells_per_kg": 6e-3, "route_mix": 1.5e-3}
HEARD = 1e-3
STARVED = {"portal_mmHg": 25.0, "arterial_mmHg": 50.0}  # of oxygen, so that much of the lobule is hypoxic
OBJECTIVES = {
    "functional mass": ("functional_mass",),
    "cells in the liver": ("msc_liver",),
    "MELD": ("meld_smooth",),
    "survival": ("survival",),
    "blood tests, infection and cancer": ("albumin_g_l", "alt_u_l", "ast_u_l", "infection_incidence", "hcc_hazard"),
}
ENDPOINTS = tuple(name for names in OBJECTIVES.values() for name in names)
SOURCE = "V10, differences"

Inputs = tuple[DoseSchedule, tuple[ModelParameters, CellProduct, Disease], Patient, dict[str, Array]]
CLASSES = {"by all parameters": 1e-3, "by the patient": 0.1, "by the initial fields": 7e-4}  # and their steps


def difference(along: Callable[[float], Array | float], step: float = STEP) -> float:
    """Derivative at 0 by central differences of fourth order.

        (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / (12 h)

    Args:
        along: f, a number at a distance.
        step: h.

    Returns:
        f'(0), in the unit of f per that of h.
    """
    near, far = (float(along(h)) - float(along(-h)) for h in (step, 2.0 * step))
    return (8.0 * near - far) / (12.0 * step)


def random_direction(place: Any, seed: int) -> Any:
    """A random direction in a pytree, relative to its values: each number times one between -1 and 1.

    Args:
        place: pytree of arrays.
        seed: of the numbers.

    Returns:
        The direction, like `place`.
    """
    leaves, structure = jax.tree.flatten(place)
    random = np.random.default_rng(seed)
    return structure.unflatten([leaf * jnp.asarray(random.uniform(-1.0, 1.0, leaf.shape)) for leaf in leaves])


def shifted(place: Any, direction: Any, distance: ArrayLike) -> Any:
    """place + distance x direction.

    Args:
        place: pytree of arrays.
        direction: like `place`.
        distance: along it [-].

    Returns:
        The other place, like `place`.
    """
    return jax.tree.map(lambda a, b: a + distance * b, place, direction)


def along_direction(gradient: Any, direction: Any) -> float:
    """Product of a gradient with a direction: the sum over all numbers of both.

    Args:
        gradient: pytree of arrays.
        direction: like `gradient`.

    Returns:
        The derivative along the direction, in the unit of the function.
    """
    leaves = zip(*map(jax.tree.leaves, (gradient, direction)), strict=True)
    return sum(float(jnp.vdot(a, b)) for a, b in leaves)


def derivative_errors(function: Callable[[Any], Array], place: Any, seed: int = 0) -> tuple[float, float]:
    """Reverse against forward mode, and reverse mode against a central difference, each relative.

    Args:
        function: scalar function of a pytree.
        place: where; the direction is random and relative to its values.
        seed: of the direction.

    Returns:
        |reverse / forward - 1| and |reverse / difference - 1| of the derivative along the direction [-].
    """
    place = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), place)
    direction = random_direction(place, seed)
    along = jax.jit(lambda t: jax.jvp(lambda t: function(shifted(place, direction, t)), (t,), (1.0,)))
    reverse = along_direction(jax.jit(jax.grad(function))(place), direction)
    forward = float(along(0.0)[1])
    return abs(reverse / forward - 1.0), abs(reverse / difference(lambda t: along(t)[0]) - 1.0)


def objectives() -> dict[str, tuple[Callable[[Any], Array], Any]]:
    """A scalar of the solution of each solve, and the inputs with respect to which it is differentiated.

    Inputs vary at random from cell to cell, so that no symmetry of the hexagon hides an error.

    Returns:
        Solve -> function of its inputs, and these inputs.
    """
    lobule, flow = hexagon_with_flow(CELLS)
    grid, shape = lobule.grid, lobule.grid.shape
    random = np.random.default_rng(1)
    smooth = jnp.asarray(random.uniform(0.5, 2.0, shape))
    weight = grid.volume * jnp.asarray(random.uniform(0.0, 1.0, shape)) / grid.total_volume

    def perfusion(inputs: Any) -> Array:
        factor, parameters = inputs
        solved = solve_perfusion(lobule, factor, parameters, tolerance=TIGHT)
        return jnp.sum(solved.flow.flux[2] ** 2) + 1e3 * solved.resistance

    def oxygen(inputs: Any) -> Array:
        demand, factor, inlet, parameters = inputs
        start = jnp.full(shape, 40.0)
        solved = solve_oxygen(grid, flow.times(factor), demand, inlet, parameters, start, tolerance=TIGHT)
        return jnp.sum(weight * solved.mmHg**2)

    def signal(inputs: Any) -> Array:
        secretion, uptake, factor, parameters, body = inputs
        carried, none = flow.times(0.55 * factor), jnp.zeros((2, *shape))
        solved = solve_signal(grid, carried, secretion, uptake, parameters, body, none, tolerance=TIGHT)
        return jnp.sum(weight * solved.tissue_nM**2) + solved.inlet_nM

    def arrival(inputs: Any) -> Array:
        affinity, adhesion, factor = inputs
        carried = flow.times(factor)
        return jnp.sum(weight * unit_arrival(grid, carried, affinity, adhesion, smooth, tolerance=TIGHT).density ** 2)

    def motion(inputs: Any) -> Array:
        density, potential, motility = inputs
        return jnp.sum(weight * migrate(grid, density, potential, motility, 6.0, tolerance=TIGHT).density ** 2)

    closure = BodyClosure(0.3 * float(flow.total), 0.01 * float(flow.total))
    return {
        "pressure": (perfusion, (smooth, HUMAN_FLOW)),
        "oxygen": (oxygen, (0.1 * smooth, jnp.ones(()), 60.0, BLOOD)),
        "signals": (
            signal,
            (1e-4 * smooth, 0.05 * smooth, jnp.ones(()), SignalParameters(50.0, 50.0, 150.0, 0.1, 0.2), closure),
        ),
        "arrival": (arrival, (smooth, 1.5, jnp.ones(()))),
        "motion": (motion, (smooth, 500.0 * smooth, 50.0)),
    }


def derivative_rules() -> Iterator[Record]:
    """Every solve in a hexagon, in a random direction of all its inputs at once.

    Modes must agree to 1e-7, reverse mode and differences to 1e-6.

    Yields:
        Both relative errors of each solve [-].

    Reference: NUMERICS decisions 9 and 12.
    """
    for name, (function, place) in objectives().items():
        modes, differences = derivative_errors(function, place)
        source = "NUMERICS decisions 9 and 12"
        yield at_most("derivative", f"{name}: reverse against forward mode", modes, 1e-7, "-", source)
        yield at_most("derivative", f"{name}: reverse mode against differences", differences, 1e-6, "-", source)


def endpoint_gradient() -> Iterator[Record]:
    """V10: the gradient of each objective after a day, on 12^3 cells, through `simulate`.

    With respect to every entry of the schedule, to every parameter of the model, the product and the disease, to the
    patient, and to the fields at the start; in cut cells, with septa and hypoxia. To compile is what costs time here:
    all objectives and all differences share one program, and the compiler leaves it slow.

    Yields:
        Relative error of each objective by each class of inputs [-]; 1e-6 is accepted.

    Reference: VALIDATION V10, with the bound of NUMERICS, verification tests of the first round.
    """
    model, state, place = day_of_treatment()
    program = jax.jit(jax.value_and_grad(objective, has_aux=True), compiler_options=QUICK_TO_COMPILE)

    def values(inputs: Inputs) -> np.ndarray:
        return np.log(program(inputs, jnp.zeros(len(ENDPOINTS)), model, state)[0][1])

    still = jax.tree.map(jnp.zeros_like, place)
    entries = {entry: (only, *still[1:]) for entry, only in one_by_one(place[0]).items()}
    here = values(place)
    slopes = {e: forward_difference(values, here, place, way, SCHEDULE_STEPS[e]) for e, way in entries.items()}
    for name, endpoints in OBJECTIVES.items():
        weight = np.isin(ENDPOINTS, endpoints).astype(float)
        gradient = program(place, jnp.asarray(weight), model, state)[1]
        errors = [_off(gradient, way, weight @ slopes[entry]) for entry, way in entries.items()]
        yield at_most("V10", f"{name} by dose, time, length and route, worst", largest(errors), 1e-6, "-", SOURCE)
        for index, (words, step) in enumerate(CLASSES.items(), start=1):
            moved = balanced_direction(place[index], gradient[index], seed=index)
            way = (*still[:index], moved, *still[index + 1 :])
            error = _off(gradient, way, weight @ forward_difference(values, here, place, way, step))
            yield at_most("V10", f"{name} {words}", error, 1e-6, "-", SOURCE)


def _off(gradient: Inputs, direction: Inputs, slope: float) -> float:
    return abs(along_direction(gradient, direction) / slope - 1.0)


def day_of_treatment() -> tuple[LiverModel, LiverState, Inputs]:
    """A wounded liver, what a gradient may touch of it, and a day on which nothing that acts is left out.

    Two infusions, the second by all routes and across the edge of a macro-step, an empty row, a flare and a toxin, on
    cut cells with scars, of which many are hypoxic. Cells engraft a little: where an empty state gets its first supply
    the stepper has slopes but no gradient.

    Returns:
        The model with macro-steps of 12 h, its state at hour 0, and the inputs of `objective` in float64.
    """
    model, state, _ = treated(LobuleSpec(permeability_log_sd=0.3, fibrotic_septa=6), (12, 12, 12))
    model = with_numerics(model, macro_step_h=12.0, tolerance=TIGHT, pressure_tolerance=TIGHT)
    disease = Disease(0.3, flare=0.2, flare_start_h=3.1, flare_end_h=15.7, toxin_mg_kg=100.0, toxin_h=2.3)
    infusions = tuple(InfusionSpec(start, 1e6, ROUTES[0], duration_h=3.0) for start in (5.3, 11.1))
    schedule = schedule_of(infusions, 3)
    schedule = dataclasses.replace(schedule, route_mix=schedule.route_mix.at[1].set(1.0 / len(ROUTES)))
    stem_cells = dataclasses.replace(model.parameters.biology.stem_cells, engraftment_rate=ENGRAFTMENT_1_H)
    biology = dataclasses.replace(model.parameters.biology, stem_cells=stem_cells)
    parameters = dataclasses.replace(model.parameters, biology=biology, **STARVED)
    place = (schedule, (parameters, model.product, disease), model.patient, state.voxel)
    return model, state, jax.tree.map(lambda leaf: jnp.asarray(leaf, float), place)


def objective(
    inputs: Inputs, weight: Float[Array, " k"], model: LiverModel, state: LiverState
) -> tuple[Float[Array, ""], Float[Array, " k"]]:
    """Weighted sum of the logarithms of some endpoints after a day, so that all count alike; and the endpoints.

    Args:
        inputs: schedule, and parameters, product, disease, patient and fields in place of the model's and the state's.
        weight: of each of `ENDPOINTS` [-].
        model: a liver; its numbers are replaced by those of the inputs.
        state: of the liver at hour 0; its fields are replaced by those of the inputs.

    Returns:
        The sum [-], and the endpoints in their units.
    """
    schedule, (parameters, product, disease), patient, fields = inputs
    changed = dataclasses.replace(model, parameters=parameters, product=product, disease=disease, patient=patient)
    end = simulate(changed, state.replace(voxel=fields), schedule, end_h=24.0, start_h=0.0).endpoints
    values = jnp.stack([end[name][-1] for name in ENDPOINTS])
    return weight @ jnp.log(values), values


def one_by_one(schedule: DoseSchedule) -> dict[str, DoseSchedule]:
    """A random direction in each entry of a schedule alone: relative to it, and upward where a number is zero.

    Args:
        schedule: of infusions.

    Returns:
        Name of the entry -> a schedule that is zero but for the direction in this entry, in its unit.
    """
    random, still = np.random.default_rng(0), jax.tree.map(jnp.zeros_like, schedule)

    def direction(values: Array) -> Array:
        sign = np.where(values == 0.0, 1.0, random.choice((-1.0, 1.0), values.shape))
        return jnp.asarray(sign * random.uniform(0.5, 1.0, values.shape)) * _size(values)

    names = [field.name for field in dataclasses.fields(schedule)]
    return {name: dataclasses.replace(still, **{name: direction(getattr(schedule, name))}) for name in names}


def balanced_direction(place: Any, gradient: Any, seed: int) -> Any:
    """A random direction in which a strong entry does not hide the others.

    An entry moves by its own value, but one that would change the objective by more than `HEARD` of the strongest
    moves only so far that it changes it by that. All move so that the objective should rise; a zero moves upward.

    Args:
        place: pytree of arrays.
        gradient: of the objective there, like `place`.
        seed: of the lengths, which lie between a half and the whole of these moves.

    Returns:
        The direction, like `place`.
    """
    leaves, structure = jax.tree.flatten(place)
    slopes = [np.asarray(slope) for slope in jax.tree.leaves(gradient)]
    effects = [abs(slope) * _size(leaf) for slope, leaf in zip(slopes, leaves, strict=True)]
    heard, random = HEARD * largest(effects), np.random.default_rng(seed)

    def move(leaf: Array, slope: ArrayLike, effect: ArrayLike) -> Array:
        share = heard / np.where(effect > heard, effect, heard)
        sign = np.where((slope < 0) & (np.asarray(leaf) != 0.0), -1.0, 1.0)
        return jnp.asarray(random.uniform(0.5, 1.0, leaf.shape) * sign * share * _size(leaf))

    return structure.unflatten([move(*entry) for entry in zip(leaves, slopes, effects, strict=True)])


def _size(values: Array) -> np.ndarray:
    """Size of each number of an entry; that of the largest beside it for one that is zero, 1 if all are."""
    size = np.abs(np.asarray(values))
    return np.where(size > 0.0, size, np.max(size) or 1.0)


def forward_difference(
    values: Callable[[Any], np.ndarray], here: np.ndarray, place: Any, direction: Any, step: float
) -> np.ndarray:
    """Derivative of some values along a direction, from one side, for a zero may be the bound of a number.

        (-25 f(0) + 48 f(h) - 36 f(2h) + 16 f(3h) - 3 f(4h)) / (12 h)

    Args:
        values: function f of a pytree, (k,).
        here: its values at `place`, (k,).
        place: where.
        direction: like `place`.
        step: h, relative to the direction [-].

    Returns:
        The derivatives, in the unit of the values, (k,).
    """
    course = [values(shifted(place, direction, k * step)) for k in range(1, 5)]
    return np.asarray((-25.0, 48.0, -36.0, 16.0, -3.0)) @ np.stack([here, *course]) / (12.0 * step)


CHECKS = (
    Check("derivative", "derivative rule of every solve", derivative_rules),
    Check("V10", "gradient of the endpoints of a run", endpoint_gradient),
)
