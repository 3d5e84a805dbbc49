"""Section [disease]."""

from typing import Annotated

from pydantic import Field

from hepatojax.io.scenario.section import Section, choice, quantity
from hepatojax.scenario import DISEASE_STARTS, DiseaseSpec

Share = Annotated[float, *quantity(0.0, 1.0, "-")]
Activity = Annotated[float, *quantity(0.0, 100.0, "-", "1 in decompensated cirrhosis")]
Hours = Annotated[float, *quantity(0.0, 87600.0, "h")]


class DiseaseSection(Section):
    """The state at day 0 and the course of the cause."""

    specification = DiseaseSpec
    start: Annotated[str, *choice(DISEASE_STARTS)] = Field(
        default=DiseaseSpec.start, description="a healthy liver, or one after `chronic_days` at constant `activity`"
    )
    activity: Activity = Field(
        default=DiseaseSpec.activity, description="of the cause: 0 in health, 1 in decompensated cirrhosis"
    )
    chronic_days: Annotated[float, *quantity(1.0, 36500.0, "d")] = Field(
        default=DiseaseSpec.chronic_days, description="time under the cause before day 0"
    )
    flare: Activity = Field(default=DiseaseSpec.flare, description="activity added during the flare")
    flare_start_h: Hours = Field(
        default=DiseaseSpec.flare_start_h,
        description="it begins at flare_start_h - flare_lead_h, counted from day 0 like the infusions",
    )
    flare_duration_h: Hours = Field(default=DiseaseSpec.flare_duration_h, description="its duration")
    flare_lead_h: Hours = Field(
        default=DiseaseSpec.flare_lead_h,
        description="lead of its beginning; what has passed of it at day 0 if flare_start_h is 0",
    )
    resected_fraction: Annotated[float, *quantity(0.0, 0.95, "-")] = Field(
        default=DiseaseSpec.resected_fraction, description="share of the lobules removed at day 0"
    )
    lesion_fraction: Share = Field(
        default=DiseaseSpec.lesion_fraction, description="share of hepatocytes necrotic at day 0 in the lesion"
    )
    lesion_from_zone: Share = Field(
        default=DiseaseSpec.lesion_from_zone,
        description="porto-central coordinate (0 portal, 1 central) where it begins",
    )
    toxin_mg_kg: Annotated[float, *quantity(0.0, 2000.0, "mg/kg")] = Field(
        default=DiseaseSpec.toxin_mg_kg, description="one dose of a toxin like acetaminophen"
    )
    toxin_h: Hours = Field(default=DiseaseSpec.toxin_h, description="when it is taken")
