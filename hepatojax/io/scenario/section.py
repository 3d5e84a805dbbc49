"""What the sections of a scenario file share: strict keys, and numbers, counts and choices that state their range."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from hepatojax.io.scenario.errors import exact, shown
from hepatojax.parameters.registry import load_parameters
from hepatojax.scenario import REGISTERED, SPECIES

Number = float | int


class Section(BaseModel):
    """A table of the file: no unknown key, no silent conversion; `specification` is the dataclass that it fills.

    Unless `to_spec` is overridden, every entry of the dataclass stands here under the same name, with its range and
    unit.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    specification: ClassVar[type]

    def to_spec(self) -> Any:
        """The section as the plain dataclass of `hepatojax.scenario`.

        Returns:
            A `specification` with the values as they are, in the units of the file.
        """
        return self.specification(**{f.name: getattr(self, f.name) for f in fields(self.specification)})


def nearest(name: str, known: Sequence[str]) -> str | None:
    """The known name that is spelt most like this one, if any is close.

    Args:
        name: as given; capitals do not count.
        known: names to compare with.

    Returns:
        The known name in its own spelling, for "did you mean"; None if none is alike by 0.6 of difflib's ratio.
    """
    lowered = {k.lower(): k for k in known}
    found = difflib.get_close_matches(name.lower(), list(lowered), n=1, cutoff=0.6)
    return lowered[found[0]] if found else None


def quantity(
    low: Number, high: Number, unit: str, note: str = "", *, above_low: bool = False, below_high: bool = False
) -> tuple[Any, Any]:
    """Metadata of a number in a range, closed unless its ends are left out, for `Annotated[float, *quantity(...)]`.

    Args:
        low: lower end of the range, in `unit`.
        high: upper end of the range, in `unit`.
        unit: as printed in messages and in the schema.
        note: what the range refers to, or what to write instead.
        above_low: True if `low` itself is refused.
        below_high: True if `high` itself is refused.

    Returns:
        A check, whose message is `5000 is outside 200..900 [um] (note)`, and the range and unit for the schema.
    """
    range_words = f"outside {exact(low)}..{exact(high)}"
    if above_low or below_high:
        above, below = "above" if above_low else "at least", "below" if below_high else "at most"
        range_words = f"not {above} {exact(low)} and {below} {exact(high)}"

    def inside(value: Number) -> Number:
        if low <= value <= high and not (above_low and value == low) and not (below_high and value == high):
            return value
        message = f"{exact(value)} is {range_words} [{unit}]" + (f" ({note})" if note else "")
        raise PydanticCustomError("range", "{message}", {"message": message})

    ends = {
        "exclusiveMinimum" if above_low else "minimum": low,
        "exclusiveMaximum" if below_high else "maximum": high,
    }
    return AfterValidator(inside), Field(json_schema_extra={**ends, "unit": unit})


def registered(key: str) -> tuple[Any, Any]:
    """Metadata of a number that replaces one of the registry, for `Annotated[float, *registered("patient.x_kg")]`.

    The range is the widest over the species; that of the scenario's species is seen to by `check_replacements`.

    Args:
        key: of the scenario, one of `hepatojax.scenario.REGISTERED`.

    Returns:
        As `quantity`, in the registry's unit.
    """
    rows = [row for species in SPECIES for row in load_parameters(species).rows if row.name == REGISTERED[key]]
    return quantity(min(row.low for row in rows), max(row.high for row in rows), rows[0].unit)


def choice(allowed: Sequence[str]) -> tuple[Any, Any]:
    """Metadata of a word out of a list, for `Annotated[str, *choice(...)]`.

    Args:
        allowed: words, in the order in which a message lists them; capitals count.

    Returns:
        A check, whose message names the nearest word, and the list for the schema.
    """

    def known(value: str) -> str:
        if value in allowed:
            return value
        near = nearest(value, allowed)
        hint = f", did you mean {near}?" if near else ""
        message = f"{shown(value)} is not one of {', '.join(allowed)}{hint}"
        raise PydanticCustomError("choice", "{message}", {"message": message})

    return AfterValidator(known), Field(json_schema_extra={"enum": list(allowed)})


def counts(names: str, length: int, most: int) -> tuple[Any, Any]:
    """Metadata of a list of positive integers such as [nx, ny, nz], for `Annotated[tuple[int, ...], *counts(...)]`.

    Args:
        names: of the numbers, as a message prints them.
        length: how many numbers there must be.
        most: largest value of each.

    Returns:
        A check that takes integers alone, not 48.0 or true, and the bounds for the schema.
    """

    def positive(value: Any) -> tuple[int, ...]:
        if (
            isinstance(value, list | tuple)
            and len(value) == length
            and all(type(n) is int and 1 <= n <= most for n in value)
        ):
            return tuple(value)
        message = f"must be {length} positive integers [{names}], each at most {most} (got {shown(value)})"
        raise PydanticCustomError("counts", "{message}", {"message": message})

    schema = {"minItems": length, "maxItems": length, "items": {"type": "integer", "minimum": 1, "maximum": most}}
    return BeforeValidator(positive), Field(json_schema_extra=schema)
