"""The rules of the house, checked on the source: layers, sizes, documentation and what may not be written.

Rules 1, 3, 4 and 5, the sizes of rule 2 and the clips and floors of rule 10, as docs/design_decisions.md numbers them;
beside them what the registry says of each parameter, and the files of each experiment.
"""

import ast
import graphlib
import re
import statistics
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jaxtyping import TypeCheckError

from hepatojax.io.programs import NEVER_COMPILED
from hepatojax.numerics.grid import Grid

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hepatojax"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TREES = {".".join(path.relative_to(ROOT).with_suffix("").parts): ast.parse(path.read_text()) for path in SOURCES}

LAYERS = (
    {"status", "units", "scenario"},
    {"mechanism", "parameters", "numerics"},
    {"tissue", "biology", "body", "therapy"},
    set(),
    {
        "state",
        "model",
        "failure",
        "coupling",
        "macro_step",
        "endpoints",
        "presets",
        "rest",
        "assembly",
        "onset",
        "build",
    },
    {"simulate"},
    {"studies", "clinic", "io"},
    {"report", "checks", "cli"},
)
ROOMS = LAYERS[2]
EDGE = ("io", "report", "checks", "cli")
DIFFERENTIATED = ("numerics", "tissue", "biology", "body")
BOUNDED_BY_DEFINITION = "hepatojax/body/scores.py"  # a published score has floors and a cap

Function = ast.FunctionDef | ast.AsyncFunctionDef


def room(module: str) -> str:
    """The folder or file below hepatojax/ in which a module lives; empty for the package itself."""
    return module.removeprefix("hepatojax").lstrip(".").partition(".")[0].replace("__init__", "")


def layer(module: str) -> int:
    """The layer of a module; the package itself is at the bottom, for it imports lazily."""
    return next((level for level, rooms in enumerate(LAYERS) if room(module) in rooms), 0)


def imported_modules(tree: ast.AST) -> Iterator[str]:
    """Every module of the package that a file imports, at the top or inside a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("hepatojax"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hepatojax"):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                package = f"{inner}.__init__"
                yield inner if inner in TREES else package if package in TREES else str(node.module)


def functions(tree: ast.AST) -> Iterator[Function]:
    """Every function and method of a file, nested ones too."""
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def body_lines(function: Function) -> int:
    """Lines of a function without its signature and docstring."""
    body = function.body[1:] if ast.get_docstring(function) and len(function.body) > 1 else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1


def public_definitions(tree: ast.Module) -> Iterator[ast.ClassDef | Function]:
    """Public classes and functions of a module, and the public methods of its public classes."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from (m for m in node.body if isinstance(m, Function) and not m.name.startswith("_"))


def arguments(function: Function) -> list[ast.arg]:
    """The arguments of a function but `self` and `cls`."""
    a = function.args
    return [arg for arg in (*a.posonlyargs, *a.args, *a.kwonlyargs) if arg.arg not in ("self", "cls")]


def at(module: str, node: ast.AST, what: str) -> str:
    """A finding as `file:line what`."""
    return f"{module.replace('.', '/')}.py:{getattr(node, 'lineno', 1)} {what}"


def none(findings: list[str]) -> None:
    """Fail with one finding a line."""
    assert not findings, "\n" + "\n".join(findings)


def found(rule: str, rooms: tuple[str, ...] | set[str], outside: bool = False) -> list[str]:
    """Places whose source matches a node rule of FORBIDDEN, inside (or outside) some rooms."""
    return [
        at(module, node, rule)
        for module, tree in TREES.items()
        if (room(module) in rooms) != outside
        for node in ast.walk(tree)
        if FORBIDDEN[rule](node)
    ]


def _called(node: ast.AST) -> str:
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def _imports_one_of(node: ast.AST, libraries: set[str]) -> bool:
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
    return any(name.partition(".")[0] in libraries for name in names)


def _is_constant(node: ast.AST) -> bool:
    return isinstance(node.operand if isinstance(node, ast.UnaryOp) else node, ast.Constant)


def _catches_all(node: ast.AST) -> bool:
    """A handler of everything that does not pass on what it caught."""
    if not isinstance(node, ast.ExceptHandler) or ast.unparse(node.body[-1]) == "raise":
        return False
    return node.type is None or re.search(r"\b(Base)?Exception\b", ast.unparse(node.type)) is not None


def _changes_config(node: ast.AST) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else []
    return _called(node).endswith("config.update") or any("jax.config." in ast.unparse(t) for t in targets)


