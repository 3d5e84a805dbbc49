"""Where infused cells go: exact linear kinetics of viable cells and label in lung, spleen and other organs.

The blood is passed at once. Cells that the liver catches live on the grid; this module says how many arrive and when.
Between infusions the pools are linear with constant rates, so a step is a matrix exponential, and a running infusion is
a constant inflow in it: any start and any length is exact, and so is the derivative by them. Deaths and arrivals are
kept as moments in time (`Arrival`), since what they bring about decays from the moment at which it begins.
"""

from __future__ import annotations

from operator import itemgetter

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from hepatojax.mechanism import Arrival, FieldSpec, pytree
from hepatojax.numerics.safe_math import hill
from hepatojax.parameters.registry import Scalar
from hepatojax.scenario import ROUTES
from hepatojax.therapy.schedule import DoseSchedule, windows

ORGANS = ("lung", "spleen", "other")
KINDS = ("msc", "label")
_LIVER = len(ORGANS)  # column of the first pass
_INFLOW = 16  # where constant inflows stand in the vector of `generator`
_BY_BLOOD = tuple(float(route != "direct") for route in ROUTES)  # what is injected into the tissue passes no sinusoid
_TERMS = 40  # of the exponential series: exact to round-off while rate x step <= 8

FIELDS = tuple(
    FieldSpec(f"{kind}_{organ}", "1e6 cells", "body", "state", f"{meaning} in {where}")
    for kind, meaning in zip(KINDS, ("viable MSC", "label of MSC, living or not"), strict=True)
    for organ, where in zip(ORGANS, ("the lungs", "the spleen", "other organs"), strict=True)
)


@pytree
class BiodistributionParameters:
    """Registry subject `biodistribution`: first-pass shares [-], half saturation of debris [-], rates [1/h].

    Attributes:
        intravenous_lung_share: of intravenous cells, stopped by the lungs at first pass [-].
        systemic_liver_share: of cells past the lungs, caught by the healthy liver [-].
        systemic_spleen_share: of cells past the lungs, caught by the spleen [-].
        portal_liver_share: of portal cells, stopped by the liver at first pass [-].
        arterial_liver_share: of hepatic-arterial cells, stopped by the liver at first pass [-].
        intrasplenic_liver_share: of intrasplenic cells, reaching the liver [-].
        direct_liver_share: of directly injected cells, staying in the liver [-].
        adhesion_half_saturation: mean debris at half of the doubled catch in an injured liver [-].
        loss_rate: of viable cells in lung, spleen and other organs [1/h].
        lung_release_rate: of viable cells from the lungs [1/h].
        label_loss_rate: of label from lung, spleen and other organs [1/h].
        label_lung_release_rate: of label from the lungs [1/h].
        label_liver_share: of released label, caught by the healthy liver [-].
        label_spleen_share: of released label, caught by the spleen [-].
    """

    intravenous_lung_share: Scalar
    systemic_liver_share: Scalar
    systemic_spleen_share: Scalar
    portal_liver_share: Scalar
    arterial_liver_share: Scalar
    intrasplenic_liver_share: Scalar
    direct_liver_share: Scalar
    adhesion_half_saturation: Scalar
    loss_rate: Scalar
    lung_release_rate: Scalar
    label_loss_rate: Scalar
    label_lung_release_rate: Scalar
    label_liver_share: Scalar
    label_spleen_share: Scalar


@pytree
class Kinetics:
    """Rates of one kind of pool, and shares of what the lungs release; the remainder goes to other organs.

    Attributes:
        loss: from lung, spleen and other organs alike [1/h].
        release: from the lungs into the blood [1/h].
        liver_share: of what is released, caught by the liver [-].
        spleen_share: of what is released, caught by the spleen [-].
    """

    loss: Scalar
    release: Scalar
    liver_share: Scalar
    spleen_share: Scalar


@pytree
class Trapped:
    """Cells that the blood brings to the sinusoids in one step, dead ones of the product included.

    Attributes:
        arrival: of all of them [1e6 cells].
        first_pass: of each infusion, without what the lungs release later, while it runs [1e6 cells/h], (d,).
        begin_h: start of each infusion within the step, since the start of the step [h], (d,).
        end_h: its end within the step [h], (d,).
    """

    arrival: Arrival
    first_pass: Float[Array, " d"]
    begin_h: Float[Array, " d"]
    end_h: Float[Array, " d"]


