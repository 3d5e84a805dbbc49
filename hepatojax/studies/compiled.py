"""Compiled derivatives that a later process finds again, without tracing them.

JAX keeps compiled programs too, and finds one by its lowered text. To trace and lower the gradient of a run takes twice
as long as to load it; what is differentiated is traced in a tenth of that (measured). With the code of this package
and of JAX it decides what its derivative is, so a derivative is kept under the text of the function that it is of.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jax.experimental.serialize_executable import deserialize_and_load, serialize
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from hepatojax.presets import digest

REFUSALS = (  # of XLA to save or load a program, and of pickle to read one that other libraries have written
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    ImportError,
    LookupError,
    EOFError,
    pickle.PickleError,
)
WITHOUT_EFFECT = ("cache", "log", "platforms", "pprint", "dump", "traceback", "explain")  # settings of JAX so called


@runtime_checkable
class Programs(Protocol):
    """Where compiled programs are kept between processes, for one code, one JAX and one kind of machine."""

    def load(self, key: str) -> bytes | None:
        """The program kept under a key.

        Args:
            key: as it was given to `save`.

        Returns:
            Its bytes, or None where nothing is kept.
        """
        ...

    def save(self, key: str, program: bytes) -> None:
        """Keep a program under a key.

        Args:
            key: text that says all it depends on but code, versions and machine.
            program: its bytes.
        """
        ...

    def compiling(self) -> AbstractContextManager[None]:
        """Surrounds the compilation of a program that is to be saved; JAX may not take it from its own cache there."""
        ...


class Compiled:
    """A function that is compiled once for each kind of arguments, or taken from where it was kept.

    Args:
        function: to be compiled; made by code of this package out of what `of` computes, as a derivative is.
        of: what identifies the function, of the same arguments; cheap to trace. Rules of differentiation in it are told
            apart by the code of this package; JAX gives their names only, so that those from elsewhere are not.
        name: tells functions apart that are made out of one `of`.
        programs: where programs are kept; None leaves everything to JAX.
        options: of the compiler.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        of: Callable[..., Any],
        name: str,
        programs: Programs | None = None,
        options: Mapping[str, Any] | None = None,
    ):
        self._of, self._name, self._programs = of, name, programs
        self._options = dict(options or {})
        self._jitted = jax.jit(function, compiler_options=self._options or None)
        self._ready: dict[Any, Callable[..., Any]] = {}

    def __call__(self, *arguments: Any) -> Any:
        """What the function gives of some arguments."""
        return self.program(*arguments)(*arguments)

    def program(self, *arguments: Any) -> Callable[..., Any]:
        """The program for arguments like these; where they lie on several devices it is left to JAX.

        Args:
            arguments: of the function.

        Returns:
            A compiled program; `jax.jit` of the function where none is kept.
        """
        if self._programs is None or not _on_first_device(arguments):
            return self._jitted
        kind = _kind(arguments)
        if kind not in self._ready:
            self._ready[kind] = self._kept(self._programs, arguments, kind)
        return self._ready[kind]

    def _kept(self, programs: Programs, arguments: tuple, kind: Any) -> Callable[..., Any]:
        key = "\n".join([self._name, _identity(self._of, arguments), repr(kind), repr(self._options), _surroundings()])
        found = programs.load(key)
        if found is not None:
            try:
                return deserialize_and_load(*pickle.loads(found), execution_devices=jax.devices()[:1])
            except REFUSALS as error:
                _warn("a kept program cannot be loaded and is compiled again", error)
        with programs.compiling():
            program = self._jitted.lower(*arguments).compile()
        try:
            data = pickle.dumps(serialize(program))
        except REFUSALS as error:
            _warn("a program cannot be kept, a later start compiles it again", error)
        else:
            programs.save(key, data)
        return program


def _warn(what: str, error: Exception) -> None:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    warnings.warn(f"{what}: {reason}", stacklevel=5)


def _kind(arguments: tuple) -> tuple[Any, tuple]:
    """What a program is compiled for: structure with its static entries, shapes and types."""
    leaves, structure = jax.tree.flatten(arguments)
    return structure, tuple(jax.typeof(leaf) for leaf in leaves)


def _identity(function: Callable[..., Any], arguments: tuple) -> str:
    """A traced function as text, with the digest of the arrays in it, of which the text shows no values."""
    traced = jax.make_jaxpr(function)(*arguments)
    return f"{traced.pretty_print(use_color=False)}\n{digest(list(_constants(traced)))}"


def _constants(part: Any) -> Iterator[np.ndarray]:
    """Arrays that stand in a traced function, however deep."""
    if isinstance(part, ClosedJaxpr):
        yield from map(np.asarray, part.consts)
        yield from _constants(part.jaxpr)
    elif isinstance(part, Jaxpr):
        inner = (value for equation in part.eqns for value in (*equation.invars, *equation.params.values()))
        yield from _constants((*inner, *part.outvars))
    elif isinstance(part, (tuple, list)):
        for each in part:
            yield from _constants(each)
    elif isinstance(part, Literal):
        yield np.asarray(part.val)
    elif isinstance(part, np.ndarray):
        yield part


def _surroundings() -> str:
    """Device, and every setting of JAX but those that change no program."""
    device, every = jax.devices()[0], jax.config.values
    settings = {name: every[name] for name in every if not any(word in name for word in WITHOUT_EFFECT)}
    return f"{device.platform} {device.device_kind} {device.client.platform_version} {jax.device_count()} {settings}"


def _on_first_device(arguments: tuple) -> bool:
    first = {jax.devices()[0]}
    return all(leaf.devices() == first for leaf in jax.tree.leaves(arguments) if isinstance(leaf, jax.Array))
