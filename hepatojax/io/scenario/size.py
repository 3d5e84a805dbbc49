"""What a scenario asks of the machine, and the numbers that say whether its grid can hold the physics. No JAX here."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hepatojax.io.scenario.errors import Problem, ScenarioError
from hepatojax.parameters.registry import Parameters, load_parameters
from hepatojax.scenario import Scenario, domain_extent_um, grid_cells

CELLS_PER_PENETRATION_LENGTH = 0.75  # fewer than this and the zonation of oxygen is lost
RUNTIME_BYTES = 450e6  # JAX, its compiled programs and the libraries
BYTES_PER_CELL = {"float32": 1000.0, "float64": 1600.0}  # states, solver vectors and the multigrid hierarchy
# on two cores, measured with experiment 01 and benchmarks/macro_step.py; a second start saves most of the preparation
SECONDS_PER_CELL_STEP = {"float32": 3.6e-6, "float64": 7.2e-6}
PREPARATION_SECONDS = {"healthy": 60.0, "chronic": 100.0}  # compilation, rest, state at day 0
GIB = float(1 << 30)
_MINUTE_S = 60.0


@dataclass(frozen=True)
class Size:
    """Dimensions and dimensionless numbers of a scenario, estimated before anything is built.

    cells, spacing_um: (nx, ny, nz) and (hx, hy, hz) [um].
    radius_um, central_vein_radius_um, portal_tract_radius_um: of the lobule [um].
    speed_um_s: superficial blood speed halfway from rim to centre [um/s].
    peclet: speed x cell / oxygen diffusivity [-]. damkohler: oxygen demand over supply [-].
    penetration_length_um: how far oxygen at the inlet's pressure diffuses into tissue that consumes fully,
        sqrt(2 D c / M) [um].
    macro_steps: of all arms. memory_gib, minutes: expected need.
    """

    cells: tuple[int, int, int]
    spacing_um: tuple[float, float, float]
    radius_um: float
    central_vein_radius_um: float
    portal_tract_radius_um: float
    speed_um_s: float
    peclet: float
    damkohler: float
    penetration_length_um: float
    macro_steps: int
    memory_gib: float
    minutes: float


def scenario_size(scenario: Scenario, parameters: Parameters | None = None) -> Size:
    """Estimate the size of a scenario on an analytic geometry.

    Args:
        scenario: checked. parameters: resolved for it; read if not given.

    Raises:
        ValueError: the geometry is a label image, whose size is known once it is read.

    Reference: Thiele 1939 for the penetration length.
    """
    parameters = parameters or load_parameters(scenario.species, scenario.parameters)
    geometry, lobule = parameters.geometry, scenario.lobule
    radius = lobule.radius_um or geometry.lobule_radius_um
    vein = lobule.central_vein_radius_um or geometry.central_vein_radius_um
    height = lobule.height_um or geometry.lobule_height_um
    extent = domain_extent_um(lobule, radius_um=radius, height_um=height, central_vein_radius_um=vein)
    cells = grid_cells(scenario.grid, lobule.geometry, extent)
    spacing = (extent[0] / cells[0], extent[1] / cells[1], extent[2] / cells[2])
    steps = len(scenario.arms) * round(scenario.run.end_h / 24.0 * scenario.run.steps_per_day)
    perfusion_1_s = parameters.perfusion.flow_at_rest_ml_min_g / _MINUTE_S
    speed = perfusion_1_s * 1.5 * math.sqrt(3.0) * radius / math.pi
    dissolved_mM, content_mM, demand_mM_s = _oxygen(parameters)
    diffusivity = parameters.oxygen.diffusivity_um2_s
    return Size(
        cells=cells,
        spacing_um=spacing,
        radius_um=radius,
        central_vein_radius_um=vein,
        portal_tract_radius_um=lobule.portal_tract_radius_um or geometry.portal_tract_radius_um,
        speed_um_s=speed,
        peclet=speed * max(spacing[:2]) / diffusivity,
        damkohler=demand_mM_s / (perfusion_1_s * content_mM),
        penetration_length_um=math.sqrt(2.0 * diffusivity * dissolved_mM / demand_mM_s),
        macro_steps=steps,
        memory_gib=memory_gib(cells, scenario.run.precision),
        minutes=_seconds(scenario, math.prod(cells) * steps) / _MINUTE_S,
    )


def _seconds(scenario: Scenario, cell_steps: int) -> float:
    """Expected wall time of a first start on two cores [s]."""
    each = SECONDS_PER_CELL_STEP[scenario.run.precision]
    return PREPARATION_SECONDS[scenario.disease.start] + each * cell_steps


def _oxygen(parameters: Parameters) -> tuple[float, float, float]:
    """Dissolved oxygen and total content of portal blood [mM], and the demand of healthy tissue [mM/s]."""
    oxygen = parameters.oxygen
    dissolved = oxygen.solubility_mM_mmHg * oxygen.portal_mmHg
    ratio = (oxygen.portal_mmHg / oxygen.p50_mmHg) ** oxygen.hill_exponent
    return dissolved, dissolved + oxygen.capacity_mM * ratio / (1.0 + ratio), parameters.metabolism.uptake_at_rest


def memory_gib(cells: tuple[int, int, int], precision: str) -> float:
    """Expected peak memory of a run [GiB]."""
    return (RUNTIME_BYTES + BYTES_PER_CELL[precision] * math.prod(cells)) / GIB


def require_memory(scenario: Scenario, source: str) -> None:
    """Refuse a scenario that this machine's memory cannot hold, before anything is allocated.

    Raises:
        ScenarioError: with the memory needed and the memory that is free.
    """
    if scenario.lobule.geometry == "labels":
        return
    size = scenario_size(scenario)
    free = free_memory_gib()
    if size.memory_gib > free:
        nx, ny, nz = size.cells
        largest = max(0.0, (free * GIB - RUNTIME_BYTES) / BYTES_PER_CELL[scenario.run.precision])
        key = "grid.cells" if scenario.grid.cells else "grid.spacing_um"
        message = (
            f"{nx} x {ny} x {nz} cells need about {size.memory_gib:.3g} GB and {free:.3g} GB are free;"
            f" at most {largest:.2g} cells fit in {scenario.run.precision}"
        )
        raise ScenarioError(source, [Problem(key, message)])


def free_memory_gib() -> float:
    """Memory that a new process may take [GiB]: what the system, the control group and the limits of the user leave."""
    return min(_free_bytes()) / GIB


def _free_bytes() -> Iterator[float]:
    yield float("inf")
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        table = dict(line.split(":", 1) for line in meminfo.read_text(encoding="ascii").splitlines() if ":" in line)
        yield float(table["MemAvailable"].split()[0]) * 1024.0
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        yield float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    group = Path("/sys/fs/cgroup/memory.max")
    limit = group.read_text(encoding="ascii").strip() if group.is_file() else "max"
    if limit != "max":
        yield float(limit)
    try:
        import resource
    except ImportError:  # not on Windows
        return
    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    if soft != resource.RLIM_INFINITY:
        yield float(soft)
