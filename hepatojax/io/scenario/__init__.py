"""Scenario files: TOML in, a checked `hepatojax.scenario.Scenario` out, every problem in one line. No JAX here."""

from hepatojax.io.scenario.document import json_schema as json_schema
from hepatojax.io.scenario.errors import Problem as Problem
from hepatojax.io.scenario.errors import ScenarioError as ScenarioError
from hepatojax.io.scenario.load import load_scenario as load_scenario
from hepatojax.io.scenario.load import scenario_from_table as scenario_from_table
from hepatojax.io.scenario.write import scenario_to_toml as scenario_to_toml