FORBIDDEN = {
    "print": lambda node: _called(node) == "print",
    "library of the edge": lambda node: _imports_one_of(node, {"h5py", "matplotlib", "pydantic", "argparse", "rich"}),
    "change of jax.config": _changes_config,
    "catch of everything": _catches_all,
    "clip": lambda node: _called(node) in ("jnp.clip", "lax.clamp", "jax.lax.clamp", "jax.nn.relu"),
    "floor": lambda node: (
        isinstance(node, ast.Call)
        and _called(node) in ("jnp.maximum", "jnp.minimum", "lax.max", "lax.min")
        and any(_is_constant(argument) for argument in node.args)
    ),
}


def test_every_module_has_a_layer():
    rooms = set().union(*LAYERS) | {""}
    none([module for module in TREES if room(module) not in rooms])


def test_imports_go_downward_only():
    upward = [
        f"{module} (layer {layer(module)}) imports {target} (layer {layer(target)})"
        for module, tree in TREES.items()
        if room(module)
        for target in sorted(set(imported_modules(tree)))
        if layer(target) > layer(module)
    ]
    none(upward)


def test_rooms_of_the_model_do_not_know_each_other():
    allowed = {("body", "hepatojax.therapy.schedule")}
    across = [
        f"{module} imports {target}"
        for module, tree in TREES.items()
        if room(module) in ROOMS
        for target in sorted(set(imported_modules(tree)))
        if room(target) in ROOMS - {room(module)} and (room(module), target) not in allowed
    ]
    none(across)


def test_pointwise_rooms_know_no_grid():
    numerics = [
        f"{module} imports {target}"
        for module, tree in TREES.items()
        if room(module) in ROOMS - {"tissue"}
        for target in sorted(set(imported_modules(tree)))
        if room(target) == "numerics" and target != "hepatojax.numerics.safe_math"
    ]
    none(numerics)


def test_no_import_cycle():
    graph = {module: set(imported_modules(tree)) - {module} for module, tree in TREES.items() if room(module)}
    list(graphlib.TopologicalSorter(graph).static_order())


def test_the_model_has_one_class_of_a_name():
    model = (tree for module, tree in TREES.items() if layer(module) < LAYERS.index({"studies", "clinic", "io"}))
    names = Counter(node.name for tree in model for node in tree.body if isinstance(node, ast.ClassDef))
    none([f"{name} is the name of {count} classes" for name, count in names.items() if count > 1 and name[0] != "_"])


def test_functions_and_files_are_short():
    long = [
        at(module, function, f"{function.name} has {body_lines(function)} lines")
        for module, tree in TREES.items()
        for function in functions(tree)
        if body_lines(function) > 80
    ]
    long += [f"{path}: {n} lines" for path in SOURCES if (n := len(path.read_text().splitlines())) > 500]
    none(long)


def test_most_functions_hold_one_idea():
    lengths = [body_lines(function) for tree in TREES.values() for function in functions(tree)]
    assert statistics.median(lengths) <= 9
    assert statistics.quantiles(lengths, n=10)[-1] <= 40


def test_public_names_are_documented():
    bare = [
        at(module, node, node.name)
        for module, tree in TREES.items()
        for node in public_definitions(tree)
        if ast.get_docstring(node) is None
    ]
    bare += [module for module, tree in TREES.items() if tree.body and ast.get_docstring(tree) is None]
    none(bare)


def test_public_arguments_are_annotated():
    every = [
        (at(module, node, f"{node.name}({argument.arg})"), argument.annotation)
        for module, tree in TREES.items()
        for node in public_definitions(tree)
        if isinstance(node, Function)
        for argument in arguments(node)
    ]
    none([place for place, annotation in every if annotation is None])


def test_rooms_say_the_unit_of_every_array():
    def takes_arrays(function: Function) -> bool:
        annotations = " ".join(ast.unparse(a.annotation) for a in arguments(function) if a.annotation)
        return re.search(r"\b(Array|Float|ArrayLike|Fields)\b", annotations) is not None

    silent = [
        at(module, node, node.name)
        for module, tree in TREES.items()
        if room(module) in ROOMS
        for node in tree.body
        if isinstance(node, Function) and not node.name.startswith("_") and takes_arrays(node)
        if not re.search(r"\[[^\]]+\]", ast.get_docstring(node) or "")
    ]
    none(silent)


@pytest.mark.parametrize("rule", ["print", "library of the edge"])
def test_only_the_edge_talks_to_the_world(rule):
    none(found(rule, EDGE, outside=True))


