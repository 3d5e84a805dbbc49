"""The registry: the only home of numbers, read from the TOML files beside this module. No JAX here.

One file is one subject. A leaf is a table with a value, its unit, its range, the species it belongs to, its source and
how good that is (evidence). A sub-table named after a species replaces keys of the leaf for that species.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import hashlib
import json
import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, TypeAlias, TypeVar

from hepatojax.scenario import SPECIES, Scenario
from hepatojax.status import HepatojaxError
from hepatojax.units import UNITS, to_canonical

Scalar: TypeAlias = Any
"""A parameter as a mechanism sees it: a Python float, or a 0-d array in the dtype of the fields."""

EVIDENCE = ("literature", "recalled", "derived", "assumed", "fitted")
REQUIRED = ("value", "unit", "low", "high", "species", "evidence", "source", "meaning")
OPTIONAL = ("off",)

T = TypeVar("T")


class ParameterError(HepatojaxError, ValueError):
    """A parameter that is missing, unknown, badly written or out of its range; one line."""


@dataclass(frozen=True)
class ParameterRow:
    """One resolved parameter, in the unit of its file.

    Attributes:
        name: "subject.name" or "subject.group.name".
        value: in `unit`; a traced one is possible, see `replaced`.
        unit: one of `hepatojax.units.UNITS`, as the file states it.
        low: lower end of the range that a scenario may choose from, in `unit`.
        high: its upper end, in `unit`.
        species: whose value this is.
        evidence: one of `EVIDENCE`, how good the source is.
        source: where the value stands or how it was found.
        meaning: one line for tables.
        off: a value outside low..high that switches the mechanism off.
        overridden: True where a scenario set the value.
    """

    name: str
    value: Scalar
    unit: str
    low: float
    high: float
    species: str
    evidence: str
    source: str
    meaning: str
    off: float | None = None
    overridden: bool = False

    @property
    def canonical(self) -> Scalar:
        """The value in the canonical unit, which mechanisms compute in."""
        return to_canonical(self.value, self.unit)

    def allows(self, value: float) -> bool:
        """True if a value [unit of the row] lies in the range or is the one that switches the mechanism off."""
        return self.low <= value <= self.high or value == self.off


class Subject(Mapping[str, Any]):
    """Values of one subject in canonical units, read as attributes or by key; a group is a subject of its own."""

    def __init__(self, name: str, values: Mapping[str, Any]):
        self._name = name
        self._values = dict(values)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            raise ParameterError(f"{self._name}.{name}: unknown parameter{suggestion(name, self._values)}") from None

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


@dataclass(frozen=True)
class Parameters:
    """All parameters of one species; subjects are attributes: `parameters.hepatocytes.priming_rate` [1/h].

    Attributes:
        species: whose rows these are.
        rows: the resolved rows in the order of the files, values in the units of the files.
        subjects: name of the subject -> its values in canonical units.
    """

    species: str
    rows: tuple[ParameterRow, ...]
    subjects: Mapping[str, Subject] = field(repr=False)

    def __getattr__(self, name: str) -> Subject:
        if name.startswith("_") or name == "subjects":
            raise AttributeError(name)
        try:
            return self.subjects[name]
        except KeyError:
            raise ParameterError(f"{name}: unknown subject{suggestion(name, self.subjects)}") from None

    def table(self) -> tuple[ParameterRow, ...]:
        """The rows to print: name, value, unit, low, high, species, evidence, source, meaning."""
        return self.rows

    @property
    def hash(self) -> str:
        """SHA-256 of the resolved values in canonical units; equal numbers give it, whoever has set them."""
        values = {row.name: row.canonical for row in self.rows}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def load_parameters(species: str = "human", overrides: Mapping[str, Any] | None = None) -> Parameters:
    """The parameters of a species, with some replaced.

    Args:
        species: one of `hepatojax.scenario.SPECIES`; a leaf without a row for it keeps its own value.
        overrides: "subject.name" -> value in the unit of the file.

    Returns:
        All rows, and all subjects in canonical units.

    Raises:
        ParameterError: unknown species or name, a value that is no finite number or out of its range, a bad file.
    """
    if species not in SPECIES:
        raise ParameterError(f"species: {species!r} is not one of {', '.join(SPECIES)}")
    rows = {name: _resolve(name, leaf, species) for name, leaf in _leaves().items()}
    for name, value in (overrides or {}).items():
        rows[name] = _override(rows, name, value)
    return Parameters(species=species, rows=tuple(rows.values()), subjects=_nest(rows))


def registry_of(scenario: Scenario) -> Parameters:
    """The parameters of a scenario: of its species, what it replaces, and amplification off if it asks for that.

    Args:
        scenario: its `parameters`, then the keys of its sections in `REGISTERED`, then `direct_only`; a later one wins.

    Returns:
        The parameters, values checked against the ranges of the species.

    Raises:
        ParameterError: a value out of the range of the species.
    """
    off = switched_off("amplification") if scenario.direct_only else {}
    return load_parameters(scenario.species, {**scenario.parameters, **scenario.replacements(), **off})


def replaced(parameters: Parameters, values: Mapping[str, Any]) -> Parameters:
    """The parameters with some values replaced, which may be traced: no range is checked.

    Args:
        parameters: of a species.
        values: "subject.name" -> value in the unit of the file.

    Returns:
        All parameters, those replaced marked as overridden; a derivative passes through the change of unit.

    Raises:
        ParameterError: unknown name.
    """
    rows = {row.name: row for row in parameters.rows}
    for name, value in values.items():
        if name not in rows:
            raise ParameterError(f"parameters.{name}: unknown parameter{suggestion(name, rows)}")
        rows[name] = dataclasses.replace(rows[name], value=value, overridden=True)
    return Parameters(species=parameters.species, rows=tuple(rows.values()), subjects=_nest(rows))


def switched_off(subject: str) -> dict[str, float]:
    """Overrides that switch every mechanism of a subject off that has an off value.

    `switched_off("amplification")` gives the run with the direct effects of the cells only.

    Args:
        subject: of the registry.

    Returns:
        "subject.name" -> off value [unit of the file].

    Reference: BIOLOGY A8.
    """
    leaves = {name: leaf for name, leaf in _leaves().items() if name.startswith(f"{subject}.")}
    return {name: float(leaf["off"]) for name, leaf in leaves.items() if "off" in leaf}


def from_registry(cls: type[T], *subjects: Mapping[str, Any]) -> T:
    """A dataclass of floats, each field taken by its name from one of the subjects; static ones keep their defaults.

    Args:
        cls: parameters of a mechanism, fields named as in the files.
        subjects: where to look, values in canonical units; each field must stand in exactly one of them.

    Returns:
        An instance with values in canonical units.

    Raises:
        ParameterError: a field that no subject holds, or that two hold.
    """
    values = {}
    for name in (f.name for f in dataclasses.fields(cls) if not f.metadata.get("static")):
        found = [subject[name] for subject in subjects if name in subject]
        if len(found) != 1:
            raise ParameterError(f"{cls.__name__}.{name}: found in {len(found)} of {len(subjects)} subjects, wants one")
        values[name] = found[0]
    return cls(**values)


def suggestion(name: str, known: Mapping[str, Any]) -> str:
    """The tail of an error: the nearest known name, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f", did you mean {near[0]}?" if near else ""


