"""Section [grid]."""

from typing import Annotated

from pydantic import Field

from hepatojax.io.scenario.section import Section, counts, quantity
from hepatojax.scenario import DEFAULT_SPACING_UM, GridSpec


class GridSection(Section):
    """Resolution: the numbers of cells or the target spacing, not both."""

    specification = GridSpec
    cells: Annotated[tuple[int, int, int], *counts("nx, ny, nz", 3, 65536)] | None = Field(
        default=GridSpec.cells, description="numbers of cells [nx, ny, nz]; nz = 1 is a 2D study"
    )
    spacing_um: Annotated[float, *quantity(0.5, 1000.0, "um")] | None = Field(
        default=GridSpec.spacing_um, description=f"largest cell size; {DEFAULT_SPACING_UM:g} if neither key is given"
    )