@pytree
class PoolCourse:
    """One kind of cells over one step, every term integrated on its own [1e6 cells].

    Attributes:
        pools: at the end, by organ.
        mean: over the step, by organ.
        deaths: in each organ.
        infused: into the blood.
        liver: arrivals in the liver.
    """

    pools: dict[str, Float[Array, ""]]
    mean: dict[str, Float[Array, ""]]
    deaths: dict[str, Arrival]
    infused: Float[Array, ""]
    liver: Arrival

    @property
    def lost(self) -> dict[str, Float[Array, ""]]:
        """Cells lost in each organ [1e6 cells]."""
        return {organ: deaths.amount for organ, deaths in self.deaths.items()}


def distribute(
    pools: dict[str, Float[Array, ""]],
    schedule: DoseSchedule,
    start_h: Float[Array, ""],
    step_h: Float[Array, ""] | float,
    body_mass_kg: Scalar,
    viability: Scalar,
    homing: Scalar,
    mean_debris: Float[Array, ""],
    p: BiodistributionParameters,
) -> tuple[dict[str, PoolCourse], Trapped]:
    """Viable cells and label over one step, exact for infusions at any time and of any length.

    Args:
        pools: `msc_lung`, ... `label_other` at the start [1e6 cells].
        schedule: infusions, of which those that touch the step count.
        start_h: time at the start of the step [h].
        step_h: its length [h].
        body_mass_kg: turns cells/kg into cells [kg].
        viability: share of living cells in the product; dead ones carry label and can block a sinusoid [-].
        homing: factor of the product on the catch of released cells by the liver [-].
        mean_debris: volume mean of debris at the middle of the step [-]; injured tissue catches more cells.
        p: shares [-] and rates [1/h].

    Returns:
        "msc" and "label" -> course over the step; and the cells that the sinusoids of the liver meet.

    Reference: BIOLOGY A8; NUMERICS decisions 7 and 8.
    """
    caught = windows(schedule, start_h, step_h)
    rate = (caught.rate * (body_mass_kg * 1e-6))[:, None]
    inflow = rate * (schedule.route_mix @ first_pass(p))
    living = inflow * viability
    by_blood = rate[:, 0] * (schedule.route_mix @ (jnp.asarray(_BY_BLOOD) * first_pass(p)[:, _LIVER]))

    def entering(kind: str, inflow: Float[Array, "d 4"]) -> tuple[Array, Array, Kinetics]:
        start = jnp.stack([pools[f"{kind}_{organ}"] for organ in ORGANS])
        return start, inflow, kinetics_of(kind, homing, mean_debris, p)

    def over_step(start: Float[Array, " 3"], inflow: Float[Array, "d 4"], kinetics: Kinetics) -> PoolCourse:
        return course(start, inflow, caught.begin_h, caught.end_h, step_h, kinetics)

    each = (entering("msc", living.at[:, _LIVER].set(by_blood)), entering("msc", living), entering("label", inflow))
    side_by_side = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)  # a third of the operations, all of them tiny
    solved = jax.vmap(over_step)(*side_by_side)
    met, msc, label = (jax.tree.map(itemgetter(i), solved) for i in range(len(each)))
    return {"msc": msc, "label": label}, Trapped(met.liver, by_blood, caught.begin_h, caught.end_h)


