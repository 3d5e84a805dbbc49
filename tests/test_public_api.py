"""The public face: which names there are, where they live, and that importing the package costs nothing."""

import ast
import inspect
from pathlib import Path

import pytest

import hepatojax

PUBLIC = {
    "CellProduct",
    "DoseProblem",
    "DoseSchedule",
    "Grid",
    "LiverModel",
    "LiverState",
    "Patient",
    "SaveAt",
    "Scenario",
    "Solution",
    "Status",
    "build",
    "hexagonal_lobule",
    "liver_function",
    "load_parameters",
    "load_scenario",
    "open_run",
    "optimise_dose",
    "simulate",
    "taylor_rates",
    "therapeutic_window",
    "write_run",
}


def test_public_names_are_the_agreed_ones():
    assert set(hepatojax.__all__) == PUBLIC
    assert len(PUBLIC) <= 25


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_public_name_exists_and_is_documented(name):
    assert inspect.getdoc(getattr(hepatojax, name))


def test_editors_are_told_the_same_homes():
    imports = ast.walk(ast.parse(Path(hepatojax.__file__).read_text()))
    told = {
        alias.asname: node.module.removeprefix("hepatojax.")
        for node in imports
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if node.module and node.module.startswith("hepatojax.")
    }
    assert told == hepatojax._HOMES


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'optimize'"):
        hepatojax.optimize  # noqa: B018


@pytest.mark.parametrize("name", ["build", "simulate"])
def test_function_is_not_hidden_by_its_module(name, fresh_python):
    code = f"import hepatojax, importlib; importlib.import_module('hepatojax.{name}'); print(hepatojax.{name})"
    assert fresh_python(code).startswith("<function")


def test_import_loads_no_jax(fresh_python):
    assert fresh_python("import hepatojax, sys; print('jax' in sys.modules, 'numpy' in sys.modules)") == "False False\n"
