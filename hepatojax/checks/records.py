"""The records that `verify`, `validate` and `benchmark` share: what was measured, what was accepted, did it pass."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Record:
    """One measured quantity beside its bound.

    Attributes:
        id: of the check, as in docs/verification.md.
        quantity: what was measured.
        value, unit: the measurement.
        accept: the bound in words.
        passed: whether it holds.
        source: exact solution, paper or rule behind the bound.
        seconds: that the whole check took; shared by its records.
    """

    id: str
    quantity: str
    value: float
    unit: str
    accept: str
    passed: bool
    source: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Check:
    """A named check: a function without arguments that returns its records."""

    id: str
    title: str
    function: Callable[[], Iterable[Record]]


def largest(values: Iterable[ArrayLike]) -> float:
    """The largest of measured values, numbers or arrays; NaN if any is, where the built-in `max` may pass it over."""
    return float(np.max([np.max(np.asarray(value, float)) for value in values]))


def smallest(values: Iterable[ArrayLike]) -> float:
    """The smallest of measured values, numbers or arrays; NaN if any is, where the built-in `min` may pass it over."""
    return float(np.min([np.min(np.asarray(value, float)) for value in values]))


def relative_change(before: ArrayLike, after: ArrayLike) -> float:
    """Largest change of a field over its largest value; the change itself where there was nothing."""
    size = largest([np.abs(np.asarray(before, float))])
    return largest([np.abs(np.asarray(after, float) - np.asarray(before, float))]) / (1.0 if size == 0.0 else size)


def at_most(id: str, quantity: str, value: float, bound: float, unit: str, source: str) -> Record:
    """A record that passes if value <= bound; a NaN never passes."""
    return Record(id, quantity, float(value), unit, f"<= {bound:g}", bool(value <= bound), source)


def at_least(id: str, quantity: str, value: float, bound: float, unit: str, source: str) -> Record:
    """A record that passes if value >= bound; a NaN never passes."""
    return Record(id, quantity, float(value), unit, f">= {bound:g}", bool(value >= bound), source)


def within(id: str, quantity: str, value: float, low: float, high: float, unit: str, source: str) -> Record:
    """A record that passes if low <= value <= high; a NaN never passes."""
    return Record(id, quantity, float(value), unit, f"{low:g}..{high:g}", bool(low <= value <= high), source)


def reported(id: str, quantity: str, value: float, unit: str, source: str) -> Record:
    """A record without a bound, whatever its value: a number that readers want beside the scored ones."""
    return Record(id, quantity, float(value), unit, "reported", True, source)


def run_checks(checks: Iterable[Check]) -> Iterator[Record]:
    """Run checks one after the other and yield their records, with the time that each check took."""
    for check in checks:
        start = time.monotonic()
        records = list(check.function())
        seconds = time.monotonic() - start
        yield from (replace(record, seconds=seconds) for record in records)


def write_json(records: Iterable[Record], path: Path) -> None:
    """Write records as a JSON list, one object each; a value that is not finite becomes null."""
    rows = [{**asdict(record), "value": record.value if np.isfinite(record.value) else None} for record in records]
    path.write_text(json.dumps(rows, indent=1, allow_nan=False) + "\n", encoding="utf-8")