def first_pass(p: BiodistributionParameters) -> Float[Array, "5 4"]:
    """Share of a dose that stops in lung, spleen, other organs and liver, by route.

    Intravenous cells meet the lungs first and the systemic circulation after; what a vessel of the liver lets pass
    goes to the lungs; the spleen keeps what does not reach the liver.

    Args:
        p: first-pass shares [-].

    Returns:
        Shares [-], rows in the order of `hepatojax.scenario.ROUTES`, columns lung, spleen, other organs, liver; every
        row sums to 1.

    Reference: BIOLOGY A8; PARAMETERS S10, S12, S13.
    """
    past_lung = 1.0 - p.intravenous_lung_share
    systemic_other = 1.0 - p.systemic_liver_share - p.systemic_spleen_share
    rows = (
        (
            p.intravenous_lung_share,
            past_lung * p.systemic_spleen_share,
            past_lung * systemic_other,
            past_lung * p.systemic_liver_share,
        ),
        (1.0 - p.portal_liver_share, 0.0, 0.0, p.portal_liver_share),
        (1.0 - p.arterial_liver_share, 0.0, 0.0, p.arterial_liver_share),
        (0.0, 1.0 - p.intrasplenic_liver_share, 0.0, p.intrasplenic_liver_share),
        (1.0 - p.direct_liver_share, 0.0, 0.0, p.direct_liver_share),
    )
    return jnp.stack([jnp.stack([jnp.asarray(share, float) for share in row]) for row in rows])


def kinetics_of(kind: str, homing: Scalar, mean_debris: Float[Array, ""], p: BiodistributionParameters) -> Kinetics:
    """Rates of viable cells or of label; what an injured liver or a homing product adds, other organs lack.

        s = share x (1 + H(<d>, K_deb)),   liver = f s / (1 + (f - 1) s),   spleen = share x (1 - liver) / (1 - s)

    with f the homing of the product: at f = 1 the liver's share is s, at any f all shares stay in 0..1.

    Args:
        kind: "msc" or "label".
        homing: f [-].
        mean_debris: <d> [-].
        p: shares [-] and rates [1/h].

    Returns:
        The kinetics; other organs get the remainder.

    Reference: BIOLOGY A8.
    """
    if kind == "msc":
        loss, release = p.loss_rate, p.lung_release_rate
        share, spleen = p.systemic_liver_share, p.systemic_spleen_share
    else:
        loss, release = p.label_loss_rate, p.label_lung_release_rate
        share, spleen = p.label_liver_share, p.label_spleen_share
    share = share * (1.0 + hill(mean_debris, p.adhesion_half_saturation))
    liver = homing * share / (1.0 + (homing - 1.0) * share)
    return Kinetics(loss, release, liver, spleen * (1.0 - liver) / (1.0 - share))


def course(
    start: Float[Array, " 3"],
    inflow: Float[Array, "d 4"],
    begin_h: Float[Array, " d"],
    end_h: Float[Array, " d"],
    step_h: Float[Array, ""] | float,
    kinetics: Kinetics,
) -> PoolCourse:
    """Exact solution over one step, the sum of the response to the start and to each infusion.

        y(h) = exp(G h) y_0 + sum_i exp(G (h - e_i)) N exp(G (e_i - b_i)) u_i

    with u_i the inflow of an infusion that runs from b_i to e_i into empty pools, and N what stops inflows.

    Args:
        start: lung, spleen, other [1e6 cells].
        inflow: of each infusion into lung, spleen, other, liver while it runs [1e6 cells/h].
        begin_h: start of each infusion since the start of the step [h].
        end_h: its end [h].
        step_h: length of the step [h].
        kinetics: rates [1/h] and shares [-].

    Returns:
        Pools, means, deaths and arrivals of one kind of cells [1e6 cells].

    Reference: NUMERICS decisions 7 and 8.
    """
    none = jnp.zeros((1,), start.dtype)
    first = jnp.concatenate([start, jnp.zeros(_INFLOW + 1, start.dtype)])[None]
    doses = jnp.concatenate([jnp.zeros((inflow.shape[0], _INFLOW), start.dtype), inflow], axis=1)
    begin, end = jnp.concatenate([none, begin_h]), jnp.concatenate([none, end_h])
    mu = kinetics.loss + kinetics.release + 1.0 / step_h
    matrix = generator(kinetics)
    stopped = propagate(matrix, mu, end - begin, jnp.concatenate([first, doses]))
    stopped = jnp.concatenate([stopped[:, :_INFLOW], jnp.zeros_like(stopped[:, _INFLOW:])], axis=1)
    final = jnp.sum(propagate(matrix, mu, step_h - end, stopped), axis=0)
    level, once, twice, thrice = final[:_INFLOW].reshape(4, 4)
    return PoolCourse(
        pools=dict(zip(ORGANS, level, strict=False)),
        mean=dict(zip(ORGANS, once / step_h, strict=False)),
        deaths={
            organ: _arrival(kinetics.loss * once[i], kinetics.loss * twice[i], kinetics.loss * thrice[i], step_h)
            for i, organ in enumerate(ORGANS)
        },
        infused=jnp.sum(jnp.sum(inflow, axis=1) * (end_h - begin_h)),
        liver=_arrival(level[_LIVER], once[_LIVER], twice[_LIVER], step_h),
    )


