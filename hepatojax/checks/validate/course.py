"""The cases of validation: a patient on a porto-central column, and the course of what a run reports.

A column keeps the zonation from the portal tract to the central vein and nothing else of the geometry, which makes a
year affordable in float64. Its macro-step is an eighth of a day, the one of BIOLOGY A11. The lobule of V13 and the two
basins runs as users run it, in float32 at four macro-steps a day. Runs are cut into chunks of one length, so that
all cases of a geometry share one compiled program.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from hepatojax.build import Study, build_study
from hepatojax.checks.records import largest, relative_change
from hepatojax.model import LiverModel
from hepatojax.scenario import ArmSpec, DiseaseSpec, GridSpec, InfusionSpec, LobuleSpec, RunSpec, Scenario
from hepatojax.simulate import SaveAt, Solution, join, simulate_chunks
from hepatojax.state import LiverState

DAY_H = 24.0
WEEK_H = 168.0
STEPS_PER_DAY = 8
LOBULE_CELLS = (12, 14, 4)
CONTROL, TREATED = "standard_care", "treated"


@dataclass(frozen=True)
class Course:
    """What a run reported.

    Attributes:
        days: end of each macro-step [d], (t,).
        endpoints: name -> value at these times, (t,), in the unit of `hepatojax.endpoints`.
        solution: of the run, all chunks joined.
    """

    days: np.ndarray
    endpoints: Mapping[str, np.ndarray]
    solution: Solution

    def at(self, name: str, day: float) -> float:
        """An endpoint at a day, linear between macro-steps.

        Args:
            name: of the endpoint.
            day: since the start [d]; before the first and after the last macro-step the value of that one holds.

        Returns:
            The value, in the unit of the endpoint.
        """
        return float(np.interp(day, self.days, self.endpoints[name]))


def column_case(
    species: str = "human", disease: DiseaseSpec | None = None, dose: InfusionSpec | None = None, **changes: object
) -> Scenario:
    """A scenario on a porto-central column of 12 cells in float64, eight macro-steps a day.

    Args:
        species: of the registry.
        disease: state at day 0 and course of the cause; healthy by default.
        dose: infusion of the treated arm; none by default.
        changes: further fields of the scenario.

    Returns:
        The scenario, with the arms "standard_care" and "treated".
    """
    return Scenario(
        title="validation",
        species=species,
        lobule=LobuleSpec(geometry="column"),
        grid=GridSpec(cells=(12, 1, 1)),
        disease=disease or DiseaseSpec(),
        run=RunSpec(steps_per_day=STEPS_PER_DAY, save_every_h=WEEK_H, fields=(), precision="float64"),
        arms=(ArmSpec(CONTROL), ArmSpec(TREATED, (dose,) if dose else ())),
        **changes,  # type: ignore[arg-type]
    )


@cache
def healthy(species: str) -> Study:
    """The healthy liver of a species on the column.

    Args:
        species: of the registry, "human", "rat" or "mouse".

    Returns:
        Model and state at rest; neither arm has an infusion.
    """
    return build_study(column_case(species))


@cache
def healthy_lobule() -> Study:
    """A healthy human liver on a hexagonal lobule in single precision, as users run it.

    Returns:
        Model and state at rest on 12 x 14 x 4 cells (nx, ny, nz), at four macro-steps a day.
    """
    run = RunSpec(steps_per_day=4, save_every_h=WEEK_H, fields=(), precision="float32")
    grid = GridSpec(cells=LOBULE_CELLS)
    return build_study(replace(column_case(), lobule=LobuleSpec(), grid=grid, run=run))


def course_of(
    model: LiverModel,
    state: LiverState,
    study: Study,
    days: float,
    arm: str = CONTROL,
    save: SaveAt | None = None,
) -> Course:
    """Run an arm in chunks of equal length, so that all cases of a geometry share one compilation.

    Args:
        model: what is run; it may differ from that of the study by numbers.
        state: where to start.
        study: holds the schedules.
        days: at least this long [d]; the last chunk is run to its end.
        arm: of the study.
        save: fields and the length of a chunk; nothing and a week by default.

    Returns:
        The endpoints of the run, and its solution.

    Raises:
        SimulationError: the run failed.
    """
    save = save or SaveAt(WEEK_H)
    end_h = save.every_h * np.ceil(days * DAY_H / save.every_h)
    parts = list(simulate_chunks(model, state, study.schedules[arm], end_h=float(end_h), save=save))
    solution = join(parts)
    solution.raise_for_status()
    endpoints = {name: np.asarray(values) for name, values in solution.endpoints.items()}
    return Course(np.asarray(solution.times_h) / DAY_H, endpoints, solution)


def changed(model: LiverModel, subject: str, name: str, value: float) -> LiverModel:
    """The model with one number of its parameters replaced, also outside its range: what if it were not there.

    Args:
        model: any; its constants of rest stay those that it was built with.
        subject: attribute path inside `ModelParameters`, as "biology.immunity".
        name: of the number.
        value: in canonical units.
    """

    def put(part: object, path: list[str]) -> object:
        if not path:
            return replace(part, **{name: value})  # type: ignore[type-var]
        return replace(part, **{path[0]: put(getattr(part, path[0]), path[1:])})  # type: ignore[type-var]

    return replace(model, parameters=put(model.parameters, subject.split(".")))


def largest_change(before: LiverState, after: LiverState, names: tuple[str, ...]) -> float:
    """Largest relative change of some voxel states and of the liver volume.

    Args:
        before: a state.
        after: a later one on the same grid.
        names: voxel states to compare, each relative to its largest value before.

    Returns:
        The largest of the changes [-].
    """
    pairs = [(before.voxel[name], after.voxel[name]) for name in names]
    pairs.append((before.body["liver_volume"], after.body["liver_volume"]))
    return largest(relative_change(a, b) for a, b in pairs)
