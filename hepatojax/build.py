"""From a scenario to pytrees: the model, its state at day 0, the schedule of an arm.

The order is that of the causes: numbers, a healthy lobule with its rest, and then what the disease did until day 0.
Nothing here is differentiated; what a gradient touches are the leaves of the trees that come out.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from hepatojax.assembly import build_lobule, resting_model
from hepatojax.model import LiverModel, check_model
from hepatojax.onset import diseased, onset_state
from hepatojax.parameters.registry import registry_of
from hepatojax.presets import Presets
from hepatojax.scenario import Scenario
from hepatojax.state import LiverState
from hepatojax.therapy.schedule import DoseSchedule, schedule_of


class Study(NamedTuple):
    """What all arms of a scenario share, and the schedule of each; equal shapes, so one compilation serves all.

    Attributes:
        model: of the diseased liver, with its septa and the lobules that a resection leaves.
        state: at day 0.
        schedules: name of the arm -> its infusions, as many rows in each.
    """

    model: LiverModel
    state: LiverState
    schedules: dict[str, DoseSchedule]


def build(
    scenario: Scenario, *, arm: str | None = None, labels: np.ndarray | None = None
) -> tuple[LiverModel, LiverState, DoseSchedule]:
    """The model, its state at day 0 and the schedule of one arm.

    Args:
        scenario: checked.
        arm: its name; the first one by default.
        labels: image (nz, ny, nx) for `lobule.geometry = "labels"`.

    Returns:
        What `hepatojax.simulate` starts from: model, state at day 0 and schedule [h, cells/kg].

    Raises:
        KeyError: no such arm.
        SimulationError: no resting lobule exists, or the disease could not be run.
        RuntimeError: 64-bit arithmetic is off.
    """
    study = build_study(scenario, labels=labels)
    name = scenario.arms[0].name if arm is None else scenario.arm(arm).name
    return study.model, study.state, study.schedules[name]


def build_study(scenario: Scenario, presets: Presets | None = None, labels: np.ndarray | None = None) -> Study:
    """Everything that the arms of a scenario share, built once, and their schedules.

    Args:
        scenario: checked.
        presets: where the rest and chronic start states are kept between runs.
        labels: image (nz, ny, nx) for `lobule.geometry = "labels"`.

    Returns:
        Model, state at day 0, and a schedule for each arm.

    Raises:
        SimulationError: no resting lobule exists, or the disease could not be run.
        RuntimeError: 64-bit arithmetic is off.
    """
    if not jax.config.read("jax_enable_x64"):
        raise RuntimeError('64-bit arithmetic is off: call jax.config.update("jax_enable_x64", True) first')
    check_model()
    parameters = registry_of(scenario)
    model, healthy = resting_model(scenario, parameters, build_lobule(scenario, parameters, labels), presets)
    state = onset_state(scenario, parameters, model, healthy, presets)
    rows = max(len(arm.infusions) for arm in scenario.arms)
    schedules = {arm.name: schedule_of(arm.infusions, max(rows, 1)) for arm in scenario.arms}
    return Study(diseased(scenario, model), state, schedules)
