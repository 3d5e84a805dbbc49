"""Fields that the compiler computes once and keeps, instead of anew for everything that reads them.

XLA fuses pointwise work into each of its readers. A chain of mechanisms with many readers is then computed many times
over, in a reverse pass together with all that its derivative needs: half of the pointwise work of a gradient was that,
and a quarter of its compilation (measured). An optimisation barrier says what is wanted. On a CPU XLA drops it before
it fuses; there a loop stands in its place, across which nothing is fused and which copies nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

_SIGNALLING = {4: (jnp.uint32, 0x7FA5A5A5), 8: (jnp.uint64, 0x7FF5A5A5A5A5A5A5)}  # a NaN that arithmetic never makes


def computed_once(fields: Any) -> Any:
    """The same fields, computed once and kept; their tangents and cotangents too.

    Args:
        fields: an array or a pytree of arrays, kept together; scalars and plain numbers are left alone.

    Returns:
        The same pytree with the same values, unit and shape of every leaf.
    """
    leaves, structure = jax.tree.flatten(fields)
    kept = iter(_keep([leaf for leaf in leaves if jnp.ndim(leaf)]))
    return jax.tree.unflatten(structure, [next(kept) if jnp.ndim(leaf) else leaf for leaf in leaves])


def _keep(fields: Sequence[Array]) -> Sequence[Array]:
    return _kept.bind(*fields) if fields else []


def _behind_a_loop(*fields: Array) -> Sequence[Array]:
    """The fields through a loop that never runs: no arithmetic gives the pattern of bits it waits for."""
    bits, pattern = _SIGNALLING[fields[0].dtype.itemsize]

    def met(fields: Sequence[Array]) -> Array:
        first = fields[0]
        return lax.bitcast_convert_type(first[(0,) * first.ndim], bits) == bits(pattern)

    return lax.while_loop(met, lambda fields: tuple(jnp.full_like(f, jnp.nan) for f in fields), fields)


def _kept_jvp(fields: Sequence[Array], tangents: Sequence[Any]) -> tuple[Sequence[Array], Sequence[Any]]:
    """Tangents are kept as their fields are, for they have as many readers."""
    return _kept.bind(*fields), _but_zeros(tangents)


def _kept_transpose(cotangents: Sequence[Any], *_: Any) -> Sequence[Any]:
    """Cotangents of the operands; JAX wants None for one that is known to be zero."""
    return [None if isinstance(t, ad.Zero) else t for t in _but_zeros(cotangents)]


def _but_zeros(tangents: Sequence[Any]) -> Sequence[Any]:
    """Tangents or cotangents, kept where they are not known to be zero."""
    present = [t for t in tangents if not isinstance(t, ad.Zero)]
    kept = iter(_keep(present))
    return [t if isinstance(t, ad.Zero) else next(kept) for t in tangents]


_kept = Primitive("computed_once")
_kept.multiple_results = True
_kept.def_impl(lambda *fields: fields)
_kept.def_abstract_eval(lambda *fields: fields)
ad.primitive_jvps[_kept] = _kept_jvp
ad.primitive_transposes[_kept] = _kept_transpose
batching.primitive_batchers[_kept] = lambda fields, places: (_kept.bind(*fields), places)
mlir.register_lowering(_kept, mlir.lower_fun(lambda *f: lax.optimization_barrier(f), multiple_results=True))
mlir.register_lowering(_kept, mlir.lower_fun(_behind_a_loop, multiple_results=True), platform="cpu")
