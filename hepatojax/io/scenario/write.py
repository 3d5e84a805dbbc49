"""A scenario as TOML: what is stored beside the results, and read back as the same scenario."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from hepatojax.scenario import Scenario

_SECTIONS = ("patient", "lobule", "grid", "disease", "product", "run")


def scenario_to_toml(scenario: Scenario) -> str:
    """The resolved scenario, every key written out; keys whose value is the registry's are left out.

    Args:
        scenario: checked; numbers are written so that they are read back bit for bit.

    Returns:
        TOML that `load_scenario` reads as the same scenario; the text is also what hashes are made of.
    """
    table = asdict(scenario)
    blocks = [_lines({key: table[key] for key in ("title", "species", "direct_only")})]
    blocks += [f"[{name}]\n{_lines(table[name])}" for name in _SECTIONS]
    for arm in table["arms"]:
        blocks.append(f"[[arm]]\n{_lines({'name': arm['name']})}")
        blocks += [f"[[arm.infusion]]\n{_lines(infusion)}" for infusion in arm["infusions"]]
    if scenario.parameters:
        blocks.append(f"[parameters]\n{_lines({_text(key): value for key, value in scenario.parameters.items()})}")
    return "\n".join(blocks)


def _lines(table: Mapping[str, Any]) -> str:
    """One `key = value` a line; None has no spelling in TOML, and a missing key means the same."""
    return "".join(f"{key} = {_value(value)}\n" for key, value in table.items() if value is not None)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(item) for item in value)}]"
    return repr(value)


def _text(text: str) -> str:
    """A text in quotes: the escapes of JSON are those of TOML, but for the character 0x7f."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
