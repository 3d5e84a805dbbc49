"""Whether a file is a scenario or a study: one of them where the other is wanted is refused in one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hepatojax.io.scenario.errors import Problem, shown

SCENARIO_KEYS = (
    "species",
    "direct_only",
    "patient",
    "lobule",
    "grid",
    "disease",
    "product",
    "run",
    "parameters",
)
STUDY_KEYS = ("scenario", "set", "aim", "limit", "variable", "optimise", "window", "fewer", "pareto")


def not_a_scenario(table: Mapping[str, Any]) -> list[Problem]:
    """The one problem of a study that is given as a scenario.

    Args:
        table: of a file; it is what most of the keys say that only one kind of file has.

    Returns:
        None or one, which names the verbs that read a study, and its scenario.
    """
    if _excess(table, STUDY_KEYS, SCENARIO_KEYS) <= 0:
        return []
    name = table.get("scenario")
    own = f"; its scenario is {shown(name)}" if isinstance(name, str) else ""
    return [Problem("", f"is a study, which hepatojax optimise and hepatojax window read, and no scenario{own}")]


def not_a_study(table: Mapping[str, Any]) -> list[Problem]:
    """The one problem of a scenario that is given as a study.

    Args:
        table: of a file.

    Returns:
        None or one, which names the verbs that read a scenario.
    """
    if _excess(table, SCENARIO_KEYS, STUDY_KEYS) <= 0:
        return []
    return [Problem("", "is a scenario, which hepatojax run and hepatojax check read, and no study; see docs/study.md")]


def _excess(table: Mapping[str, Any], of: tuple[str, ...], over: tuple[str, ...]) -> int:
    """How many more keys a table has of one kind than of another."""
    return sum(key in table for key in of) - sum(key in table for key in over)
