"""Stellate cells and the matrix they lay down: fresh collagen, crosslinked collagen, and their degradation.

Collagen has two pools because new scar is resorbed in months and old, crosslinked scar in years. Constants of rest
(`hepatojax.biology.rest`) hold the stellate cells and the collagen of healthy tissue at `rest_stellate` and
`rest_collagen`, whatever the signals of its place are.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from hepatojax.mechanism import Fields, FieldSpec, Rates, Transfer, algebraic, pytree, slow
from hepatojax.numerics.safe_math import hill
from hepatojax.parameters.registry import Scalar


@pytree
class MatrixParameters:
    """Registry subject `matrix`; rates are per hour inside."""

    activation_rate: Scalar  # [1/h]
    activation_tgf_half_saturation: Scalar  # [nM]
    activation_tgf_exponent: Scalar  # [-]
    activation_tnf: Scalar  # [-]
    activation_debris: Scalar  # [-]
    activation_inflammation: Scalar  # [-]
    deactivation_rate: Scalar  # [1/h]
    deactivation_m2_gain: Scalar  # [-]
    rest_stellate: Scalar  # [-]
    myofibroblast_share: Scalar  # [-]
    myofibroblast_loss_rate: Scalar  # [1/h]
    stellate_density: Scalar  # [cells/mm3], subject `cells`
    rest_collagen: Scalar  # [-]
    deposition_tgf_gain: Scalar  # [-]
    deposition_tgf_half_saturation: Scalar  # [nM]
    fresh_degradation_rate: Scalar  # [1/h]
    crosslink_rate: Scalar  # [1/h]
    crosslinked_degradation_rate: Scalar  # [1/h]
    mmp_m2: Scalar  # [-]
    mmp_msc: Scalar  # [-]


FIELDS = (
    FieldSpec("stellate", "-", "voxel", "state", "activated share of stellate cells", high=1.0),
    FieldSpec("myofibroblast", "-", "voxel", "state", "myofibroblasts from MSC, per stellate cell", diluted=True),
    FieldSpec("collagen_fresh", "-", "voxel", "state", "volume fraction of fresh collagen", high=1.0),
    FieldSpec("collagen_crosslinked", "-", "voxel", "state", "volume fraction of crosslinked collagen", high=1.0),
    FieldSpec("collagen", "-", "voxel", "algebraic", "volume fraction of collagen"),
    FieldSpec("collagen_excess", "-", "voxel", "algebraic", "collagen above its rest value", low=None),
    FieldSpec("matrix_degradation", "-", "voxel", "algebraic", "activity of metalloproteinases, 1 at rest"),
)


@algebraic(reads=("collagen_fresh", "collagen_crosslinked"), writes=("collagen", "collagen_excess"))
def collagen_content(fields: Fields, p: MatrixParameters) -> dict[str, Array]:
    """Collagen of both kinds, and what exceeds rest.

        c = c1 + c2,   excess = c - c_rest

    Args:
        fields: collagen_fresh, collagen_crosslinked [-], each (nz, ny, nx).
        p: rest_collagen [-].

    Returns:
        collagen and collagen_excess [-].

    Reference: BIOLOGY A2.
    """
    collagen = fields.collagen_fresh + fields.collagen_crosslinked
    return {"collagen": collagen, "collagen_excess": collagen - p.rest_collagen}


@algebraic(reads=("macrophage_m2", "msc_ratio"), writes=("matrix_degradation",))
def matrix_degradation(fields: Fields, p: MatrixParameters) -> dict[str, Array]:
    """Activity of the matrix metalloproteinases.

        mmp = 1 + k_2 (m2 - 1) / (1 + m2) + k_M M

    Args:
        fields: macrophage_m2 and msc_ratio M [-], each (nz, ny, nx).
        p: gains [-].

    Returns:
        matrix_degradation [-], 1 at rest, positive for k_2 < 1.

    Reference: BIOLOGY A7.
    """
    m2 = fields.macrophage_m2
    return {"matrix_degradation": 1.0 + p.mmp_m2 * (m2 - 1.0) / (1.0 + m2) + p.mmp_msc * fields.msc_ratio}


def tgf_deposition_response(tgf_beta: Float[Array, "*shape"], p: MatrixParameters) -> Float[Array, "*shape"]:
    """Response of the deposition to TGF-beta, H(c, K).

    Args:
        tgf_beta: tissue level c [nM], any shape.
        p: half saturation K [nM].

    Returns:
        The response [-]; its rest value is `rest_tgf_response`.

    Reference: BIOLOGY A7.
    """
    return hill(tgf_beta, p.deposition_tgf_half_saturation)


@slow(
    reads=(
        "stellate",
        "macrophage_m2",
        "tgf_beta",
        "tnf_toxicity",
        "debris_response",
        "inflammation",
        "rest_stellate_activation",
    ),
    writes=("stellate",),
)
def stellate_turnover(fields: Fields, p: MatrixParameters) -> Rates:
    """Activation and loss of stellate cells.

        ds/dt = A (1 - s) - k_d (1 + g m2 / (1 + m2)) s
        A = k_a [H(TGF, K, n) + a_T T + a_d H_d + a_J J + a_0]

    with T the killing response to TNF, H_d the debris response, J the inflammation, a_0 the rest constant.

    Args:
        fields: stellate, macrophage_m2, tnf_toxicity, debris_response, inflammation, rest_stellate_activation [-],
            tgf_beta [nM], each (nz, ny, nx).
        p: rates [1/h], half saturation [nM], weights [-].

    Returns:
        Production and loss of stellate [1/h].

    Reference: BIOLOGY A7.
    """
    m2 = fields.macrophage_m2
    drive = hill(fields.tgf_beta, p.activation_tgf_half_saturation, p.activation_tgf_exponent)
    drive = drive + p.activation_tnf * fields.tnf_toxicity + p.activation_debris * fields.debris_response
    drive = drive + p.activation_inflammation * fields.inflammation + fields.rest_stellate_activation
    activation = p.activation_rate * drive
    deactivation = p.deactivation_rate * (1.0 + p.deactivation_m2_gain * m2 / (1.0 + m2))
    return Rates(production={"stellate": activation}, loss={"stellate": activation + deactivation})


@slow(reads=("myofibroblast", "msc_death"), writes=("myofibroblast",))
def myofibroblast_turnover(fields: Fields, p: MatrixParameters) -> Rates:
    """Myofibroblasts that a share of the lost MSC turn into.

        dmyo/dt = f (MSC lost per time) / n_stellate - k myo

    Args:
        fields: msc_death [cells/mm3/h] and myofibroblast [-], each (nz, ny, nx).
        p: share f [-], loss k [1/h], density of stellate cells [cells/mm3].

    Returns:
        Production and loss of myofibroblast [1/h].

    Reference: BIOLOGY A7.
    """
    production = p.myofibroblast_share * fields.msc_death / p.stellate_density
    loss = jnp.full_like(fields.myofibroblast, p.myofibroblast_loss_rate)
    return Rates(production={"myofibroblast": production}, loss={"myofibroblast": loss})


@slow(
    reads=(
        "collagen_fresh",
        "collagen_crosslinked",
        "stellate",
        "myofibroblast",
        "tgf_beta",
        "matrix_degradation",
        "rest_collagen_deposition",
        "rest_tgf_response",
    ),
    writes=("collagen_fresh", "collagen_crosslinked"),
)
def collagen_turnover(fields: Fields, p: MatrixParameters) -> Rates:
    """Deposition, crosslinking and degradation of collagen.

        dc1/dt = k_dep (s + myo) (1 + g H) / (1 + g H0) - (k_1 mmp + k_x) c1
        dc2/dt = k_x c1 - k_2 mmp c2

    with H the response to TGF-beta, H0 its rest value.

    Args:
        fields: collagen_fresh, collagen_crosslinked, stellate, myofibroblast, matrix_degradation, rest_tgf_response
            [-], tgf_beta [nM], rest_collagen_deposition k_dep [1/h], each (nz, ny, nx).
        p: rates [1/h], gain g [-], half saturation [nM].

    Returns:
        Production and loss of both [1/h]; crosslinking is a transfer.

    Reference: BIOLOGY A7.
    """
    fresh = fields.collagen_fresh
    response = 1.0 + p.deposition_tgf_gain * tgf_deposition_response(fields.tgf_beta, p)
    response = response / (1.0 + p.deposition_tgf_gain * fields.rest_tgf_response)
    deposition = fields.rest_collagen_deposition * (fields.stellate + fields.myofibroblast) * response
    return Rates(
        production={"collagen_fresh": deposition},
        loss={
            "collagen_fresh": p.fresh_degradation_rate * fields.matrix_degradation,
            "collagen_crosslinked": p.crosslinked_degradation_rate * fields.matrix_degradation,
        },
        transfers=(Transfer("collagen_fresh", "collagen_crosslinked", jnp.full_like(fresh, p.crosslink_rate)),),
    )
