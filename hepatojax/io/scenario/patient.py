"""Section [patient]."""

from typing import Annotated

from pydantic import Field

from hepatojax.io.scenario.section import Section, choice, quantity, registered
from hepatojax.scenario import ASCITES, ENCEPHALOPATHY, SEXES, PatientSpec


class PatientSection(Section):
    """Who is treated."""

    specification = PatientSpec
    body_mass_kg: Annotated[float, *registered("patient.body_mass_kg")] | None = Field(
        default=PatientSpec.body_mass_kg, description="scales doses per kg to numbers of cells"
    )
    sex: Annotated[str, *choice(SEXES)] = Field(default=PatientSpec.sex, description="for MELD 3.0 alone")
    sodium_mmol_l: Annotated[float, *quantity(100.0, 180.0, "mmol/l", "in plasma")] = Field(
        default=PatientSpec.sodium_mmol_l,
        description="in plasma, for MELD 3.0 alone, which sees 125 to 137; not modelled, so it stays",
    )
    ascites: Annotated[str, *choice(ASCITES)] = Field(
        default=PatientSpec.ascites, description="for Child-Pugh points alone; not modelled, so it stays"
    )
    encephalopathy: Annotated[str, *choice(ENCEPHALOPATHY)] = Field(
        default=PatientSpec.encephalopathy, description="for Child-Pugh points alone; not modelled, so it stays"
    )
