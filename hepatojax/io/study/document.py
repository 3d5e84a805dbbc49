"""The study file: its sections."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, ValidationError
from pydantic_core import PydanticCustomError

from hepatojax.io.scenario.complaints import problems_of
from hepatojax.io.scenario.document import LONGEST_TITLE
from hepatojax.io.scenario.errors import Problem, shown
from hepatojax.io.scenario.section import Section, choice, quantity
from hepatojax.io.study.specification import ADJOINTS, METHODS, FewerSpec, OptimiseSpec, ParetoSpec, Study, WindowSpec
from hepatojax.scenario import ROUTES

LARGEST_SEED = 2**31 - 1
REPEATED = ("aim", "limit", "variable")


def _one_line(title: str) -> str:
    if title.isprintable() and len(title) <= LONGEST_TITLE:
        return title
    message = f"{shown(title)} must be one line of at most {LONGEST_TITLE} printable characters"
    raise PydanticCustomError("title", "{message}", {"message": message})


def _file_name(name: str) -> str:
    """A text that can name a file; whether there is one is seen when it is read."""
    if name and name.isprintable():
        return name
    message = f"{shown(name)} must be the name of a file, in printable characters"
    raise PydanticCustomError("file_name", "{message}", {"message": message})


def _once(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of which none stands twice."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if not twice:
        return names
    message = f"{', '.join(map(shown, twice))} is given twice; keep one"
    raise PydanticCustomError("twice", "{message}", {"message": message})


class AimSection(Section):
    """A part of the objective, weight x reading, to be maximised: benefit positive, harm and cost negative."""

    quantity: str = Field(description="an endpoint, total_cells or total_ROUTE [1e6 cells/kg]")
    at: str = Field(default="end", description="end, mean, peak or trough of the run")
    weight: float = Field(default=1.0, description="per unit of the quantity")
    scale: float = Field(default=1.0, description="typical change of the quantity, for a smooth peak or trough")
    sharpness: float = Field(default=100.0, description="of a peak or trough")


class LimitSection(Section):
    """A bound on a quantity: `most` or `least`."""

    quantity: str = Field(description="an endpoint; total_cells, total_ROUTE, each_ROUTE [1e6 cells/kg]; spacing_h [h]")
    at: str = Field(default="end", description="end, mean, peak or trough of the run")
    most: float | None = Field(default=None, description="upper bound, in the unit of the quantity")
    least: float | None = Field(default=None, description="lower bound, in the unit of the quantity")
    sharpness: float = Field(default=100.0, description="of a peak or trough, relative to the bound")


class VariableSection(Section):
    """A number that may be chosen."""

    name: str = Field(
        description="start_h[i], duration_h[i], cells_per_kg[i] or route_mix[i].ROUTE of infusion i, counted from 0; "
        "or product.NAME"
    )
    low: float = Field(description="lower bound, in its unit")
    high: float = Field(description="upper bound, in its unit")
    scale: str = Field(default="linear", description="linear, or log for bounds above zero")


class OptimiseSection(Section):
    """How to search."""

    specification = OptimiseSpec
    method: Annotated[str, *choice(METHODS)] = Field(default=OptimiseSpec.method, description="of scipy")
    starts: Annotated[int, *quantity(1, 1024, "-")] = Field(default=OptimiseSpec.starts, description="number of starts")
    seed: Annotated[int, *quantity(0, LARGEST_SEED, "-")] = Field(
        default=OptimiseSpec.seed, description="of the starts and of the certificate"
    )
    calls: Annotated[int, *quantity(1, 100_000, "-")] = Field(
        default=OptimiseSpec.calls, description="places that a start may compute"
    )
    adjoint: Annotated[str, *choice(ADJOINTS)] = Field(
        default=OptimiseSpec.adjoint, description="two-level takes less memory and one more forward run"
    )
    checkpoints: Annotated[int, *quantity(1, 100_000, "-")] | None = Field(
        default=OptimiseSpec.checkpoints,
        description="segments of two-level, a divisor of the macro-steps; by default the largest up to their root",
    )
    allow_failed_certificate: bool = Field(
        default=OptimiseSpec.allow_failed_certificate, description="true goes on with a gradient that is not proven"
    )


class WindowSection(Section):
    """What a therapeutic window is asked for."""

    specification = WindowSpec
    routes: Annotated[
        tuple[Annotated[str, *choice(ROUTES)], ...], Field(strict=False, min_length=1), AfterValidator(_once)
    ] = Field(default=WindowSpec.routes, description="to compare")
    least_gain: float = Field(
        default=WindowSpec.least_gain, description="smallest gain worth having, in the unit of the objective"
    )
    share: Annotated[float, *quantity(0.0, 1.0, "-", above_low=True, below_high=True)] = Field(
        default=WindowSpec.share, description="of the best gain that may be lost where the window is called flat"
    )
    factors: Annotated[tuple[str, ...], Field(strict=False), AfterValidator(_once)] = Field(
        default=WindowSpec.factors, description="uncertain parameters of the subject amplification; by default all"
    )
    doses: Annotated[int, *quantity(3, 1000, "-")] = Field(
        default=WindowSpec.doses, description="number of doses on a route"
    )


class FewerSection(Section):
    """Ever fewer infusions, from the optimum on."""

    specification = FewerSpec
    keep: Annotated[int, *quantity(1, 1000, "-")] = Field(
        default=FewerSpec.keep, description="number of infusions to leave, fewer than the amounts that are variables"
    )


class ParetoSection(Section):
    """The best objective for a series of bounds on one harm."""

    specification = ParetoSpec
    limit: str = Field(description="quantity of the limit whose bound is moved")
    low: float = Field(description="lowest bound, in the unit of the quantity")
    high: float = Field(description="highest bound, in the unit of the quantity")
    points: Annotated[int, *quantity(2, 100, "-")] = Field(
        default=ParetoSpec.points, description="number of bounds, evenly spread"
    )


class StudyFile(Section):
    """A study: a scenario, aims and limits, variables, and how to search."""

    specification: ClassVar[type] = Study
    title: Annotated[str, AfterValidator(_one_line)] = Field(default="untitled", description="one line")
    scenario: Annotated[str, AfterValidator(_file_name)] = Field(
        description="scenario file, relative to the study file"
    )
    arm: str = Field(description="whose infusions the variables address")
    set: dict[str, Any] = Field(default_factory=dict, description="keys of the scenario to replace, as --set does")
    aim: Annotated[tuple[AimSection, ...], Field(strict=False, min_length=1)]
    limit: Annotated[tuple[LimitSection, ...], Field(strict=False)] = ()
    variable: Annotated[tuple[VariableSection, ...], Field(strict=False, min_length=1)]
    optimise: OptimiseSection = OptimiseSection()
    window: WindowSection = WindowSection()
    fewer: FewerSection | None = None
    pareto: ParetoSection | None = None


SECTIONS: dict[tuple[str, ...], type[Section]] = {
    (): StudyFile,
    ("aim",): AimSection,
    ("limit",): LimitSection,
    ("variable",): VariableSection,
    ("optimise",): OptimiseSection,
    ("window",): WindowSection,
    ("fewer",): FewerSection,
    ("pareto",): ParetoSection,
}


def validate(table: Mapping[str, Any]) -> tuple[StudyFile | None, list[Problem]]:
    """The sections of a table, or None and all of the table's problems.

    Args:
        table: of a study file, with finite numbers; [set] may hold any keys, which the scenario's own checks see to.

    Returns:
        Sections and no problem, or None and every complaint as a problem.
    """
    try:
        return StudyFile.model_validate(table), []
    except ValidationError as error:
        return None, problems_of(error, table, SECTIONS, REPEATED)
