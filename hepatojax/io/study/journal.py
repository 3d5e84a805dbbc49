"""The places that a search has computed, one JSON line each, durable as soon as they are known, and recalled later.

    {"format": "hepatojax iterates 2", "title", "sha256", "source_revision", "variables", "limits"}
    {"screened": places to start from, "starts", "seed"}
    {"certificate": place, direction and figures, "x", "seed"}           at the first start, and at the optimum
    {"start", "x", "objective", "limits", "status", "jacobian"}          one of these for each computed place

Each of the last three may have {"beside": [what, numbers]}: it belongs to the program with these beside its inputs.

A place is found again by the bits of its x, so a search that asks for the same places in the same order goes on where
it was cut off, and computes none twice. Numbers are written so that they are read back bit for bit; nan and infinity
are null. The file grows by one line and one fsync at a time.

Reference: RELIABILITY 3.4 (JSON lines, append and flush).
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hepatojax.io.provenance import same_revision
from hepatojax.io.snapshots import durable_write, synchronise_folder
from hepatojax.status import HepatojaxError
from hepatojax.studies.certificate import Figure, GradientCertificate
from hepatojax.studies.optimise import Record
from hepatojax.studies.program import Linearised, Outcome

JOURNAL_FILE = "iterates.jsonl"
FORMAT = "hepatojax iterates 2"


class JournalError(HepatojaxError):
    """A journal cannot be gone on with; one line says why and what to do. Exit code 2."""


class Journal(Record):
    """A record on the disk.

    The first line is a header; then come places, the screening and the certificates, as they were computed. A last line
    that was cut off by a crash is dropped.

    Args:
        path: of the journal.
        file: the same, open to append bytes.
        lines: what it holds, without the header.
        interrupt: called before anything is computed; what it raises ends the search, and the journal stays.
    """

    def __init__(self, path: Path, file: Any, lines: list[dict[str, Any]], interrupt: Callable[[], None]):
        self.path, self._file, self._interrupt = path, file, interrupt
        self._beside: list[Any] | None = None
        self._counts = Counter[str]()
        self._lines = {_line_key(line): line for line in lines}

    @property
    def recalled(self) -> int:
        """Number of places that were on the disk."""
        return self._counts["recalled"]

    @property
    def computed(self) -> int:
        """Number of places that were not."""
        return self._counts["computed"]

    def beside(self, what: str, values: np.ndarray) -> Journal:
        """The part of the journal that is of the same program with something more beside its inputs.

        Args:
            what: the kind of it.
            values: its numbers (k,), by whose bits it is recalled.
        """
        part = copy(self)  # of one file, one set of lines and one count
        outer, numbers = self._beside or ("", [])
        part._beside = [f"{outer}; {what}" if outer else what, [*numbers, *_plain(values)]]
        return part

    def screened(self, starts: int, seed: int, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """Places to start from (starts, n).

        Args:
            starts: their number.
            seed: of the points that were screened.
            compute: gives them, in 0..1, where the journal has none for this number and seed.
        """
        found = self._found({"screened": None, "starts": starts, "seed": seed})
        if found is None:
            self._interrupt()
            found = self._append({"screened": _plain(compute()), "starts": starts, "seed": seed})
        return np.asarray(found["screened"], float)

    def linearised(self, start: int, x: np.ndarray, compute: Callable[[], Linearised]) -> Linearised:
        """What is known at a place (n,).

        Args:
            start: number of the start that asks, from 0.
            x: the place, in 0..1; -0 is the same as 0.
            compute: gives objective, excess of the limits [-] and their Jacobian, where the journal does not hold the
                place.
        """
        found = self._found({"jacobian": None, "x": x})
        if found is not None:
            self._counts["recalled"] += 1
            return _linearised(found)
        self._interrupt()
        here = compute()
        self._counts["computed"] += 1
        line = {
            "start": start,
            "x": _plain(x),
            "objective": _plain(here.outcome.objective),
            "limits": _plain(here.outcome.limits),
            "status": int(here.status),
            "jacobian": _plain(here.jacobian),
        }
        self._append(line)
        return here

    def certificate(self, x: np.ndarray, seed: int, compute: Callable[[], GradientCertificate]) -> GradientCertificate:
        """The certificate of the gradient near a place (n,).

        Args:
            x: the place, in 0..1.
            seed: of its direction.
            compute: gives it, where the journal has none for this place and seed.
        """
        found = self._found({"certificate": None, "x": x, "seed": seed})
        if found is not None:
            return _certificate(found["certificate"])
        self._interrupt()
        made = compute()
        figures = [{key: _plain(entry) for key, entry in asdict(figure).items()} for figure in made.figures]
        said = {"place": _plain(made.place), "direction": _plain(made.direction), "figures": figures}
        self._append({"certificate": said, "x": _plain(x), "seed": seed})
        return made

    def _found(self, sought: dict[str, Any]) -> dict[str, Any] | None:
        return self._lines.get(_line_key(self._marked(sought)))

    def _marked(self, line: dict[str, Any]) -> dict[str, Any]:
        return line if self._beside is None else {**line, "beside": self._beside}

    def _append(self, line: dict[str, Any]) -> dict[str, Any]:
        """Write a line, wait until the disk has it, and recall it from now on."""
        line = self._marked(line)
        self._file.write(_line(line))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._lines[_line_key(line)] = line
        return line


@contextmanager
def open_journal(
    folder: Path, header: Mapping[str, Any], interrupt: Callable[[], None] = lambda: None
) -> Iterator[Journal]:
    """The journal of a folder, begun if there is none. The caller holds the lock of the folder.

    Args:
        folder: of the results.
        header: of the study; its "sha256" says which, its "source_revision" by which program, as far as that is
            known.
        interrupt: see `Journal`.

    Yields:
        The journal with what earlier searches have left in it.

    Raises:
        JournalError: the file there is none of this format, belongs to another study or another program, or is damaged
            before its last line.
        OSError: the disk refused.
    """
    path = folder / JOURNAL_FILE
    lines = _read(path) if path.exists() else []
    if lines:
        _require_same(path, lines[0], header)
    else:
        durable_write(path, _line({"format": FORMAT, **header}))
    with path.open("ab") as file:
        yield Journal(path, file, lines[1:], interrupt)
        file.flush()


def _require_same(path: Path, was: Mapping[str, Any], header: Mapping[str, Any]) -> None:
    """Refuse to go on with what cannot be read, or means something else here."""
    revisions = was.get("source_revision", ""), header.get("source_revision", "")
    if was.get("format") != FORMAT:
        fault = f"its format is {was.get('format')!r}, not {FORMAT!r}"
    elif was.get("sha256") != header["sha256"]:
        fault = f"holds the places of another study ({was.get('title', '')!r})"
    elif not same_revision(*revisions):
        fault = f"holds the places of another program (revision {revisions[0]}, this one is {revisions[1]})"
    else:
        return
    raise JournalError(f"{path}: {fault}; choose another -o, or remove it")


def _read(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a journal; what a crash left of a last one is cut off, here and on the disk."""
    data = path.read_bytes()
    lines, end = [], 0
    for number, text in enumerate(data.splitlines(keepends=True), start=1):
        line = _parsed(text)
        if line is None and end + len(text) < len(data):
            raise JournalError(f"{path}: line {number} is damaged; choose another -o, or remove the file")
        if line is None:
            break
        lines.append(line)
        end += len(text)
    if end < len(data):
        os.truncate(path, end)
        synchronise_folder(path.parent)
    return lines


