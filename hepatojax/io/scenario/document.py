"""The whole scenario file: its sections, and its JSON schema for editors.

The sections are the one place where keys, units, ranges, defaults and meanings stand. The checks, the schema and the
tables of docs/scenario.md are made from them; the docstring of a section is a text of both, so it stays one line.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from hepatojax.io.scenario.arm import ArmSection, InfusionSection
from hepatojax.io.scenario.disease import DiseaseSection
from hepatojax.io.scenario.errors import shown
from hepatojax.io.scenario.grid import GridSection
from hepatojax.io.scenario.lobule import LobuleSection
from hepatojax.io.scenario.patient import PatientSection
from hepatojax.io.scenario.product import ProductSection
from hepatojax.io.scenario.run import RunSection
from hepatojax.io.scenario.section import Section, choice
from hepatojax.scenario import SPECIES, Scenario

LONGEST_TITLE = 200
_OVERRIDES = {
    "description": "registry name -> number in the registry's unit, or a number with its unit; subjects may be nested",
    "additionalProperties": {"type": ["number", "object"]},
}


def _one_line(title: str) -> str:
    """A title that figures and files can show."""
    if not title.isprintable():
        message = f"{shown(title)} holds a character that cannot be printed; write one line of text"
    elif len(title) > LONGEST_TITLE:
        message = f"{shown(title)} has {len(title)} characters; at most {LONGEST_TITLE} are allowed"
    else:
        return title
    raise PydanticCustomError("title", "{message}", {"message": message})


class ScenarioFile(Section):
    """A study: one patient, one disease, one product, several arms."""

    specification: ClassVar[type] = Scenario
    title: Annotated[str, AfterValidator(_one_line)] = Field(
        default=Scenario.title,
        description="one line for figures and files",
        json_schema_extra={"maxLength": LONGEST_TITLE},
    )
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
        """The scenario as plain dataclasses.

        Returns:
            The scenario as the solver takes it: `arm` of the file has become `arms`, and nothing refers to pydantic.
        """
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
    """JSON schema of the scenario file, with units and ranges, for editors that complete and check TOML.

    Returns:
        The schema (draft 2020-12) as nested dicts; a number has its `unit`, and its range in that unit.
    """
    schema = ScenarioFile.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "HepatoJAX scenario"
    return schema
