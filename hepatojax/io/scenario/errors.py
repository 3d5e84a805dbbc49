"""Problems of a scenario: one line each, all of one file at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hepatojax.status import ExitCode, HepatojaxError


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, for a user who can mend it.

    Attributes:
        key: dotted, as the user writes it; empty for the file itself.
        message: without the key, on one line, with what was given and what is allowed.
    """

    key: str
    message: str

    def __str__(self) -> str:
        return _printable(f"{self.key}: {self.message}" if self.key else self.message)


class ScenarioError(HepatojaxError, ValueError):
    """A scenario is refused. `str()` gives one line for each problem: `case.toml: grid.spcing_um: unknown key`.

    The command line ends with exit code 2 and has written no result.

    Attributes:
        source: what each line begins with, the name of the file.
        problems: at least one, in the order in which they are told.

    Reference: RELIABILITY 4.2.
    """

    exit_code = ExitCode.REJECTED_INPUT

    def __init__(self, source: str, problems: Sequence[Problem]):
        self.source = source
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{source}: {problem}" for problem in self.problems))


def dotted(location: Sequence[str | int], table: Any) -> str:
    """A location as the user writes it, for a message or for --set: arms by name, infusions by number from 1.

    Args:
        location: keys, and places in lists from 0, from the top of the file down.
        table: where the names of arms are looked up.

    Returns:
        Such as "arm.portal.infusion.2.start_h".
    """
    parts: list[str] = []
    for part in location:
        if isinstance(part, int):
            item = table[part] if isinstance(table, list) and part < len(table) else None
            name = item.get("name") if isinstance(item, dict) else None
            parts.append(name if isinstance(name, str) and name.isprintable() and len(name) <= 64 else str(part + 1))
            table = item
        else:
            parts.append(shown(part)[1:-1])
            table = table.get(part) if isinstance(table, dict) else None
    return ".".join(parts)


def shown(value: Any, longest: int = 60) -> str:
    """A value of the file as a message prints it: in TOML's spelling, short, and on one line.

    Args:
        value: of any type that TOML has.
        longest: characters of the answer at most.

    Returns:
        A text has quotes round it; control characters are escaped, and "..." stands where it was cut.
    """
    if isinstance(value, bool):
        return str(value).lower()
    text = f'"{value}"' if isinstance(value, str) else str(value)
    text = _printable(text)
    return text if len(text) <= longest else text[: longest - 3] + "..."


def exact(number: float | int) -> str:
    """A number as a message prints it: short where that is the number itself, in full where it is not.

    Args:
        number: such as the end of a range; its unit stands beside it in the message.
    """
    short = f"{number:g}"
    return short if float(short) == number else str(number)


def _printable(text: str) -> str:
    """The text on one line, control characters escaped."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
