"""The records that `verify`, `validate` and `benchmark` share: what was measured, what was accepted, did it pass.

A check is a function without arguments that yields records, so that a measurement and its bound stand together. A NaN
never passes: each comparison fails on one, and `largest` and `smallest` hand it on where the built-in functions may
pass it over. A number that is only reported has no bound and cannot fail.
"""

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
        id: of the check, as in docs/verification.md or docs/validation.md.
        quantity: what was measured, in words.
        value: the measurement, in `unit`.
        unit: "-" for a pure number.
        accept: the bound in words; "reported" where there is none.
        passed: whether it holds.
        source: exact solution, paper or rule behind the bound.
        seconds: that the whole check took [s]; shared by its records.
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
    """A named check of a suite.

    Attributes:
        id: what `--only` looks for; it may stand for several targets, such as "V18-V19".
        title: what it is about, in one line.
        function: without arguments; its records.
    """

    id: str
    title: str
    function: Callable[[], Iterable[Record]]


def largest(values: Iterable[ArrayLike]) -> float:
    """The largest of measured values; NaN if any is, where the built-in `max` may pass it over.

    Args:
        values: at least one number or array, of any shapes, all in one unit.

    Returns:
        The largest entry of all, in that unit.
    """
    return float(np.max([np.max(np.asarray(value, float)) for value in values]))


def smallest(values: Iterable[ArrayLike]) -> float:
    """The smallest of measured values; NaN if any is, where the built-in `min` may pass it over.

    Args:
        values: at least one number or array, of any shapes, all in one unit.

    Returns:
        The smallest entry of all, in that unit.
    """
    return float(np.min([np.min(np.asarray(value, float)) for value in values]))


def relative_change(before: ArrayLike, after: ArrayLike) -> float:
    """Largest change of a field over its largest value; the change itself where there was nothing.

        max |b - a| / max |a|

    Args:
        before: a, of any shape and unit.
        after: b, of the same shape and unit.

    Returns:
        The change [-]; NaN if a number of either field is.
    """
    size = largest([np.abs(np.asarray(before, float))])
    return largest([np.abs(np.asarray(after, float) - np.asarray(before, float))]) / (1.0 if size == 0.0 else size)


def at_most(id: str, quantity: str, value: float, bound: float, unit: str, source: str) -> Record:
    """A record that passes if value <= bound; a NaN never passes.

    Args:
        id: of the check.
        quantity: what was measured, in words.
        value: the measurement, in `unit`.
        bound: the largest value that is accepted, in `unit`.
        unit: "-" for a pure number.
        source: exact solution, paper or rule behind the bound.
    """
    return Record(id, quantity, float(value), unit, f"<= {bound:g}", bool(value <= bound), source)


def at_least(id: str, quantity: str, value: float, bound: float, unit: str, source: str) -> Record:
    """A record that passes if value >= bound; a NaN never passes. The other arguments are those of `at_most`.

    Args:
        value: the measurement, in `unit`.
        bound: the smallest value that is accepted, in `unit`.
    """
    return Record(id, quantity, float(value), unit, f">= {bound:g}", bool(value >= bound), source)


def within(id: str, quantity: str, value: float, low: float, high: float, unit: str, source: str) -> Record:
    """A record that passes if low <= value <= high; a NaN never passes. The other arguments are those of `at_most`.

    Args:
        value: the measurement, in `unit`.
        low: lower end of the band, in `unit`.
        high: upper end of the band, in `unit`.
    """
    return Record(id, quantity, float(value), unit, f"{low:g}..{high:g}", bool(low <= value <= high), source)


def reported(id: str, quantity: str, value: float, unit: str, source: str) -> Record:
    """A record without a bound, whatever its value: a number that readers want beside the scored ones.

    Args:
        id: of the check.
        quantity: what was measured, in words.
        value: the measurement, in `unit`; also one that is not finite.
        unit: "-" for a pure number.
        source: what the reader may compare it with.
    """
    return Record(id, quantity, float(value), unit, "reported", True, source)


def run_checks(checks: Iterable[Check]) -> Iterator[Record]:
    """Run checks one after the other and yield their records, with the time that each check took.

    Args:
        checks: run in this order; the records of one come together, once all of them are there.

    Yields:
        Each record with the wall time of its check in `seconds` [s].
    """
    for check in checks:
        start = time.monotonic()
        records = list(check.function())
        seconds = time.monotonic() - start
        yield from (replace(record, seconds=seconds) for record in records)


def write_json(records: Iterable[Record], path: Path) -> None:
    """Write records as a JSON list, one object each; a value that is not finite becomes null.

    Args:
        records: in the order of the list.
        path: of the file, in UTF-8; an older one is replaced.
    """
    rows = [{**asdict(record), "value": record.value if np.isfinite(record.value) else None} for record in records]
    path.write_text(json.dumps(rows, indent=1, allow_nan=False) + "\n", encoding="utf-8")
