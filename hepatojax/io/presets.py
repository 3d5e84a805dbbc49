"""Chronic start states kept between runs, for one scenario, one code and one set of numbers."""

from __future__ import annotations

import hashlib
import warnings
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from hepatojax.io.provenance import sha256
from hepatojax.io.snapshots import newest_checkpoint, write_checkpoint


class PresetFolder:
    """A folder of start states, one for each key; a key from other code or other numbers finds nothing.

    A folder that cannot be used costs time and nothing else: it is warned of once, and states last for the process.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._code = code_hash()
        self._unsaved: dict[str, dict[str, np.ndarray]] = {}
        self._warned = False

    def load(self, key: str) -> dict[str, Any] | None:
        """The state kept under a key, or None."""
        place = self._place(key)
        try:
            kept = newest_checkpoint(place) if place.is_dir() else None
        except OSError as error:
            self._warn(error)
            kept = None
        return self._unsaved.get(key) if kept is None else kept.tree

    def save(self, key: str, state: dict[str, np.ndarray]) -> None:
        """Keep a state under a key.

        Args:
            key: text that says everything the state depends on but the code.
            state: name -> array.
        """
        place = self._place(key)
        try:
            place.mkdir(parents=True, exist_ok=True)
            write_checkpoint(place, 0, state, {"key": key})
        except OSError as error:
            self._unsaved[key] = state
            self._warn(error)

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            reason = error.strerror or str(error).splitlines()[0]
            message = f"{self._folder}: {reason}; start states are not kept, a later run computes them again"
            warnings.warn(message, stacklevel=3)
        self._warned = True

    def _place(self, key: str) -> Path:
        return self._folder / sha256(key + self._code)[:32]


def code_hash() -> str:
    """SHA-256 of the source and the numbers of the package, so that no state outlives the code that made it."""
    digest = hashlib.sha256()
    root = Path(str(resources.files("hepatojax")))
    for path in sorted(p for p in root.rglob("*") if p.suffix in (".py", ".toml")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
