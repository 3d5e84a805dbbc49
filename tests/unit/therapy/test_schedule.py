"""Infusions in continuous time: windows, padding, derivatives across step edges."""

import jax
import numpy as np
import pytest

from hepatojax.scenario import InfusionSpec
from hepatojax.therapy.schedule import schedule_of, windows

INFUSIONS = (
    InfusionSpec(start_h=5.0, cells_per_kg=1e6, route="intravenous", duration_h=0.5),
    InfusionSpec(start_h=6.0, cells_per_kg=2e6, route="portal", duration_h=8.0),
)


def test_steps_together_infuse_the_whole_dose():
    schedule = schedule_of(INFUSIONS, 4)
    given = sum(windows(schedule, 6.0 * n, 6.0).cells_per_kg for n in range(4))
    np.testing.assert_allclose(given, [1e6, 2e6, 0.0, 0.0], rtol=1e-14)


def test_window_is_the_overlap():
    window = windows(schedule_of(INFUSIONS), 12.0, 6.0)
    np.testing.assert_allclose(window.begin_h, [0.0, 0.0])
    np.testing.assert_allclose(window.end_h, [0.0, 2.0])
    np.testing.assert_allclose(window.rate, [2e6, 2.5e5])


@pytest.mark.parametrize("start", [0.0, 5.0, 5.5, 5.7, 6.0, 12.0])
def test_moving_an_infusion_conserves_it(start):
    """Value and derivative of the total do not change, and what one step loses the next one gains."""
    schedule = schedule_of((InfusionSpec(start_h=start, cells_per_kg=1e6, route="portal", duration_h=0.5),))

    def given(start_h, step):
        moved = type(schedule)(start_h, schedule.duration_h, schedule.cells_per_kg, schedule.route_mix)
        return windows(moved, 6.0 * step, 6.0).cells_per_kg[0]

    slopes = [jax.grad(given)(schedule.start_h, n)[0] for n in range(4)]
    np.testing.assert_allclose(sum(slopes), 0.0, atol=1e-9)


def test_rejected():
    with pytest.raises(ValueError, match="do not fit"):
        schedule_of(INFUSIONS, 1)
    with pytest.raises(ValueError, match="route"):
        schedule_of((InfusionSpec(start_h=0.0, cells_per_kg=1.0, route="oral"),))
    with pytest.raises(ValueError, match="duration"):
        schedule_of((InfusionSpec(start_h=0.0, cells_per_kg=1.0, route="portal", duration_h=0.0),))
