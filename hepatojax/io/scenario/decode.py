"""From the bytes of a file to a nested dict: guarded reading and TOML, with messages that name key and line.

At most 1 MB is read, as UTF-8 without a mark. TOML itself allows nan and infinity, its reader turns 1e400 into
infinity, and deep brackets or thousands of digits make it raise other errors than its own: all of that is refused here,
so that what comes later can rely on finite numbers of 64 bits and on few levels.

Reference: RELIABILITY 3.6 (what tomllib lets pass).
"""

from __future__ import annotations

import codecs
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hepatojax.io.scenario.errors import Problem, ScenarioError, dotted, shown

LARGEST_FILE_BYTES = 1_000_000
LARGEST_INTEGER = 2**63 - 1
DEEPEST_NESTING = 16

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "UTF-8 with a byte order mark"),
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


class _Overflow(float):
    """A number of the file that is too large for float64, with its spelling."""

    spelling: str


def read_table(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Args:
        path: scenario or study; messages begin with its name, without the folder.

    Returns:
        Nested dicts and lists of texts, booleans, dates and finite numbers.

    Raises:
        ScenarioError: with one problem for a file that cannot be read or parsed, or one for each number that is not
            finite.
    """
    text = _read_text(path)
    table = _parse(text, path.name)
    problems = too_deep(table) or not_finite(table)
    if problems:
        raise ScenarioError(path.name, problems)
    return table


def _read_text(path: Path) -> str:
    """The text of a regular file of at most 1 MB; a pipe or a device is refused unopened."""
    if not path.exists():
        raise ScenarioError(path.name, [Problem("", f"no such file ({path})")])
    if not path.is_file():
        raise ScenarioError(path.name, [Problem("", "is not a regular file")])
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise ScenarioError(path.name, [Problem("", f"cannot be read: {error.strerror}")]) from None
    if len(data) > LARGEST_FILE_BYTES:
        raise ScenarioError(path.name, [Problem("", f"is larger than {LARGEST_FILE_BYTES // 1000} kB: not a scenario")])
    return _decode(data, path.name)


def _decode(data: bytes, name: str) -> str:
    """The bytes as UTF-8; another encoding is named where its marks tell, else the line of the first odd byte."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            raise ScenarioError(name, [Problem("encoding", f"is {encoding}; save the file as plain UTF-8")])
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"byte 0x{data[error.start]:02x} in line {line} is not UTF-8; save the file as plain UTF-8"
        raise ScenarioError(name, [Problem("encoding", message)]) from None
    if "\0" in text:
        raise ScenarioError(name, [Problem("encoding", "holds zero bytes, as UTF-16 does; save it as plain UTF-8")])
    return text


def _parse(text: str, name: str) -> dict[str, Any]:
    """The tables of a text; every way in which tomllib can fail becomes one problem with key and line."""
    try:
        return tomllib.loads(text, parse_float=_number)
    except tomllib.TOMLDecodeError as error:
        problem = _syntax_problem(str(error), text)
    except RecursionError:
        problem = Problem("", "brackets are nested too deeply")
    except ValueError:  # Python's own limit on the digits of an integer
        problem = _long_integer(text)
    raise ScenarioError(name, [problem]) from None


def _number(spelling: str) -> float:
    """A float of the file, which keeps its spelling where it overflows, so that a message can show what was written."""
    value = float(spelling)
    if value in (float("inf"), float("-inf")) and "inf" not in spelling:
        value = _Overflow(value)
        value.spelling = spelling
    return value


def too_deep(table: Mapping[str, Any]) -> list[Problem]:
    """A problem for each key whose value is nested deeper than any scenario is.

    Args:
        table: nested tables, or settings.

    Returns:
        One for each key at the top; where there are none, recursion may rely on at most 16 levels.
    """
    message = f"is nested deeper than {DEEPEST_NESTING} levels"
    return [Problem(shown(key)[1:-1], message) for key, item in table.items() if _deeper(item, DEEPEST_NESTING)]


def _deeper(value: Any, levels: int) -> bool:
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return bool(items) and (levels == 0 or any(_deeper(item, levels - 1) for item in items))


def not_finite(table: Mapping[str, Any]) -> list[Problem]:
    """A problem for each number of nested tables that is nan, infinite or beyond 64 bits.

    Args:
        table: that `too_deep` has nothing against.

    Returns:
        Problems with the dotted key of each number, arms by name.
    """
    return [Problem(dotted(location, table), message) for location, message in _not_finite(table, ())]


def _not_finite(value: Any, location: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _not_finite(item, (*location, name))
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            yield from _not_finite(item, (*location, position))
    elif isinstance(value, _Overflow):
        yield location, f"{value.spelling} overflows to infinity; it must be a finite number"
    elif isinstance(value, float) and not abs(value) < float("inf"):
        yield location, f"must be a finite number (got {value})"
    elif isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        yield location, "is an integer beyond 64 bits"


def _syntax_problem(message: str, text: str) -> Problem:
    """tomllib's complaint, with the key that stands in the line."""
    found = re.search(r"^(.*) \(at (?:line (\d+), column \d+|end of document)\)$", message, flags=re.DOTALL)
    complaint = found[1] if found else message
    lines = text.splitlines() or [""]
    number = min(int(found[2]), len(lines)) if found and found[2] else len(lines)
    key = _key_at(lines, number)
    comma = re.search(r"=\s*([-+]?\d[\d_]*),(\d+)\s*(?:#.*)?$", lines[number - 1])
    if comma:
        return Problem(key, f"decimal comma in line {number}: write {comma[1]}.{comma[2]}")
    if complaint.startswith("Cannot overwrite"):
        return Problem(key, f"is given twice, the second time in line {number}")
    if complaint.startswith("Cannot declare"):
        return Problem(key, f"this section is given twice, the second time in line {number}")
    return Problem(key, f"line {number} is not TOML: {' '.join(complaint.split())}")


def _key_at(lines: list[str], number: int) -> str:
    """`section.key` of a line, from its text and the last header above it."""
    section = ""
    for line in lines[:number]:
        header = re.match(r"\s*\[\[?\s*([^\[\]]+?)\s*\]\]?", line)
        section = header[1] if header else section
    key = re.match(r"\s*([A-Za-z0-9_.\"'-]+)\s*=", lines[number - 1])
    return ".".join(part for part in (section, key[1] if key else "") if part)


def _long_integer(text: str) -> Problem:
    """The problem of an integer whose digits Python refuses to convert; its line is found by its length."""
    lines = text.splitlines()
    number = next((n for n, line in enumerate(lines, start=1) if re.search(r"[\d_]{1000,}", line)), 1)
    return Problem(_key_at(lines, number), f"the integer in line {number} has too many digits")