@functools.cache
def _leaves() -> dict[str, dict[str, Any]]:
    """Full name -> leaf, of every TOML file of the package, in order of names of files and of lines."""
    folder = resources.files("hepatojax.parameters")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    leaves: dict[str, dict[str, Any]] = {}
    for file in files:
        _collect(file.name.removesuffix(".toml"), tomllib.loads(file.read_text(encoding="utf-8")), leaves)
    return leaves


def _collect(name: str, table: Mapping[str, Any], leaves: dict[str, dict[str, Any]]) -> None:
    """Add the leaves of a table and of its groups: a table with a value is a leaf, one without is a group."""
    if "value" in table:
        leaves[name] = dict(table)
        return
    for key, entry in table.items():
        if not isinstance(entry, dict):
            raise ParameterError(f"{name}.{key}: wants a table with value, unit, low, high and source")
        _collect(f"{name}.{key}", entry, leaves)


def _resolve(name: str, leaf: Mapping[str, Any], species: str) -> ParameterRow:
    """The row of a leaf for a species, checked."""
    keys: dict[str, Any] = {key: value for key, value in leaf.items() if key not in SPECIES}
    keys |= {"species": species, **leaf[species]} if species in leaf else {}
    missing = [key for key in REQUIRED if key not in keys]
    unknown = [key for key in keys if key not in (*REQUIRED, *OPTIONAL)]
    if missing or unknown:
        raise ParameterError(f"{name}: missing {missing}, unknown {unknown}")
    if keys["unit"] not in UNITS:
        raise ParameterError(f"{name}: unknown unit {keys['unit']!r}{suggestion(keys['unit'], UNITS)}")
    if keys["evidence"] not in EVIDENCE:
        raise ParameterError(f"{name}: evidence {keys['evidence']!r} is not one of {', '.join(EVIDENCE)}")
    numbers = {key: _number(name, keys[key]) for key in ("value", "low", "high", "off") if key in keys}
    row = ParameterRow(name=name, **(keys | numbers))
    if not row.allows(row.value) or row.low > row.high:
        raise ParameterError(_out_of_range(row, row.value))
    return row


def _override(rows: Mapping[str, ParameterRow], name: str, value: Any) -> ParameterRow:
    """The row of a name with another value [unit of the row], which must lie in its range."""
    if name not in rows:
        raise ParameterError(f"parameters.{name}: unknown parameter{suggestion(name, rows)}")
    number = _number(name, value)
    if not rows[name].allows(number):
        raise ParameterError(f"parameters.{_out_of_range(rows[name], number)}")
    return dataclasses.replace(rows[name], value=number, overridden=True)


def _out_of_range(row: ParameterRow, value: float) -> str:
    return f"{row.name}: {value:g} is outside {row.low:g}..{row.high:g} [{row.unit}] ({row.species})"


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ParameterError(f"{name}: {value!r} is not a finite number")
    return float(value)


def _nest(rows: Mapping[str, ParameterRow]) -> dict[str, Subject]:
    """Full names -> subjects of canonical values, groups as subjects within subjects."""
    tree: dict[str, Any] = {}
    for name, row in rows.items():
        *path, last = name.split(".")
        branch = functools.reduce(lambda node, key: node.setdefault(key, {}), path, tree)
        branch[last] = row.canonical
    return {name: _subject(name, branch) for name, branch in tree.items()}


def _subject(name: str, branch: Mapping[str, Any]) -> Subject:
    return Subject(name, {k: _subject(f"{name}.{k}", v) if isinstance(v, dict) else v for k, v in branch.items()})
