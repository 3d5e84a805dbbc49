"""Pydantic's complaints put into the words of a TOML file; scenario and study files share them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from hepatojax.io.scenario.errors import Problem, dotted, shown
from hepatojax.io.scenario.section import Section, nearest

Sections = Mapping[tuple[str, ...], type[Section]]

_EXPECTED = {
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "string_type": "a text in quotes",
    "tuple_type": "a list",
    "dict_type": "a section",
}


def problems_of(
    error: ValidationError, table: Mapping[str, Any], sections: Sections, repeated: Sequence[str]
) -> list[Problem]:
    """A problem for each complaint.

    Args:
        error: of pydantic.
        table: that was refused.
        sections: the sections of the file by their path.
        repeated: names of the sections that are written with double brackets.

    Returns:
        Problems in the order of the complaints; those that only follow from others are left out.
    """
    details = error.errors(include_url=False, include_context=True)
    return [_problem(detail, table, sections, repeated) for detail in details if not _follows(detail)]


def _follows(detail: Any) -> bool:
    """Whether a complaint follows from others: a list is called short of the items that are themselves refused."""
    return detail["type"] == "too_short" and bool(detail["input"])


def _problem(detail: Any, table: Any, sections: Sections, repeated: Sequence[str]) -> Problem:
    """One complaint in the words of TOML: the message of our own check where there is one, else by its type."""
    location, kind, value = detail["loc"], detail["type"], detail["input"]
    key, context = dotted(location, table), detail.get("ctx", {})
    names = [part for part in location if isinstance(part, str)]
    path, several = ".".join(names), all(name in repeated for name in names)  # one lies at the top or in another
    if "message" in context:
        return Problem(key, context["message"])
    if kind == "extra_forbidden":
        return Problem(key, _unknown(location, sections))
    if kind == "missing":
        return Problem(key, f"is missing; write at least one [[{path}]]" if several else "is missing")
    if kind == "too_short":
        return Problem(key, "is empty; wants at least one")
    if kind == "model_type":
        header = f"[[{path}]]" if isinstance(location[-1], int) else f"[{key}]"
        return Problem(key, f"must be a section {header} (got {shown(value)})")
    if kind == "tuple_type" and several:
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


def _unknown(location: Sequence[str | int], sections: Sections) -> str:
    """What to say about a key or a section that does not exist."""
    name = str(location[-1])
    parent = tuple(part for part in location[:-1] if isinstance(part, str))
    known = list(sections[parent].model_fields)
    what = "key" if parent else "section or key"
    near = nearest(name, known)
    if near:
        return f"unknown {what}, did you mean {near}?"
    elsewhere = [".".join((*path, name)) for path, section in sections.items() if name in section.model_fields]
    if elsewhere:
        return f"unknown {what} here, did you mean {elsewhere[0]}?"
    return f"unknown {what}; known here are {', '.join(known)}"
