"""Blood flow of a human lobule at a physiological difference of pressure: V13. The permeability is fitted to it."""

from __future__ import annotations

from collections.abc import Iterator

from hepatojax.checks.records import Check, Record, within
from hepatojax.checks.validate.course import healthy_lobule
from hepatojax.units import SECONDS_PER_MINUTE

FITTED_AT_PA = 530.0
SOURCE = "V13: general physiology and Berndt 2018; fitted"


def perfusion() -> Iterator[Record]:
    """Perfusion at the fitted difference of pressure, and the difference that drives the flow of rest.

        Q/V = dp / (R V),   R the resistance of the lobule at rest

    It must be 0.5..1.5 ml/min/ml at 530 Pa, and the flow of rest must take 300..1200 Pa.

    Yields:
        Perfusion [ml/min/ml] and difference of pressure [Pa].

    Reference: VALIDATION V13.
    """
    model = healthy_lobule().model
    per_volume = float(model.rest_resistance * model.grid.total_volume)
    flow = FITTED_AT_PA / per_volume * SECONDS_PER_MINUTE
    yield within("V13", f"perfusion at {FITTED_AT_PA:g} Pa", flow, 0.5, 1.5, "ml/min/ml", SOURCE)
    drop = float(model.parameters.perfusion_at_rest) * per_volume
    yield within("V13", "difference of pressure that drives the flow of rest", drop, 300.0, 1200.0, "Pa", SOURCE)


CHECKS = (Check("V13", "Perfusion of a human lobule", perfusion),)
