"""The whole scenario file: its sections, and its JSON schema for editors."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from hepatojax.io.scenario.arm import ArmSection, InfusionSection
from hepatojax.io.scenario.disease import DiseaseSection
from hepatojax.io.scenario.grid import GridSection
from hepatojax.io.scenario.lobule import LobuleSection
from hepatojax.io.scenario.patient import PatientSection
from hepatojax.io.scenario.product import ProductSection
from hepatojax.io.scenario.run import RunSection
from hepatojax.io.scenario.section import Section, choice
from hepatojax.scenario import SPECIES, Scenario

_OVERRIDES = {
    "description": "registry name -> number in the registry's unit, or a number with its unit; subjects may be nested",
    "additionalProperties": {"type": ["number", "object"]},
}


class ScenarioFile(Section):
    """A study: one patient, one disease, one product, several arms."""

    specification: ClassVar[type] = Scenario
    title: str = Field(default=Scenario.title, max_length=200, description="one line for figures and files")
    species: Annotated[str, *choice(SPECIES)] = Field(
        default=Scenario.species, description="whose rows of the registry hold"
    )
    direct_only: bool = Field(
        default=Scenario.direct_only, description="True switches every amplification by the host off"
    )
    patient: PatientSection = PatientSection()
    lobule: LobuleSection = LobuleSection()
    grid: GridSection = GridSection()
    disease: DiseaseSection = DiseaseSection()
    product: ProductSection = ProductSection()
    run: RunSection = RunSection()
    arm: Annotated[tuple[ArmSection, ...], Field(strict=False)] = (ArmSection(name=Scenario.arms[0].name),)
    parameters: Annotated[dict[str, float], Field(json_schema_extra=_OVERRIDES)] = Field(default_factory=dict)

    def to_spec(self) -> Scenario:
        """The scenario as plain dataclasses."""
        return Scenario(
            title=self.title,
            species=self.species,
            direct_only=self.direct_only,
            patient=self.patient.to_spec(),
            lobule=self.lobule.to_spec(),
            grid=self.grid.to_spec(),
            disease=self.disease.to_spec(),
            product=self.product.to_spec(),
            run=self.run.to_spec(),
            arms=tuple(arm.to_spec() for arm in self.arm),
            parameters=dict(self.parameters),
        )


SECTIONS: dict[tuple[str, ...], type[Section]] = {
    (): ScenarioFile,
    ("patient",): PatientSection,
    ("lobule",): LobuleSection,
    ("grid",): GridSection,
    ("disease",): DiseaseSection,
    ("product",): ProductSection,
    ("run",): RunSection,
    ("arm",): ArmSection,
    ("arm", "infusion"): InfusionSection,
}


def json_schema() -> dict[str, Any]:
    """JSON schema of the scenario file, with units and ranges, for editors that complete and check TOML."""
    schema = ScenarioFile.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "HepatoJAX scenario"
    return schema
