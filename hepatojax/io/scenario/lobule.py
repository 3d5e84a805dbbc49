"""Section [lobule]."""

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from hepatojax.io.scenario.errors import shown
from hepatojax.io.scenario.section import Section, choice, counts, quantity, registered
from hepatojax.scenario import GEOMETRIES, LobuleSpec

LABEL_SUFFIXES = (".npy", ".h5", ".hdf5")


def _image_name(name: str) -> str:
    """The name of a label image, if its ending is one; what the file holds is looked at when it is read."""
    if name.isprintable() and name.lower().endswith(LABEL_SUFFIXES):
        return name
    message = f"{shown(name)} is not the name of a label image; allowed endings: {', '.join(LABEL_SUFFIXES)}"
    raise PydanticCustomError("image", "{message}", {"message": message})


class LobuleSection(Section):
    """The piece of liver on the grid: shape, vessels, heterogeneity."""

    specification = LobuleSpec
    geometry: Annotated[str, *choice(GEOMETRIES)] = Field(
        default=LobuleSpec.geometry,
        description="one hexagonal lobule, a tiling of several, a radial column, one cell, or a label image",
    )
    radius_um: Annotated[float, *registered("lobule.radius_um")] | None = Field(
        default=LobuleSpec.radius_um, description="circumradius of the hexagon, equal to its side"
    )
    height_um: Annotated[float, *registered("lobule.height_um")] | None = Field(
        default=LobuleSpec.height_um, description="extent along z"
    )
    central_vein_radius_um: Annotated[float, *registered("lobule.central_vein_radius_um")] | None = Field(
        default=LobuleSpec.central_vein_radius_um, description="radius of the outlet"
    )
    portal_tract_radius_um: Annotated[float, *registered("lobule.portal_tract_radius_um")] | None = Field(
        default=LobuleSpec.portal_tract_radius_um, description="radius of the inlets at the six vertices"
    )
    inlet_septa: bool = Field(
        default=LobuleSpec.inlet_septa, description="blood also enters along the edges of the hexagon"
    )
    tiling: Annotated[tuple[int, int], *counts("across, along", 2, 64)] = Field(
        default=LobuleSpec.tiling, description='lobules across and along, with geometry = "tiling"'
    )
    labels_file: Annotated[str, AfterValidator(_image_name)] | None = Field(
        default=LobuleSpec.labels_file,
        description='.npy or .h5 image, with geometry = "labels"; relative to the scenario',
    )
    lobules_in_image: Annotated[float, *quantity(0.01, 10000.0, "-")] = Field(
        default=LobuleSpec.lobules_in_image, description="how many lobules the label image shows"
    )
    permeability_log_sd: Annotated[float, *quantity(0.0, 3.0, "-")] = Field(
        default=LobuleSpec.permeability_log_sd, description="standard deviation of the random field of ln(permeability)"
    )
    permeability_correlation_um: Annotated[float, *quantity(1.0, 1000.0, "um")] = Field(
        default=LobuleSpec.permeability_correlation_um, description="its correlation length"
    )
    fibrotic_septa: Annotated[int, *quantity(0, 1000, "-")] = Field(
        default=LobuleSpec.fibrotic_septa, description="number of scars with gaps"
    )
    fibrotic_contrast: Annotated[float, *quantity(1.0, 1e6, "-")] = Field(
        default=LobuleSpec.fibrotic_contrast, description="factor by which a scar lowers the permeability"
    )
    fibrotic_thickness_um: Annotated[float, *quantity(1.0, 500.0, "um")] = Field(
        default=LobuleSpec.fibrotic_thickness_um, description="thickness of a scar"
    )
    fibrotic_gap_fraction: Annotated[float, *quantity(0.0, 1.0, "-")] = Field(
        default=LobuleSpec.fibrotic_gap_fraction, description="share of a scar that is open"
    )
    seed: Annotated[int, *quantity(0, 2**32 - 1, "-")] = Field(
        default=LobuleSpec.seed, description="of the random field and the scars"
    )
