"""What a scenario asks of the machine, and the numbers that say whether its grid can hold the physics. No JAX here.

Memory is estimated from peaks measured on two cores: one of the compiler, which any grid pays, and so many bytes for
each cell. Time is a preparation and so many seconds for each cell and macro-step. The estimate is compared with what
the system, the control group and the user's limits leave, before anything is allocated.

Reference: RELIABILITY 3.5 (out of memory).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hepatojax.io.scenario.errors import Problem, ScenarioError
from hepatojax.numerics.segments import kept_steps, segments_of
from hepatojax.parameters.registry import Parameters, Subject, registry_of
from hepatojax.scenario import DEFAULT_SPACING_UM, Scenario, domain_extent_um, grid_cells
from hepatojax.studies.batch import RUNS_AT_ONCE
from hepatojax.units import HOURS_PER_DAY, SECONDS_PER_MINUTE

CELLS_PER_PENETRATION_LENGTH = 0.75  # fewer than this and the zonation of oxygen is lost
# measured on 2 cores at 52x60x16 in float32; the rest estimated from it
COMPILER_PEAK_BYTES = 2.2e9  # of a first start, whatever the grid
RUNTIME_BYTES = 1.1e9  # libraries and programs, beside the cells
BYTES_PER_CELL = {"float32": 1600.0, "float64": 2600.0}  # states, solver vectors and the multigrid hierarchy
# of a gradient, measured at 26x30x8 over 112 and 64x74x32 over 4 macro-steps in float32; float64 is twice that. The sum
# was 8.3e9 at 64x74x32 over 112, as observed
GRADIENT_COMPILER_BYTES = 3.2e9  # which the compiler hardly hands back
SEARCH_COMPILER_BYTES = 3.8e9  # with a certificate, whose programs find room in what was freed; on a column of 4 cells
GRADIENT_BYTES_PER_CELL = {"float32": 5800.0, "float64": 11600.0}  # while one macro-step is differentiated
# for each output beyond the first: 6797 bytes a cell of temporaries for one and 9485 for four, compiled in float32 at
# 16x18x6 over 12 macro-steps
COTANGENT_BYTES_PER_CELL = {"float32": 900.0, "float64": 1800.0}
KEPT_BYTES_PER_CELL = {"float32": 250.0, "float64": 500.0}  # of each macro-step whose solutions are saved
# a second start saves most of the preparation
SECONDS_PER_CELL_STEP = {"float32": 3.6e-6, "float64": 7.2e-6}
PREPARATION_SECONDS = {"healthy": 60.0, "chronic": 100.0}  # compilation, rest, state at day 0
GIB = float(1 << 30)


@dataclass(frozen=True)
class Size:
    """Dimensions and dimensionless numbers of a scenario, estimated before anything is built.

    Attributes:
        cells: (nx, ny, nz).
        spacing_um: (hx, hy, hz) [um].
        widest_um: spacing that must resolve the physics [um], the larger one of x and y; of a column that along x
            alone.
        speed_um_s: superficial blood speed halfway from rim to centre [um/s].
        peclet: speed x widest cell / oxygen diffusivity [-].
        damkohler: oxygen demand over supply [-].
        penetration_length_um: how far oxygen at the inlet's pressure diffuses into tissue that consumes fully [um].
        macro_steps: of all arms.
        memory_gib: peak of one run [GiB].
        minutes: wall time of all arms on two cores, compilation included [min].
    """

    cells: tuple[int, int, int]
    spacing_um: tuple[float, float, float]
    widest_um: float
    speed_um_s: float
    peclet: float
    damkohler: float
    penetration_length_um: float
    macro_steps: int
    memory_gib: float
    minutes: float


def scenario_size(
    scenario: Scenario, parameters: Parameters | None = None, image_shape: tuple[int, ...] | None = None
) -> Size:
    """Estimate the size of a scenario.

        u = q A / (2 pi R / 2),   A = 1.5 sqrt(3) R^2       all blood of a hexagon through a circle of half its radius
        Pe = u h / D,   Da = M / (q C),   L = sqrt(2 D c / M)

    with q the perfusion [1/s], R the radius of the lobule, h the widest spacing, D, c and C diffusivity, dissolved and
    total oxygen of portal blood, and M the demand of healthy tissue at rest.

    Args:
        scenario: checked.
        parameters: resolved for it; read if not given.
        image_shape: (nz, ny, nx) of the label image, if the geometry is one.

    Returns:
        Estimates, see `Size`.

    Raises:
        ValueError: the geometry is a label image whose shape is not given.

    Reference: Thiele 1939 for the penetration length.
    """
    parameters = parameters or registry_of(scenario)
    geometry, lobule = parameters.geometry, scenario.lobule
    cells, spacing = _voxels(scenario, image_shape) if image_shape else _cells(scenario, geometry)
    widest = spacing[0] if lobule.geometry == "column" else max(spacing[:2])
    steps = len(scenario.arms) * macro_steps_of(scenario)
    perfusion_1_s = parameters.perfusion.flow_at_rest_ml_min_g / SECONDS_PER_MINUTE
    speed = perfusion_1_s * 1.5 * math.sqrt(3.0) * geometry.lobule_radius_um / math.pi
    _, content_mM, demand_mM_s = _oxygen(parameters)
    return Size(
        cells=cells,
        spacing_um=spacing,
        widest_um=widest,
        speed_um_s=speed,
        peclet=speed * widest / parameters.oxygen.diffusivity_um2_s,
        damkohler=demand_mM_s / (perfusion_1_s * content_mM),
        penetration_length_um=penetration_length_um(parameters),
        macro_steps=steps,
        memory_gib=memory_gib(cells, scenario.run.precision),
        minutes=_seconds(scenario, math.prod(cells) * steps) / SECONDS_PER_MINUTE,
    )


def macro_steps_of(scenario: Scenario) -> int:
    """Macro-steps of one arm.

    Args:
        scenario: whose run ends after a whole number of them.
    """
    return round(scenario.run.end_h / HOURS_PER_DAY * scenario.run.steps_per_day)


def _cells(scenario: Scenario, geometry: Subject) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
    """Cells and spacing (x, y, z) [um] of an analytic geometry."""
    extent = domain_extent_um(
        scenario.lobule,
        radius_um=geometry.lobule_radius_um,
        height_um=geometry.lobule_height_um,
        central_vein_radius_um=geometry.central_vein_radius_um,
    )
    cells = grid_cells(scenario.grid, scenario.lobule.geometry, extent)
    return cells, (extent[0] / cells[0], extent[1] / cells[1], extent[2] / cells[2])


def _voxels(
    scenario: Scenario, image_shape: tuple[int, ...]
) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
    """Cells and spacing (x, y, z) [um] of a label image."""
    nz, ny, nx = image_shape
    edge = scenario.grid.spacing_um or DEFAULT_SPACING_UM
    return (nx, ny, nz), (edge, edge, edge)


def penetration_length_um(parameters: Parameters) -> float:
    """How far oxygen at the inlet's pressure diffuses into tissue that consumes fully [um].

        L = sqrt(2 D c / M)

    Args:
        parameters: diffusivity D [um2/s], dissolved oxygen c = solubility x portal pressure [mM], demand at rest M
            [mM/s].

    Reference: Thiele 1939.
    """
    dissolved_mM, _, demand_mM_s = _oxygen(parameters)
    return math.sqrt(2.0 * parameters.oxygen.diffusivity_um2_s * dissolved_mM / demand_mM_s)


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


def memory_gib(cells: tuple[int, int, int], precision: str, runs: int = 1) -> float:
    """Expected peak memory of a run, or of several at once [GiB]: the larger one of compiler and cells.

        max(compiler, runtime + runs x bytes per cell x cells)

    Args:
        cells: (nx, ny, nz).
        precision: "float32" or "float64".
        runs: how many are held at once.
    """
    return max(COMPILER_PEAK_BYTES, RUNTIME_BYTES + runs * BYTES_PER_CELL[precision] * math.prod(cells)) / GIB


def gradient_memory_gib(
    cells: tuple[int, int, int], precision: str, macro_steps: int, adjoint: str, checkpoints: int | None = None
) -> float:
    """Expected peak memory of the gradient of one run [GiB].

        compiler + cells x (bytes of one macro-step + bytes of a kept one x kept)

    Args:
        cells: (nx, ny, nz).
        precision: "float32" or "float64".
        macro_steps: of the run.
        adjoint: "saved" or "two-level", see `hepatojax.numerics.segments.kept_steps` for how many are kept.
        checkpoints: segments of "two-level"; by default the largest divisor of the macro-steps up to their root.

    Raises:
        ValueError: checkpoints that do not divide the macro-steps.
    """
    each = _gradient_bytes_per_cell(precision, kept_steps(macro_steps, adjoint, checkpoints))
    return (GRADIENT_COMPILER_BYTES + each * math.prod(cells)) / GIB


def _gradient_bytes_per_cell(precision: str, kept: int, cotangents: int = 1) -> float:
    """Bytes of a cell while a gradient runs: one macro-step being differentiated, and the solutions that are kept.

    The solutions are kept once, whatever the number of outputs; what a macro-step holds for a cotangent is there for
    each of them, since they go back side by side.
    """
    step = GRADIENT_BYTES_PER_CELL[precision] + (cotangents - 1) * COTANGENT_BYTES_PER_CELL[precision]
    return step + KEPT_BYTES_PER_CELL[precision] * kept


def search_memory_gib(
    cells: tuple[int, int, int],
    macro_steps: int,
    adjoint: str,
    checkpoints: int | None = None,
    cotangents: int = 1,
) -> float:
    """Expected peak memory of a search with a certified gradient [GiB].

    The certificate computes the gradient in both precisions, whichever the search has: float64 sets the memory of the
    cells, and the programs of both are compiled. It also does `RUNS_AT_ONCE` forward runs together.

    Args:
        cells: (nx, ny, nz).
        macro_steps: of one run.
        adjoint: see `gradient_memory_gib`.
        checkpoints: see `gradient_memory_gib`.
        cotangents: outputs that one reverse pass differentiates, see `hepatojax.io.study.Study.cotangents`.
    """
    each = _search_bytes_per_cell(kept_steps(macro_steps, adjoint, checkpoints), cotangents)
    return (each * math.prod(cells) + SEARCH_COMPILER_BYTES) / GIB


def _search_bytes_per_cell(kept: int, cotangents: int) -> float:
    """Bytes of a cell at the peak of a search: a gradient in float64, or forward runs side by side."""
    gradient = _gradient_bytes_per_cell("float64", kept, cotangents)
    return max(gradient, RUNS_AT_ONCE * BYTES_PER_CELL["float64"])


def require_memory(scenario: Scenario, source: str, image_shape: tuple[int, ...] | None = None, runs: int = 1) -> None:
    """Refuse a scenario that this machine's memory cannot hold, before anything is allocated.

    Args:
        scenario: checked.
        source: what messages begin with.
        image_shape: (nz, ny, nx) of its label image, if any.
        runs: how many are done at once.

    Raises:
        ScenarioError: with the memory needed and the memory that is free.
    """
    size = scenario_size(scenario, image_shape=image_shape)
    free = free_memory_gib()
    needed = memory_gib(size.cells, scenario.run.precision, runs)
    if needed > free:
        nx, ny, nz = size.cells
        often = f", {runs} runs at once," if runs > 1 else ""
        message = f"{nx} x {ny} x {nz} cells{often} need about {needed:.3g} GiB and {free:.3g} GiB are free"
        raise ScenarioError(source, [Problem(_size_key(scenario), f"{message}; {_fitting(free, scenario, runs)}")])


def require_search_memory(
    scenario: Scenario,
    source: str,
    adjoint: str,
    image_shape: tuple[int, ...] | None = None,
    *,
    checkpoints: int | None = None,
    cotangents: int = 1,
) -> None:
    """Refuse a search whose certified gradient this machine's memory cannot hold, before anything is compiled.

    Args:
        scenario: checked.
        source: what messages begin with.
        adjoint: see `gradient_memory_gib`.
        image_shape: (nz, ny, nx) of its label image, if any.
        checkpoints: see `gradient_memory_gib`.
        cotangents: see `search_memory_gib`.

    Raises:
        ScenarioError: with the memory needed, the memory that is free, and whether the two-level adjoint would do.
    """
    size, free, steps = scenario_size(scenario, image_shape=image_shape), free_memory_gib(), macro_steps_of(scenario)
    needed = search_memory_gib(size.cells, steps, adjoint, checkpoints, cotangents)
    if needed <= free:
        return
    least = search_memory_gib(size.cells, steps, "two-level", None, cotangents)
    key, advice = _size_key(scenario), _searchable(free, steps, cotangents)
    if least <= free:
        key = "optimise.adjoint" if adjoint == "saved" else "optimise.checkpoints"
        segments = "" if checkpoints is None else f" and checkpoints = {segments_of(steps)}"
        advice = f'adjoint = "two-level"{segments} needs about {least:.3g} GiB'
    of = f"{' x '.join(map(str, size.cells))} cells over {steps} macro-steps"
    by = "" if cotangents == 1 else f" of {cotangents} outputs"
    message = f"a certified gradient{by} of {of} needs about {needed:.3g} GiB and {free:.3g} GiB are free"
    raise ScenarioError(source, [Problem(key, f"{message}; {advice}")])


def _size_key(scenario: Scenario) -> str:
    """The key that sets the number of cells."""
    if scenario.lobule.geometry == "labels":
        return "lobule.labels_file"
    return "grid.cells" if scenario.grid.cells else "grid.spacing_um"


def _fitting(free_gib: float, scenario: Scenario, runs: int) -> str:
    """How many cells the free memory holds, as the end of a message."""
    if free_gib * GIB < COMPILER_PEAK_BYTES:
        return f"compilation alone needs {COMPILER_PEAK_BYTES / GIB:.3g} GiB on any grid"
    largest = (free_gib * GIB - RUNTIME_BYTES) / (runs * BYTES_PER_CELL[scenario.run.precision])
    return f"at most {largest:.2g} cells fit in {scenario.run.precision}"


def _searchable(free_gib: float, macro_steps: int, cotangents: int) -> str:
    """How many cells a search has memory for, as the end of a message."""
    if free_gib * GIB < SEARCH_COMPILER_BYTES:
        return f"compilation alone needs {SEARCH_COMPILER_BYTES / GIB:.3g} GiB on any grid"
    each = _search_bytes_per_cell(kept_steps(macro_steps, "two-level"), cotangents)
    largest = (free_gib * GIB - SEARCH_COMPILER_BYTES) / each
    return f'at most {largest:.2g} cells fit with adjoint = "two-level"'


def free_memory_gib() -> float:
    """Memory that a new process may take [GiB]: what the system, the control group and the limits of the user leave.

    Returns:
        The least of the three; infinite where none of them can be read.
    """
    return min(_free_bytes()) / GIB


def _free_bytes() -> Iterator[float]:
    """What each of the sources leaves [byte]; without /proc the whole memory of the machine stands for the free one."""
    yield float("inf")
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        table = dict(line.split(":", 1) for line in meminfo.read_text(encoding="ascii").splitlines() if ":" in line)
        yield float(table["MemAvailable"].split()[0]) * 1024.0
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        yield float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    yield from _left_to_group(Path("/sys/fs/cgroup"))
    yield from _left_to_process(Path("/proc/self/status"))


def _left_to_group(group: Path) -> Iterator[float]:
    """What the limit of a control group leaves [byte]; copies of files that nobody uses give way, so they are free."""
    limit = group / "memory.max"
    most = limit.read_text(encoding="ascii").strip() if limit.is_file() else "max"
    if most == "max":
        return
    used = int((group / "memory.current").read_text(encoding="ascii"))
    held = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
    yield float(int(most) - used + int(held["inactive_file"]))


def _left_to_process(status: Path) -> Iterator[float]:
    """What the limit of the address space leaves to this process [byte]; without /proc nothing counts as taken."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    if soft == resource.RLIM_INFINITY:
        return
    lines = status.read_text(encoding="utf-8").splitlines() if status.is_file() else []
    used = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmSize:")]
    yield float(soft - sum(used))
