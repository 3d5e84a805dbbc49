"""The cell product: how many of its cells live, and how strong each of its pathways is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxtyping import Array, Float

from hepatojax.mechanism import pytree
from hepatojax.numerics.safe_math import hill
from hepatojax.scenario import ProductSpec

Scalar = float | Float[Array, ""]


@pytree
class CellProduct:
    """What is infused.

    viability: share of living cells [-]; all cells carry the label. potency_*: strength of a pathway relative to
    bone-marrow MSC [-]. homing: factor on the share of released cells that the liver catches [-]. plugging: share of
    the cells caught in the liver that block a sinusoid [-].
    """

    viability: Scalar
    potency_hgf: Scalar
    potency_vegf: Scalar
    potency_education: Scalar
    potency_contact: Scalar
    homing: Scalar
    plugging: Scalar


def cell_product(spec: ProductSpec, subject: Mapping[str, Any]) -> CellProduct:
    """The product of a scenario, with the factors of its source.

        plugging = H(diameter, sinusoid diameter, n)

    Args:
        spec: of the scenario. subject: registry subject `product`.

    Raises:
        ValueError: the source is unknown.

    Reference: PARAMETERS S1, S20 and section 0, finding 6.
    """
    sources = subject["hgf_by_source"]
    if spec.source not in sources:
        raise ValueError(f"product source {spec.source!r} is not one of {', '.join(sources)}")
    diameter = subject["diameter_um"] if spec.diameter_um is None else spec.diameter_um
    return CellProduct(
        viability=spec.viability,
        potency_hgf=spec.potency_hgf * sources[spec.source],
        potency_vegf=spec.potency_vegf,
        potency_education=spec.potency_education,
        potency_contact=spec.potency_contact,
        homing=spec.homing,
        plugging=float(hill(diameter, subject["sinusoid_diameter_um"], subject["plugging_exponent"])),
    )
