"""MSC in the lobule: what they are there for, what they lose, and the sinusoids they plug. Arrivals come with blood.

A lobule meets few cells, so a density here is the expected one over all lobules of the liver. What is linear in the
cells (secretion, death) may use it as it is; what saturates in their number takes the mean over a Poisson count: the
contact with macrophages within a contact volume, and the blocking of a sinusoid (MODEL 0).
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from hepatojax.mechanism import Fields, FieldSpec, Rates, Transfer, algebraic, pytree, slow
from hepatojax.numerics.safe_math import decay_mean, hill
from hepatojax.parameters.registry import Scalar
from hepatojax.units import UM3_PER_MM3


@pytree
class StemCellParameters:
    """Registry subject `stem_cells`, with parts of others; rates are per hour inside."""

    death_rate: Scalar  # [1/h]
    engraftment_rate: Scalar  # [1/h]
    engrafted_death_rate: Scalar  # [1/h]
    differentiation_rate: Scalar  # [1/h]
    label_loss_rate: Scalar  # [1/h]
    unplug_rate: Scalar  # [1/h]
    contact_volume: Scalar  # [um3]
    licensing_half_saturation: Scalar  # [nM]
    licensing: Scalar  # [-], subject `amplification`
    contact_half_saturation: Scalar  # [-], subject `immunity`
    macrophage_density: Scalar  # [cells/mm3], subject `cells`
    hepatocyte_density: Scalar  # [cells/mm3], subject `cells`


FIELDS = (
    FieldSpec("msc_adherent", "cells/mm3", "voxel", "state", "viable MSC that adhere in sinusoids", diluted=True),
    FieldSpec("msc_engrafted", "cells/mm3", "voxel", "state", "viable MSC in the tissue", diluted=True),
    FieldSpec("msc_derived", "-", "voxel", "state", "hepatocyte-like cells from MSC", diluted=True),
    FieldSpec("msc_label", "cells/mm3", "voxel", "state", "label of MSC, viable or not", diluted=True),
    FieldSpec("plugging", "-", "voxel", "state", "trapped cells per sinusoid", diluted=True),
    FieldSpec("blocked", "-", "voxel", "algebraic", "share of sinusoids that are plugged", high=1.0),
    FieldSpec("msc_viable", "cells/mm3", "voxel", "algebraic", "viable MSC"),
    FieldSpec("msc_ratio", "-", "voxel", "algebraic", "viable MSC per resting macrophage"),
    FieldSpec("msc_death", "cells/mm3/h", "voxel", "algebraic", "viable MSC lost per time"),
    FieldSpec("msc_contact", "-", "voxel", "algebraic", "share of M1 in contact with MSC"),
    FieldSpec("licensing", "-", "body", "algebraic", "rise of MSC potency under TNF", low=1.0),
    FieldSpec("licensing_outside", "-", "body", "algebraic", "rise of MSC potency outside the liver", low=1.0),
)


@algebraic(reads=("plugging",), writes=("blocked",))
def sinusoid_blocking(fields: Fields, p: StemCellParameters) -> dict[str, Array]:
    """Share of sinusoids that hold at least one trapped cell, blocked = 1 - exp(-w): Poisson occupancy.

    Args:
        fields: plugging w, trapped cells per sinusoid [-], (nz, ny, nx).
        p: not used.

    Returns:
        blocked [-].

    Reference: BIOLOGY A7; MODEL 0.
    """
    return {"blocked": -jnp.expm1(-fields.plugging)}


def plugging_within(
    start: Float[Array, "nz ny nx"],
    caught: Float[Array, "nz ny nx"],
    inflow: Float[Array, " d"],
    begin_h: Float[Array, " d"],
    end_h: Float[Array, " d"],
    at_h: Float[Array, ""],
    unplug_rate: Scalar,
) -> Float[Array, "nz ny nx"]:
    """Trapped cells per sinusoid at a time within a step, of those at its start and of what infusions bring.

        w(t) = w(0) e^{-k t} + u sum_i q_i int_{b_i}^{min(e_i, t)} e^{-k (t - s)} ds

    Between ends of infusions w falls, or rises all the way: it is highest at one of them, or at the end of the step. An
    infusion that begins at t, or ended with the step before, has the derivative of its own end: see `passed_of`.

    Args:
        start: w(0) [-], (nz, ny, nx).
        caught: u, trapped cells per sinusoid for each unit that comes [1/unit], (nz, ny, nx).
        inflow: q of each infusion while it runs [unit/h], (d,).
        begin_h: start b of each infusion since the start of the step [h], (d,).
        end_h: its end e, not before b [h], (d,).
        at_h: t, since the start of the step [h].
        unplug_rate: k [1/h].

    Returns:
        w(t) [-], (nz, ny, nx), in the precision of `start`.

    Reference: BIOLOGY A7.
    """
    until = jnp.where(at_h < end_h, jnp.where(at_h > begin_h, at_h, begin_h), end_h)
    while_running = (until - begin_h) * decay_mean(unplug_rate * (until - begin_h))
    brought = jnp.sum(inflow * while_running * jnp.exp(-unplug_rate * (at_h - until)))
    return start * jnp.exp(-unplug_rate * at_h).astype(start.dtype) + brought.astype(caught.dtype) * caught


@algebraic(reads=("msc_adherent", "msc_engrafted"), writes=("msc_viable", "msc_ratio", "msc_death"))
def msc_census(fields: Fields, p: StemCellParameters) -> dict[str, Array]:
    """Viable MSC, their number per resting macrophage, and how many are lost per time.

        n = n_a + n_e,   M = n / n_macrophage,   died = k_a n_a + k_e n_e

    Args:
        fields: msc_adherent n_a and msc_engrafted n_e [cells/mm3], each (nz, ny, nx).
        p: losses k [1/h], macrophage_density [cells/mm3].

    Returns:
        msc_viable [cells/mm3], msc_ratio [-], msc_death [cells/mm3/h].

    Reference: BIOLOGY A6, A8.
    """
    viable = fields.msc_adherent + fields.msc_engrafted
    death = p.death_rate * fields.msc_adherent + p.engrafted_death_rate * fields.msc_engrafted
    return {"msc_viable": viable, "msc_ratio": viable / p.macrophage_density, "msc_death": death}


@algebraic(reads=("mean_tnf", "licensed"), writes=("licensing", "licensing_outside"))
def msc_licensing(fields: Fields, p: StemCellParameters) -> dict[str, Array]:
    """Rise of MSC potency by inflammation, and by licensing before infusion, which outlasts the short life of a cell.

        lic = 1 + g (l + (1 - l) H(<TNF>, K)) in the liver,   1 + g l elsewhere

    Args:
        fields: mean_tnf <TNF> [nM], licensed l [-], scalars.
        p: gain g [-], half saturation K [nM].

    Returns:
        licensing and licensing_outside [-], scalars.

    Reference: BIOLOGY A6, A8 (amplification 5); PARAMETERS S16; MODEL 7.
    """
    before = fields.licensed
    reached = before + (1.0 - before) * hill(fields.mean_tnf, p.licensing_half_saturation)
    return {"licensing": 1.0 + p.licensing * reached, "licensing_outside": 1.0 + p.licensing * before}


@algebraic(reads=("msc_viable", "macrophage_m1", "potency_contact"), writes=("msc_contact",))
def msc_contact(fields: Fields, p: StemCellParameters) -> dict[str, Array]:
    """Share of M1 in contact with MSC: the Poisson mean of N / (N + a) over the contact volume.

        N ~ Poisson(n V),   a = (m1 + K) n_macrophage V

    so that N / (N + a) = M / (m1 + M + K) with M the MSC per resting macrophage within the volume V.

    Args:
        fields: msc_viable n [cells/mm3] and macrophage_m1 [-], each (nz, ny, nx); scalar potency_contact [-].
        p: contact_volume V [um3], macrophage_density [cells/mm3], offset K [-].

    Returns:
        msc_contact [-].

    Reference: BIOLOGY A6; MODEL 0.
    """
    volume_mm3 = p.contact_volume / UM3_PER_MM3
    rivals = (fields.macrophage_m1 + p.contact_half_saturation) * p.macrophage_density * volume_mm3
    return {"msc_contact": fields.potency_contact * poisson_saturation(fields.msc_viable * volume_mm3, rivals)}


def poisson_saturation(mean: Float[Array, "*shape"], rivals: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Mean of N / (N + a) for N ~ Poisson(l), which equals l E[1 / (N + 1 + a)], to second order in the variance.

        E[N / (N + a)] ~ l / (l + b) (1 + l / (l + b)^2),   b = 1 + a

    Exact for small and for large l; within 2 % in between for a >= 0.75.

    Args:
        mean: l [-], any shape.
        rivals: a > 0 [-], same shape.

    Returns:
        The mean [-].

    Reference: expansion about the mean; the test sums the series.
    """
    total = mean + 1.0 + rivals
    return mean / total * (1.0 + mean / (total * total))


