"""What `optimum.json` says: how the search ended, what it found and how far that may be believed; what was asked.

A best value never stands alone: beside it are its range, the limits with bound, reading, excess and multiplier, the
conditions of an optimum, every start, the certificates of the gradient, and variables that had no effect. Quantities
carry their unit; excesses and places x in 0..1 are [-], and a multiplier is in the unit of the objective, for a bound
that gives way by its own size. What could not be computed is null.

Reference: RELIABILITY 2.2 and 2.3 (optimisation record).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from hepatojax.endpoints import ENDPOINTS, Readings
from hepatojax.io.results import RunFile
from hepatojax.io.run_folder import write_record
from hepatojax.io.study.parts import StudyParts, fingerprint
from hepatojax.io.study.specification import ParetoSpec, Study
from hepatojax.studies.certificate import GradientCertificate
from hepatojax.studies.fewer import FewerInfusions
from hepatojax.studies.multiples import Multiples
from hepatojax.studies.objective import Course, Limit
from hepatojax.studies.optimum import DoseOptimum, StartOutcome
from hepatojax.studies.pareto import ParetoFront
from hepatojax.studies.quantities import OF_SCHEDULE, SPACING
from hepatojax.studies.variables import Variable, rows_in_use
from hepatojax.therapy.schedule import DoseSchedule

OPTIMUM_FILE = "optimum.json"
FIGURES = ("schedule", "objective", "courses", "search")
FIGURES_ABOUT = ("window", "fewer", "pareto")
SEARCHED = ("optimise", "fewer", "pareto")  # sections of a study that its search reads
WINDOWED = ("optimise", "window")  # those that its windows read; of the first the adjoint and its checkpoints
UNITS = {
    "start_h": "h",
    "duration_h": "h",
    "cells_per_kg": "1/kg",
    "diameter_um": "um",
    "sinusoid_diameter_um": "um",
}


def unit_of(quantity: str) -> str:
    """The unit of what an aim or a limit reads.

    Args:
        quantity: an endpoint, or a quantity of the schedule.

    Returns:
        As text, "-" for none; amounts of a schedule are in 1e6 cells/kg.
    """
    if quantity in OF_SCHEDULE:
        return "h" if quantity == SPACING else "1e6 cells/kg"
    return ENDPOINTS[quantity].unit


def asked_record(study: Study, parts: StudyParts, sections: Sequence[str]) -> dict[str, Any]:
    """What a study asks for, as the records of its results say it.

    Args:
        study: checked.
        parts: of it.
        sections: of the study that the verb reads, `SEARCHED` or `WINDOWED`.

    Returns:
        Fingerprint, arm, the sections that the study has, and aims, limits and variables with all their entries and the
        unit of each.
    """
    asked = {name: getattr(study, name) for name in sections}
    return {
        "fingerprint": fingerprint(study, parts),
        "arm": study.arm,
        **{name: asdict(section) for name, section in asked.items() if section is not None},
        "aims": [{**asdict(aim), "unit": unit_of(aim.quantity)} for aim in parts.aims],
        "limits": [{**asdict(limit), "unit": unit_of(limit.quantity)} for limit in parts.limits],
        "variables": [{**asdict(variable), "unit": _unit_of_entry(variable)} for variable in parts.variables],
    }


def named_limits(parts: StudyParts) -> list[tuple[str, Limit]]:
    """Every excess by its name, with the limit that it belongs to, in the order of `DoseProblem.program`.

    Args:
        parts: of a study; limits that take a simulation come first.

    Returns:
        As many entries as a place has excesses; a limit on every infusion has one for each.
    """
    rows = rows_in_use(parts.variables, parts.schedule)
    return [(name, limit) for limit in _ordered(parts) for name in limit.names(rows)]


def _ordered(parts: StudyParts) -> list[Limit]:
    return sorted(parts.limits, key=lambda limit: not limit.simulated)


def optimum_record(parts: StudyParts, optimum: DoseOptimum) -> dict[str, Any]:
    """Everything about an optimum but the runs before and after it.

    Args:
        parts: of the study.
        optimum: of its problem.

    Returns:
        Nested tables for `write_optimum`: verdict, message, objective, values with unit and range, limits, conditions,
        idle variables, starts, certificates at the start and at the optimum, number of Jacobians.

    Reference: RELIABILITY 2.3.
    """
    best, limits = optimum.best, named_limits(parts)
    return {
        **_summary(parts, optimum),
        "message": optimum.message,
        "limits": _limits(best, limits),
        "conditions": _conditions(best),
        "idle": list(optimum.idle),
        "starts": [_start(start) for start in optimum.starts],
        "certificates": {
            "start": certificate_record(optimum.certificate),
            "optimum": certificate_record(optimum.certificate_at_optimum),
        },
        "jacobian_calls": optimum.jacobian_calls,
    }


def fewer_record(parts: StudyParts, stages: Sequence[FewerInfusions]) -> list[dict[str, Any]]:
    """The best schedules of ever fewer infusions.

    Args:
        parts: of the study.
        stages: of `fewer_infusions`, the optimum of all infusions first.

    Returns:
        For each what is kept, what went last, and its verdict, objective, values with unit and limits.
    """
    return [
        {
            "kept": list(stage.kept),
            "dropped": stage.dropped or None,
            **_summary(parts, stage.optimum),
            "limits": _limits(stage.optimum.best, named_limits(parts)),
        }
        for stage in stages
    ]


def pareto_record(parts: StudyParts, asked: ParetoSpec, front: ParetoFront) -> dict[str, Any]:
    """The best objective for each bound on one harm.

    Args:
        parts: of the study.
        asked: which limit.
        front: found for it.

    Returns:
        The limit with its unit, and points: the bound in that unit, verdict, objective, slope (what the objective gains
        by a unit of the bound), values, and the names of the limits that are active.
    """
    limit = dict(named_limits(parts))[front.harm]
    per_unit = limit.sign / limit.scale
    points = [
        {
            "bound": limit.reading_at(point.epsilon),
            **_summary(parts, point.optimum),
            "slope": slope * per_unit,
            "active": [name for name, rate in point.optimum.multipliers.items() if rate > 0] if point.converged else [],
        }
        for point, slope in zip(front.points, front.slopes.tolist(), strict=True)
    ]
    return {"limit": asked.limit, "at": limit.at, "unit": unit_of(limit.quantity), "points": points}


def multiples_record(found: Multiples, total: float) -> dict[str, Any]:
    """The window about the best schedule: its cells times a factor, objective and excess of each limit.

    Args:
        found: over the factors.
        total: of the best schedule [1e6 cells/kg].

    Returns:
        The allowed range of the total with what ends it on either side, and the scan.
    """
    ends = found.allowed
    allowed = None if ends is None else [{"factor": f, "total": f * total, "ended_by": by} for f, by in ends]
    limits = {name: found.limits[:, number] for number, name in enumerate(found.names)}
    scan = {"factor": found.factors, "objective": found.objective, "limits": limits, "status": found.status}
    return {"unit": "1e6 cells/kg", "total": total, "allowed": allowed, "scan": scan}


def _summary(parts: StudyParts, optimum: DoseOptimum) -> dict[str, Any]:
    """Verdict and objective of an optimum, and its values with unit and range."""
    values = [
        {"name": v.name, "value": optimum.values[v.name], "unit": _unit_of_entry(v), **_range(v)}
        for v in parts.variables
    ]
    return {"verdict": str(optimum.verdict), "objective": optimum.objective, "values": values}


def _unit_of_entry(variable: Variable) -> str:
    return UNITS.get(variable.entry, "-")


def _range(variable: Variable) -> dict[str, Any]:
    return {"low": variable.low, "high": variable.high, "scale": variable.scale}


def _limits(best: StartOutcome, limits: list[tuple[str, Limit]]) -> list[dict[str, Any]]:
    """Each excess with the reading that it stands for; nan throughout where the best place could not be simulated."""
    multipliers = excesses = [math.nan] * len(limits)  # of a place that could not be simulated
    if best.conditions is not None:
        multipliers, excesses = best.conditions.multipliers.tolist(), best.limits.tolist()
    return [
        {
            "name": name,
            "bound": limit.bound,
            "unit": unit_of(limit.quantity),
            "reading": limit.reading_at(excess),
            "excess": excess,
            "multiplier": multiplier,
        }
        for (name, limit), excess, multiplier in zip(limits, excesses, multipliers, strict=True)
    ]


def _conditions(start: StartOutcome) -> dict[str, Any] | None:
    """The conditions of an optimum with what they amount to; None for a place that could not be simulated."""
    if start.conditions is None:
        return None
    said = start.conditions._asdict()
    return {**said, "feasible": start.conditions.feasible, "hold": start.conditions.hold}


def _start(start: StartOutcome) -> dict[str, Any]:
    return {
        "first": start.first,
        "x": start.x,
        "objective": start.objective,
        "limits": start.limits,
        "conditions": _conditions(start),
        "verdict": str(start.verdict),
        "jacobian_calls": start.jacobian_calls,
        "message": start.message,
    }


def certificate_record(certificate: GradientCertificate | None) -> dict[str, Any] | None:
    """A certificate with the bound of each figure and whether it holds; None if there is none.

    Args:
        certificate: of the gradient; None where none was taken, as no start could be simulated or no solver ran.

    Returns:
        Whether it passed, its place x in 0..1 and direction [-], (n,), and every figure with its bound, the decades of
        step behind a rate and whether fewer than wanted.
    """
    if certificate is None:
        return None
    figures = [
        {**asdict(figure), "range": figure.range_in_words, "passed": figure.passed} for figure in certificate.figures
    ]
    return {
        "passed": certificate.passed,
        "place": certificate.place,
        "direction": certificate.direction,
        "figures": figures,
    }


def readings(parts: StudyParts, run: RunFile, schedule: DoseSchedule) -> dict[str, Any]:
    """The objective of a finished run, part by part, and what its limits read.

    A file keeps of a peak within macro-steps the largest reading of each, which stands for all of them.

    Args:
        parts: of the study.
        run: whose series are read.
        schedule: that it had, with the rows of the study's arm.

    Returns:
        Objective, aims with unit, weight and reading, and limits with reading in their unit and excess [-].
    """
    series = {name: jnp.asarray(values) for name, values in run.series.items() if name in ENDPOINTS}
    peaks = {
        name: Readings(values[:, None], jnp.ones((len(values), 1)))
        for name, values in series.items()
        if ENDPOINTS[name].smooth_peak
    }
    course = Course(series, schedule, rows_in_use(parts.variables, parts.schedule), peaks)
    aims = [
        {
            "quantity": aim.quantity,
            "at": aim.at,
            "unit": unit_of(aim.quantity),
            "weight": aim.weight,
            "reading": float(aim.reading(course)),
        }
        for aim in parts.aims
    ]
    excesses = [(limit, excess) for limit in _ordered(parts) for excess in limit.excess(course).tolist()]
    return {
        "objective": sum(aim["weight"] * aim["reading"] for aim in aims),
        "aims": aims,
        "limits": [
            {"name": name, "reading": limit.reading_at(excess), "excess": excess}
            for (name, _), (limit, excess) in zip(named_limits(parts), excesses, strict=True)
        ],
    }


def write_optimum(folder: Path, record: Mapping[str, Any]) -> Path:
    """Write `optimum.json`, see `write_record`.

    Args:
        folder: of the study.
        record: what was asked, `optimum_record`, provenance, and the runs once they are done.

    Returns:
        The file.
    """
    return write_record(folder / OPTIMUM_FILE, record)
