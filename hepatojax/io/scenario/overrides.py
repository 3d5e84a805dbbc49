"""Values given beside the file: `--set section.key=value`, and the table [parameters] against the registry.

Settings are put into a copy of the table before anything is checked, so they meet the same checks as the file. A number
of [parameters] may have a unit of its own; it is converted and then compared with the range of its row and species. A
number out of its range gets a hint where another unit would bring it in.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from hepatojax.io.scenario.decode import DEEPEST_NESTING
from hepatojax.io.scenario.errors import Problem, shown
from hepatojax.io.scenario.section import nearest
from hepatojax.scenario import REGISTERED
from hepatojax.units import UNITS

ACCEPTED_UNITS = UNITS | {
    "cm": ("um", 1e4),
    "cm2": ("um2", 1e8),
    "cm2/s": ("um2/s", 1e8),
    "kPa": ("Pa", 1e3),
    "1/min": ("1/h", 60.0),
}
_REPEATED = ("arm", "infusion")
_EXCLUSIVE = {"grid.cells": "spacing_um", "grid.spacing_um": "cells"}


def parse_setting(text: str) -> tuple[str, Any]:
    """`section.key=value` as (key, value); the value is TOML, and a bare word is a text.

    Args:
        text: one `--set` of the command line.

    Returns:
        Dotted key, and the value in the type that TOML gives it.

    Raises:
        ValueError: there is no `=` or no key, more than one line, or brackets without end.
    """
    if len(text.splitlines()) > 1:
        raise ValueError(f"--set {shown(text)[1:-1]}: has more than one line; give each key its own --set")
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ValueError(f"--set {text}: write section.key=value")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except RecursionError:
        raise ValueError(f"--set {key.strip()}: brackets are nested too deeply") from None
    except ValueError:
        return key.strip(), value.strip()


def with_settings(table: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """A copy of the file's table in which some keys are replaced.

    Args:
        table: as read from the file.
        settings: dotted key -> value. Arms are picked by name or by number from 1, infusions by number from 1. Setting
            one of grid.cells and grid.spacing_um removes the other.

    Returns:
        The changed copy, and a problem for each setting whose place does not exist; arms and infusions are never made.
    """
    changed: dict[str, Any] = _copied(table)
    problems = []
    for key, value in settings.items():
        path = key.split(".")
        if path[0] == "parameters" and len(path) > 1 and isinstance(changed.get("parameters", {}), dict):
            path = ["parameters", ".".join(path[1:])]
            changed["parameters"] = dict(flattened(changed.get("parameters", {})))
        node = None if len(path) > DEEPEST_NESTING else _descend(changed, path[:-1])
        if isinstance(node, dict) and path[-1]:
            node[path[-1]] = _copied(value)
            node.pop(_EXCLUSIVE.get(key, ""), None)
        else:
            problems.append(Problem(shown(key)[1:-1], _nowhere(path, changed)))
    return changed, problems


def _nowhere(path: list[str], table: Mapping[str, Any]) -> str:
    """Why a setting cannot be made, as a message without the key."""
    if path[0] == "arm" and not isinstance(table.get("arm"), list):
        return "the file has no [[arm]]; write one there, a setting can only change what exists"
    if path[0] == "arm" and "infusion" in path:
        return "there is no such [[arm.infusion]]; write one in the file, a setting can only change what exists"
    return "there is no such place in the scenario"


def _copied(value: Any) -> Any:
    """Nested tables and lists that can be changed without changing those of the caller."""
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list | tuple) else value


def _descend(node: Any, path: list[str]) -> Any:
    """The table at a path, made where it is missing; None where the path leads nowhere."""
    for part in path:
        if isinstance(node, dict) and part in _REPEATED and part not in node:
            return None
        if isinstance(node, dict):
            node = node.setdefault(part, {})
        elif isinstance(node, list):
            named = [item for item in node if isinstance(item, dict) and item.get("name") == part]
            numbered = node[int(part) - 1 : int(part)] if part.isascii() and part.isdecimal() and int(part) else []
            node = next(iter(named or numbered), None)
        else:
            return None
    return node


def flattened(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name -> number (or a table of value and unit), whether the file nests subjects or quotes the dots.

    Args:
        table: [parameters] of a scenario, or [set] of a study.
        prefix: of the names, ending with a dot; empty at the top.

    Yields:
        Pairs in the order of the file; a name that is given in both ways comes twice.
    """
    for name, item in table.items():
        if isinstance(item, Mapping) and not {"value", "unit"} & set(item):
            yield from flattened(item, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", item


def repeated_parameters(table: Any) -> list[Problem]:
    """A problem for each parameter that [parameters] gives both with quoted and with nested dots.

    Args:
        table: [parameters] as read; what is no table has no such problem.
    """
    names = Counter(name for name, _ in flattened(table)) if isinstance(table, Mapping) else {}
    return [
        Problem(f"parameters.{shown(name)[1:-1]}", "is given twice, with quoted and with nested dots; keep one")
        for name, count in names.items()
        if count > 1
    ]


def check_parameters(table: Any, species: str) -> tuple[dict[str, float], list[Problem]]:
    """The overrides of [parameters] in the registry's units, and what is wrong with them.

    Args:
        table: "subject.name" -> number in the registry's unit, or {value = ..., unit = "..."}; subjects may be nested.
        species: whose ranges hold.

    Returns:
        Name -> value in the registry's unit, and a problem for each entry that is unknown, no number, in a unit that
        does not fit, or out of its range.
    """
    from hepatojax.parameters.registry import load_parameters

    if not isinstance(table, Mapping):
        return {}, [Problem("parameters", f"must be a section [parameters] (got {shown(table)})")]
    entries = dict(flattened(table))
    rows = {row.name: row for row in load_parameters(species).table()} if entries else {}
    values, problems = {}, []
    for name, entry in entries.items():
        if name not in rows:
            near = nearest(name, list(rows))
            message = (
                f"unknown parameter, did you mean {near}?" if near else "unknown parameter; see hepatojax parameters"
            )
        else:
            value, message = _checked_value(entry, rows[name])
            values[name] = value
        if message:
            problems.append(Problem(f"parameters.{shown(name)[1:-1]}", message))
    return values, problems


def check_replacements(table: Mapping[str, Any], parameters: Mapping[str, float], species: str) -> list[Problem]:
    """What is wrong with the numbers of the registry that sections replace; only numbers are looked at.

    Args:
        table: of the scenario.
        parameters: the overrides of [parameters], in the registry's units.
        species: whose ranges hold.

    Returns:
        A problem for each key out of its range, or given a second time in [parameters].
    """
    from hepatojax.parameters.registry import load_parameters

    given = {key: _number_at(table, key) for key in REGISTERED}
    given = {key: value for key, value in given.items() if value is not None}
    rows = {row.name: row for row in load_parameters(species).table()} if given else {}
    problems = []
    for key, value in given.items():
        name = REGISTERED[key]
        message = _checked_value(value, rows[name])[1]
        if not message and name in parameters:
            message = f'is given beside "{name}" in [parameters]; keep one'
        problems += [Problem(key, message)] if message else []
    return problems


def _number_at(table: Mapping[str, Any], key: str) -> float | int | None:
    """The number that a section gives for a key, None for anything else, which the checks of sections see to."""
    section, name = key.split(".")
    entries = table.get(section)
    value = entries.get(name) if isinstance(entries, Mapping) else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _checked_value(entry: Any, row: Any) -> tuple[float, str]:
    """A number in the unit of the registry's row, and what is wrong with it, empty if nothing."""
    unit = row.unit
    if isinstance(entry, Mapping):
        if set(entry) != {"value", "unit"}:
            return 0.0, f'must be a number [{row.unit}] or {{value = ..., unit = "..."}} (got {shown(dict(entry))})'
        entry, unit = entry["value"], entry["unit"]
    if isinstance(entry, bool) or not isinstance(entry, int | float):
        return 0.0, f"must be a number [{row.unit}], not {shown(entry)}"
    canonical = ACCEPTED_UNITS[row.unit][0]
    if not isinstance(unit, str) or ACCEPTED_UNITS.get(unit, ("", 0))[0] != canonical:
        fitting = [name for name, (target, _) in ACCEPTED_UNITS.items() if target == canonical]
        return 0.0, f"unit {shown(unit)} does not fit [{row.unit}]; allowed: {', '.join(fitting)}"
    value = float(entry) if unit == row.unit else _converted(entry, unit, row.unit)
    if row.allows(value):
        return value, ""
    given = "" if unit == row.unit else f" ({entry:g} {unit})"
    return value, (
        f"{value:g}{given} is outside {row.low:g}..{row.high:g} [{row.unit}] ({row.species})" + _unit_hint(entry, row)
    )


def _converted(value: float | int, unit: str, target: str) -> float:
    """A number in another unit of the same dimension, by way of the canonical one."""
    return value * ACCEPTED_UNITS[unit][1] / ACCEPTED_UNITS[target][1]


def _unit_hint(value: float | int, row: Any) -> str:
    """Which other unit would bring the number into its range, as the end of a message."""
    canonical = ACCEPTED_UNITS[row.unit][0]
    for unit, (target, _) in ACCEPTED_UNITS.items():
        if target == canonical and unit != row.unit and row.allows(_converted(value, unit, row.unit)):
            return f"; {value:g} {unit} would be {_converted(value, unit, row.unit):g} {row.unit}"
    return ""
