"""The aims, limits and variables of a study, as the solvers take them; what is wrong with them needs JAX to be seen.

A bound of a variable is tried out: the scenario that it leads to is written as TOML and read again, so that the rules
of scenarios need not be told twice. First each bound is tried alone, the others being as the arm has them; if all pass,
every variable at its high bound at once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from hepatojax.io.scenario import ScenarioError, scenario_from_table, scenario_to_toml
from hepatojax.io.study.load import StudyFileError
from hepatojax.io.study.specification import Study
from hepatojax.parameters.registry import registry_of
from hepatojax.scenario import REGISTERED, ROUTES, ArmSpec, InfusionSpec, ProductSpec, Scenario
from hepatojax.studies.objective import Aim, Limit, StudyError
from hepatojax.studies.variables import Variable, check_variables, dosed
from hepatojax.therapy.product import CellProduct, cell_product
from hepatojax.therapy.schedule import DoseSchedule, schedule_of

BEFORE, AFTER = "before", "after"
SMALLEST_CELLS_PER_KG = 1e-6  # an infusion, or the share of a route, below it is none
_OF_SCENARIO = tuple(field.name for field in dataclasses.fields(ProductSpec))


@dataclass(frozen=True)
class StudyParts:
    """What a study asks for, checked.

    Attributes:
        aims: parts of the objective.
        limits: in the order of the file.
        variables: in the order of the entries of x.
        schedule: infusions of its arm, which hold where nothing is chosen.
        product: of its scenario, which holds where nothing is chosen.
    """

    aims: tuple[Aim, ...]
    limits: tuple[Limit, ...]
    variables: tuple[Variable, ...]
    schedule: DoseSchedule
    product: CellProduct


def study_parts(study: Study) -> StudyParts:
    """Make and check what a study asks for.

    Args:
        study: of `load_study`.

    Returns:
        Aims, limits and variables with the schedule and product that they are about.

    Raises:
        StudyFileError: one line for each problem: no such quantity, no derivative, an infusion that the arm has not, a
            bound at which the scenario would be refused.
    """
    schedule = schedule_of(study.scenario.arm(study.arm).infusions)
    product = cell_product(study.scenario.product, registry_of(study.scenario).product)
    aims, lines = _made(Aim, "aim", study.aims)
    limits, more = _made(Limit, "limit", study.limits)
    variables, most = _made(Variable, "variable", study.variables)
    lines = [*lines, *more, *most, *_unfit(variables, schedule, study.scenario.run.end_h)]
    parts = StudyParts(aims, limits, variables, schedule, product)
    if not lines:
        lines = _beyond_the_scenario(study, parts)
    if lines:
        raise StudyFileError([f"{study.source}: {line}" for line in lines])
    return parts


def treated(scenario: Scenario, schedule: DoseSchedule, product: CellProduct | None = None) -> Scenario:
    """The scenario with one arm, `AFTER`, which has this schedule and this product.

    An infusion by several routes becomes one infusion by each, at the same time.

    Args:
        scenario: whose other arms are left out.
        schedule: the doses (d,): start [h], duration [h], cells [cells/kg], share of each route (d, 5) [-].
        product: what is infused; as it is by default.

    Returns:
        A scenario that can be written as TOML and run.
    """
    changed = dataclasses.replace(scenario, arms=(ArmSpec(AFTER, infusions_of(schedule)),))
    return changed if product is None else _with_product(changed, product)


def infusions_of(schedule: DoseSchedule) -> tuple[InfusionSpec, ...]:
    """The infusions of a schedule, each by one route; those without cells are left out.

        cells by a route = cells_per_kg x route_mix

    Args:
        schedule: start and duration [h], cells [cells/kg], each (d,), and mix of routes (d, 5) [-].

    Returns:
        Infusions of more than 1e-6 cells/kg, in the order of rows and then of `hepatojax.scenario.ROUTES`.
    """
    rows = zip(*(np.asarray(leaf) for leaf in dataclasses.astuple(schedule)), strict=True)
    return tuple(
        InfusionSpec(float(start), float(cells * share), route, float(duration))
        for start, duration, cells, mix in rows
        for route, share in zip(ROUTES, mix, strict=True)
        if cells * share > SMALLEST_CELLS_PER_KG
    )


def fingerprint(study: Study, parts: StudyParts) -> str:
    """SHA-256 of everything that decides what is computed at a place; how places are sought is no part of it.

    Args:
        study: its scenario, arm and adjoint count, its method, starts, seed and checkpoints do not.
        parts: of it; aims, limits and variables count.

    Returns:
        64 hexadecimal digits; the registry's values and the bytes of a label image are in them.
    """
    image = study.scenario.lobule.labels_file
    said = {
        "scenario": scenario_to_toml(study.scenario),
        "parameters": registry_of(study.scenario).hash,
        "image": "" if image is None else _hash_of_file(image),
        "arm": study.arm,
        "adjoint": study.optimise.adjoint,
        **{
            kind: [dataclasses.asdict(part) for part in getattr(parts, kind)]
            for kind in ("aims", "limits", "variables")
        },
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _hash_of_file(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _made(make: Callable[..., Any], kind: str, entries: Sequence[Mapping[str, Any]]) -> tuple[tuple, list[str]]:
    """One object for each entry, and a line for each that is refused."""
    made, lines = [], []
    for number, entry in enumerate(entries, start=1):
        try:
            made.append(make(**entry))
        except StudyError as error:
            said = str(error).removeprefix(f"{kind} ")
            lines.append(f"{kind}.{said}" if "name" in entry else f"{kind}.{number}: {said}")
    return tuple(made), lines


def _unfit(variables: Sequence[Variable], schedule: DoseSchedule, end_h: float) -> list[str]:
    """What is wrong with each variable on its own, or else with all of them together."""
    lines = [line for variable in variables for line in _misfits((variable,), schedule, end_h)]
    return lines or (_misfits(tuple(variables), schedule, end_h) if variables else [])


def _misfits(variables: tuple[Variable, ...], schedule: DoseSchedule, end_h: float) -> list[str]:
    """What does not fit between variables and the schedule, as one line without the name of the file."""
    try:
        check_variables(variables, schedule, 0.0, end_h)
    except StudyError as error:
        return [str(error).replace("variable ", "variable.", 1)]
    return []


def _beyond_the_scenario(study: Study, parts: StudyParts) -> list[str]:
    """What the rules of scenarios have against the bounds of the variables, one after the other and all at once."""
    width = len(parts.variables)
    middle = np.asarray([_as_it_is(parts, variable) for variable in parts.variables])
    lines = []
    for number, variable in enumerate(parts.variables):
        for x, bound in enumerate(("low", "high")):
            place = np.where(np.arange(width) == number, float(x), middle)
            lines += [f"variable.{variable.name}.{bound}: {problem}" for problem in _problems_at(study, parts, place)]
    if not lines:
        lines = [f"variable: all at their high bounds: {p}" for p in _problems_at(study, parts, np.ones(width))]
    return list(dict.fromkeys(lines))


def _as_it_is(parts: StudyParts, variable: Variable) -> float:
    """The place of what the arm has now, in 0..1; the nearest bound if it lies outside."""
    if variable.row is None:
        value = float(getattr(parts.product, variable.entry))
    elif variable.route:
        value = float(parts.schedule.route_mix[variable.row, ROUTES.index(variable.route)])
    else:
        value = float(getattr(parts.schedule, variable.entry)[variable.row])
    return variable.place(float(np.fmin(np.fmax(value, variable.low), variable.high)))


def _problems_at(study: Study, parts: StudyParts, place: np.ndarray) -> Iterable[str]:
    """What the rules of scenarios have against the arm at a place, x in 0..1 (n,)."""
    schedule, product = dosed(parts.variables, parts.schedule, parts.product, jnp.asarray(place))
    changed = treated(study.scenario, schedule, product)
    try:
        scenario_from_table(tomllib.loads(scenario_to_toml(changed)))
    except ScenarioError as error:
        return [str(problem) for problem in error.problems]
    return []


def _with_product(scenario: Scenario, product: CellProduct) -> Scenario:
    """The scenario with this product: what [product] has no key for goes to [parameters]."""
    subject = registry_of(scenario).product
    was, now = cell_product(scenario.product, subject), {}
    for field in dataclasses.fields(CellProduct):
        value = float(np.asarray(getattr(product, field.name)))
        if value != float(getattr(was, field.name)):
            now[field.name] = value
    if "potency_hgf" in now:
        now["potency_hgf"] /= subject["hgf_by_source"][scenario.product.source]
    keys = {name: value for name, value in now.items() if name in _OF_SCENARIO}
    others = {f"product.{name}": value for name, value in now.items() if name not in _OF_SCENARIO}
    moved = {REGISTERED.get(f"product.{name}") for name in keys}
    kept = {name: value for name, value in scenario.parameters.items() if name not in moved}
    return dataclasses.replace(
        scenario,
        product=dataclasses.replace(scenario.product, **keys),
        parameters={**kept, **others},
    )
