"""Macrophages of the liver: recruitment of M1, their switch to M2, and those educated by MSC.

Densities are relative to the resting density of macrophages. Monocytes that dying MSC have educated are a pool of the
body, see `hepatojax.body.immune_memory`; those that enter the liver count twice, as M2 in all that M2 do, and as
educated cells, which by a relay make further M1 switch. Terms of a sum have names of their own (`switch_by_cause`,
`m2_by_origin`), so that every amplification can be reported apart.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array

from hepatojax.mechanism import Fields, FieldSpec, Rates, Transfer, algebraic, pytree, slow
from hepatojax.numerics.safe_math import hill, positive_part
from hepatojax.parameters.registry import Scalar


@pytree
class ImmunityParameters:
    """Registry subject `immunity`, with parts of `injury` and `amplification`; rates are per hour inside."""

    resting_recruitment: Scalar  # [1/h]
    debris_recruitment: Scalar  # [1/h]
    debris_half_saturation: Scalar  # [-]
    debris_exponent: Scalar  # [-]
    effector_recruitment: Scalar  # [1/h]
    gut_recruitment: Scalar  # [1/h]
    gut_half_saturation: Scalar  # [-]
    gut_exponent: Scalar  # [-]
    gut_smoothing: Scalar  # [-]
    m1_loss_rate: Scalar  # [1/h]
    m2_loss_rate: Scalar  # [1/h]
    educated_loss_rate: Scalar  # [1/h]
    switch_rate: Scalar  # [1/h]
    switch_debris_rate: Scalar  # [1/h]
    switch_debris_half_saturation: Scalar  # [-]
    switch_il10_rate: Scalar  # [1/h]
    switch_il10_half_saturation: Scalar  # [nM]
    contact_half_saturation: Scalar  # [-]
    killing_half_saturation: Scalar  # [nM], subject `injury`
    contact_rate: Scalar  # [1/h], subject `amplification`
    relay_rate: Scalar  # [1/h], subject `amplification`


FIELDS = (
    FieldSpec("macrophage_m1", "-", "voxel", "state", "inflammatory macrophages per resting density", diluted=True),
    FieldSpec("macrophage_m2", "-", "voxel", "state", "resolving macrophages per resting density", diluted=True),
    FieldSpec(
        "macrophage_educated", "-", "voxel", "state", "macrophages educated by MSC per resting density", diluted=True
    ),
    FieldSpec("debris_response", "-", "voxel", "algebraic", "response of non-parenchymal cells to debris", high=1.0),
    FieldSpec("recruitment_rate", "1/h", "voxel", "algebraic", "M1 recruited per time"),
    FieldSpec("switch_rate", "1/h", "voxel", "algebraic", "rate at which M1 become M2"),
)


@algebraic(reads=("debris",), writes=("debris_response",))
def debris_sensing(fields: Fields, p: ImmunityParameters) -> dict[str, Array]:
    """Response of macrophages, stellate cells and CXCL12 to debris, H(d, K, n).

    Args:
        fields: debris d [-], (nz, ny, nx).
        p: half saturation K and exponent n [-].

    Returns:
        debris_response [-].

    Reference: BIOLOGY A6, A7.
    """
    return {"debris_response": hill(fields.debris, p.debris_half_saturation, p.debris_exponent)}


@algebraic(
    reads=("debris_response", "tnf", "effector_t", "portal_gradient_relative"),
    writes=("recruitment_rate",),
)
def macrophage_recruitment(fields: Fields, p: ImmunityParameters) -> dict[str, Array]:
    """M1 recruited by debris and TNF, by effector T cells and by gut products at high portal pressure.

        rec = r_0 + r_d H_d (1 + H(TNF, K)) + r_te te + r_gut H(P(dP - 1), K_g, n_g)

    Args:
        fields: debris_response H_d [-] and tnf [nM], each (nz, ny, nx); scalars effector_t te and
            portal_gradient_relative dP [-].
        p: rates r [1/h], half saturations [nM, -], smoothing of P [-].

    Returns:
        recruitment_rate [1/h].

    Reference: BIOLOGY A6.
    """
    pressure = positive_part(fields.portal_gradient_relative - 1.0, p.gut_smoothing)
    rate = p.resting_recruitment + p.effector_recruitment * fields.effector_t
    rate = rate + p.gut_recruitment * hill(pressure, p.gut_half_saturation, p.gut_exponent)
    called = fields.debris_response * (1.0 + hill(fields.tnf, p.killing_half_saturation))
    return {"recruitment_rate": rate + p.debris_recruitment * called}


@algebraic(
    reads=("debris", "il10", "macrophage_m1", "macrophage_educated", "msc_contact", "licensing"),
    writes=("switch_rate",),
)
def macrophage_switch(fields: Fields, p: ImmunityParameters) -> dict[str, Array]:
    """Rate at which M1 become M2: by itself, by debris, by IL-10, by contact with MSC and by educated ones.

        sw = k_0 + k_d H(d, K_d) + k_10 H(IL10, K_10) + k_contact lic contact + k_relay e / (m1 + e + K)

    Args:
        fields: debris d, macrophage_m1, macrophage_educated e, msc_contact [-], il10 [nM], each (nz, ny, nx); scalar
            licensing lic [-].
        p: rates k [1/h], half saturations [nM, -].

    Returns:
        switch_rate [1/h].

    Reference: BIOLOGY A6, A8 (amplifications 3 to 5).
    """
    return {"switch_rate": sum(switch_by_cause(fields, p).values())}


def switch_by_cause(fields: Fields, p: ImmunityParameters) -> dict[str, Array]:
    """The terms of the switch of M1 to M2, see `macrophage_switch`.

    Args:
        fields: what `macrophage_switch` reads [-, nM], each (nz, ny, nx).
        p: rates [1/h], half saturations [nM, -].

    Returns:
        cause -> rate [1/h]: "itself", "debris", "il10", "msc_contact", "relay".

    Reference: BIOLOGY A6, A8.
    """
    educated = fields.macrophage_educated
    relay = educated / (fields.macrophage_m1 + educated + p.contact_half_saturation)
    return {
        "itself": p.switch_rate + jnp.zeros_like(educated),
        "debris": p.switch_debris_rate * hill(fields.debris, p.switch_debris_half_saturation),
        "il10": p.switch_il10_rate * hill(fields.il10, p.switch_il10_half_saturation),
        "msc_contact": p.contact_rate * fields.licensing * fields.msc_contact,
        "relay": p.relay_rate * relay,
    }


M2_ORIGINS = ("itself", "debris", "il10", "msc_contact", "relay", "education")


def m2_by_origin(fields: Fields, p: ImmunityParameters) -> dict[str, Array]:
    """Where M2 come from: M1 that switch, by cause, and educated monocytes that arrive.

    Args:
        fields: what `macrophage_switch` and `macrophage_turnover` read, each (nz, ny, nx) or scalar.
        p: rates [1/h], half saturations [nM, -].

    Returns:
        origin of `M2_ORIGINS` -> M2 gained [1/h], each (nz, ny, nx).

    Reference: BIOLOGY A6, A8.
    """
    switched = {cause: rate * fields.macrophage_m1 for cause, rate in switch_by_cause(fields, p).items()}
    influx = jnp.asarray(fields.education_influx, fields.macrophage_m1.dtype)
    return {**switched, "education": jnp.broadcast_to(influx, fields.macrophage_m1.shape)}


@slow(
    reads=(
        "macrophage_m1",
        "macrophage_m2",
        "macrophage_educated",
        "recruitment_rate",
        "switch_rate",
        "education_influx",
        "rest_m2_influx",
    ),
    writes=("macrophage_m1", "macrophage_m2", "macrophage_educated"),
)
def macrophage_turnover(fields: Fields, p: ImmunityParameters) -> Rates:
    """Balance of the macrophages.

        dm1/dt = rec - (k_1 + sw) m1
        dm2/dt = sw m1 + k_2 m2_in + edu_in - k_2 m2
        de/dt = edu_in - k_e e

    Args:
        fields: macrophage_m1, macrophage_m2, macrophage_educated e, rest_m2_influx m2_in [-], recruitment_rate rec,
            switch_rate sw [1/h], each (nz, ny, nx); scalar education_influx edu_in [1/h].
        p: losses k [1/h].

    Returns:
        Production and loss of the three [1/h]; the switch is a transfer.

    Reference: BIOLOGY A6.
    """
    like = fields.macrophage_m2
    influx = jnp.broadcast_to(fields.education_influx, like.shape)
    return Rates(
        production={
            "macrophage_m1": fields.recruitment_rate,
            "macrophage_m2": p.m2_loss_rate * fields.rest_m2_influx + influx,
            "macrophage_educated": influx,
        },
        loss={
            "macrophage_m1": jnp.full_like(like, p.m1_loss_rate),
            "macrophage_m2": jnp.full_like(like, p.m2_loss_rate),
            "macrophage_educated": jnp.full_like(like, p.educated_loss_rate),
        },
        transfers=(Transfer("macrophage_m1", "macrophage_m2", fields.switch_rate),),
    )
