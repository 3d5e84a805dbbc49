"""Where a result comes from: versions, source revision, machine class, flags, scenario and parameters.

The entries are text. They stand in the group `provenance` of each result file and in the JSON records of a study: the
disclaimer, and the scenario whole beside its hash, so that a file says itself what was asked. The machine is told by
its class, not by its name. Nothing here may stop a run: what cannot be known is empty or "not installed".

Reference: RELIABILITY 2.3.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

DISCLAIMER = "Research software; not a medical device; not for diagnosis, dosing or any clinical decision."
PACKAGES = ("hepatojax", "jax", "jaxlib", "numpy", "scipy", "h5py", "pydantic")
SCHEMA_VERSION = "1"
UNKNOWN = "+unknown"
SOURCE_TREE = Path(__file__).resolve().parents[2]
_FLAG_PREFIXES = ("JAX_", "XLA_", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
_GIT_TIMEOUT_S = 5.0
_DIGITS_OF_CHANGES = 12


def provenance(
    *,
    scenario_text: str = "",
    parameters_hash: str = "",
    device: str = "",
    precision: str = "",
    command: str = "",
) -> dict[str, str]:
    """Everything that is needed to make a result again, as text.

    Args:
        scenario_text: resolved scenario in TOML.
        parameters_hash: SHA-256 of the resolved registry values.
        device: the line that `hepatojax.cli.device.prepare_jax` returns.
        precision: of fields on the grid, "float32" or "float64".
        command: how the program was called.

    Returns:
        name -> text; names are fit for datasets of the provenance group. Times are UTC in ISO 8601, and `flags` holds
        the environment variables that steer JAX, XLA, devices and threads.

    Reference: RELIABILITY 2.3.
    """
    return {
        "disclaimer": DISCLAIMER,
        "schema_version": SCHEMA_VERSION,
        "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        **{f"version_{name}": _version(name) for name in PACKAGES},
        "version_python": platform.python_version(),
        "source_revision": source_revision(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "device": device,
        "precision": precision,
        "flags": " ".join(f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith(_FLAG_PREFIXES)),
        "scenario": scenario_text,
        "scenario_sha256": sha256(scenario_text),
        "parameters_sha256": parameters_hash,
    }


def sha256(text: str) -> str:
    """SHA-256 of a text in UTF-8, in hexadecimal.

    Args:
        text: such as a resolved scenario; its line ends count.

    Returns:
        64 digits.
    """
    return hashlib.sha256(text.encode()).hexdigest()


def source_revision(root: Path = SOURCE_TREE) -> str:
    """Git commit of the source tree, with "+changes.HASH" if files differ from it; empty for an installed package.

    Args:
        root: of the tree; that of this package by default.

    Returns:
        40 digits; files that git does not track are no change. HASH is the beginning of the SHA-256 of the difference.
        "+unknown" follows where git knows the commit but fails or is slow to compare; empty where it is missing.

    Reference: RELIABILITY 2.3.
    """
    commit = _git(root, "rev-parse", "HEAD") if (root / ".git").exists() else None
    return f"{commit.decode().strip()}{_changes(root)}" if commit else ""


def same_revision(one: str, other: str) -> bool:
    """Whether two source revisions may be the same program: what is not known of them does not tell them apart.

    Args:
        one: of `source_revision`.
        other: the same.

    Returns:
        False only where both commits are known and differ, or both differences from one commit are.
    """
    if one.endswith(UNKNOWN) or other.endswith(UNKNOWN):
        one, other = one.partition("+")[0], other.partition("+")[0]
    return not (one and other) or one == other


def _changes(root: Path) -> str:
    """What tells a tree from its commit; empty for one without changes."""
    difference = _git(root, "diff", "--binary", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD")
    if difference is None:
        return UNKNOWN
    return f"+changes.{hashlib.sha256(difference).hexdigest()[:_DIGITS_OF_CHANGES]}" if difference else ""


def _git(root: Path, *arguments: str) -> bytes | None:
    """Output of a git command; None where git is missing, slow or refuses."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, timeout=_GIT_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _version(package: str) -> str:
    """Version of an installed distribution; what is missing is said in words, for a bug report."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
