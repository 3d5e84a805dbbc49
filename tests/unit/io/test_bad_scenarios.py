"""Bad inputs B01 to B20 of RELIABILITY 4.3: one line that names the key, exit code 2, no output folder, no JAX."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import pytest

from hepatojax.cli.main import main
from hepatojax.status import ExitCode

ARM = '[[arm]]\nname = "cells"\n[[arm.infusion]]\n'
DOSE = 'start_h = 0.0\ncells_per_kg = 1e6\nroute = "portal"\n'
DIFFUSIVITY = '"oxygen.diffusivity_um2_s"'


def infusion(**changes: str) -> str:
    """An arm with one infusion, some of whose keys are replaced by TOML text."""
    keys = {"start_h": "0.0", "cells_per_kg": "1e6", "route": '"portal"', **changes}
    return ARM + "".join(f"{key} = {value}\n" for key, value in keys.items())


def named(name: str) -> str:
    """An arm with that name, in TOML text."""
    return f"[[arm]]\nname = {name}\n"


CASES: dict[str, tuple[str | bytes, str, str]] = {
    # id: file, key that the line names, words that it must hold
    "B01 unknown key": ("[grid]\nspcing_um = 10\n", "grid.spcing_um", "unknown key, did you mean spacing_um?"),
    "B02 unknown section": ("[diseese]\nactivity = 1.0\n", "diseese", "unknown section or key, did you mean disease?"),
    "B02 section of another tool": ("[dosing]\nactivity = 1.0\n", "dosing", "known here are title, species"),
    "B03 duplicate key": ("[run]\nend_h = 72\nend_h = 73\n", "run.end_h", "given twice, the second time in line 3"),
    "B03 duplicate section": ("[run]\nend_h = 72\n[run]\n", "run", "given twice, the second time in line 3"),
    "B04 byte order mark": ("[run]\n".encode("utf-8-sig"), "encoding", "UTF-8 with a byte order mark"),
    "B04 UTF-16": ("[run]\nend_h = 72\n".encode("utf-16"), "encoding", "is UTF-16"),
    "B04 UTF-16 unmarked": ("[run]\nend_h = 72\n".encode("utf-16-le"), "encoding", "as UTF-16 does"),
    "B04 Latin-1": ('title = "Zürich"\n'.encode("latin-1"), "encoding", "byte 0xfc in line 1 is not UTF-8"),
    "B05 decimal comma": ("[run]\nend_h = 72,5\n", "run.end_h", "decimal comma in line 2: write 72.5"),
    "B06 negative dose": (
        infusion(cells_per_kg="-1e6"),
        "arm.cells.infusion.1.cells_per_kg",
        "outside 0..1e+09 [1/kg]",
    ),
    "B07 not a number": (infusion(cells_per_kg="nan"), "arm.cells.infusion.1.cells_per_kg", "finite number (got nan)"),
    "B07 infinite": (infusion(cells_per_kg="inf"), "arm.cells.infusion.1.cells_per_kg", "finite number (got inf)"),
    "B08 overflow": (
        f"[parameters]\n{DIFFUSIVITY} = 1e400\n",
        "oxygen.diffusivity_um2_s",
        "1e400 overflows to infinity",
    ),
    "B08 overflow in a section": ("[run]\nend_h = -1e999\n", "run.end_h", "overflows to infinity"),
    "B09 text for a number": (
        infusion(cells_per_kg='"1e6"'),
        "infusion.1.cells_per_kg",
        'a number, not the text "1e6"',
    ),
    "B10 boolean for a number": ("[patient]\nbody_mass_kg = true\n", "patient.body_mass_kg", "not the boolean true"),
    "B10 boolean for a count": ("[run]\nsteps_per_day = true\n", "run.steps_per_day", "not the boolean true"),
    "B11 unknown route": (infusion(route='"oral"'), "infusion.1.route", "one of intravenous, portal, arterial"),
    "B12 infusion after the end": (
        "[run]\nend_h = 72\nsave_every_h = 24\n" + infusion(start_h="100"),
        "arm.cells.infusion.1.start_h",
        "100 h is not before run.end_h = 72 h",
    ),
    "B12 infusion beyond the end": (
        "[run]\nend_h = 72\nsave_every_h = 24\n" + infusion(start_h="71.75"),
        "arm.cells.infusion.1.duration_h",
        "ends at 72.25 h",
    ),
    "B13 no duration": (infusion(duration_h="0"), "infusion.1.duration_h", "a bolus is a short infusion"),
    "B13 negative duration": (
        infusion(duration_h="-1"),
        "infusion.1.duration_h",
        "-1 is not above 0 and at most 168 [h]",
    ),
    "B14 coarse spacing": (
        "[grid]\nspacing_um = 200\n",
        "grid.spacing_um",
        "cells per oxygen penetration length (80 um)",
    ),
    "B14 few cells": ("[grid]\ncells = [4, 4, 4]\n", "grid.cells", "spacing at most 106 um"),
    "B15 enormous grid": ("[grid]\ncells = [4096, 4096, 4096]\n", "grid.cells", "GiB are free"),
    "B16 zero cells": ("[grid]\ncells = [48, 0, 32]\n", "grid.cells", "3 positive integers [nx, ny, nz]"),
    "B16 half a cell": ("[grid]\ncells = [48.5, 48, 32]\n", "grid.cells", "3 positive integers [nx, ny, nz]"),
    "B16 two axes": ("[grid]\ncells = [48, 48]\n", "grid.cells", "3 positive integers [nx, ny, nz]"),
    "B06 mass of another species": (
        'species = "rat"\n[patient]\nbody_mass_kg = 300\n',
        "patient.body_mass_kg",
        "300 is outside 0.15..0.5 [kg] (rat)",
    ),
    "B06 lobule of another species": (
        "[lobule]\nradius_um = 300.0\n",
        "lobule.radius_um",
        "300 is outside 400..750 [um] (human)",
    ),
    "B06 cell as wide as a vessel": ("[product]\ndiameter_um = 40\n", "product.diameter_um", "outside 12..30 [um]"),
    "B06 given twice": (
        '[patient]\nbody_mass_kg = 80.0\n[parameters]\n"patient.body_mass_kg" = 90.0\n',
        "patient.body_mass_kg",
        'is given beside "patient.body_mass_kg" in [parameters]; keep one',
    ),
    "B18 value in another unit": (
        f"[parameters]\n{DIFFUSIVITY} = 2e-5\n",
        "parameters.oxygen.diffusivity_um2_s",
        "2e-05 cm2/s would be 2e-09 m2/s",
    ),
    "B18 unit of another dimension": (
        f'[parameters]\n{DIFFUSIVITY} = {{value = 2.0, unit = "cm/s"}}\n',
        "parameters.oxygen.diffusivity_um2_s",
        'unit "cm/s" does not fit [m2/s]; allowed: um2/s',
    ),
    "B19 path upwards": (named('"../../x"'), "arm.../../x.name", "cannot name a folder"),
    "B19 absolute path": (named('"/etc/x"'), "arm./etc/x.name", "cannot name a folder"),
    "B19 subfolder": (named('"a/b"'), "arm.a/b.name", "cannot name a folder"),
    "B19 empty": (named('""'), "arm..name", "cannot name a folder"),
    "B19 long": (named('"' + 300 * "x" + '"'), "arm.1.name", "cannot name a folder"),
    "B19 zero byte": (named('"a\\u0000b"'), "arm.1.name", "cannot name a folder"),
    "B19 the same but for case": (named('"A"') + named('"a"'), "arm.a.name", "is used twice (A, a)"),
}


def refused(capsys: pytest.CaptureFixture, arguments: list[str]) -> str:
    """The only line that a refused command prints."""
    assert main(arguments) == ExitCode.REJECTED_INPUT
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ") and printed.err.endswith("\n")
    assert printed.err.count("\n") == 1
    return printed.err


@pytest.mark.parametrize("case", CASES)
def test_bad_scenario_is_refused_in_one_line(case: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    content, key, words = CASES[case]
    path = tmp_path / "case.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    line = refused(capsys, ["run", str(path), "-o", str(tmp_path / "out")])
    assert line.startswith("error: case.toml: ")
    assert key in line and words in line
    assert not (tmp_path / "out").exists()


def test_b20_output_that_cannot_be_written_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture):
    path = tmp_path / "case.toml"
    path.write_text("[grid]\nspacing_um = 40\n")
    (tmp_path / "taken").write_text("")
    (tmp_path / "dangling").symlink_to("nowhere")
    for output, words in (
        ("taken", "taken is a file, not a folder"),
        ("taken/inside", "taken is a file, not a folder"),
        ("dangling", "dangling is a link to nothing"),
        ("missing/mount/out", "does not exist (not mounted?)"),
    ):
        assert words in refused(capsys, ["run", str(path), "-o", str(tmp_path / output)])
    assert "is not writable" in refused(capsys, ["run", str(path), "-o", "/proc/hepatojax"])
    assert not (tmp_path / "missing").exists()


def test_file_that_is_no_scenario_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture):
    deep = tmp_path / "deep.toml"
    deep.write_text("[run]\nend_h = " + 20_000 * "[" + "\n")
    tables = tmp_path / "tables.toml"
    tables.write_text("[" + "a." * 5_000 + "a]\n")
    digits = tmp_path / "digits.toml"
    digits.write_text("[run]\nend_h = " + 5_000 * "9" + "\n")
    large = tmp_path / "large.toml"
    large.write_text("#" * 2_000_000)
    for path, words in (
        (deep, "brackets are nested too deeply"),
        (tables, "a: is nested deeper than 16 levels"),
        (digits, "run.end_h: the integer in line 2 has too many digits"),
        (large, "is larger than 1000 kB"),
        (tmp_path, "is not a regular file"),
        (tmp_path / "missing.toml", "no such file"),
    ):
        assert words in refused(capsys, ["run", str(path), "-o", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_all_problems_of_a_file_are_listed_at_once(tmp_path: Path, capsys: pytest.CaptureFixture):
    path = tmp_path / "case.toml"
    path.write_text('[grid]\nspcing_um = 10\n[run]\nend_h = "72"\n[parameters]\n"oxygen.p5O_mmHg" = 27.0\n')
    assert main(["check", str(path)]) == ExitCode.REJECTED_INPUT
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("error: case.toml: ") for line in lines)
    assert any("parameters.oxygen.p5O_mmHg: unknown parameter, did you mean oxygen.p50_mmHg?" in line for line in lines)


def test_wrong_command_line_is_refused_in_one_line():
    for arguments in ([], ["fly"], ["run"], ["run", "case.toml", "--device", "tpu"]):
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors), pytest.raises(SystemExit) as leaving:
            main(arguments)
        assert leaving.value.code == ExitCode.REJECTED_INPUT
        assert errors.getvalue().startswith("error: ") and errors.getvalue().count("\n") == 1


def test_refusal_and_help_import_neither_jax_nor_numpy(tmp_path: Path):
    path = tmp_path / "case.toml"
    path.write_text(f"[patient]\nbody_mass_kg = 300\n[parameters]\n{DIFFUSIVITY} = 1.8e-5\n")
    program = (
        "import contextlib, io, sys\n"
        "from hepatojax.cli.main import main\n"
        "with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):\n"
        "    with contextlib.suppress(SystemExit):\n"
        "        main(['--help'])\n"
        f"    assert main(['run', {str(path)!r}, '-o', {str(tmp_path / 'out')!r}]) == 2\n"
        "heavy = {'jax', 'numpy', 'h5py', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
