"""The derivative rule of every solve: forward and reverse mode against each other and against differences."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hepatojax.checks.records import Check, Record, at_most
from hepatojax.checks.verify.coupling import treated, with_numerics
from hepatojax.checks.verify.oxygen import BLOOD, HUMAN_FLOW
from hepatojax.checks.verify.perfusion import TIGHT
from hepatojax.checks.verify.transport import hexagon_with_flow
from hepatojax.model import LiverModel
from hepatojax.scenario import LobuleSpec
from hepatojax.simulate import simulate
from hepatojax.state import LiverState
from hepatojax.therapy.schedule import DoseSchedule
from hepatojax.tissue.arrival import unit_arrival
from hepatojax.tissue.migration import migrate
from hepatojax.tissue.oxygen import solve_oxygen
from hepatojax.tissue.perfusion import solve_perfusion
from hepatojax.tissue.signals import BodyClosure, SignalParameters, solve_signals

CELLS = (10, 12, 3)
STEP = 1e-4  # of the differences, relative
QUICK_TO_COMPILE = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def difference(along: Callable[[float], Array | float], step: float = STEP) -> float:
    """Derivative at 0 by central differences of fourth order.

    (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / (12 h)
    """
    near, far = (float(along(h)) - float(along(-h)) for h in (step, 2.0 * step))
    return (8.0 * near - far) / (12.0 * step)


def random_direction(place: Any, seed: int) -> Any:
    """A random direction in a pytree, relative to its values."""
    leaves, structure = jax.tree.flatten(place)
    random = np.random.default_rng(seed)
    return structure.unflatten([leaf * jnp.asarray(random.uniform(-1.0, 1.0, leaf.shape)) for leaf in leaves])


def shifted(place: Any, direction: Any, distance: ArrayLike) -> Any:
    """place + distance x direction."""
    return jax.tree.map(lambda a, b: a + distance * b, place, direction)


def along_direction(gradient: Any, direction: Any) -> float:
    """Product of a gradient with a direction."""
    leaves = zip(*map(jax.tree.leaves, (gradient, direction)), strict=True)
    return sum(float(jnp.vdot(a, b)) for a, b in leaves)


def derivative_errors(function: Callable[[Any], Array], place: Any, seed: int = 0) -> tuple[float, float]:
    """Reverse against forward mode, and reverse mode against a central difference, each relative.

    Args:
        function: scalar function of a pytree. place: where; the direction is random and relative to its values.
        seed: of the direction.
    """
    place = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), place)
    direction = random_direction(place, seed)
    along = jax.jit(lambda t: jax.jvp(lambda t: function(shifted(place, direction, t)), (t,), (1.0,)))
    reverse = along_direction(jax.jit(jax.grad(function))(place), direction)
    forward = float(along(0.0)[1])
    return abs(reverse / forward - 1.0), abs(reverse / difference(lambda t: along(t)[0]) - 1.0)


def objectives() -> dict[str, tuple[Callable[[Any], Array], Any]]:
    """Solve -> a scalar of its solution, and the inputs with respect to which it is differentiated."""
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
        none = jnp.zeros((1, 2, *shape))
        carried = flow.times(0.55 * factor)
        parameters, body = jax.tree.map(lambda leaf: leaf[None], (parameters, body))
        solved = solve_signals(grid, carried, secretion[None], uptake[None], parameters, body, none, tolerance=TIGHT)
        return jnp.sum(weight * solved.tissue_nM[0] ** 2) + solved.inlet_nM[0]

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
    """Every solve in a hexagon, in a random direction of all its inputs at once."""
    for name, (function, place) in objectives().items():
        modes, differences = derivative_errors(function, place)
        source = "NUMERICS decisions 9 and 12"
        yield at_most("derivative", f"{name}: reverse against forward mode", modes, 1e-7, "-", source)
        yield at_most("derivative", f"{name}: reverse mode against differences", differences, 1e-6, "-", source)


def endpoint_gradient() -> Iterator[Record]:
    """V10: the gradient of functional mass and of cells in the liver after a day, on 12^3 cells, through `simulate`.

    Directions: all entries of the schedule, and parameters of biology, oxygen, perfusion and signals, all at once.
    To compile is what costs time here: differences take their values from the program of the gradient, and the
    compiler leaves it slow.
    """
    model, state, schedule = treated(LobuleSpec(permeability_log_sd=0.3), (12, 12, 12))
    model = with_numerics(model, macro_step_h=12.0, tolerance=TIGHT, pressure_tolerance=TIGHT)
    chosen = {name: getattr(model.parameters, name) for name in ("biology", "oxygen", "perfusion", "signals")}
    place = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), (schedule, chosen))
    program = jax.jit(jax.value_and_grad(endpoint_after_a_day), compiler_options=QUICK_TO_COMPILE)
    gradient = program(place, model, state)[1]
    for number, name in enumerate(("dose, time, route", "parameters")):
        still = jax.tree.map(jnp.zeros_like, place)
        only = random_direction(place[number], seed=number)
        direction = (only, still[1]) if number == 0 else (still[0], only)
        slope = difference(lambda t, way=direction: program(shifted(place, way, jnp.asarray(t)), model, state)[0])
        error = abs(along_direction(gradient, direction) / slope - 1.0)
        yield at_most("V10", f"gradient along {name}, relative error", error, 1e-5, "-", "V10, differences")


def endpoint_after_a_day(
    inputs: tuple[DoseSchedule, dict[str, Any]], model: LiverModel, state: LiverState
) -> Float[Array, ""]:
    """Functional mass and MSC in the liver, summed so that a gradient must follow both.

    Args:
        inputs: schedule, and parameters by subject in place of the model's. model, state: a liver at hour 0.
    """
    doses, values = inputs
    changed = dataclasses.replace(model, parameters=dataclasses.replace(model.parameters, **values))
    end = simulate(changed, state, doses, end_h=24.0, start_h=0.0).endpoints
    return end.functional_mass[-1] + end.msc_liver[-1]


CHECKS = (
    Check("derivative", "derivative rule of every solve", derivative_rules),
    Check("V10", "gradient of an endpoint of a run", endpoint_gradient),
)
