"""Verbs about the program itself: verify, validate, doctor.

A check prints `pass` or `FAIL`, its id, and what was measured with its unit and bound, as soon as it is done. The exit
code is 0 if all pass and 1 if any fails; --json writes the same records, once all have run.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hepatojax.cli.options import add_device
from hepatojax.cli.output import lasting
from hepatojax.status import ExitCode, HepatojaxError, OutputError

if TYPE_CHECKING:
    from hepatojax.checks.records import Check


class UnknownCheckError(HepatojaxError):
    """An `--only` that matches no check. Exit code 2."""


def register(verbs: Any) -> None:
    """Add the verbs to the command line."""
    suites = (
        ("verify", "check the solver against exact solutions on this machine", verify_solver),
        ("validate", "compare the model with published experiments", validate_model),
    )
    for name, purpose, action in suites:
        suite = verbs.add_parser(name, help=purpose)
        suite.add_argument("--json", type=Path, metavar="FILE", help="write the records to a file")
        suite.add_argument("--only", metavar="TEXT", default="", help="only checks whose id holds this text")
        add_device(suite)
        suite.set_defaults(action=action)
    doctor = verbs.add_parser("doctor", help="print versions, device and folders, for a bug report")
    add_device(doctor)
    doctor.set_defaults(action=print_versions)


def verify_solver(options: argparse.Namespace) -> ExitCode:
    """Run the verification checks and print each observed order or error beside its bound.

    Args:
        options: json, only, device, require_gpu.

    Returns:
        DONE, or MEMBERS_FAILED where a check fails.
    """
    from hepatojax.cli.device import prepare_jax

    require_file(options.json)
    print(prepare_jax(options.device, options.require_gpu))
    from hepatojax.checks.verify import CHECKS

    return _run_suite(CHECKS, options)


def validate_model(options: argparse.Namespace) -> ExitCode:
    """Run the published experiments and print each number of the model beside its band.

    Args:
        options: json, only, device, require_gpu.

    Returns:
        DONE, or MEMBERS_FAILED where a number lies outside its band.
    """
    from hepatojax.cli.device import prepare_jax

    require_file(options.json)
    print(prepare_jax(options.device, options.require_gpu))
    from hepatojax.checks.validate import CHECKS

    return _run_suite(CHECKS, options)


def _run_suite(checks: Iterable[Check], options: argparse.Namespace) -> ExitCode:
    """Every check that is chosen, whether or not anybody reads to the end."""
    with lasting("stdout"):
        return _run_each(checks, options)


def _run_each(checks: Iterable[Check], options: argparse.Namespace) -> ExitCode:
    """Run and print one check after the other, then write the file, then count."""
    from hepatojax.checks.records import run_checks, write_json

    records = []
    for record in run_checks(chosen(checks, options.only)):
        records.append(record)
        verdict = "pass" if record.passed else "FAIL"
        print(
            f"{verdict}  {record.id:32} {record.quantity}: {record.value:.3g} {record.unit} ({record.accept})",
            flush=True,
        )
    if options.json:
        write_json(records, options.json)
    failed = sum(not record.passed for record in records)
    print(f"{len(records) - failed} of {len(records)} checks passed")
    return ExitCode.MEMBERS_FAILED if failed else ExitCode.DONE


def chosen(checks: Iterable[Check], only: str) -> list[Check]:
    """The checks whose id holds a text.

    Args:
        checks: in the order in which they are to run.
        only: part of an id, capitals count; empty for all.

    Raises:
        UnknownCheckError: there is none; with the ids that exist.
    """
    checks = list(checks)
    found = [check for check in checks if only in check.id]
    if not found:
        known = ", ".join(dict.fromkeys(check.id for check in checks))
        raise UnknownCheckError(f"--only {only!r} matches no check; known are {known}")
    return found


def require_file(path: Path | None) -> None:
    """Refuse a file that cannot be written, before the work whose result it is for.

    Args:
        path: of --json; a file that exists will be overwritten; None asks for nothing.

    Raises:
        OutputError: which path is at fault.
    """
    if path is None:
        return
    if path.exists() and not path.is_file():
        raise OutputError(f"--json {path}: is not a regular file")
    if not path.parent.is_dir():
        raise OutputError(f"--json {path}: there is no folder {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise OutputError(f"--json {path}: is not writable")


def print_versions(options: argparse.Namespace) -> ExitCode:
    """Print what a bug report needs.

    Args:
        options: device, require_gpu.

    Returns:
        DONE, after a line for each entry of the provenance and one for the folder of compiled programs.
    """
    from hepatojax.cli.device import cache_folder, prepare_jax
    from hepatojax.io.provenance import provenance

    device = prepare_jax(options.device, options.require_gpu)
    for name, text in provenance(device=device).items():
        print(f"{name:24} {text}")
    print(f"{'compiled programs':24} {cache_folder()}")
    return ExitCode.DONE
