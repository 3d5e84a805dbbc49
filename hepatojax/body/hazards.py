"""Hazards of death, infection, the treatment itself and cancer, accumulated over a course.

Rates of this moment follow from MELD, immune suppression and what the infused cells block; their integrals are states
of the body, so that survival is exp(-integral) at any time. Risks compete: a first infection is counted only among
those who live and have had none, which 1 - exp(-integral) would overstate. Liver cancer is reported beside survival
and is not in it.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array

from hepatojax.mechanism import Fields, FieldSpec, Rates, algebraic, pytree, slow
from hepatojax.numerics.safe_math import hill, positive_part
from hepatojax.parameters.registry import Scalar

FIELDS = (
    FieldSpec("mortality_hazard", "-", "body", "state", "integral of the hazard of death by any cause"),
    FieldSpec(
        "infection_incidence", "-", "body", "state", "cumulative incidence of infection, death competing", high=1.0
    ),
    FieldSpec("infection_hazard_integral", "-", "body", "state", "integral of the hazard of infection"),
    FieldSpec("device_hazard", "-", "body", "state", "integral of the hazard of the treatment itself"),
    FieldSpec("hcc_hazard", "-", "body", "state", "integral of the hazard of liver cancer, not in survival"),
    FieldSpec("infection_rate", "1/h", "body", "algebraic", "hazard of infection"),
    FieldSpec("device_rate", "1/h", "body", "algebraic", "hazard of the treatment itself"),
    FieldSpec("mortality_rate", "1/h", "body", "algebraic", "hazard of death by any cause"),
    FieldSpec("survival", "-", "body", "algebraic", "probability of being alive", high=1.0),
)


@pytree
class HazardParameters:
    """Registry subject `hazards`.

    Attributes:
        meld_origin: MELD at which the hazards take their base value [-].
        death_rate: m_0, hazard of death at the origin [1/h].
        death_meld_slope: c, rise of its logarithm per MELD point [-].
        infection_rate: h_0, hazard of infection at the origin [1/h].
        infection_meld_slope: b, rise of its logarithm per MELD point [-].
        infection_ceiling: h_max, hazard of infection at very high MELD [1/h].
        infection_suppression: a, rise of the hazard of infection at full immune suppression [-].
        infection_fatality: share of infections that are fatal [-].
        blocked_rate: hazard at fully blocked sinusoids [1/h].
        blocked_half_effect: blocked share at half of that hazard [-].
        blocked_exponent: its Hill exponent [-].
        portal_rate: hazard at extreme portal pressure [1/h].
        portal_half_effect: rise of the relative portal gradient at half of that hazard [-].
        portal_exponent: its Hill exponent [-].
        portal_smoothing: of the rise of the gradient [-].
        lung_rate: hazard at extreme load of the lungs [1/h].
        lung_half_effect: viable MSC in the lungs at half of that hazard [1e6 cells].
        lung_exponent: its Hill exponent [-].
        cancer_rate: h_c, hazard of liver cancer in full scar [1/h].
        cancer_collagen_half_effect: K, collagen at half of that hazard [-].
        cancer_collagen_exponent: n, its Hill exponent [-].
        cancer_surveillance: a, rise at full immune suppression [-].
        cancer_division_rate: b0, division rate of the tissue that doubles the hazard [1/h].
    """

    meld_origin: Scalar
    death_rate: Scalar
    death_meld_slope: Scalar
    infection_rate: Scalar
    infection_meld_slope: Scalar
    infection_ceiling: Scalar
    infection_suppression: Scalar
    infection_fatality: Scalar
    blocked_rate: Scalar
    blocked_half_effect: Scalar
    blocked_exponent: Scalar
    portal_rate: Scalar
    portal_half_effect: Scalar
    portal_exponent: Scalar
    portal_smoothing: Scalar
    lung_rate: Scalar
    lung_half_effect: Scalar
    lung_exponent: Scalar
    cancer_rate: Scalar
    cancer_collagen_half_effect: Scalar
    cancer_collagen_exponent: Scalar
    cancer_surveillance: Scalar
    cancer_division_rate: Scalar


@algebraic(
    reads=("meld", "immune_suppression", "mean_blocked", "portal_gradient_relative", "msc_lung", "mortality_hazard"),
    writes=("infection_rate", "device_rate", "mortality_rate", "survival"),
)
def hazard_rates(fields: Fields, p: HazardParameters) -> dict[str, Array]:
    """Hazards of this moment.

        h_inf = h_M / (1 + h_M/h_max) (1 + a I),   h_M = h_0 exp(b (MELD - 6))
        h_dev = H(blocked) + H(P(dP - 1)) + H(lung load), each with its rate, half effect and exponent
        h     = m_0 exp(c (MELD - 6)) + h_dev + fatality h_inf,   S = exp(-integral of h)

    Args:
        fields: meld, immune_suppression I, mean_blocked, portal_gradient_relative dP, mortality_hazard [-], msc_lung
            [1e6 cells], scalars.
        p: hazards at their origin or extreme [1/h], slopes, half effects and exponents [-], lung load [1e6 cells].

    Returns:
        infection_rate h_inf, device_rate h_dev, mortality_rate h [1/h], survival S [-], scalars.

    Reference: BIOLOGY A9.
    """
    severity = fields.meld - p.meld_origin
    by_meld = p.infection_rate * jnp.exp(p.infection_meld_slope * severity)
    infection = by_meld / (1.0 + by_meld / p.infection_ceiling)
    infection = infection * (1.0 + p.infection_suppression * fields.immune_suppression)
    pressure = positive_part(fields.portal_gradient_relative - 1.0, p.portal_smoothing)
    device = (
        p.blocked_rate * hill(fields.mean_blocked, p.blocked_half_effect, p.blocked_exponent)
        + p.portal_rate * hill(pressure, p.portal_half_effect, p.portal_exponent)
        + p.lung_rate * hill(fields.msc_lung, p.lung_half_effect, p.lung_exponent)
    )
    disease = p.death_rate * jnp.exp(p.death_meld_slope * severity)
    return {
        "infection_rate": infection,
        "device_rate": device,
        "mortality_rate": disease + device + p.infection_fatality * infection,
        "survival": jnp.exp(-fields.mortality_hazard),
    }


@slow(
    reads=("mortality_rate", "infection_rate", "device_rate", "mortality_hazard", "infection_hazard_integral"),
    writes=("mortality_hazard", "infection_incidence", "infection_hazard_integral", "device_hazard"),
)
def accumulated_hazards(fields: Fields, p: HazardParameters) -> Rates:
    """Integrals of the hazards, and the incidence of a first infection with death competing.

        dCI/dt = h_inf exp(-integral of (h_mort + h_dev + h_inf)) = h_inf exp(-Lambda - (1 - fatality) Lambda_inf)

    with Lambda the integral of the hazard of death, which holds h_dev and the fatal share of h_inf already.

    Args:
        fields: mortality_rate, infection_rate h_inf, device_rate [1/h]; mortality_hazard Lambda and
            infection_hazard_integral Lambda_inf [-], scalars.
        p: infection_fatality [-].

    Returns:
        Production of the four integrals [1/h]; they have no loss.

    Reference: BIOLOGY A9.
    """
    competing = fields.mortality_hazard + (1.0 - p.infection_fatality) * fields.infection_hazard_integral
    return Rates(
        production={
            "mortality_hazard": fields.mortality_rate,
            "infection_incidence": fields.infection_rate * jnp.exp(-competing),
            "infection_hazard_integral": fields.infection_rate,
            "device_hazard": fields.device_rate,
        }
    )


@slow(reads=("mean_collagen", "immune_suppression", "mean_division"), writes=("hcc_hazard",))
def cancer_hazard(fields: Fields, p: HazardParameters) -> Rates:
    """Hazard of liver cancer: scar, weak surveillance, division.

        dLambda/dt = h_c H(<c>, K, n) (1 + a I) (1 + <b p>/b0)

    Args:
        fields: mean_collagen <c>, immune_suppression I [-], mean_division <b p> [1/h], scalars.
        p: hazard h_c [1/h], half effect K, exponent n, surveillance a [-], division rate b0 [1/h].

    Returns:
        Production of hcc_hazard [1/h].

    Reference: BIOLOGY A9.
    """
    scar = hill(fields.mean_collagen, p.cancer_collagen_half_effect, p.cancer_collagen_exponent)
    surveillance = 1.0 + p.cancer_surveillance * fields.immune_suppression
    return Rates(
        production={
            "hcc_hazard": p.cancer_rate * scar * surveillance * (1.0 + fields.mean_division / p.cancer_division_rate)
        }
    )


MECHANISMS = (hazard_rates, accumulated_hazards, cancer_hazard)