def _arrival(amount: Array, integral: Array, of_integral: Array, step_h: Array | float) -> Arrival:
    """An arrival from what has come, its integral over the step and the integral of that.

        early = 2 / h^2 int int A,   early + between / 2 = 1 / h int A

    Args:
        amount: A at the end of the step [1e6 cells].
        integral: of A over the step [1e6 cells h].
        of_integral: of the integral [1e6 cells h2].
        step_h: h [h].

    Reference: NUMERICS decision 8.
    """
    early = 2.0 * of_integral / step_h**2
    return Arrival(amount, early, 2.0 * (integral / step_h - early))


def generator(kinetics: Kinetics) -> Float[Array, "20 20"]:
    """Matrix G of dy/dt = G y, pools and their repeated integrals in one vector.

    y = (pools: lung, spleen, other; arrived in the liver; integrals of these four, integrals of those, and of those;
    constant inflows to the first four). A row of the lungs loses what is lost and released, those of spleen, other
    organs and liver gain their shares of what is released. An entry of an integral is 1, one of an inflow too.

    Args:
        kinetics: rates [1/h] and shares [-].

    Returns:
        G [1/h]; its off-diagonal entries are >= 0.
    """
    release = kinetics.release
    other_share = 1.0 - kinetics.liver_share - kinetics.spleen_share
    matrix = jnp.eye(_INFLOW + 4, k=-4).at[_INFLOW:].set(0.0).at[0:4, _INFLOW:].set(jnp.eye(4))
    matrix = matrix.at[0, 0].set(-kinetics.loss - release)
    matrix = matrix.at[1, 1].set(-kinetics.loss).at[2, 2].set(-kinetics.loss)
    matrix = matrix.at[1, 0].set(release * kinetics.spleen_share).at[2, 0].set(release * other_share)
    return matrix.at[3, 0].set(release * kinetics.liver_share)


def propagate(
    matrix: Float[Array, "n n"], mu: Float[Array, ""] | float, time_h: Float[Array, " b"], start: Float[Array, "b n"]
) -> Float[Array, "b n"]:
    """exp(G t) y by uniformisation: a series of non-negative terms, so that nothing cancels.

        exp(G t) y = sum_k  e^{-mu t} (mu t)^k / k!  (1 + G / mu)^k y

    Args:
        matrix: G [1/h], off-diagonal entries >= 0.
        mu: at least the largest loss rate [1/h].
        time_h: t of each row [h].
        start: y of each row.

    Returns:
        exp(G t) y of each row, in the units of `start`.

    Reference: Jensen, Skand. Aktuarietidskr. 36 (1953) 87.
    """
    chain = jnp.eye(matrix.shape[0]) + matrix / mu

    def add_term(carry: tuple[Array, Array, Array], order: Array) -> tuple[tuple[Array, Array, Array], None]:
        total, vector, weight = carry
        vector = vector @ chain.T
        weight = weight * (mu * time_h / order)
        return (total + weight[:, None] * vector, vector, weight), None

    weight = jnp.exp(-mu * time_h)
    orders = jnp.arange(1.0, _TERMS + 1.0)
    (total, _, _), _ = lax.scan(add_term, (weight[:, None] * start, start, weight), orders)
    return total


def deaths_per_hour(msc: PoolCourse, step_h: Float[Array, ""] | float) -> dict[str, Float[Array, ""]]:
    """Viable cells lost in each organ outside the liver, mean over the step.

    Args:
        msc: course of the viable cells over the step [1e6 cells].
        step_h: its length [h].

    Returns:
        organ of `ORGANS` -> [1e6 cells/h].
    """
    return jax.tree.map(lambda lost: lost / step_h, msc.lost)
