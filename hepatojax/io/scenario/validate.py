"""From a nested dict to a `Scenario`: pydantic's complaints put into the words of a scenario file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from hepatojax.io.scenario.document import SECTIONS, ScenarioFile
from hepatojax.io.scenario.errors import Problem, dotted, shown
from hepatojax.io.scenario.section import nearest
from hepatojax.scenario import Scenario

_EXPECTED = {
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "string_type": "a text in quotes",
    "tuple_type": "a list",
}
_REPEATED = ("arm", "infusion")


def validate(table: Mapping[str, Any]) -> tuple[Scenario | None, list[Problem]]:
    """The scenario that a table describes, or None and all of the table's problems."""
    try:
        return ScenarioFile.model_validate(table).to_spec(), []
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=True)
        return None, [_problem(detail, table) for detail in details]


def _problem(detail: Any, table: Mapping[str, Any]) -> Problem:
    location, kind, value = detail["loc"], detail["type"], detail["input"]
    key = dotted(location, table)
    context = detail.get("ctx", {})
    if "message" in context:
        return Problem(key, context["message"])
    if kind == "extra_forbidden":
        return Problem(key, _unknown(location))
    if kind == "missing":
        return Problem(key, "is missing")
    if kind == "model_type":
        return Problem(key, f"must be a section [{key}] (got {shown(value)})")
    if kind == "tuple_type" and location[-1] in _REPEATED:
        path = ".".join(part for part in location if isinstance(part, str))
        return Problem(key, f"may occur several times: write [[{path}]] with double brackets")
    if kind in _EXPECTED:
        return Problem(key, f"must be {_EXPECTED[kind]}, not {_described(value)}")
    return Problem(key, detail["msg"][0].lower() + detail["msg"][1:])


def _described(value: Any) -> str:
    """A value with the name of its type in TOML."""
    if isinstance(value, str):
        return f"the text {shown(value)}"
    names = {bool: "the boolean", float: "the number", int: "the number", list: "the list", dict: "the section"}
    return f"{names.get(type(value), 'the date')} {shown(value)}"


def _unknown(location: Sequence[str | int]) -> str:
    """What to say about a key or a section that does not exist."""
    name = str(location[-1])
    parent = tuple(part for part in location[:-1] if isinstance(part, str))
    known = list(SECTIONS[parent].model_fields)
    what = "key" if parent else "section or key"
    near = nearest(name, known)
    if near:
        return f"unknown {what}, did you mean {near}?"
    elsewhere = [".".join((*path, name)) for path, section in SECTIONS.items() if name in section.model_fields]
    if elsewhere:
        return f"unknown {what} here, did you mean {elsewhere[0]}?"
    return f"unknown {what}; known here are {', '.join(known)}"