def _parsed(text: bytes) -> dict[str, Any] | None:
    """A whole line as what it says, None for a part of one."""
    try:
        line = json.loads(text) if text.endswith(b"\n") else None
    except ValueError:  # of JSON, or of UTF-8
        return None
    return line if isinstance(line, dict) else None


def _line(entry: Mapping[str, Any]) -> bytes:
    return (json.dumps(entry, allow_nan=False) + "\n").encode()


def _key(x: Any) -> bytes:
    """The bits of a place, by which it is recalled."""
    return (np.asarray(x, float) + 0.0).tobytes()  # which makes -0 the same place as 0


def _line_key(line: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a line is recalled by: its kind and all that it depends on."""
    what, numbers = line.get("beside") or ("", [])
    of = what, _key(numbers)
    if "jacobian" in line:
        return "place", *of, _key(line["x"])
    if "screened" in line:
        return "screened", *of, line["starts"], line["seed"]
    return ("certificate", *of, _key(line["x"]), line["seed"]) if "certificate" in line else ("unknown",)


def _plain(values: Any) -> Any:
    """Numbers as JSON can say them: nan and infinity become null."""
    if isinstance(values, str | bool):
        return values
    if isinstance(values, list):
        return [_plain(value) for value in values]
    if isinstance(values, float):
        return values if abs(values) < float("inf") else None
    return _plain(values.tolist()) if hasattr(values, "tolist") else values


def _numbers(values: Any) -> np.ndarray:
    return np.asarray(values, float)  # null becomes nan


def _linearised(line: Mapping[str, Any]) -> Linearised:
    """The inverse of the line of a place; the status comes back as its code."""
    outcome = Outcome(_numbers(line["objective"]), _numbers(line["limits"]), np.asarray(line["status"], np.int32))
    return Linearised(outcome, _numbers(line["jacobian"]))


def _measured(figure: Mapping[str, Any]) -> dict[str, float]:
    """The entries of a figure that may be no number."""
    return {name: float(_numbers(figure[name])) for name in ("value", "decades")}


def _certificate(said: Mapping[str, Any]) -> GradientCertificate:
    """The inverse of the line of a certificate; what could not be measured is nan again."""
    figures = tuple(Figure(**{**figure, **_measured(figure)}) for figure in said["figures"])
    return GradientCertificate(_numbers(said["place"]), _numbers(said["direction"]), figures)
