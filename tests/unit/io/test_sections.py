"""Every key of a scenario file: its ends, its type, its default, its schema; what is written reads back the same."""

from __future__ import annotations

import datetime
import math
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import fields
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepatojax.io.scenario import ScenarioError, json_schema, load_scenario, scenario_from_table, scenario_to_toml
from hepatojax.io.scenario.document import SECTIONS
from hepatojax.io.scenario.errors import Problem
from hepatojax.io.scenario.validate import validate
from hepatojax.parameters.registry import load_parameters
from hepatojax.scenario import ASCITES, CELL_SOURCES, PRECISIONS, ROUTES, SAVED_FIELDS, SEXES, TRANSPORTS, Scenario

SCHEMA = json_schema()
INFUSION = {"start_h": 1.0, "cells_per_kg": 1e6, "route": "portal"}
Key = tuple[tuple[str, ...], str, dict[str, Any]]


def keys() -> Iterator[Key]:
    """Every key: the path of its section, its name, and its entry in the schema without the null of an unset one."""
    for path, section in SECTIONS.items():
        entries = section.model_json_schema()["properties"]
        for name, entry in entries.items():
            if (*path, name) not in SECTIONS and name != "parameters":
                yield path, name, {**entry, **next(iter(entry.get("anyOf", ())), {})}


KEYS = list(keys())
NUMBERS = [key for key in KEYS if "maximum" in key[2]]
CHOICES = [key for key in KEYS if "enum" in key[2]]
COUNTS = [key for key in KEYS if "maxItems" in key[2]]


def named(key: Any) -> str:
    return ".".join((*key[0], key[1])) if isinstance(key, tuple) else str(key)


def table_with(path: tuple[str, ...], name: str, value: Any) -> dict[str, Any]:
    """A file in which one key stands."""
    if path == ("arm", "infusion"):
        return {"arm": [{"name": "cells", "infusion": [{**INFUSION, name: value}]}]}
    if path == ("arm",):
        return {"arm": [{"name": "cells", name: value}]}
    return {path[0]: {name: value}} if path else {name: value}


def dotted(path: tuple[str, ...], name: str) -> str:
    """The key as messages name it."""
    return {(): "", ("arm",): "arm.cells.", ("arm", "infusion"): "arm.cells.infusion.1."}.get(
        path, f"{'.'.join(path)}."
    ) + name


def value_of(scenario: Scenario, path: tuple[str, ...], name: str) -> Any:
    part: Any = scenario
    for step in path:
        part = {"arm": lambda s: s.arms[0], "infusion": lambda a: a.infusions[0]}.get(
            step, lambda s, step=step: getattr(s, step)
        )(part)
    return getattr(part, name)


def only_problem(table: dict[str, Any]) -> Problem:
    scenario, problems = validate(table)
    assert scenario is None and len(problems) == 1, problems
    return problems[0]


