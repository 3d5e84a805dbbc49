"""Integrate a treated liver in time: one pure, differentiable scan, and the same macro-step in chunks for long runs.

The macro-step is fixed and never fitted to infusions, so the length of the scan is known beforehand and times of
infusions stay differentiable. A failed solve does not stop the scan: status and place of the first failure come out
with the solution, and what follows it has no meaning. Chunks end early at a failure; both give the same course.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from hepatojax.endpoints import Readings
from hepatojax.failure import Failure, sentence
from hepatojax.macro_step import StepReport, advance, advance_jitted
from hepatojax.mechanism import Fields, pytree
from hepatojax.model import LiverModel
from hepatojax.state import LiverState
from hepatojax.status import SimulationError, Status
from hepatojax.therapy.schedule import DoseSchedule


@dataclass(frozen=True)
class SaveAt:
    """Which fields to keep, and how often; endpoints are kept at every macro-step anyway.

    Attributes:
        every_h: interval, a whole number of macro-steps [h].
        fields: names out of `hepatojax.scenario.SAVED_FIELDS`.
    """

    every_h: float
    fields: tuple[str, ...] = ()


@pytree
class Ledger:
    """What entered, left and stayed of each conserved quantity, each term integrated on its own.

    Attributes:
        terms: quantity -> term -> integral over the run: oxygen [mM um3] and signals [nM um3] of the domain, cells and
            label ("msc", "label") of the whole body [1e6 cells].
        gained: quantity -> sum of what entered, in the same unit.
        error: quantity -> sum over macro-steps of |entered - left - stored|, in the same unit.
    """

    terms: dict[str, dict[str, Float[Array, ""]]]
    gained: dict[str, Float[Array, ""]]
    error: dict[str, Float[Array, ""]]

    def relative(self) -> dict[str, Float[Array, ""]]:
        """Error of each balance over what entered; 0 where nothing entered and nothing is missing.

        Returns:
            quantity -> error / gained [-]; the error itself where nothing entered.
        """
        return {
            name: jnp.where(
                self.gained[name] > 0, error / jnp.where(self.gained[name] > 0, self.gained[name], 1.0), error
            )
            for name, error in self.error.items()
        }


@pytree
class Solution:
    """A simulated course.

    Attributes:
        times_h: end of each macro-step [h], (t,).
        endpoints: named endpoints, each (t,), see `hepatojax.endpoints`.
        saved_times_h: ends of the save intervals [h], (s,).
        saved: field -> values in its unit, (s, nz, ny, nx); zero outside the tissue.
        state: at the end, a start for another run.
        ledger: see `Ledger`.
        statistics: solver -> largest iteration count and relative residual [-] of the run.
        status: `Status` code of the first failure, see `hepatojax.failure.Failure`.
        failed_step: macro-step of that failure, counted from 0 within this solution; 0 without a failure.
        failed_field: field where it struck, as an index into `hepatojax.failure.FIELDS_AT_FAULT`; 0 for none.
        failed_voxel: (z, y, x) where it struck, `NOWHERE` where no place is known.
        failed_statistics: as `statistics`, of that macro-step.
        peaks: endpoint -> readings within each macro-step, whose smooth maximum is the peak of that endpoint.
    """

    times_h: Float[Array, " t"]
    endpoints: Fields
    saved_times_h: Float[Array, " s"]
    saved: dict[str, Array]
    state: LiverState
    ledger: Ledger
    statistics: dict[str, Array]
    status: Int[Array, ""]
    failed_step: Int[Array, ""]
    failed_field: Int[Array, ""]
    failed_voxel: Int[Array, " 3"]
    failed_statistics: dict[str, Array]
    peaks: dict[str, Readings]

    def raise_for_status(self) -> None:
        """Raise if the run failed.

        Raises:
            SimulationError: what failed, on which day, at which voxel, and what to do.
        """
        if int(self.status) != Status.OK:
            raise SimulationError(Status(int(self.status)), self.message())

    def message(self) -> str:
        """One sentence on how the run ended: what failed, when, how badly, in which field and at which voxel."""
        if int(self.status) == Status.OK:
            return "ok"
        found = Failure(self.status, self.failed_field, self.failed_voxel)
        return sentence(found, self.failed_statistics, float(self.times_h[int(self.failed_step)]))


def simulate(
    model: LiverModel,
    state: LiverState,
    schedule: DoseSchedule,
    *,
    end_h: float,
    start_h: float | None = None,
    save: SaveAt | None = None,
    adjoint: str = "saved",
    checkpoints: int | None = None,
) -> Solution:
    """Integrate from the time of `state` to `end_h`; pure, so that it may be jitted, differentiated and mapped.

    Args:
        model: from `hepatojax.build`.
        state: where to start.
        schedule: infusions, all entries differentiable.
        end_h: end of the run [h], a whole number of macro-steps after the state.
        start_h: time of `state` [h]; needed only where the state is traced, since it sets the length of the scan.
        save: fields to keep and their interval, a whole number of macro-steps; nothing by default.
        adjoint: "saved" keeps the quasi-steady solutions of each macro-step and recomputes the rest in a reverse pass;
            "two-level" keeps only the start of each segment and does segments anew; "none" for a forward run.
        checkpoints: segments of "two-level" in each save interval; see `hepatojax.numerics.adjoint.scan_steps`.

    Returns:
        The solution; its `status` must be looked at, or `raise_for_status` called.

    Raises:
        ValueError: an interval is not a whole number of macro-steps, or the adjoint is unknown.
    """
    step_h = model.numerics.macro_step_h
    count = whole_steps("end_h", end_h, step_h) - start_step(state, start_h, step_h)
    every = whole_steps("save.every_h", save.every_h, step_h) if save else count
    if count < 1 or count % every:
        raise ValueError(f"end_h = {end_h} h is not a whole number of save intervals after the start of the run")
    fields = save.fields if save else ()
    state, (reports, kept) = advance(model, state, schedule, count, every, fields, adjoint, checkpoints)
    return solution_of(model, state, reports, kept)


def simulate_chunks(
    model: LiverModel, state: LiverState, schedule: DoseSchedule, *, end_h: float, save: SaveAt
) -> Iterator[Solution]:
    """The same course, one save interval after the other: room for progress, durable parts and an early stop.

    Args:
        model: from `hepatojax.build`.
        state: where to start; its own step says at which time.
        schedule: infusions [h, cells/kg].
        end_h: end of the run [h].
        save: fields to keep, and the length of a chunk.

    Yields:
        The solution of each interval; it ends early after an interval whose status is not OK.

    Raises:
        ValueError: as `simulate`.
    """
    step_h = model.numerics.macro_step_h
    every = whole_steps("save.every_h", save.every_h, step_h)
    total = whole_steps("end_h", end_h, step_h) - start_step(state, None, step_h)
    if total < 1 or total % every:
        raise ValueError(f"end_h = {end_h} h is not a whole number of save intervals after the start of the run")
    for _ in range(total // every):
        state, (reports, kept) = advance_jitted(model, state, schedule, every, every, save.fields, "none")
        chunk = _solution_of(model, state, reports, kept)
        yield chunk
        if int(chunk.status) != Status.OK:
            return


def solution_of(model: LiverModel, state: LiverState, reports: StepReport, kept: dict[str, Array]) -> Solution:
    """Gather the reports of the macro-steps up to `state` into a solution.

    Args:
        model: its macro-step [h].
        state: after the last of these macro-steps, whose count gives the times.
        reports: of every macro-step, (t, ...).
        kept: field -> saved values, (s, nz, ny, nx); s divides t.

    Returns:
        The solution; ledger terms summed, statistics the largest, and the first failure.
    """
    step_h = model.numerics.macro_step_h
    count = reports.status.shape[0]
    numbers = (state.step - count + 1 + jnp.arange(count, dtype=jnp.int32)).astype(jnp.float64)
    saves = next(iter(kept.values())).shape[0] if kept else 0
    stride = count // saves if saves else 1
    failed = reports.status != Status.OK
    first = jnp.argmax(failed)
    return Solution(
        times_h=numbers * step_h,
        endpoints=reports.endpoints,
        saved_times_h=numbers[stride - 1 :: stride][:saves] * step_h,
        saved=kept,
        state=state,
        ledger=Ledger(
            terms=jax.tree.map(lambda a: jnp.sum(a, axis=0), reports.ledger.terms),
            gained=jax.tree.map(lambda a: jnp.sum(a, axis=0), reports.ledger.gained),
            error=jax.tree.map(lambda a: jnp.sum(jnp.abs(a), axis=0), reports.ledger.imbalance),
        ),
        statistics=jax.tree.map(lambda a: jnp.max(a, axis=0), reports.statistics),
        status=reports.status[first],
        failed_step=first,
        failed_field=reports.failure.field[first],
        failed_voxel=reports.failure.voxel[first],
        failed_statistics=jax.tree.map(lambda a: a[first], reports.statistics),
        peaks=reports.peaks,
    )


_solution_of = jax.jit(solution_of)  # of chunks, which no outer program holds


def join(parts: list[Solution]) -> Solution:
    """One solution out of consecutive ones.

    Args:
        parts: in the order of time, each starting where the one before ended; all but the last without a failure.

    Returns:
        The solution of the whole, as one `simulate` would give it.
    """
    last = parts[-1]

    def along(pick: Any) -> Any:
        return jax.tree.map(lambda *a: jnp.concatenate(a), *[pick(p) for p in parts])

    def added(pick: Any) -> Any:
        return jax.tree.map(lambda *a: sum(a[1:], a[0]), *[pick(p) for p in parts])

    offset = sum(p.times_h.shape[0] for p in parts[:-1])
    return Solution(
        times_h=along(lambda p: p.times_h),
        endpoints=along(lambda p: p.endpoints),
        saved_times_h=along(lambda p: p.saved_times_h),
        saved=along(lambda p: p.saved),
        state=last.state,
        ledger=added(lambda p: p.ledger),
        statistics=jax.tree.map(lambda *a: jnp.max(jnp.stack(a), axis=0), *[p.statistics for p in parts]),
        status=last.status,
        failed_step=last.failed_step + offset,
        failed_field=last.failed_field,
        failed_voxel=last.failed_voxel,
        failed_statistics=last.failed_statistics,
        peaks=along(lambda p: p.peaks),
    )


def whole_steps(name: str, duration_h: float, step_h: float) -> int:
    """Number of macro-steps in a duration.

    Args:
        name: of the duration, for the message.
        duration_h: to be divided [h].
        step_h: macro-step [h]; the duration may miss a multiple of it by 1e-9 of itself.

    Returns:
        The number, at least 1.

    Raises:
        ValueError: the duration is not a whole, positive number of macro-steps.
    """
    count = round(duration_h / step_h)
    if count < 1 or abs(count * step_h - duration_h) > 1e-9 * step_h * max(count, 1):
        raise ValueError(f"{name} = {duration_h} h is not a whole number of macro-steps of {step_h} h")
    return count


def start_step(state: LiverState, start_h: float | None, step_h: float) -> int:
    """Macro-steps already done at the start of a run.

    Args:
        state: where the run starts.
        start_h: its time, where the state is traced; it replaces the step counter [h].
        step_h: macro-step [h].

    Returns:
        Their number, 0 at day 0.

    Raises:
        ValueError: the step counter is traced and no start time is given.
    """
    if start_h is not None:
        return whole_steps("start_h", start_h, step_h) if start_h else 0
    if isinstance(state.step, Tracer):
        raise ValueError("the state is traced, so its time is unknown: pass start_h")
    return int(state.step)
