"""Section [patient]."""

from typing import Annotated

from pydantic import Field

from hepatojax.io.scenario.section import Section, quantity
from hepatojax.scenario import PatientSpec


class PatientSection(Section):
    """Who is treated."""

    specification = PatientSpec
    body_mass_kg: Annotated[float, *quantity(0.01, 300.0, "kg")] | None = Field(
        default=PatientSpec.body_mass_kg, description="scales doses per kg to numbers of cells"
    )
