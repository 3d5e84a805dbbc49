"""From a nested dict to a `Scenario`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from hepatojax.io.scenario.complaints import problems_of
from hepatojax.io.scenario.document import SECTIONS, ScenarioFile
from hepatojax.io.scenario.errors import Problem
from hepatojax.scenario import Scenario

REPEATED = ("arm", "infusion")


def validate(table: Mapping[str, Any]) -> tuple[Scenario | None, list[Problem]]:
    """The scenario that a table describes, or None and all of the table's problems.

    Args:
        table: with finite numbers, and [parameters] as numbers in the registry's units.

    Returns:
        Scenario and no problem, or None and every complaint as a problem.
    """
    try:
        return ScenarioFile.model_validate(table).to_spec(), []
    except ValidationError as error:
        return None, problems_of(error, table, SECTIONS, REPEATED)
