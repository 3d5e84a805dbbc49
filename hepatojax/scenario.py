"""The scenario: everything a run is told, as plain frozen dataclasses with the unit in each name. No JAX here.

`None` for a physiological quantity means the registry's value for the species.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

ROUTES = ("intravenous", "portal", "arterial", "intrasplenic", "direct")
GEOMETRIES = ("hexagon", "tiling", "column", "well_mixed", "labels")
SPECIES = ("human", "rat", "mouse", "pig")
DISEASE_STARTS = ("healthy", "chronic")
CELL_SOURCES = ("bone_marrow", "adipose", "umbilical_cord")
DRIVES = ("flow", "pressure")
TRANSPORTS = ("limited", "upwind")
PRECISIONS = ("float32", "float64")
SEXES = ("male", "female")
# the grades of Child and Pugh, in the order of their points: 1, 2, 3
ASCITES = ("none", "slight", "moderate")
ENCEPHALOPATHY = ("none", "grade_1_2", "grade_3_4")
SIGNALS = ("tnf", "il6", "il10", "tgf_beta", "vegf", "cxcl12", "hgf")
VOXEL_STATES = (
    "quiescent",
    "primed",
    "injured",
    "debris",
    "msc_derived",
    "identity",
    "zonation",
    "macrophage_m1",
    "macrophage_m2",
    "macrophage_educated",
    "stellate",
    "myofibroblast",
    "collagen_fresh",
    "collagen_crosslinked",
    "vascular_integrity",
    "capillarisation",
    "msc_adherent",
    "msc_engrafted",
    "msc_label",
    "plugging",
)
SAVED_FIELDS = (*VOXEL_STATES, "hepatocytes", "oxygen", *SIGNALS, "pressure", "flow_speed")
DEFAULT_SPACING_UM = 20.0
ARM_NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
ARM_NAME_RULE = "1 to 64 of A-Z a-z 0-9 . _ -, first a letter or digit, no '..'"
RESERVED_ARM_NAMES = ("figures",)
REGISTERED = {
    "patient.body_mass_kg": "patient.body_mass_kg",
    "lobule.radius_um": "geometry.lobule_radius_um",
    "lobule.height_um": "geometry.lobule_height_um",
    "lobule.central_vein_radius_um": "geometry.central_vein_radius_um",
    "lobule.portal_tract_radius_um": "geometry.portal_tract_radius_um",
    "product.diameter_um": "product.diameter_um",
}
"""Keys that replace a number of the registry, in its unit -> its name there, whose range holds."""


@dataclass(frozen=True)
class PatientSpec:
    """Who is treated; what is not modelled (sex, sodium, ascites, encephalopathy) enters the clinical scores alone.

    Attributes:
        body_mass_kg: scales doses per kg to numbers of cells [kg].
        sex: one of `SEXES`, for MELD 3.0.
        sodium_mmol_l: in plasma, for MELD 3.0 [mmol/l].
        ascites: one of `ASCITES`, for Child-Pugh points.
        encephalopathy: one of `ENCEPHALOPATHY`, for Child-Pugh points.
    """

    body_mass_kg: float | None = None
    sex: str = "male"
    sodium_mmol_l: float = 137.0
    ascites: str = "none"
    encephalopathy: str = "none"


@dataclass(frozen=True)
class LobuleSpec:
    """The piece of liver that is solved on the grid.

    Attributes:
        geometry: one of `GEOMETRIES`: a hexagon, a tiling of them, a porto-central column, one cell, a label image.
        radius_um: circumradius of the hexagon, equal to its side [um].
        height_um: extent along z [um].
        central_vein_radius_um: of the outlet [um].
        portal_tract_radius_um: of the inlets at the vertices [um].
        inlet_septa: True where blood also enters along the edges of the hexagon.
        tiling: lobules across and along, for the geometry "tiling".
        labels_file: image for the geometry "labels".
        lobules_in_image: how many lobules that image shows [-].
        permeability_log_sd: standard deviation of the random field of ln(permeability) [-].
        permeability_correlation_um: its correlation length [um].
        fibrotic_septa: number of scars.
        fibrotic_contrast: factor by which a scar lowers the permeability [-].
        fibrotic_thickness_um: thickness of a scar [um].
        fibrotic_gap_fraction: share of a scar that is open [-].
        seed: of the random field and of the scars.
    """

    geometry: str = "hexagon"
    radius_um: float | None = None
    height_um: float | None = None
    central_vein_radius_um: float | None = None
    portal_tract_radius_um: float | None = None
    inlet_septa: bool = False
    tiling: tuple[int, int] = (1, 1)
    labels_file: str | None = None
    lobules_in_image: float = 1.0
    permeability_log_sd: float = 0.0
    permeability_correlation_um: float = 60.0
    fibrotic_septa: int = 0
    fibrotic_contrast: float = 100.0
    fibrotic_thickness_um: float = 30.0
    fibrotic_gap_fraction: float = 0.1
    seed: int = 0


@dataclass(frozen=True)
class GridSpec:
    """Resolution: either the number of cells or the target spacing.

    Attributes:
        cells: (nx, ny, nz); nz = 1 is a study in the plane.
        spacing_um: largest size of a cell [um]; `DEFAULT_SPACING_UM` where neither is given.
    """

    cells: tuple[int, int, int] | None = None
    spacing_um: float | None = None


@dataclass(frozen=True)
class DiseaseSpec:
    """The state at day 0 and the course of the cause.

    Attributes:
        start: "healthy", or "chronic" (`chronic_days` at constant `activity`).
        activity: of the cause (virus, alcohol, autoimmunity), 0 in health, 1 in decompensated cirrhosis [-].
        chronic_days: time under the cause before day 0 [d].
        flare: activity added from `flare_start_h - flare_lead_h` on for `flare_duration_h` [-].
        flare_start_h: when the flare begins, on the clock of the infusions, had it no lead [h].
        flare_duration_h: length of the flare [h].
        flare_lead_h: by how much it begins earlier (a patient is treated when the failure shows); with
            `flare_start_h` 0 what has passed of it at day 0 [h].
        resected_fraction: share of the lobules removed at day 0 [-].
        lesion_fraction: share of hepatocytes necrotic at day 0 where the zone coordinate is at or above
            `lesion_from_zone` [-].
        lesion_from_zone: porto-central coordinate where the lesion begins, 0 portal, 1 central [-].
        toxin_mg_kg: one dose of a toxin like acetaminophen, taken at `toxin_h` [mg/kg].
        toxin_h: time of that dose [h].
    """

    start: str = "healthy"
    activity: float = 0.0
    chronic_days: float = 2400.0
    flare: float = 0.0
    flare_start_h: float = 0.0
    flare_duration_h: float = 336.0
    flare_lead_h: float = 0.0
    resected_fraction: float = 0.0
    lesion_fraction: float = 0.0
    lesion_from_zone: float = 0.0
    toxin_mg_kg: float = 0.0
    toxin_h: float = 0.0


@dataclass(frozen=True)
class ProductSpec:
    """The cell product.

    Attributes:
        source: one of `CELL_SOURCES`, whose factor on the secretion of HGF stands in the registry.
        viability: share of infused cells that live [-].
        potency_hgf: factor on the secretion of HGF [-].
        potency_vegf: factor on the secretion of VEGF [-].
        potency_education: factor on the education of phagocytes by dying cells [-].
        potency_contact: factor on effects by contact [-].
        homing: factor on the adhesion of released cells in the liver [-].
        licensed: how far the cells are licensed before infusion, 0 not at all, 1 as by much TNF [-].
        batch: strength of this batch, in standard deviations of the logarithm of potency from the median batch [-].
        diameter_um: of a cell in suspension, which sets how many block a sinusoid [um].
    """

    source: str = "bone_marrow"
    viability: float = 1.0
    potency_hgf: float = 1.0
    potency_vegf: float = 1.0
    potency_education: float = 1.0
    potency_contact: float = 1.0
    homing: float = 1.0
    licensed: float = 0.0
    batch: float = 0.0
    diameter_um: float | None = None


@dataclass(frozen=True)
class InfusionSpec:
    """One infusion at a constant rate.

    Attributes:
        start_h: any time from day 0 on, which need not be a macro-step [h].
        cells_per_kg: cells per body mass, dead ones included [cells/kg].
        route: one of `ROUTES`, where the cells enter.
        duration_h: a bolus is a short infusion [h].
    """

    start_h: float
    cells_per_kg: float
    route: str
    duration_h: float = 0.5


@dataclass(frozen=True)
class ArmSpec:
    """One arm of the study.

    Attributes:
        name: of the folder of its results, see `ARM_NAME_RULE`.
        infusions: none in standard care.
    """

    name: str
    infusions: tuple[InfusionSpec, ...] = ()


@dataclass(frozen=True)
class RunSpec:
    """How long, how fine and what is kept.

    Attributes:
        end_h: end of the run, a whole number of saves [h].
        steps_per_day: macro-steps a day [1/d].
        save_every_h: interval of saved fields, a whole number of macro-steps [h].
        fields: names out of `SAVED_FIELDS`.
        drive: "flow" (from the body circuit) or "pressure" (fixed gradient `pressure_drop_pa`).
        pressure_drop_pa: portal vessels to central vein, for the drive by pressure [Pa].
        transport: "limited" (van Albada) or "upwind".
        precision: of fields on the grid, one of `PRECISIONS`.
    """

    end_h: float = 672.0
    steps_per_day: int = 4
    save_every_h: float = 24.0
    fields: tuple[str, ...] = ("oxygen", "hgf", "quiescent", "primed", "injured", "debris", "msc_adherent")
    drive: str = "flow"
    pressure_drop_pa: float | None = None
    transport: str = "limited"
    precision: str = "float32"


@dataclass(frozen=True)
class Scenario:
    """A study: one patient, one disease, one product, several arms.

    Attributes:
        species: one of `SPECIES`, whose rows of the registry hold.
        arms: at least one, with different names; all other sections hold for every arm.
        parameters: overrides of the registry, "subject.name" -> value in the registry's unit, range-checked and
            recorded.
        direct_only: True switches every amplification by the host off.
    """

    title: str = "untitled"
    species: str = "human"
    patient: PatientSpec = PatientSpec()
    lobule: LobuleSpec = LobuleSpec()
    grid: GridSpec = GridSpec()
    disease: DiseaseSpec = DiseaseSpec()
    product: ProductSpec = ProductSpec()
    run: RunSpec = RunSpec()
    arms: tuple[ArmSpec, ...] = (ArmSpec("standard_care"),)
    parameters: Mapping[str, float] = field(default_factory=dict)
    direct_only: bool = False

    def replacements(self) -> dict[str, float]:
        """Numbers of the registry that a section replaces, of the keys in `REGISTERED` those that are set.

        Returns:
            "subject.name" -> value [unit of the registry].
        """
        values = {name: self._value(key) for key, name in REGISTERED.items()}
        return {name: value for name, value in values.items() if value is not None}

    def _value(self, key: str) -> float | None:
        section, name = key.split(".")
        return getattr(getattr(self, section), name)

    def arm(self, name: str) -> ArmSpec:
        """The arm of that name.

        Raises:
            KeyError: with the names that exist.
        """
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise KeyError(f"no arm {name!r}; the scenario has {', '.join(a.name for a in self.arms)}")


def is_arm_name(name: str) -> bool:
    """Whether an arm of this name may have a folder beside others, on any file system."""
    fits = re.fullmatch(ARM_NAME_PATTERN, name) is not None and ".." not in name
    return fits and name.lower() not in RESERVED_ARM_NAMES


def domain_extent_um(
    lobule: LobuleSpec, *, radius_um: float, height_um: float, central_vein_radius_um: float
) -> tuple[float, float, float]:
    """Edges (x, y, z) of the box that the grid fills [um]; vertices of hexagons point along y.

    A column runs from the rim of the cylinder of the hexagon's area to the wall of the central vein; one cell is as
    wide as the radius of that cylinder. A label image has its own extent, which is known once it is read.

        hexagons: x = sqrt(3) R (across + 1/2 where along > 1),  y = R (3/2 along + 1/2)
        cylinder: radius R sqrt(3 sqrt(3) / (2 pi))

    Args:
        lobule: geometry and tiling.
        radius_um: circumradius R of a hexagon [um].
        height_um: extent along z [um].
        central_vein_radius_um: where a column ends [um].

    Returns:
        (x, y, z) [um].

    Raises:
        ValueError: the geometry is a label image.
    """
    if lobule.geometry == "labels":
        raise ValueError("the extent of a label image is known once it is read")
    rim_um = radius_um * math.sqrt(1.5 * math.sqrt(3.0) / math.pi)
    if lobule.geometry == "column":
        return rim_um - central_vein_radius_um, 2.0 * rim_um, height_um
    if lobule.geometry == "well_mixed":
        return rim_um, rim_um, height_um
    across, along = lobule.tiling if lobule.geometry == "tiling" else (1, 1)
    width = math.sqrt(3.0) * radius_um * (across + (0.5 if along > 1 else 0.0))
    return width, radius_um * (1.5 * along + 0.5), height_um


def grid_cells(grid: GridSpec, geometry: str, extent_um: tuple[float, float, float]) -> tuple[int, int, int]:
    """Numbers of cells: as given, or the fewest whose spacing is at most the one asked for.

    Args:
        grid: numbers of cells, or a spacing [um].
        geometry: one of `GEOMETRIES`; by spacing a column has one cell across and along z; well mixed is one cell.
        extent_um: edges (x, y, z) of the box [um], see `domain_extent_um`.

    Returns:
        (nx, ny, nz).
    """
    if geometry == "well_mixed":
        return (1, 1, 1)
    if grid.cells is not None:
        return grid.cells
    spacing = grid.spacing_um or DEFAULT_SPACING_UM
    nx, ny, nz = (max(1, math.ceil(edge / spacing - 1e-9)) for edge in extent_um)
    return (nx, 1, 1) if geometry == "column" else (nx, ny, nz)
