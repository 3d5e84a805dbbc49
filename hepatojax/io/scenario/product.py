"""Section [product]."""

from typing import Annotated

from pydantic import Field

from hepatojax.io.scenario.section import Section, choice, quantity, registered
from hepatojax.scenario import CELL_SOURCES, ProductSpec

Potency = Annotated[float, *quantity(0.0, 100.0, "-", "1 is the reference batch")]


class ProductSection(Section):
    """The cell product."""

    specification = ProductSpec
    source: Annotated[str, *choice(CELL_SOURCES)] = Field(default=ProductSpec.source, description="tissue of the donor")
    viability: Annotated[float, *quantity(0.0, 1.0, "-")] = Field(
        default=ProductSpec.viability, description="share of infused cells that live"
    )
    potency_hgf: Potency = Field(default=ProductSpec.potency_hgf, description="factor on the secretion of HGF")
    potency_vegf: Potency = Field(default=ProductSpec.potency_vegf, description="factor on the secretion of VEGF")
    potency_education: Potency = Field(
        default=ProductSpec.potency_education, description="factor on the education of phagocytes"
    )
    potency_contact: Potency = Field(default=ProductSpec.potency_contact, description="factor on effects by contact")
    homing: Annotated[float, *quantity(0.0, 10.0, "-", "1 is the reference batch")] = Field(
        default=ProductSpec.homing, description="factor on adhesion in the liver"
    )
    licensed: Annotated[float, *quantity(0.0, 1.0, "-")] = Field(
        default=ProductSpec.licensed, description="licensing before infusion: 0 none, 1 as by much TNF"
    )
    batch: Annotated[float, *quantity(-3.0, 3.0, "-", "0 is the median batch")] = Field(
        default=ProductSpec.batch, description="strength of the batch in standard deviations of log potency"
    )
    diameter_um: Annotated[float, *registered("product.diameter_um")] | None = Field(
        default=ProductSpec.diameter_um, description="of a cell in suspension; sets how many are trapped"
    )
