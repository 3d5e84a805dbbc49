"""Kinetics of the body against a tight integrator.

Lung, spleen and other organs obey linear equations with constant coefficients over a step, which the model solves
exactly, infusions included; so errors are those of round-off, at any step and for any time of an infusion. Cells are
counted in 1e6.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import solve_ivp

from hepatojax.body.biodistribution import (
    KINDS,
    ORGANS,
    BiodistributionParameters,
    PoolCourse,
    distribute,
    first_pass,
    kinetics_of,
)
from hepatojax.body.liver_tests import LiverTestParameters, synthesis
from hepatojax.checks.records import Check, Record, at_most, largest
from hepatojax.mechanism import Fields
from hepatojax.numerics.positive_step import step_states
from hepatojax.parameters.registry import from_registry, load_parameters
from hepatojax.scenario import ROUTES, InfusionSpec
from hepatojax.therapy.schedule import DoseSchedule, schedule_of

BODY_KG, VIABILITY, HOMING, DEBRIS = 70.0, 0.8, 1.1, 0.07
INFUSIONS = (
    InfusionSpec(start_h=1.3, cells_per_kg=1e6, route="intravenous", duration_h=0.5),
    InfusionSpec(start_h=4.7, cells_per_kg=3e5, route="intrasplenic", duration_h=9.0),
)


@jax.jit
def _step(
    pools: dict, schedule: DoseSchedule, start_h: jax.Array, step_h: jax.Array, p: BiodistributionParameters
) -> dict[str, PoolCourse]:
    return distribute(pools, schedule, start_h, step_h, BODY_KG, VIABILITY, HOMING, jnp.asarray(DEBRIS), p)[0]


def course(schedule: DoseSchedule, step_h: float, end_h: float) -> list[dict[str, PoolCourse]]:
    """Steps of `distribute` as the macro-step calls it, from an empty body.

    Args:
        schedule: infusions for a body of 70 kg.
        step_h: length of a step [h].
        end_h: end of the course [h], a whole number of steps.

    Returns:
        "msc" and "label" -> pools and arrivals of each step [1e6 cells].
    """
    p = from_registry(BiodistributionParameters, load_parameters().biodistribution)
    pools, steps = {f"{kind}_{organ}": jnp.zeros(()) for kind in KINDS for organ in ORGANS}, []
    for n in range(round(end_h / step_h)):
        steps.append(_step(pools, schedule, jnp.asarray(n * step_h), jnp.asarray(step_h), p))
        pools = {f"{kind}_{organ}": steps[-1][kind].pools[organ] for kind in KINDS for organ in ORGANS}
    return steps


def _reference(kind: str, living: float, end_h: float) -> np.ndarray:
    """Lung, spleen, other, arrived in the liver, first moment of arrivals: DOP853 between the edges of infusions.

    The four pools are in 1e6 cells, the moment in 1e6 cells h. `living` is the share of the infused cells that count.
    """
    p = from_registry(BiodistributionParameters, load_parameters().biodistribution)
    k, shares = kinetics_of(kind, HOMING, jnp.asarray(DEBRIS), p), np.asarray(first_pass(p))
    to_liver, to_spleen = float(k.liver_share), float(k.spleen_share)

    def infused(time: float) -> np.ndarray:
        running = [i for i in INFUSIONS if i.start_h <= time < i.start_h + i.duration_h]
        rates = [
            i.cells_per_kg * BODY_KG * 1e-6 * living / i.duration_h * shares[ROUTES.index(i.route)] for i in running
        ]
        return sum(rates, np.zeros(4))

    def right(time: float, y: np.ndarray, inflow: np.ndarray) -> list[float]:
        released, arriving = k.release * y[0], inflow[3] + k.release * y[0] * to_liver
        return [
            inflow[0] - (k.loss + k.release) * y[0],
            inflow[1] + released * to_spleen - k.loss * y[1],
            inflow[2] + released * (1.0 - to_liver - to_spleen) - k.loss * y[2],
            arriving,
            arriving * time,
        ]

    edges = sorted({0.0, end_h, *(i.start_h for i in INFUSIONS), *(i.start_h + i.duration_h for i in INFUSIONS)})
    y = np.zeros(5)
    for a, b in itertools.pairwise(edges):
        inflow = infused(0.5 * (a + b))
        y = solve_ivp(right, (a, b), y, args=(inflow,), rtol=1e-12, atol=1e-12, method="DOP853").y[:, -1]
    return y


def biodistribution() -> Iterator[Record]:
    """Pools and arrivals of viable cells and label, two overlapping infusions, against DOP853 at 1e-12.

    Pools, arrivals in the liver and their first moment must agree to 1e-9, and the cells infused be those ordered to
    1e-12.

    Yields:
        Relative errors [-] after three steps of 6 h.

    Reference: NUMERICS decisions 7 and 8; BIOLOGY A8.
    """
    steps = course(schedule_of(INFUSIONS, 3), 6.0, 18.0)
    for kind, living in zip(KINDS, (VIABILITY, 1.0), strict=True):
        moment = sum(6.0 * ((n + 1) * s[kind].liver.amount - s[kind].liver.mean) for n, s in enumerate(steps))
        pools = [steps[-1][kind].pools[organ] for organ in ORGANS]
        solved = np.array([*pools, sum(s[kind].liver.amount for s in steps), moment], float)
        error = float(np.max(np.abs(solved / _reference(kind, living, 18.0) - 1.0)))
        yield at_most("body-kinetics", f"pools and arrivals of {kind}, relative error", error, 1e-9, "-", "DOP853")
    infused = float(sum(s["label"].infused for s in steps))
    given = sum(i.cells_per_kg for i in INFUSIONS) * BODY_KG * 1e-6
    yield at_most(
        "body-kinetics", "cells infused over cells ordered - 1", abs(infused / given - 1.0), 1e-12, "-", "exact"
    )


def any_time() -> Iterator[Record]:
    """An infusion across an edge of a step gives the same pools and arrivals with steps sixteen times smaller.

        d log(lung) / d start = loss + release

    in the lungs after the end of the infusion. Pools and arrivals must agree to 1e-11, the slope to 1e-6.

    Yields:
        Both relative errors [-].

    Reference: NUMERICS decision 8.
    """
    schedule = schedule_of((InfusionSpec(start_h=5.83, cells_per_kg=1e6, route="intravenous", duration_h=0.71),))
    coarse, fine = course(schedule, 6.0, 12.0), course(schedule, 0.375, 12.0)
    errors = []
    for kind in KINDS:
        for organ in ORGANS:
            errors.append(abs(float(coarse[-1][kind].pools[organ] / fine[-1][kind].pools[organ]) - 1.0))
        arrived = [sum(s[kind].liver.amount for s in steps[: len(steps) // 2]) for steps in (coarse, fine)]
        errors.append(abs(float(arrived[0] / arrived[1]) - 1.0))
    source = "NUMERICS decision 8"
    yield at_most("infusion-time", "6 h against 0.375 h steps, relative", largest(errors), 1e-11, "-", source)
    lung = [_lung_after(start) for start in (5.83, 5.83 - 1e-3, 5.83 + 1e-3)]
    p = from_registry(BiodistributionParameters, load_parameters().biodistribution)
    slope, exact = (lung[2] - lung[1]) / 2e-3 / lung[0], p.loss_rate + p.lung_release_rate
    yield at_most(
        "infusion-time", "lung pool against its start, slope error", abs(slope / exact - 1.0), 1e-6, "-", "exact"
    )


def _lung_after(start_h: float) -> float:
    """Viable cells in the lungs at hour 12 [1e6 cells], of an infusion of 0.71 h that starts at `start_h` [h]."""
    infusion = InfusionSpec(start_h=start_h, cells_per_kg=1e6, route="intravenous", duration_h=0.71)
    return float(course(schedule_of((infusion,)), 6.0, 12.0)[-1]["msc"].pools["lung"])


def blood_tests() -> Iterator[Record]:
    """Factor VII and albumin relax exponentially at constant function, exact at any step.

        y(t) = y* + (y(0) - y*) exp(-k t),   factor VII: y* = F,   albumin: y* = alb0 F^g (1 - a <J>)

    Yields:
        Largest relative error of both after one step of a day [-]; 1e-12 is accepted.

    Reference: BIOLOGY A9.
    """
    p = from_registry(LiverTestParameters, load_parameters().liver_tests)
    start, function, step = {"factor_vii": jnp.ones(()), "albumin_g_l": jnp.asarray(42.0)}, 0.3, 24.0
    given = Fields({"function": jnp.asarray(function), "mean_inflammation": jnp.asarray(0.1)})
    end, _ = step_states(start, lambda y: synthesis(given.with_(y), p), step)
    target = {
        "factor_vii": (p.factor_vii_rate, function),
        "albumin_g_l": (
            p.albumin_rate,
            p.albumin_at_rest_g_l * function**p.albumin_function_exponent * (1.0 - 0.1 * p.albumin_inflammation),
        ),
    }
    exact = {n: level + (float(start[n]) - level) * np.exp(-rate * step) for n, (rate, level) in target.items()}
    error = largest(abs(float(end[n]) / exact[n] - 1.0) for n in exact)
    yield at_most("body-tests", "factor VII and albumin after a day, relative error", error, 1e-12, "-", "exact")


CHECKS = (
    Check("body-kinetics", "biodistribution against a tight integrator", biodistribution),
    Check("infusion-time", "infusion at any time against smaller steps", any_time),
    Check("body-tests", "liver tests at constant function", blood_tests),
)
