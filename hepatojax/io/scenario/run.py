"""Section [run]."""

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from hepatojax.io.scenario.errors import shown
from hepatojax.io.scenario.section import Section, choice, quantity
from hepatojax.scenario import DRIVES, PRECISIONS, SAVED_FIELDS, TRANSPORTS, RunSpec

Hours = Annotated[float, *quantity(0.0, 87600.0, "h", above_low=True)]


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of which none stands twice."""
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise PydanticCustomError("names", "{message}", {"message": f"{shown(twice[0])} is named twice"})
    return names


class RunSection(Section):
    """How long, how fine, and what is kept."""

    specification = RunSpec
    end_h: Hours = Field(default=RunSpec.end_h, description="end of the run, a whole number of saves")
    steps_per_day: Annotated[int, *quantity(1, 1440, "1/d")] = Field(
        default=RunSpec.steps_per_day, description="macro-steps a day"
    )
    save_every_h: Hours = Field(
        default=RunSpec.save_every_h, description="interval of saved fields, a whole number of macro-steps"
    )
    fields: Annotated[
        tuple[Annotated[str, *choice(SAVED_FIELDS)], ...], AfterValidator(_distinct), Field(strict=False)
    ] = Field(default=RunSpec.fields, description="fields to save")
    drive: Annotated[str, *choice(DRIVES)] = Field(
        default=RunSpec.drive, description="flow from the body circuit, or a fixed pressure drop"
    )
    pressure_drop_pa: Annotated[float, *quantity(1.0, 10000.0, "Pa")] | None = Field(
        default=RunSpec.pressure_drop_pa, description='portal to central, with drive = "pressure"'
    )
    transport: Annotated[str, *choice(TRANSPORTS)] = Field(
        default=RunSpec.transport, description="second-order limited fluxes, or first-order upwind"
    )
    precision: Annotated[str, *choice(PRECISIONS)] = Field(
        default=RunSpec.precision, description="of fields on the grid"
    )
