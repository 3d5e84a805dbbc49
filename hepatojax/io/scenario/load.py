"""Read a scenario: file, settings, sections, registry and rules, with every problem reported at once.

In this order: a study in the place of a scenario, what is nested too deeply and what is not finite ends the reading,
for all else would trip over it. Then come the numbers of the registry, in its units and ranges, and the sections with
their keys, types and ranges; of two complaints about one key the first is told. What several keys must fulfil together
is looked at only where each is right on its own. Nothing here writes, and nothing imports JAX.

Reference: RELIABILITY 4.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hepatojax.io.scenario.decode import not_finite, read_table, too_deep
from hepatojax.io.scenario.errors import ScenarioError
from hepatojax.io.scenario.kind import not_a_scenario
from hepatojax.io.scenario.overrides import (
    check_parameters,
    check_replacements,
    repeated_parameters,
    with_settings,
)
from hepatojax.io.scenario.rules import check_together
from hepatojax.io.scenario.validate import validate
from hepatojax.parameters.registry import registry_of
from hepatojax.scenario import SPECIES, Scenario


def load_scenario(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Scenario:
    """Read and check a scenario file.

    Args:
        path: a TOML file, see docs/scenario.md. A relative `lobule.labels_file` starts at the file's folder.
        overrides: dotted key -> value, such as {"grid.cells": [26, 30, 8]}; they replace what the file says.

    Returns:
        The scenario with defaults filled in; numbers of [parameters] are in the registry's units.

    Raises:
        ScenarioError: one line for each problem, `case.toml: section.key: what is wrong`.
    """
    path = Path(path)
    return scenario_from_table(read_table(path), source=path.name, folder=path.parent, overrides=overrides)


def scenario_from_table(
    table: Mapping[str, Any],
    *,
    source: str = "scenario",
    folder: Path = Path(),
    overrides: Mapping[str, Any] | None = None,
) -> Scenario:
    """Check a scenario given as nested tables, as TOML would hold them.

    Args:
        table: sections and their keys; it is not changed.
        source: what messages begin with.
        folder: where a relative `lobule.labels_file` starts.
        overrides: dotted key -> value.

    Returns:
        As `load_scenario`.

    Raises:
        ScenarioError: one line for each problem.
    """
    problems = not_a_scenario(table) or [*too_deep(table), *too_deep(overrides or {})]
    if problems:
        raise ScenarioError(source, problems)
    changed, problems = with_settings(table, overrides or {})
    problems += repeated_parameters(table.get("parameters"))
    found = not_finite(changed)
    if found:  # a range would refuse the same number again
        raise ScenarioError(source, [*problems, *found])
    _resolve_labels_file(changed, folder)
    species = changed.get("species", Scenario.species)
    values: dict[str, float] = {}
    if species in SPECIES:
        values, found = check_parameters(changed.get("parameters", {}), species)
        problems += [*found, *check_replacements(changed, values, species)]
    scenario, found = validate({**changed, "parameters": values})
    said = {problem.key for problem in problems}
    problems += [problem for problem in found if problem.key not in said]
    if scenario is not None and not problems:
        problems += check_together(scenario, registry_of(scenario))
    if scenario is None or problems:
        raise ScenarioError(source, problems)
    return scenario


def _resolve_labels_file(table: dict[str, Any], folder: Path) -> None:
    """Make the name of the label image absolute, for a run may start in another folder than the scenario's."""
    lobule = table.get("lobule")
    if not isinstance(lobule, dict):
        return
    name = lobule.get("labels_file")
    if isinstance(name, str) and name.isprintable():
        lobule["labels_file"] = str((folder / name).resolve())
