"""The measures of the gradient check: differences of fourth order, and directions that leave no entry out."""

import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.checks.verify.gradient import along_direction, balanced_direction, forward_difference, one_by_one
from hepatojax.scenario import InfusionSpec
from hepatojax.therapy.schedule import schedule_of

PLACE = {"strong": jnp.asarray(2.0), "weak": jnp.asarray(3.0), "off": jnp.asarray([0.0, 4.0])}
SLOPES = {"strong": 1.0, "weak": -1e-3, "off": jnp.asarray([-1e-2, 5e-3])}


def linear(place):
    return np.asarray([along_direction(SLOPES, place), 0.0])


def test_forward_difference_is_of_fourth_order():
    place, way = jnp.asarray(0.3), jnp.asarray(1.0)
    value = lambda x: np.asarray([np.sin(float(x))])  # noqa: E731
    errors = [abs(forward_difference(value, value(place), place, way, h)[0] - np.cos(0.3)) for h in (0.1, 0.05, 0.025)]
    assert np.log2(errors[0] / errors[1]) > 3.8
    assert np.log2(errors[1] / errors[2]) > 3.8


@pytest.mark.parametrize("entry", ["strong", "weak", "off"])
@pytest.mark.parametrize("fault", [0.0, 1.01, -1.0])
def test_one_wrong_derivative_shows_however_weak_it_is(entry, fault):
    wrong = {**SLOPES, entry: fault * jnp.asarray(SLOPES[entry])}
    way = balanced_direction(PLACE, wrong, seed=0)
    slope = forward_difference(linear, linear(PLACE), PLACE, way, 1e-3)[0]
    assert abs(along_direction(wrong, way) / slope - 1.0) > 1e-4
    way = balanced_direction(PLACE, SLOPES, seed=0)
    slope = forward_difference(linear, linear(PLACE), PLACE, way, 1e-3)[0]
    assert abs(along_direction(SLOPES, way) / slope - 1.0) < 1e-9


def test_every_number_moves_and_zeros_move_upward():
    way = balanced_direction(PLACE, {**SLOPES, "weak": 0.0}, seed=0)
    assert all(np.all(np.asarray(leaf) != 0.0) for leaf in way.values())
    assert way["off"][0] > 0.0


def test_each_entry_of_a_schedule_is_perturbed_alone():
    schedule = schedule_of((InfusionSpec(start_h=5.0, cells_per_kg=1e6, route="portal"),), 2)
    ways = one_by_one(schedule)
    assert set(ways) == {"start_h", "duration_h", "cells_per_kg", "route_mix"}
    for name, way in ways.items():
        for other in ways:
            assert np.all(np.asarray(getattr(way, other)) != 0.0) == (name == other)
    assert np.all((np.asarray(schedule.route_mix) > 0.0) | (np.asarray(ways["route_mix"].route_mix) > 0.0))
