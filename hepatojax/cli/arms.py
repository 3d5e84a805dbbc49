"""Simulate the arms of a scenario one after the other, each into its own durable run folder.

All arms share the healthy rest, the state at day 0 and one compiled program. After each save interval the fields go to
the disk, and only the last state is kept in memory. An arm that fails or is stopped is merged as far as it came, with
the status in its file and in `summary.json`; a stop ends the command, a failure does not keep the next arm from
running.

Reference: RELIABILITY 3.4 and 3.5.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from hepatojax.assembly import build_lobule, resting_model
from hepatojax.build import Study, build_study
from hepatojax.cli.device import preset_folder
from hepatojax.cli.memory import hand_memory_back, memory_handed_back
from hepatojax.cli.output import write_errors
from hepatojax.cli.progress import Tell, progress, stages
from hepatojax.endpoints import ENDPOINTS
from hepatojax.io.presets import PresetFolder
from hepatojax.io.provenance import provenance
from hepatojax.io.results import RunWriter
from hepatojax.io.run_folder import locked_arms, remove_summary, write_scenario, write_summary
from hepatojax.io.scenario import scenario_to_toml
from hepatojax.io.vtkhdf import Quantity, RunHeader, Series
from hepatojax.model import SPECIFICATIONS, LiverModel
from hepatojax.onset import chronic_column
from hepatojax.parameters.registry import registry_of
from hepatojax.scenario import SIGNALS, RunSpec, Scenario
from hepatojax.simulate import SaveAt, Solution, join, simulate_chunks, whole_steps
from hepatojax.status import ExitCode, Status
from hepatojax.units import HOURS_PER_DAY

ENTERING = ("inflow", "secreted", "supplied", "infused")
_COMPILE_EVENTS = "/jax/core/compile/"
_KIB_PER_MIB = 1024.0
LAST_STAGE = {"healthy": "start state", "chronic": "flare on the grid and compilation"}
_UNITS_OF_SERIES = {endpoint.name: Quantity(endpoint.unit, endpoint.meaning) for endpoint in ENDPOINTS.values()}
_UNITS_OF_FIELDS = {
    **{spec.name: Quantity(spec.unit, spec.meaning) for spec in SPECIFICATIONS},
    **{name: Quantity("nM", f"{name} in tissue") for name in SIGNALS},
    "hepatocytes": Quantity("-", "living hepatocytes relative to healthy density"),
    "oxygen": Quantity("mmHg", "oxygen partial pressure"),
    "pressure": Quantity("-", "blood pressure, 1 at the portal vessels and 0 in the central vein"),
    "flow_speed": Quantity("um/s", "speed of the blood, per area of tissue"),
    "zone": Quantity("-", "porto-central coordinate, 0 portal, 1 central"),
    "labels": Quantity("-", "what a cell is: 0 outside, 1 parenchyma, vessels above"),
    "permeability": Quantity("-", "permeability relative to healthy tissue"),
}


@dataclass
class CompileClock:
    """Seconds that JAX has spent on tracing, lowering and compiling while it was listened to.

    Attributes:
        seconds: since the clock was made [s].
    """

    seconds: float = 0.0

    def add(self, event: str, duration_secs: float, **_: Any) -> None:
        """Count an event of JAX if it is one of compilation.

        Args:
            event: its path, as JAX names it.
            duration_secs: how long it took [s].
        """
        if event.startswith(_COMPILE_EVENTS):
            self.seconds += duration_secs


def _forget_programs() -> None:
    """Drop all compiled programs, and give the memory that they had back to the system."""
    gc.collect()  # a `Program` and what it has compiled refer to each other
    jax.clear_caches()
    hand_memory_back()


@contextmanager
def compile_clock() -> Iterator[CompileClock]:
    """A clock that listens to JAX within the block and not beyond.

    Yields:
        The clock, at zero.
    """
    clock = CompileClock()
    jax.monitoring.register_event_duration_secs_listener(clock.add)
    try:
        yield clock
    finally:
        jax.monitoring.unregister_event_duration_listener(clock.add)


class Lap(NamedTuple):
    """Seconds of a lap, apart by what they went on.

    Attributes:
        compiling: tracing, lowering and compiling by JAX [s].
        working: anything else [s].
    """

    compiling: float
    working: float


class Stopwatch:
    """Seconds of a command, in consecutive laps: each apart by whether JAX was compiling.

    Args:
        clock: listens to JAX from now on.
    """

    def __init__(self, clock: CompileClock):
        self._clock = clock
        self._start, self._compiled = time.monotonic(), clock.seconds

    def lap(self) -> Lap:
        """Seconds since the lap before, or since the start.

        Returns:
            Compiling and working [s], which add up to the time of the wall.
        """
        now, compiled = time.monotonic(), self._clock.seconds
        wall, compiling = now - self._start, compiled - self._compiled
        self._start, self._compiled = now, compiled
        return Lap(compiling, wall - compiling)


def prepare(
    scenario: Scenario, presets: PresetFolder, image: np.ndarray | None, tell: Tell = lambda stage: None
) -> None:
    """Put the rest and the chronic column into the presets, and forget each time the programs that computed them.

    They would be held to the end and take as much memory as the lobule itself.

    Args:
        scenario: checked.
        presets: where both are kept.
        image: labels (nz, ny, nx) of the geometry "labels".
        tell: is told each stage.

    Raises:
        SimulationError: no resting lobule exists, or the course on the column failed.
    """
    parameters = registry_of(scenario)
    if scenario.disease.start == "chronic":
        tell("chronic start state")
        chronic_column(scenario, parameters, presets)
        _forget_programs()
    tell("healthy rest")
    resting_model(scenario, parameters, build_lobule(scenario, parameters, image), presets)
    _forget_programs()


def run_arms(
    scenario: Scenario,
    output: Path,
    *,
    image: np.ndarray | None,
    device: str,
    command: str,
    quiet: bool,
    stopped: Sequence[int],
) -> ExitCode:
    """Simulate every arm into `output/<arm>`.

    Args:
        scenario: checked.
        output: folder of the results.
        image: labels (nz, ny, nx) of the geometry "labels".
        device: line that names it, for the provenance.
        command: how the program was called, for the provenance.
        quiet: True prints errors only.
        stopped: not empty once the user has asked to stop; looked at after each save interval.

    Returns:
        DONE, the code of the only arm that failed, MEMBERS_FAILED if some did, or STOPPED.

    Raises:
        OutputError: a folder cannot be made.
        RunFolderLocked: another run writes there.
        SimulationError: there is no start state; earlier results are as they were.
        WriteError: the disk refused later on; what was saved before is readable, and the arm under way has no summary.
    """
    names = [arm.name for arm in scenario.arms]
    with locked_arms(output, names) as folders, write_errors(), memory_handed_back(), compile_clock() as clock:
        watch = Stopwatch(clock)
        study = _prepared(scenario, image, quiet=quiet, stopped=stopped)
        if study is None or stopped:
            return _stopped_before(scenario.arms[0].name)
        for folder in folders.values():
            remove_summary(folder)
        return _run_each(scenario, study, folders, watch, device=device, command=command, quiet=quiet, stopped=stopped)


def _prepared(scenario: Scenario, image: np.ndarray | None, *, quiet: bool, stopped: Sequence[int]) -> Study | None:
    """What all arms share, or None if the user has asked to stop."""
    presets = PresetFolder(preset_folder())
    with stages("preparing", quiet=quiet) as tell:
        prepare(scenario, presets, image, tell)
        if stopped:
            return None
        tell(LAST_STAGE[scenario.disease.start])
        return build_study(scenario, presets, image)


def _run_each(
    scenario: Scenario,
    study: Study,
    folders: Mapping[str, Path],
    watch: Stopwatch,
    *,
    device: str,
    command: str,
    quiet: bool,
    stopped: Sequence[int],
) -> ExitCode:
    """The arms in their order; the exit code is that of a single one, or says whether any of several failed."""
    text, registry = scenario_to_toml(scenario), registry_of(scenario)
    origin = provenance(
        scenario_text=text,
        parameters_hash=registry.hash,
        device=device,
        precision=scenario.run.precision,
        command=command,
    )
    origin["parameters"] = json.dumps([asdict(row) for row in registry.table()])
    codes, before = [], watch.lap()
    for arm, folder in folders.items():
        if stopped:
            return _stopped_before(arm)
        write_scenario(folder, text)
        writer = RunWriter(folder, _header(scenario, arm, study.model, origin))
        codes.append(_run_arm(scenario, study, arm, writer, watch, before, quiet=quiet, stopped=stopped))
        before = Lap(0.0, 0.0)
        if codes[-1] == ExitCode.STOPPED:
            return ExitCode.STOPPED
    failed = [code for code in codes if code != ExitCode.DONE]
    if not failed:
        return ExitCode.DONE
    return failed[0] if len(codes) == 1 else ExitCode.MEMBERS_FAILED


def _stopped_before(arm: str) -> ExitCode:
    """Say which arm was not begun; nothing of it is written."""
    print(f"stopped on request before {arm}", file=sys.stderr)
    return ExitCode.STOPPED


def _run_arm(
    scenario: Scenario,
    study: Study,
    arm: str,
    writer: RunWriter,
    watch: Stopwatch,
    before: Lap,
    *,
    quiet: bool,
    stopped: Sequence[int],
) -> ExitCode:
    """Simulate one arm with a durable part at each saved time; its summary says how it ended.

    The first arm also answers for the preparation `before` it, for the program of all arms is compiled there.
    """
    end_h, total = scenario.run.end_h, _steps_of(scenario.run)
    save = SaveAt(scenario.run.save_every_h, scenario.run.fields)
    parts: list[Solution] = []
    with progress(arm, total, quiet=quiet) as report:
        for part in simulate_chunks(study.model, study.state, study.schedules[arm], end_h=end_h, save=save):
            _append(writer, part)
            # only the last state is needed, and the fields are on disk now
            parts = [*(replace(earlier, state=part.state) for earlier in parts), replace(part, saved={})]
            report(int(part.state.step))
            if stopped:
                break
    solution = join(parts)
    status, message = _ending(solution, total)
    folder = writer.finish({"status": _word(status), "ledger": _ledger(solution), "solver": _solver(solution)}).parent
    own = watch.lap()
    seconds = {"compile": before.compiling + own.compiling, "prepare": before.working, "run": own.working}
    write_summary(folder, {"status": _word(status), "message": message, **_summary(scenario, solution, seconds)})
    if status != Status.OK:
        failed = status.exit_code not in (ExitCode.DONE, ExitCode.STOPPED)
        print(f"{'error: ' if failed else ''}{arm}: {message}", file=sys.stderr)
    return status.exit_code


def _steps_of(run: RunSpec) -> int:
    """Macro-steps of a whole course: a time in hours is rounded, so that it cannot say whether one is complete."""
    return whole_steps("run.end_h", run.end_h, HOURS_PER_DAY / run.steps_per_day)


def _ending(solution: Solution, total: int) -> tuple[Status, str]:
    """How a course of `total` macro-steps ended, and the sentence that says so."""
    if int(solution.status) == Status.OK and int(solution.state.step) < total:
        return Status.STOPPED, Status.STOPPED.describe(time_h=float(solution.times_h[-1]))
    return Status(int(solution.status)), solution.message()


def _word(status: Status) -> str:
    """The status as the files say it, see `hepatojax.io.results`."""
    return "ok" if status == Status.OK else status.name


def _header(scenario: Scenario, arm: str, model: LiverModel, origin: dict[str, str]) -> RunHeader:
    """What is known of an arm before it starts: grid [um], maps (nz, ny, nx), units of all that may be saved."""
    lobule = model.lobule
    static = {"zone": lobule.zone, "labels": lobule.labels, "permeability": lobule.permeability}
    return RunHeader(
        title=f"{scenario.title}: {arm}",
        spacing_um=lobule.grid.spacing_um,
        shape=lobule.grid.shape,
        quantities=_UNITS_OF_FIELDS,
        series_quantities=_UNITS_OF_SERIES,
        static={name: np.asarray(values) for name, values in static.items()},
        provenance=origin,
    )


def _append(writer: RunWriter, part: Solution) -> None:
    """One durable part: the fields at the end of a save interval, and the endpoints at its macro-steps."""
    fields = {name: np.asarray(values[-1]) for name, values in part.saved.items()}
    series = Series(np.asarray(part.times_h), {name: np.asarray(values) for name, values in part.endpoints.items()})
    writer.append(float(part.times_h[-1]), fields, series)


def _ledger(solution: Solution) -> dict[str, Any]:
    """Quantity -> its terms, entering ones positive, what entered in all, and what is missing.

    All in the unit of the quantity, as integrals over the run.
    """
    ledger = solution.ledger
    return {
        name: {
            "terms": {term: _signed(term, float(value)) for term, value in terms.items()},
            "gained": float(ledger.gained[name]),
            "error": float(ledger.error[name]),
        }
        for name, terms in ledger.terms.items()
    }


def _solver(solution: Solution) -> dict[str, float]:
    """Largest iteration count and residual of each solve over the run."""
    return {name: float(value) for name, value in solution.statistics.items()}


def _signed(term: str, value: float) -> float:
    return value if term in ENTERING else -value


def _summary(scenario: Scenario, solution: Solution, seconds: dict[str, float]) -> dict[str, Any]:
    """What `summary.json` holds beside how the run ended: what it cost, how well it balances, what came out.

    Keys: grid (nx, ny, nz), precision, macro_steps, seconds of compile, prepare and run [s], peak_memory_mib [MiB] (of
    the process, and so of all arms so far), ledger (error of each balance over what entered [-]), solver,
    amplification, and endpoints, each with its unit, day and value at the end.
    """
    day = float(solution.times_h[-1]) / HOURS_PER_DAY
    endpoints = {
        name: {"unit": _UNITS_OF_SERIES[name].unit, "day": day, "value": float(values[-1])}
        for name, values in solution.endpoints.items()
    }
    return {
        "grid": list(solution.state.quasi_steady.oxygen.shape[::-1]),
        "precision": scenario.run.precision,
        "macro_steps": int(solution.state.step),
        "seconds": seconds,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _KIB_PER_MIB,
        "ledger": {name: float(error) for name, error in solution.ledger.relative().items()},
        "solver": _solver(solution),
        "amplification": dict(registry_of(scenario).amplification),
        "endpoints": endpoints,
    }
