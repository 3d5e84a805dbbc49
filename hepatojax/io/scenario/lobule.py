"""Section [lobule]."""

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from hepatojax.io.scenario.errors import shown
from hepatojax.io.scenario.section import Section, choice, counts, quantity
from hepatojax.scenario import GEOMETRIES, LobuleSpec

LABEL_SUFFIXES = (".npy", ".h5", ".hdf5")
Radius = Annotated[float, *quantity(150.0, 1000.0, "um", "side of the hexagon; human about 500")]
Height = Annotated[float, *quantity(10.0, 5000.0, "um")]
VesselRadius = Annotated[float, *quantity(2.0, 150.0, "um")]


def _image_name(name: str) -> str:
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
    radius_um: Radius | None = Field(
        default=LobuleSpec.radius_um, description="circumradius of the hexagon, equal to its side"
    )
    height_um: Height | None = Field(default=LobuleSpec.height_um, description="extent along z")
    central_vein_radius_um: VesselRadius | None = Field(
        default=LobuleSpec.central_vein_radius_um, description="radius of the outlet"
    )
    portal_tract_radius_um: VesselRadius | None = Field(
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
    seed: Annotated[int, *quantity(0, 2**32 - 1, "-")] = Field(
        default=LobuleSpec.seed, description="of the random field and the scars"
    )
