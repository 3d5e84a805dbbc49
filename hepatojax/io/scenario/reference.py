"""The table of all keys of a scenario file, for docs/scenario.md and `hepatojax schema --markdown`."""

from __future__ import annotations

from typing import Any

from hepatojax.io.scenario.document import SECTIONS, ScenarioFile
from hepatojax.io.scenario.errors import exact, shown

_REPEATED = ("arm", "infusion")


def key_tables() -> str:
    """One Markdown table for each section: key, unit, allowed values, default, meaning.

    Returns:
        The text that docs/scenario.md must hold word for word; a test compares them.
    """
    return "\n\n".join(_table(path) for path in SECTIONS)


def _table(path: tuple[str, ...]) -> str:
    """Heading, purpose and table of one section, from its JSON schema."""
    section = SECTIONS[path]
    schema = section.model_json_schema()
    name = ".".join(path)
    title = f"[[{name}]]" if path and path[-1] in _REPEATED else f"[{name}]" if path else "Top of the file"
    rows = [
        _row(key, entry, required=key in schema.get("required", ()))
        for key, entry in schema["properties"].items()
        if (*path, key) not in SECTIONS and not (section is ScenarioFile and key == "parameters")
    ]
    head = "| key | unit | allowed | default | meaning |\n|---|---|---|---|---|"
    return f"### {title}\n\n{section.__doc__}\n\n{head}\n" + "\n".join(rows)


def _row(key: str, entry: dict[str, Any], *, required: bool) -> str:
    """One key; an optional one is described by the type that it has when it is given."""
    kind = {**entry, **next(iter(entry.get("anyOf", ())), {})}
    default = entry.get("default")
    value = "required" if required else "not set" if default is None else _value(default)
    meaning = entry.get("description", "").replace("True", "true")
    return f"| `{key}` | {kind.get('unit', '')} | {_allowed(kind)} | {value} | {meaning} |"


def _allowed(kind: dict[str, Any]) -> str:
    """What a key takes, in words: a list of choices, a range, or a type."""
    if "enum" in kind:
        return ", ".join(kind["enum"])
    if "maximum" in kind:
        low = kind.get("minimum", kind.get("exclusiveMinimum"))
        return f"{'above ' if 'minimum' not in kind else ''}{exact(low)}..{exact(kind['maximum'])}"
    if kind.get("type") == "array" and "maxItems" in kind and kind["maxItems"] == kind.get("minItems"):
        return f"{kind['maxItems']} positive integers"
    return {"boolean": "true, false", "string": "text", "array": "list of names"}[kind["type"]]


def _value(value: Any) -> str:
    return f"[{', '.join(shown(item) for item in value)}]" if isinstance(value, list | tuple) else shown(value)
