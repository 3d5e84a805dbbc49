"""Verbs about what goes in: check, parameters, schema."""

from __future__ import annotations

import argparse
import json
from typing import Any

from hepatojax.cli.options import add_scenario, read_image, read_scenario, require_lobule
from hepatojax.scenario import SPECIES, Scenario
from hepatojax.status import ExitCode, HepatojaxError


class CheckpointsError(HepatojaxError):
    """A `--checkpoints` that does not divide the macro-steps. Exit code 2."""


def register(verbs: Any) -> None:
    """Add the verbs to the command line."""
    check = verbs.add_parser("check", help="check a scenario and say what a run of it needs")
    add_scenario(check)
    check.add_argument(
        "--checkpoints", type=int, metavar="N", help="segments of the two-level adjoint, a divisor of the macro-steps"
    )
    check.set_defaults(action=check_scenario)
    parameters = verbs.add_parser("parameters", help="print the parameter registry")
    parameters.add_argument("--species", choices=SPECIES, default="human")
    parameters.add_argument("--grep", metavar="TEXT", default="", help="only rows that hold this text")
    parameters.add_argument("--json", action="store_true", help="print JSON")
    parameters.set_defaults(action=print_parameters)
    schema = verbs.add_parser("schema", help="print the JSON schema of scenario files, for editors")
    schema.add_argument("--markdown", action="store_true", help="print the tables of docs/scenario.md instead")
    schema.set_defaults(action=print_schema)


def check_scenario(options: argparse.Namespace) -> ExitCode:
    """Check a scenario; print cells, memory of a run and its gradient, Peclet and Damkohler numbers, minutes.

    Lengths are printed in um, speeds in um/s, memory in GiB. JAX is not needed, but for a label image.

    Args:
        options: of `add_scenario`; checkpoints.

    Raises:
        ScenarioError: one line for each problem, or the memory that is missing; exit code 2.
        CheckpointsError: segments that do not divide the macro-steps; exit code 2.
        InputFileError: what is wrong with the label image; exit code 2.
    """
    from hepatojax.io.scenario.size import (
        CELLS_PER_PENETRATION_LENGTH,
        free_memory_gib,
        require_memory,
        scenario_size,
    )

    scenario = read_scenario(options)
    image = read_image(scenario)
    shape = None if image is None else image.shape
    require_memory(scenario, options.file.name, shape)
    size = scenario_size(scenario, image_shape=shape)
    gradient = _gradient_in_words(scenario, size.cells, options.checkpoints)
    require_lobule(scenario, image)
    arms = ", ".join(arm.name for arm in scenario.arms)
    print(f"scenario      {scenario.title} ({scenario.species}); arms: {arms}")
    cells, spacing = " x ".join(map(str, size.cells)), " x ".join(f"{h:.3g}" for h in size.spacing_um)
    per_length = size.penetration_length_um / size.widest_um
    print(f"grid          {cells} cells of {spacing} um (x, y, z)")
    print(f"time          {scenario.run.end_h / 24.0:g} days, {size.macro_steps} macro-steps in all arms")
    print(
        f"memory        about {size.memory_gib:.2g} GiB in {scenario.run.precision};"
        f" {free_memory_gib():.3g} GiB are free"
    )
    print(f"gradient      {gradient}")
    print(f"Peclet        {size.peclet:.2g} of a cell (oxygen, blood at {size.speed_um_s:.2g} um/s halfway)")
    print(f"Damkohler     {size.damkohler:.2g} (oxygen demand over supply at rest)")
    if scenario.lobule.geometry != "well_mixed":
        print(
            f"resolution    {per_length:.2g} cells per oxygen penetration length of {size.penetration_length_um:.0f} um"
            f" (at least {CELLS_PER_PENETRATION_LENGTH:g})"
        )
    print(f"expected      {size.minutes:.2g} minutes on two cores, compilation included")
    return ExitCode.DONE


def _gradient_in_words(scenario: Scenario, cells: tuple[int, int, int], checkpoints: int | None) -> str:
    """What a gradient needs with either adjoint, and the segments of the two-level one."""
    from hepatojax.io.scenario.size import gradient_memory_gib, macro_steps_of
    from hepatojax.numerics.segments import segments_of

    steps, precision = macro_steps_of(scenario), scenario.run.precision
    try:
        segments = segments_of(steps, checkpoints)
    except ValueError as error:
        raise CheckpointsError(f"--{error}") from None
    saved = gradient_memory_gib(cells, precision, steps, "saved")
    two_level = gradient_memory_gib(cells, precision, steps, "two-level", segments)
    return (
        f"about {saved:.2g} GiB for one arm, {two_level:.2g} GiB with the two-level adjoint"
        f" ({segments} x {steps // segments} macro-steps)"
    )


def print_parameters(options: argparse.Namespace) -> ExitCode:
    """Print the registry of a species as a table or as JSON.

    Args:
        options: species; grep, a text in any entry of a row, capitals do not count; json.

    Returns:
        DONE. The hash is that of all parameters, whichever rows are shown.
    """
    from dataclasses import asdict

    from hepatojax.parameters.registry import load_parameters

    parameters = load_parameters(options.species)
    wanted = options.grep.lower()
    rows = [asdict(row) for row in parameters.table()]
    rows = [row for row in rows if wanted in " ".join(str(value) for value in row.values()).lower()]
    if options.json:
        print(json.dumps({"species": options.species, "sha256": parameters.hash, "parameters": rows}, indent=2))
        return ExitCode.DONE
    widths = {key: max((len(_cell(row[key])) for row in rows), default=0) for key in ("name", "value", "unit")}
    for row in rows:
        name, value, unit = (_cell(row[key]).ljust(width) for key, width in widths.items())
        span = f"{row['low']:g}..{row['high']:g}"
        origin = f"{row['species']:6} {row['evidence']:11}"
        print(f"{name}  {value}  {unit}  {span:20}  {origin} {row['meaning']} [{row['source']}]")
    print(f"{len(rows)} parameters; all of {options.species}: sha256 {parameters.hash}")
    return ExitCode.DONE


def _cell(value: Any) -> str:
    """An entry of the table as text, numbers to six digits."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def print_schema(options: argparse.Namespace) -> ExitCode:
    """Print the JSON schema of the scenario file, or the tables of its keys.

    Args:
        options: markdown.
    """
    from hepatojax.io.scenario import json_schema
    from hepatojax.io.scenario.reference import key_tables

    if options.markdown:
        print(key_tables())
        return ExitCode.DONE
    print(json.dumps(json_schema(), indent=2))
    return ExitCode.DONE