@slow(
    reads=("msc_adherent", "msc_engrafted", "msc_derived"),
    writes=("msc_adherent", "msc_engrafted", "msc_derived"),
)
def msc_turnover(fields: Fields, p: StemCellParameters) -> Rates:
    """Loss, engraftment and differentiation of viable MSC; the last two are off by default.

        dn_a/dt = -(k_a + k_g) n_a,   dn_e/dt = k_g n_a - (k_e + k_x) n_e,   dx/dt = k_x n_e / n_hepatocyte

    Args:
        fields: msc_adherent n_a, msc_engrafted n_e [cells/mm3], msc_derived x [-], each (nz, ny, nx).
        p: rates [1/h], hepatocyte_density [cells/mm3].

    Returns:
        Production and losses [1/h]; engraftment is a transfer.

    Reference: BIOLOGY A8; PARAMETERS S12, S14.
    """
    adherent, engrafted = fields.msc_adherent, fields.msc_engrafted
    changing = p.differentiation_rate * engrafted
    return Rates(
        production={"msc_derived": changing / p.hepatocyte_density},
        loss={
            "msc_adherent": jnp.full_like(adherent, p.death_rate),
            "msc_engrafted": jnp.full_like(engrafted, p.engrafted_death_rate + p.differentiation_rate),
            "msc_derived": jnp.zeros_like(fields.msc_derived),
        },
        transfers=(Transfer("msc_adherent", "msc_engrafted", jnp.full_like(adherent, p.engraftment_rate)),),
    )


@slow(reads=("msc_label",), writes=("msc_label",))
def label_turnover(fields: Fields, p: StemCellParameters) -> Rates:
    """Label outlives the cell and is lost slowly, dl/dt = -k l.

    Args:
        fields: msc_label l [cells/mm3], (nz, ny, nx).
        p: rate k [1/h].

    Returns:
        Loss of msc_label [1/h].

    Reference: PARAMETERS finding 5 and S5.
    """
    return Rates(loss={"msc_label": jnp.full_like(fields.msc_label, p.label_loss_rate)})


@slow(reads=("plugging",), writes=("plugging",))
def plug_release(fields: Fields, p: StemCellParameters) -> Rates:
    """Trapped cells leave their sinusoid, dw/dt = -k w.

    Args:
        fields: plugging w [-], (nz, ny, nx).
        p: rate k [1/h].

    Returns:
        Loss of plugging [1/h].

    Reference: BIOLOGY A7.
    """
    return Rates(loss={"plugging": jnp.full_like(fields.plugging, p.unplug_rate)})
