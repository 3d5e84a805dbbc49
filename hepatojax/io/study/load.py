"""Read a study: file, scenario, settings, with every problem of both files reported at once.

The study file is read first, then the scenario that it names, into which [set] and the settings of the command line are
put before it is checked. What both say together comes last: arm, method, factors. JAX is not needed; what needs it is
left to `hepatojax.io.study.parts`.

Reference: RELIABILITY 4.2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hepatojax.io.scenario.decode import read_table
from hepatojax.io.scenario.errors import Problem, ScenarioError, shown
from hepatojax.io.scenario.kind import not_a_study
from hepatojax.io.scenario.load import scenario_from_table
from hepatojax.io.scenario.overrides import flattened
from hepatojax.io.scenario.section import nearest
from hepatojax.io.scenario.size import macro_steps_of
from hepatojax.io.study.document import StudyFile, validate
from hepatojax.io.study.specification import Study, WindowSpec
from hepatojax.numerics.segments import segments_of
from hepatojax.parameters.registry import load_parameters
from hepatojax.scenario import Scenario
from hepatojax.status import ExitCode, HepatojaxError
from hepatojax.studies.quantities import AMOUNT, SINGLES, SPACING

AMPLIFICATION = "amplification."


class StudyFileError(HepatojaxError, ValueError):
    """A study is refused. `str()` gives one line for each problem, those of its scenario included. Exit code 2.

    Attributes:
        lines: each with the name of the file at fault.
    """

    exit_code = ExitCode.REJECTED_INPUT

    def __init__(self, lines: Sequence[str]):
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


def load_study(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Study:
    """Read and check a study file, as far as no simulation code is needed to know.

    What is wrong with an aim, a limit or a variable beyond its keys and types shows in
    `hepatojax.io.study.parts.study_parts`, which needs JAX.

    Args:
        path: a TOML file, see docs/study.md. The name of its scenario is relative to the file's folder.
        overrides: dotted key -> value; they replace what the scenario and the section [set] say.

    Returns:
        The study with its scenario; without named factors, a window has every parameter of the subject amplification.

    Raises:
        StudyFileError: one line for each problem, `study.toml: section.key: what is wrong`.
    """
    path = Path(path)
    try:
        table = read_table(path)
        if problems := not_a_study(table):
            raise ScenarioError(path.name, problems)
    except ScenarioError as error:
        raise StudyFileError(str(error).splitlines()) from None
    file, problems = validate(table)
    scenario, lines = _scenario(path, table, overrides or {})
    problems += _repeated(table.get("variable"))
    if scenario is not None:
        problems += _arm(table.get("arm"), scenario)
    if file is not None:
        problems += _method(file)
        problems += _checkpoints(file, scenario)
        problems += _factors(file.window.factors, scenario)
        problems += [*_fewer(file), *_pareto(file)]
    lines = [*(f"{path.name}: {problem}" for problem in problems), *lines]
    if file is None or scenario is None or lines:
        raise StudyFileError(lines)
    return _study(path.name, file, scenario)


def _study(source: str, file: StudyFile, scenario: Scenario) -> Study:
    window: WindowSpec = file.window.to_spec()
    return Study(
        title=file.title,
        source=source,
        scenario=scenario,
        arm=file.arm,
        aims=tuple(aim.model_dump(exclude_unset=True) for aim in file.aim),
        variables=tuple(variable.model_dump(exclude_unset=True) for variable in file.variable),
        limits=tuple(limit.model_dump(exclude_unset=True) for limit in file.limit),
        optimise=file.optimise.to_spec(),
        window=replace(window, factors=window.factors or _amplification(scenario)),
        fewer=None if file.fewer is None else file.fewer.to_spec(),
        pareto=None if file.pareto is None else file.pareto.to_spec(),
    )


def _scenario(study: Path, table: Mapping[str, Any], overrides: Mapping[str, Any]) -> tuple[Scenario | None, list[str]]:
    """The scenario that a study names, with its settings, or None and a line for each of its problems."""
    name, settings = table.get("scenario"), table.get("set", {})
    if not isinstance(name, str) or not name or not name.isprintable() or not isinstance(settings, Mapping):
        return None, []  # the study file itself is at fault, and its own problems say so
    path = study.parent / name
    try:
        given = read_table(path)
    except (ScenarioError, OSError) as error:  # the study has named what cannot be read
        said = f"{shown(name)}: {error.strerror}" if isinstance(error, OSError) else str(error)
        return None, [f"{study.name}: scenario: {line}" for line in said.splitlines()]
    changes = {**dict(flattened(settings)), **overrides}
    try:
        return scenario_from_table(given, source=path.name, folder=path.parent, overrides=changes), []
    except ScenarioError as error:
        return None, str(error).splitlines()


def _repeated(variables: Any) -> list[Problem]:
    """A number can be chosen once only."""
    entries = variables if isinstance(variables, list) else []
    names = Counter(entry["name"] for entry in entries if isinstance(entry, Mapping) and _is_text(entry.get("name")))
    twice = [name for name, count in names.items() if count > 1]
    return [Problem(f"variable.{shown(name)[1:-1]}", "is given twice; keep one") for name in twice]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _arm(name: Any, scenario: Scenario) -> list[Problem]:
    """The arm exists and has an infusion, for a variable addresses one by its number."""
    names = [arm.name for arm in scenario.arms]
    if not _is_text(name):
        return []
    if name not in names:
        near = nearest(name, names)
        hint = f", did you mean {near}?" if near else ""
        return [Problem("arm", f"{shown(name)} is not one of {', '.join(names)}{hint}")]
    if not scenario.arm(name).infusions:
        return [Problem("arm", f"{shown(name)} has no infusion that a variable could address")]
    return []


def _method(file: StudyFile) -> list[Problem]:
    """The method can keep what the study limits."""
    if file.optimise.method == "L-BFGS-B" and file.limit:
        return [Problem("optimise.method", '"L-BFGS-B" keeps bounds and no limits; use SLSQP or trust-constr')]
    return []


def _checkpoints(file: StudyFile, scenario: Scenario | None) -> list[Problem]:
    """The adjoint has segments, and they divide the macro-steps of a run."""
    checkpoints, key = file.optimise.checkpoints, "optimise.checkpoints"
    if checkpoints is None:
        return []
    if file.optimise.adjoint != "two-level":
        return [Problem(key, f'{checkpoints} is given, but only adjoint = "two-level" has checkpoints')]
    if scenario is None:
        return []
    try:
        segments_of(macro_steps_of(scenario), checkpoints)
    except ValueError as error:
        return [Problem(key, str(error).removeprefix("checkpoints "))]
    return []


def _fewer(file: StudyFile) -> list[Problem]:
    """There are more amounts than are to be kept, and each may go to zero."""
    if file.fewer is None:
        return []
    amounts = [variable for variable in file.variable if variable.name.startswith(AMOUNT)]
    if file.fewer.keep >= len(amounts):
        text = f"must be below the number of variables {AMOUNT}i], {len(amounts)} (got {file.fewer.keep})"
        return [Problem("fewer.keep", text)]
    reason = 'wants low = 0 and scale = "linear", for [fewer] lets amounts go to zero'
    return [Problem(f"variable.{v.name}", reason) for v in amounts if (v.low, v.scale) != (0.0, "linear")]


def _pareto(file: StudyFile) -> list[Problem]:
    """The limit is one of the study, a single number, and its bounds rise."""
    if file.pareto is None:
        return []
    named, quantities, problems = file.pareto.limit, [limit.quantity for limit in file.limit], []
    near = nearest(named, quantities)
    hint = f", did you mean {near}?" if near else ""
    if named not in quantities:
        among = ", ".join(quantities) or "there is none"
        problems = [Problem("pareto.limit", f"{shown(named)} is not the quantity of a limit ({among}){hint}")]
    elif quantities.count(named) > 1:
        problems = [Problem("pareto.limit", f"{shown(named)} is the quantity of several limits; keep one")]
    elif named in (*SINGLES, SPACING):
        problems = [Problem("pareto.limit", f"{shown(named)} holds for every infusion; a front wants one number")]
    if not file.pareto.low < file.pareto.high:
        text = f"must be above pareto.low, {file.pareto.low:g} (got {file.pareto.high:g})"
        problems.append(Problem("pareto.high", text))
    return problems


def _factors(names: Sequence[str], scenario: Scenario | None) -> list[Problem]:
    """Factors exist, and leave the patient's state before the cells as it is, for it is computed only once."""
    known = [row.name for row in load_parameters("human" if scenario is None else scenario.species).table()]
    problems = []
    for name in names:
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near}?" if near else "see hepatojax parameters"
            problems.append(Problem("window.factors", f"{shown(name)} is no parameter, {hint}"))
        elif not name.startswith(AMPLIFICATION):
            reason = f"moves the start state, which a window keeps; only {AMPLIFICATION}* may be one"
            problems.append(Problem("window.factors", f"{shown(name)} {reason}"))
    return problems


def _amplification(scenario: Scenario) -> tuple[str, ...]:
    """Names of all parameters by which the host amplifies what cells do, the factors of a window by default."""
    rows = load_parameters(scenario.species).table()
    return tuple(row.name for row in rows if row.name.startswith(AMPLIFICATION))