def ends(entry: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """The outermost values of a number that are allowed, and the innermost ones that are not."""
    whole = entry["type"] == "integer"
    low, high = entry.get("minimum", entry.get("exclusiveMinimum")), entry["maximum"]
    below = low - 1 if whole else math.nextafter(low, -math.inf)
    beyond = high + 1 if whole else math.nextafter(high, math.inf)
    if "exclusiveMinimum" in entry:
        return [math.nextafter(low, math.inf), high], [low, below, beyond]
    return [low, high], [below, beyond]


@pytest.mark.parametrize("key", NUMBERS, ids=named)
def test_a_number_is_taken_to_its_last_bit_at_both_ends_and_refused_beyond(key: Key):
    path, name, entry = key
    allowed, refused = ends(entry)
    for value in allowed:
        scenario, problems = validate(table_with(path, name, value))
        assert scenario is not None and problems == []
        found = value_of(scenario, path, name)
        assert found == value and type(found) is (int if entry["type"] == "integer" else float)
    for value in refused:
        problem = only_problem(table_with(path, name, value))
        assert problem.key == dotted(path, name)
        assert f"[{entry['unit']}]" in problem.message and re.search(r" (outside|not above) ", problem.message)


WRONG = {
    "a text": ("1", 'the text "1"'),
    "a boolean": (True, "the boolean true"),
    "a list": ([1.0], "the list [1.0]"),
    "a section": ({"value": 1.0}, "the section {'value': 1.0}"),
    "a date": (datetime.date(2026, 1, 1), "the date 2026-01-01"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_no_number_is_made_of_anything_else(kind: str):
    value, words = WRONG[kind]
    for path, name, entry in NUMBERS:
        problem = only_problem(table_with(path, name, value))
        wanted = "a whole number" if entry["type"] == "integer" else "a number"
        assert str(problem) == f"{dotted(path, name)}: must be {wanted}, not {words}"


def test_a_whole_number_is_one_for_a_real_quantity_and_a_real_one_is_none_for_a_count():
    for path, name, entry in NUMBERS:
        inside = math.ceil(entry["minimum"]) if "minimum" in entry else 1
        table = table_with(path, name, float(inside) if entry["type"] == "integer" else inside)
        if entry["type"] == "integer":
            assert only_problem(table).message == f"must be a whole number, not the number {float(inside)}"
        else:
            scenario, _ = validate(table)
            assert scenario is not None and type(value_of(scenario, path, name)) is float


@pytest.mark.parametrize("key", CHOICES, ids=named)
def test_a_word_is_one_of_its_list_and_a_slip_of_the_key_is_understood(key: Key):
    path, name, entry = key
    for word in entry["enum"]:
        scenario, _ = validate(table_with(path, name, word))
        assert scenario is not None and value_of(scenario, path, name) == word
        problem = only_problem(table_with(path, name, word.upper()))
        assert problem.message == f'"{word.upper()}" is not one of {", ".join(entry["enum"])}, did you mean {word}?'
    assert only_problem(table_with(path, name, "")).message.startswith('"" is not one of ')
    assert only_problem(table_with(path, name, 1)).message == "must be a text in quotes, not the number 1"


@pytest.mark.parametrize("key", COUNTS, ids=named)
def test_counts_are_a_list_of_that_many_positive_integers(key: Key):
    path, name, entry = key
    length, most = entry["maxItems"], entry["items"]["maximum"]
    for value in ([1] * length, [most] * length):
        scenario, _ = validate(table_with(path, name, value))
        assert scenario is not None and value_of(scenario, path, name) == tuple(value)
    odd = ([1] * (length + 1), [1] * (length - 1), [], [0] * length, [most + 1] * length, [1.0] * length)
    for value in (*odd, [True] * length, ["1"] * length, "1", 1):
        problem = only_problem(table_with(path, name, value))
        assert problem.key == dotted(path, name)
        assert problem.message.startswith(f"must be {length} positive integers [")


@pytest.mark.parametrize("key", KEYS, ids=named)
def test_a_key_with_a_letter_too_many_is_recognised(key: Key):
    path, name, _ = key
    problems = validate(table_with(path, f"{name}s", 1.0))[1]
    (problem,) = [problem for problem in problems if problem.key == dotted(path, f"{name}s")]
    assert re.match(rf"unknown (section or )?key, did you mean {name}\?$", problem.message)


def test_a_key_in_the_wrong_section_is_sent_to_its_own():
    """Every key that one section alone has, at the top of the file."""
    homes: dict[str, list[str]] = {}
    for path, name, _ in KEYS:
        homes.setdefault(name, []).append(".".join((*path, name)))
    for name, (home, *others) in homes.items():
        if others or "." not in home:
            continue
        (problem,) = validate({name: 1.0})[1]
        assert problem.message.startswith("unknown section or key")
        near = re.search(r"did you mean ([\w.]+)\?", problem.message)
        assert near and near[1] in (home, *SECTIONS[()].model_fields), problem


def test_every_mistake_of_a_file_is_one_line_of_its_own():
    table: dict[str, Any] = {
        "title": 3,
        "species": "humn",
        "direct_only": 1,
        "arm": [{"name": "cells", "infusion": []}],
    }
    for path, name, entry in NUMBERS:
        if path == ("arm", "infusion"):
            table["arm"][0]["infusion"] = [{**INFUSION, "start_h": -1.0, "cells_per_kg": -1.0, "duration_h": 0.0}]
        elif path:
            table.setdefault(path[0], {})[name] = ends(entry)[1][0]
    with pytest.raises(ScenarioError) as refused:
        scenario_from_table(table, source="case.toml")
    lines = str(refused.value).splitlines()
    assert len(lines) == len(set(lines)) == 3 + len(NUMBERS) == len({problem.key for problem in refused.value.problems})
    assert all(line.startswith("case.toml: ") for line in lines)


@pytest.mark.parametrize(
    ("key", "value"), [("run.end_h", math.nan), ("run.end_h", 10**20), ("grid.cells", [9, 9, math.inf])]
)
def test_a_setting_that_is_not_finite_is_one_mistake(key: str, value: Any):
    with pytest.raises(ScenarioError) as refused:
        scenario_from_table({}, overrides={key: value})
    assert len(refused.value.problems) == 1


@pytest.mark.parametrize(
    ("value", "said"), [(2**32, "4294967296 is outside 0..4294967295 [-]"), (-1, "-1 is outside 0..4294967295 [-]")]
)
def test_a_whole_number_beyond_its_bound_is_not_printed_as_the_bound(value: int, said: str):
    assert only_problem(table_with(("lobule",), "seed", value)).message == said


def test_a_number_next_to_its_bound_is_not_printed_as_the_bound():
    beyond = math.nextafter(0.95, 1.0)
    said = only_problem(table_with(("disease",), "resected_fraction", beyond)).message
    assert said == f"{beyond!r} is outside 0..0.95 [-]"


# An evaluator of the few words of JSON schema that the schema of scenarios uses, written from the specification alone.


def faults(value: Any, schema: dict[str, Any]) -> list[str]:
    """Why a value does not fit a schema."""
    if "$ref" in schema:
        return faults(value, {**SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[1]]})
    if "anyOf" in schema:
        each = [faults(value, option) for option in schema["anyOf"]]
        return [] if [] in each else each[0]
    kinds = schema.get("type", [])
    if not any(_is(value, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
        return [f"type of {value!r}"]
    said = [] if value in schema.get("enum", [value]) else ["enum"]
    if isinstance(value, int | float):
        said += [word for word, holds in _BOUNDS.items() if word in schema and not holds(value, schema[word])]
    if isinstance(value, str):
        said += ["maxLength"] * (len(value) > schema.get("maxLength", math.inf))
        said += ["pattern"] * (re.search(schema.get("pattern", ""), value) is None)
    if isinstance(value, list):
        said += ["length"] * (not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", math.inf))
        said += [fault for item in value for fault in faults(item, schema["items"])]
    if isinstance(value, dict):
        said += _faults_of_table(value, schema)
    return said


def _faults_of_table(table: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    said = [f"{name} is required" for name in schema.get("required", ()) if name not in table]
    for name, item in table.items():
        if name in known:
            said += faults(item, known[name])
        elif others is False:
            said.append(f"{name} is unknown")
        elif isinstance(others, dict):
            said += faults(item, others)
    return said


def _is(value: Any, kind: str) -> bool:
    if kind in ("number", "integer"):
        return isinstance(value, int if kind == "integer" else int | float) and not isinstance(value, bool)
    return isinstance(value, {"string": str, "boolean": bool, "array": list, "object": dict, "null": type(None)}[kind])


_BOUNDS = {
    "minimum": lambda value, bound: value >= bound,
    "maximum": lambda value, bound: value <= bound,
    "exclusiveMinimum": lambda value, bound: value > bound,
    "exclusiveMaximum": lambda value, bound: value < bound,
}


def test_schema_and_reader_agree_on_every_key():
    """What editors accept is what the reader accepts, for each key by itself and for a slip of its name."""
    for path, name, entry in NUMBERS:
        allowed, refused = ends(entry)
        for value, fits in (*((v, True) for v in allowed), *((v, False) for v in refused)):
            assert (faults(table_with(path, name, value), SCHEMA) == []) is fits, (path, name, value)
    for (path, name, _), (value, _) in product(NUMBERS, WRONG.values()):
        assert faults(table_with(path, name, value), SCHEMA), (path, name, value)
    for path, name, entry in CHOICES:
        assert faults(table_with(path, name, entry["enum"][-1]), SCHEMA) == []
        assert faults(table_with(path, name, entry["enum"][-1].upper()), SCHEMA)
    for path, name, entry in COUNTS:
        assert faults(table_with(path, name, [1] * entry["maxItems"]), SCHEMA) == []
        assert faults(table_with(path, name, [0] * entry["maxItems"]), SCHEMA)
    for path, name, _ in KEYS:
        assert faults(table_with(path, f"{name}s", 1.0), SCHEMA)
    assert faults({"arm": [{}]}, SCHEMA) == ["name is required"]


def test_schema_states_the_defaults_of_the_dataclasses():
    for path, name, entry in KEYS:
        specification = {f.name: f for f in fields(SECTIONS[path].specification)}[name]
        if name not in SECTIONS[path].model_json_schema().get("required", ()):
            default = entry.get("default")
            assert (tuple(default) if isinstance(default, list) else default) == specification.default


def reals(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high)


def words(allowed: Sequence[str]) -> st.SearchStrategy[str]:
    return st.sampled_from(allowed)


def section(required: dict[str, Any] | None = None, **optional: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required or {}, optional=optional)


TITLES = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]) | st.just(" "), max_size=200)
FOLDERS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", fullmatch=True).filter(
    lambda name: name.lower() != "figures"
)
DOSES = section(
    {"start_h": reals(0.0, 47.0), "cells_per_kg": reals(0.0, 1e9), "route": words(ROUTES)}, duration_h=reals(1e-9, 1.0)
)
TABLES = section(
    title=TITLES,
    direct_only=st.booleans(),
    patient=section(
        sex=words(SEXES), sodium_mmol_l=reals(100.0, 180.0), ascites=words(ASCITES), body_mass_kg=reals(40.0, 150.0)
    ),
    lobule=section(
        height_um=reals(20.0, 2000.0),
        inlet_septa=st.booleans(),
        permeability_log_sd=reals(0.0, 3.0),
        fibrotic_septa=st.integers(0, 12),
        fibrotic_contrast=reals(1.0, 1e6),
        seed=st.integers(0, 2**32 - 1),
    ),
    grid=section(cells=st.lists(st.integers(30, 65536), min_size=3, max_size=3)) | section(spacing_um=reals(0.5, 99.0)),
    disease=section({"start": st.just("chronic")}, flare=reals(0.0, 100.0), flare_lead_h=reals(0.0, 9.0)),
    product=section(source=words(CELL_SOURCES), batch=reals(-3.0, 3.0), diameter_um=reals(12.0, 30.0)),
    run=section(
        {"end_h": st.just(48)},
        steps_per_day=st.sampled_from((1, 4, 24)),
        fields=st.lists(words(SAVED_FIELDS), unique=True, max_size=9),
        transport=words(TRANSPORTS),
        precision=words(PRECISIONS),
    ),
    arm=st.lists(
        section({"name": FOLDERS}, infusion=st.lists(DOSES, max_size=2)),
        min_size=1,
        max_size=3,
        unique_by=lambda arm: arm["name"].lower(),
    ),
    parameters=section(**{"oxygen.p50_mmHg": reals(26.0, 27.0)}),
).map(lambda table: {**table, "run": {"end_h": 48, **table.get("run", {})}})


@settings(max_examples=25, deadline=None)
@given(table=TABLES)
def test_a_scenario_is_what_its_file_says_and_reads_back_the_same_from_its_own_text(table: dict[str, Any]):
    assert faults(table, SCHEMA) == []
    scenario = scenario_from_table(table)
    for path, name, _ in KEYS:
        given_here = table if not path else table.get(path[0], {}) if len(path) == 1 else {}
        if isinstance(given_here, dict) and name in given_here:
            value = given_here[name]
            assert value_of(scenario, path, name) == (tuple(value) if isinstance(value, list) else value)
    assert [arm.name for arm in scenario.arms] == [arm["name"] for arm in table.get("arm", [{"name": "standard_care"}])]
    text = scenario_to_toml(scenario)
    written = tomllib.loads(text)
    assert faults(written, SCHEMA) == []
    assert scenario_from_table(written) == scenario
    assert scenario_to_toml(scenario_from_table(written)) == text


@pytest.mark.parametrize("species", ["human", "rat", "mouse", "pig"])
def test_the_default_of_every_species_is_a_scenario_that_its_schema_and_its_own_text_agree_on(species: str, tmp_path):
    table = {"species": species}
    assert faults(table, SCHEMA) == []
    scenario = scenario_from_table(table)
    (tmp_path / "case.toml").write_text(scenario_to_toml(scenario), encoding="utf-8")
    assert load_scenario(tmp_path / "case.toml") == scenario == Scenario(species=species)


def test_every_parameter_may_be_replaced_by_its_own_value_and_by_nothing_outside_its_range():
    rows = [row for row in load_parameters().table() if row.allows(float(row.value))]
    table = {row.name: float(row.value) for row in rows}
    assert scenario_from_table({"parameters": table}).parameters == table
    wide = [row for row in rows if row.high > row.low]
    assert len(wide) > 100
    with pytest.raises(ScenarioError) as refused:
        scenario_from_table({"parameters": {row.name: row.high + 0.01 * (row.high - row.low) for row in wide}})
    assert [problem.key for problem in refused.value.problems] == [f"parameters.{row.name}" for row in wide]
    assert all(f"[{row.unit}]" in p.message for row, p in zip(wide, refused.value.problems, strict=True))
