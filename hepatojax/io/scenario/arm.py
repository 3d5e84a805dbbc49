"""Sections [[arm]] and [[arm.infusion]]."""

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from hepatojax.io.scenario.errors import shown
from hepatojax.io.scenario.section import Section, choice, quantity
from hepatojax.scenario import (
    ARM_NAME_PATTERN,
    ARM_NAME_RULE,
    RESERVED_ARM_NAMES,
    ROUTES,
    ArmSpec,
    InfusionSpec,
    is_arm_name,
)


def _safe_name(name: str) -> str:
    """The name, if it can be that of a folder beside the other results on any file system."""
    if is_arm_name(name):
        return name
    message = f"{shown(name)} cannot name a folder: {_rule(name)}"
    raise PydanticCustomError("name", "{message}", {"message": message})


def _rule(name: str) -> str:
    return "the name is taken by the program" if name.lower() in RESERVED_ARM_NAMES else ARM_NAME_RULE


class InfusionSection(Section):
    """One infusion at a constant rate."""

    specification = InfusionSpec
    start_h: Annotated[float, *quantity(0.0, 87600.0, "h")] = Field(description="any time before the end of the run")
    cells_per_kg: Annotated[float, *quantity(0.0, 1e9, "1/kg")] = Field(description="cells per body mass")
    route: Annotated[str, *choice(ROUTES)] = Field(description="where the cells enter")
    duration_h: Annotated[
        float, *quantity(0.0, 168.0, "h", "a bolus is a short infusion, such as 0.05", above_low=True)
    ] = Field(default=InfusionSpec.duration_h, description="at a constant rate; a bolus is a short infusion")


class ArmSection(Section):
    """One arm of the study; without infusions it is standard care."""

    specification = ArmSpec
    name: Annotated[str, AfterValidator(_safe_name)] = Field(
        description="names the folder of the results: letters, digits, dot, dash, underscore",
        json_schema_extra={"pattern": f"^{ARM_NAME_PATTERN}$"},
    )
    infusion: Annotated[tuple[InfusionSection, ...], Field(strict=False)] = Field(
        default=(), description="any number of [[arm.infusion]]"
    )

    def to_spec(self) -> ArmSpec:
        """The arm as the plain dataclass."""
        return ArmSpec(self.name, tuple(infusion.to_spec() for infusion in self.infusion))
