"""The cell product: how many of its cells live, and how strong each of its pathways is.

Potencies are relative to bone-marrow MSC of the median batch, one for each pathway, since sources and batches differ
in each. The spread between batches is one factor on all of them, so that a study may draw a batch as one number.
"""

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
    """What is infused; every entry is differentiable.

    Attributes:
        viability: share of living cells [-]; all cells carry the label and can block a sinusoid.
        potency_hgf: secretion of HGF in the median batch, relative to bone-marrow MSC [-].
        potency_vegf: secretion of VEGF, likewise [-].
        potency_education: education of phagocytes and induction of regulation by dying cells, likewise [-].
        potency_contact: switch of macrophages by contact, likewise [-].
        homing: factor on the share of released cells that the liver catches [-].
        licensed: licensing before infusion, 0..1 [-].
        diameter_um: of a cell in suspension [um].
        batch: place of the batch [standard deviations of log potency].
        batch_spread: geometric standard deviation of potency between batches, > 1 [-].
        sinusoid_diameter_um: diameter of a sinusoid, which half of the cells as wide as it block [um].
        plugging_exponent: steepness of that share in the diameter of the cell [-].
    """

    viability: Scalar
    potency_hgf: Scalar
    potency_vegf: Scalar
    potency_education: Scalar
    potency_contact: Scalar
    homing: Scalar
    licensed: Scalar
    diameter_um: Scalar
    batch: Scalar
    batch_spread: Scalar
    sinusoid_diameter_um: Scalar
    plugging_exponent: Scalar

    def potencies(self) -> dict[str, Scalar]:
        """Potency of every pathway in this batch, f g^z, f that of the median batch, g its spread, z its place.

        Returns:
            "potency_hgf", "potency_vegf", "potency_education", "potency_contact" -> value [-], as mechanisms read them.

        Reference: PARAMETERS S20.
        """
        names = ("potency_hgf", "potency_vegf", "potency_education", "potency_contact")
        return {name: getattr(self, name) * self.batch_spread**self.batch for name in names}

    @property
    def plugging(self) -> Float[Array, ""]:
        """Share of the cells caught in the liver that block a sinusoid, H(diameter, sinusoid diameter, n).

        Returns:
            The share [-], 1/2 for a cell as wide as a sinusoid.

        Reference: PARAMETERS section 0, finding 6.
        """
        return hill(self.diameter_um, self.sinusoid_diameter_um, self.plugging_exponent)


def cell_product(spec: ProductSpec, subject: Mapping[str, Any]) -> CellProduct:
    """The product of a scenario, with the factor of its source on the secretion of HGF.

    Args:
        spec: of the scenario.
        subject: registry subject `product` of the scenario, which holds its diameter.

    Returns:
        The product; shares, potencies and batch [-] are those of the scenario, diameters [um] those of the registry.

    Raises:
        ValueError: the source is unknown.

    Reference: PARAMETERS S1, S20 and section 0, finding 6.
    """
    sources = subject["hgf_by_source"]
    if spec.source not in sources:
        raise ValueError(f"product source {spec.source!r} is not one of {', '.join(sources)}")
    return CellProduct(
        viability=spec.viability,
        potency_hgf=spec.potency_hgf * sources[spec.source],
        potency_vegf=spec.potency_vegf,
        potency_education=spec.potency_education,
        potency_contact=spec.potency_contact,
        homing=spec.homing,
        licensed=spec.licensed,
        diameter_um=subject["diameter_um"],
        batch=spec.batch,
        batch_spread=subject["batch_spread"],
        sinusoid_diameter_um=subject["sinusoid_diameter_um"],
        plugging_exponent=subject["plugging_exponent"],
    )
