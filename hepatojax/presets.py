"""What a run may take from an earlier one: long preparations, kept under a key that says all they depend on.

The rest of a lobule and a chronic start are long to compute and the same for every arm and dose. What is kept is a flat
table of arrays, so that the place (`hepatojax.io.presets`) needs to know nothing of the model; that arrays do not
outlive the code that made them is the business of the place, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

Tree = TypeVar("Tree")


@runtime_checkable
class Presets(Protocol):
    """Where preparations are kept between runs."""

    def load(self, key: str) -> dict[str, Any] | None:
        """The arrays kept under a key.

        Args:
            key: as it was given to `save`.

        Returns:
            name -> array, or None where nothing is kept.
        """
        ...

    def save(self, key: str, state: dict[str, np.ndarray]) -> None:
        """Keep arrays under a key.

        Args:
            key: text that says all they depend on but the code.
            state: name -> array.
        """
        ...


def kept(presets: Presets | None, key: str, like: Tree, compute: Callable[[], Tree]) -> Tree:
    """What is kept under a key, or what is computed and kept now.

    Args:
        presets: None computes always.
        key: all that the result depends on, as text, but for the code.
        like: a tree of the same names and dtypes; its values are not used.
        compute: the tree, called where nothing is kept.

    Returns:
        The tree, with the structure of `like` when it was kept.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    names = [jax.tree_util.keystr(path, simple=True, separator=" ") for path, _ in leaves]
    found = presets.load(key) if presets else None
    if found is not None:
        return jax.tree.unflatten(
            structure, [jnp.asarray(found[name], leaf.dtype) for name, (_, leaf) in zip(names, leaves, strict=True)]
        )
    tree = compute()
    if presets:
        presets.save(key, dict(zip(names, map(np.asarray, jax.tree.leaves(tree)), strict=True)))
    return tree


def digest(tree: Any) -> str:
    """SHA-256 of a tree: its structure with all static entries, its arrays with their shapes and dtypes.

    Args:
        tree: of concrete arrays, as a lobule.

    Returns:
        The digest in hexadecimal; a single changed bit of an array changes it.
    """
    leaves, structure = jax.tree.flatten(tree)
    total = hashlib.sha256(repr(structure).encode())
    for leaf in leaves:
        values = np.ascontiguousarray(leaf)
        total.update(f"{values.shape} {values.dtype}".encode())
        total.update(values.tobytes())
    return total.hexdigest()
