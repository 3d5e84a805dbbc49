"""Fields that the compiler computes once and keeps, instead of anew for everything that reads them.

XLA fuses pointwise work into each of its readers. A chain of mechanisms with many readers is then computed many times
over, in a reverse pass together with all that its derivative needs: half of the pointwise work of a gradient was that,
and a quarter of its compilation (measured). An optimisation barrier says what is wanted. On a CPU XLA drops it before
it fuses; there the fields pass through a call of a function that returns them and must not be inlined. Nothing is fused
across a call, and it copies nothing and needs no kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array


def computed_once(fields: Any) -> Any:
    """The same fields, computed once and kept; their tangents and cotangents too.

    Args:
        fields: an array or a pytree of arrays, kept together; scalars and plain numbers are left alone.

    Returns:
        The same pytree with the same values, unit and shape of every leaf.
    """
    return _with(fields, forward=True)


def cotangents_computed_once(fields: Any) -> Any:
    """The same fields, of which a reverse pass keeps the cotangents; forward they are fused as if this was not there.

    It is for what few read on the way forward, but whose cotangents go on to many: the answer of a transposed solve
    would be scaled and checked anew in each of the fields that it is multiplied with.

    Args:
        fields: as in `computed_once`.

    Returns:
        The same pytree with the same values, unit and shape of every leaf.
    """
    return _with(fields, forward=False)


def _with(fields: Any, *, forward: bool) -> Any:
    leaves, structure = jax.tree.flatten(fields)
    kept = iter(_keep([leaf for leaf in leaves if jnp.ndim(leaf)], forward))
    return jax.tree.unflatten(structure, [next(kept) if jnp.ndim(leaf) else leaf for leaf in leaves])


def _keep(fields: Sequence[Array], forward: bool) -> Sequence[Array]:
    return _kept.bind(*fields, forward=forward) if fields else []


@jax.jit
def _unchanged(*fields: Array) -> Sequence[Array]:
    return fields


def _through_a_call(*fields: Array, forward: bool) -> Sequence[Array]:
    if not forward:
        return fields
    with set_xla_metadata(inlineable="false"):
        return _unchanged(*fields)


def _behind_a_barrier(*fields: Array, forward: bool) -> Sequence[Array]:
    return lax.optimization_barrier(fields) if forward else fields


def _kept_jvp(
    fields: Sequence[Array], tangents: Sequence[Any], *, forward: bool
) -> tuple[Sequence[Array], Sequence[Any]]:
    """Tangents are kept if their fields are, for they have as many readers."""
    return _kept.bind(*fields, forward=forward), _but_zeros(tangents, forward)


def _kept_transpose(cotangents: Sequence[Any], *_: Any, forward: bool) -> Sequence[Any]:
    """Cotangents of the operands, kept in either case; JAX wants None for one that is known to be zero."""
    return [None if isinstance(t, ad.Zero) else t for t in _but_zeros(cotangents, forward=True)]


def _but_zeros(tangents: Sequence[Any], forward: bool) -> Sequence[Any]:
    """Tangents or cotangents, kept where they are not known to be zero."""
    present = [t for t in tangents if not isinstance(t, ad.Zero)]
    kept = iter(_keep(present, forward))
    return [t if isinstance(t, ad.Zero) else next(kept) for t in tangents]


_kept = Primitive("computed_once")
_kept.multiple_results = True
_kept.def_impl(lambda *fields, forward: fields)
_kept.def_abstract_eval(lambda *fields, forward: fields)
ad.primitive_jvps[_kept] = _kept_jvp
ad.primitive_transposes[_kept] = _kept_transpose
batching.primitive_batchers[_kept] = lambda fields, places, forward: (_kept.bind(*fields, forward=forward), places)
mlir.register_lowering(_kept, mlir.lower_fun(_behind_a_barrier, multiple_results=True))
mlir.register_lowering(_kept, mlir.lower_fun(_through_a_call, multiple_results=True), platform="cpu")
