"""The derivative rule of every solve: forward and reverse mode against each other and against differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from hepatojax.checks.records import Check, Record, at_most
from hepatojax.checks.verify.oxygen import BLOOD, HUMAN_FLOW
from hepatojax.checks.verify.perfusion import TIGHT
from hepatojax.checks.verify.transport import hexagon_with_flow
from hepatojax.tissue.arrival import unit_arrival
from hepatojax.tissue.migration import migrate
from hepatojax.tissue.oxygen import solve_oxygen
from hepatojax.tissue.perfusion import solve_perfusion
from hepatojax.tissue.signals import BodyClosure, SignalParameters, solve_signals

CELLS = (10, 12, 3)
STEP = 1e-4  # of the central differences, relative


def derivative_errors(function: Callable[[Any], Array], place: Any, seed: int = 0) -> tuple[float, float]:
    """Reverse against forward mode, and reverse mode against a central difference, each relative.

    Args:
        function: scalar function of a pytree. place: where; the direction is random and relative to its values.
        seed: of the direction.
    """
    leaves, structure = jax.tree.flatten(jax.tree.map(lambda leaf: jnp.asarray(leaf, float), place))
    random = np.random.default_rng(seed)
    direction = structure.unflatten([leaf * jnp.asarray(random.uniform(-1.0, 1.0, leaf.shape)) for leaf in leaves])
    place = structure.unflatten(leaves)
    along = jax.jit(lambda t: jax.jvp(lambda t: function(jax.tree.map(lambda a, b: a + t * b, place, direction)), (t,), (1.0,)))
    gradient = jax.jit(jax.grad(function))(place)
    reverse = sum(float(jnp.vdot(a, b)) for a, b in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True))
    forward = float(along(0.0)[1])
    difference = float(along(STEP)[0] - along(-STEP)[0]) / (2.0 * STEP)
    return abs(reverse / forward - 1.0), abs(reverse / difference - 1.0)


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


CHECKS = (Check("derivative", "derivative rule of every solve", derivative_rules),)
