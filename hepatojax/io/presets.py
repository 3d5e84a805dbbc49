"""Chronic start states kept between runs, for one scenario, one code and one set of numbers.

A state lies in a folder of its own as a checkpoint of `hepatojax.io.snapshots`. The folder is named after its key and
the package's own source, so what other code or other numbers have made is never found. Old folders are not removed.
"""

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

    Args:
        folder: made when the first state is saved.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._code = code_hash()
        self._unsaved: dict[str, dict[str, np.ndarray]] = {}
        self._warned = False

    def load(self, key: str) -> dict[str, Any] | None:
        """The state kept under a key, or None.

        Args:
            key: the text that it was saved under.

        Returns:
            Name -> array as it was saved. A damaged file is set aside as `.bad`, and counts as nothing kept.
        """
        place = self._place(key)
        try:
            kept = newest_checkpoint(place) if place.is_dir() else None
        except OSError as error:
            self._warn(error)
            kept = None
        return self._unsaved.get(key) if kept is None else kept.tree

    def save(self, key: str, state: dict[str, np.ndarray]) -> None:
        """Keep a state under a key, durably; where the disk refuses, for this process, with one warning.

        Args:
            key: text that says everything the state depends on but the code.
            state: name -> array, kept bit for bit.
        """
        place = self._place(key)
        try:
            place.mkdir(parents=True, exist_ok=True)
            write_checkpoint(place, 0, state, {"key": key})
        except OSError as error:
            self._unsaved[key] = state
            self._warn(error)

    def _warn(self, error: OSError) -> None:
        """Say once for the whole folder that it cannot be used; the run goes on."""
        if not self._warned:
            reason = error.strerror or str(error).splitlines()[0]
            message = f"{self._folder}: {reason}; start states are not kept, a later run computes them again"
            warnings.warn(message, stacklevel=3)
        self._warned = True

    def _place(self, key: str) -> Path:
        """The folder of a key: 32 digits of the SHA-256 of key and code, a name that fits any file system."""
        return self._folder / sha256(key + self._code)[:32]


def code_hash(suffixes: tuple[str, ...] = (".py", ".toml"), without: tuple[str, ...] = ()) -> str:
    """SHA-256 of the source and the numbers of the package, so that nothing kept outlives the code that made it.

    Args:
        suffixes: of the files that count; numbers are in the `.toml` ones.
        without: folders of the package that do not count.

    Returns:
        64 hexadecimal digits over the bytes of every such file of the package, in the order of their paths.
    """
    digest = hashlib.sha256()
    root = Path(str(resources.files("hepatojax")))
    for path in sorted(p for p in root.rglob("*") if p.suffix in suffixes):
        if path.relative_to(root).parts[0] not in without:
            digest.update(path.read_bytes())
    return digest.hexdigest()
