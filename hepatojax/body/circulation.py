"""The body's circuit: inflow to the liver, portal pressure gradient, share of arterial blood.

The lobule's Darcy solve gives one number, the conductance of the liver over rest; the circuit turns it into a flow.
Part of the resistance lies upstream in the gut, so that flow falls less than conductance and pressure takes the rest;
the hepatic artery makes up a share of what the portal vein no longer brings. All is relative to rest.
"""

from __future__ import annotations

from jaxtyping import Array, Float

from hepatojax.mechanism import pytree, static
from hepatojax.parameters.registry import Scalar
from hepatojax.scenario import PatientSpec


@pytree
class Patient:
    """Registry subject `patient`: body mass and volume of the healthy liver; and what is not modelled.

    Attributes:
        body_mass_kg: turns doses per kg into cells [kg].
        liver_volume_l: of the healthy liver [l].
        sex: "male" or "female", for MELD 3.0.
        sodium_mmol_l: in plasma, for MELD 3.0 [mmol/l].
        ascites: one of `hepatojax.scenario.ASCITES`, for Child-Pugh points.
        encephalopathy: one of `hepatojax.scenario.ENCEPHALOPATHY`, for Child-Pugh points.
    """

    body_mass_kg: Scalar
    liver_volume_l: Scalar
    sex: str = static(default=PatientSpec.sex)
    sodium_mmol_l: float = static(default=PatientSpec.sodium_mmol_l)
    ascites: str = static(default=PatientSpec.ascites)
    encephalopathy: str = static(default=PatientSpec.encephalopathy)


@pytree
class CirculationParameters:
    """Registry subject `circulation`; see `liver_inflow` and `arterial_share`.

    Attributes:
        splanchnic_share: of the resistance of the portal path, in the gut [-].
        lobular_exponent: of the liver's conductance in the inflow [-].
        arterial_share_at_rest: of arterial blood in the inflow [-].
        arterial_buffer: share of a change of portal flow that the artery makes up [-].
    """

    splanchnic_share: Scalar
    lobular_exponent: Scalar
    arterial_share_at_rest: Scalar
    arterial_buffer: Scalar


@pytree
class Inflow:
    """Blood supply of the liver, relative to rest.

    Attributes:
        relative: blood flow Q/Q0 [-].
        gradient: portal pressure gradient [-].
        arterial_share: of the inflow [-].
    """

    relative: Float[Array, ""]
    gradient: Float[Array, ""]
    arterial_share: Float[Array, ""]


def liver_inflow(conductance: Float[Array, ""], p: CirculationParameters) -> Inflow:
    """Inflow and portal gradient of a liver whose conductance has changed.

        Q/Q0 = 1 / (s + (1 - s) G^-n),   dP = (Q/Q0) / G

    with G the conductance of the whole liver over rest, s the share of the resistance that lies upstream in the gut.

    Args:
        conductance: G, conductance of a lobule over rest x liver volume over rest [-], > 0.
        p: splanchnic share s, exponent n of G, and what `arterial_share` reads [-].

    Returns:
        Flow Q/Q0, gradient dP and arterial share [-]; flow and gradient are 1 at G = 1.

    Reference: BIOLOGY A3.
    """
    upstream = p.splanchnic_share
    relative = 1.0 / (upstream + (1.0 - upstream) * conductance**-p.lobular_exponent)
    return Inflow(relative, relative / conductance, arterial_share(relative, p))


def arterial_share(relative: Float[Array, ""], p: CirculationParameters) -> Float[Array, ""]:
    """Share of arterial blood, rising as inflow falls: the buffer response of the hepatic artery.

        odds = s0 / (1 - s0) (Q/Q0)^-n,   n = (1 + b / ((1 - b) s0)) / (1 - s0)

    Near rest the artery makes up the share b of a change of portal flow; the odds keep the share in 0..1 far from it.

    Args:
        relative: total inflow Q/Q0 [-], > 0.
        p: share at rest s0 and buffer b [-].

    Returns:
        The share [-], s0 at rest.

    Reference: Lautt, Microcirculation 14 (2007) 235.
    """
    share, buffer = p.arterial_share_at_rest, p.arterial_buffer
    exponent = (1.0 + buffer / ((1.0 - buffer) * share)) / (1.0 - share)
    odds = share / (1.0 - share) * relative**-exponent
    return odds / (1.0 + odds)