def test_only_the_command_line_changes_jax_config():
    none(found("change of jax.config", ("cli",), outside=True))


def test_nothing_catches_everything():
    none(found("catch of everything", (), outside=True))


def test_nothing_that_is_compiled_imports_the_edge():
    """A kept program is not made anew when the edge changes."""
    assert NEVER_COMPILED == EDGE
    none(
        [
            at(module, tree, f"imports {name}")
            for module, tree in TREES.items()
            if room(module) not in ("", *EDGE)
            for name in imported_modules(tree)
            if room(name) in EDGE
        ]
    )


@pytest.mark.parametrize("rule", ["clip", "floor"])
def test_positivity_comes_from_the_scheme(rule):
    none([place for place in found(rule, DIFFERENTIATED) if not place.startswith(BOUNDED_BY_DEFINITION)])


@pytest.mark.parametrize(
    "module", ["status", "units", "scenario", "parameters.registry", "io.scenario.size", "cli.main"]
)
def test_light_module_loads_no_jax(module, fresh_python):
    assert fresh_python(f"import hepatojax.{module}, sys; print('jax' in sys.modules)") == "False\n"


def test_shapes_are_checked_while_tests_run():
    cube, wrong = jnp.ones((2, 3, 4)), jnp.ones((2, 3, 5))
    with pytest.raises(TypeCheckError):
        Grid((1.0, 1.0, 1.0), cube, (wrong, wrong, wrong))


def test_checked_container_passes_through_jax():
    cube = jnp.ones((2, 3, 4))
    grid = Grid((1.0, 1.0, 1.0), cube, (cube, cube, cube))
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), grid)

    def total(grid: Grid, scale: float) -> jax.Array:
        return grid.scaled(scale).total_volume

    assert jax.jit(total)(grid, 2.0) == 8 * 24
    assert jax.grad(total)(grid, 2.0).volume.shape == (2, 3, 4)
    assert jax.hessian(total, argnums=1)(grid, 2.0) == 6 * 2 * 24
    assert jax.vmap(lambda g: g.scaled(2.0))(batch).volume.shape == (2, 2, 3, 4)
    assert jax.tree.map(lambda leaf: None, grid).volume is None


KEYS = {"value", "unit", "low", "high", "species", "source", "evidence", "meaning"}
OPTIONAL = {"outside", "off"}
SPECIES = {"human", "rat", "mouse", "pig"}
EVIDENCE = {"literature", "recalled", "derived", "assumed", "fitted"}


def parameter_rows() -> Iterator[tuple[str, dict]]:
    """Every parameter of every subject, and every species row completed by the row that it replaces."""

    def walk(name: str, table: dict) -> Iterator[tuple[str, dict]]:
        if "value" in table:
            row = {key: entry for key, entry in table.items() if key not in SPECIES}
            yield name, row
            yield from ((f"{name}.{s}", {**row, "species": s, **table[s]}) for s in sorted(SPECIES & table.keys()))
        else:
            for key, entry in table.items():
                yield from walk(f"{name}.{key}", entry)

    for path in sorted((PACKAGE / "parameters").glob("*.toml")):
        yield from walk(path.stem, tomllib.loads(path.read_text()))


def test_registry_has_rows():
    assert len(list(parameter_rows())) > 50


@pytest.mark.parametrize(
    ("name", "row"), list(parameter_rows()), ids=lambda entry: entry if isinstance(entry, str) else ""
)
def test_parameter_has_unit_range_and_source(name, row):
    assert set(row) - OPTIONAL == KEYS
    assert row["evidence"] in EVIDENCE
    assert row["species"] in SPECIES
    assert row["source"].strip()
    assert row["meaning"].strip()
    assert row["low"] <= row["value"] <= row["high"] or row.get("outside")


def test_every_parameter_is_read():
    text = "\n".join(path.read_text() for path in SOURCES)
    names = {name.split(".")[-1] for name, _ in parameter_rows()} - SPECIES
    by_pattern = {name for name in names if name.startswith("secretion_")}  # signal x population of `SOURCES`
    none(sorted(name for name in names - by_pattern if not re.search(rf"\b{name}\b", text)))


@pytest.mark.parametrize("folder", sorted(ROOT.glob("experiments/[0-9]*")), ids=lambda folder: folder.name)
def test_experiment_has_its_three_files(folder):
    assert {"README.md", "case.toml", "run.py"} <= {path.name for path in folder.iterdir()}
    assert len((folder / "run.py").read_text().splitlines()) < 80
