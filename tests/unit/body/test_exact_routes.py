"""Where infused cells go: all five routes against the matrix exponential of an independent system, and its symmetries.

The reference writes the page (docs/model.md A8) for one infusion at a time: first pass, release from the lungs, loss;
an infusion is a constant inflow, so that pools and integrals are exponentials of one augmented matrix.
"""

import dataclasses
import math

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from scipy.linalg import expm

from hepatojax.body.biodistribution import KINDS, ORGANS, BiodistributionParameters, distribute
from hepatojax.parameters.registry import from_registry, load_parameters
from hepatojax.scenario import ROUTES, InfusionSpec
from hepatojax.therapy.schedule import DoseSchedule, schedule_of

REGISTRY = load_parameters()
P = from_registry(BiodistributionParameters, REGISTRY.biodistribution)
NAMES = tuple(f"{kind}_{organ}" for kind in KINDS for organ in ORGANS)
EMPTY = {name: jnp.asarray(0.0) for name in NAMES}
FIRST_PASS = {  # lung, spleen, other, liver; docs/model.md A8 and PARAMETERS S10, S12, S13
    "intravenous": (0.90, 0.10 * 0.15, 0.10 * 0.70, 0.10 * 0.15),
    "portal": (0.10, 0.0, 0.0, 0.90),
    "arterial": (0.15, 0.0, 0.0, 0.85),
    "intrasplenic": (0.0, 0.55, 0.0, 0.45),
    "direct": (0.05, 0.0, 0.0, 0.95),
}


@jax.jit
def course(pools, schedule, start_h, step_h, viability, homing, debris, p):
    """Pools, losses and infused cells of both kinds, and what is left for the liver: whatever is nowhere else."""
    done, _ = distribute(pools, schedule, start_h, step_h, 70.0, viability, homing, debris, p)

    def parts(kind):
        end, lost, infused = done[kind].pools, done[kind].lost, done[kind].infused
        start = sum(pools[f"{kind}_{organ}"] for organ in ORGANS)
        liver = start + infused - sum(end.values()) - sum(lost.values())
        return {"pools": end, "lost": lost, "infused": infused, "liver": liver}

    return {kind: parts(kind) for kind in KINDS}


def after(schedule, step_h, pools=EMPTY, start_h=0.0, viability=1.0, homing=1.0, debris=0.0, p=P):
    numbers = (jnp.asarray(float(v)) for v in (start_h, step_h, viability, homing, debris))
    return course(pools, schedule, *numbers, jax.tree.map(lambda v: jnp.asarray(float(v)), p))


def infusion(route="intravenous", start_h=1.3, cells_per_kg=1e6, duration_h=2.0):
    return InfusionSpec(start_h=start_h, cells_per_kg=cells_per_kg, route=route, duration_h=duration_h)


def day(per_day):
    return per_day / 24.0


def exact(kind, route, infused, begin_h, end_h, until_h):
    """Lung, spleen, other, arrived in the liver, and integrals of the first three, after an infusion from nothing."""
    if kind == "msc":
        loss, release, liver, spleen = day(1.39), day(0.10), 0.15, 0.15
    else:
        loss, release, liver, spleen = day(0.02), day(0.21), 0.20, 0.40
    system = np.zeros((8, 8))
    system[0, 0], system[1, 1], system[2, 2] = -loss - release, -loss, -loss
    system[1:4, 0] = release * spleen, release * (1.0 - liver - spleen), release * liver
    system[4:7, 0:3] = np.eye(3)
    system[0:4, 7] = np.asarray(FIRST_PASS[route]) * infused / (end_h - begin_h)
    stopped = expm(system * (end_h - begin_h)) @ np.eye(8)[7]
    stopped[7] = 0.0
    return (expm(system * (until_h - end_h)) @ stopped)[:7]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(("kind", "infused"), [("msc", 0.8 * 70.0), ("label", 70.0)])
@pytest.mark.parametrize("until_h", [3.3, 6.0, 30.0])
def test_every_route_is_the_exponential_of_its_system(route, kind, infused, until_h):
    done = after(schedule_of((infusion(route),)), until_h, viability=0.8)[kind]
    y = exact(kind, route, infused, 1.3, 3.3, until_h)
    np.testing.assert_allclose([done["pools"][o] for o in ORGANS], y[:3], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(done["liver"], y[3], rtol=1e-9)
    loss = day(1.39) if kind == "msc" else day(0.02)
    np.testing.assert_allclose([done["lost"][o] for o in ORGANS], loss * y[4:], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(done["infused"], infused, rtol=1e-12)


def test_the_remainder_of_an_intravenous_dose_is_gone_in_days_as_the_page_says():
    """A living cell leaves the lungs at 1.49 per day: half after 11.2 h, two thirds of a percent after 81 h."""
    pools = {**EMPTY, "msc_lung": jnp.asarray(1.0)}
    none = schedule_of((infusion(cells_per_kg=0.0),))
    half = 24.0 * math.log(2.0) / 1.49
    np.testing.assert_allclose(after(none, half, pools)["msc"]["pools"]["lung"], 0.5, rtol=1e-10)
    np.testing.assert_allclose(
        after(none, 80.7, pools)["msc"]["pools"]["lung"], math.exp(-1.49 * 80.7 / 24.0), rtol=1e-9
    )
    np.testing.assert_array_equal(after(none, half)["msc"]["pools"]["lung"], 0.0)


def test_released_cells_reach_an_injured_liver_more_often():
    """Debris of one half saturation adds half the share, and cells that home take it from the other organs alike."""
    still = dataclasses.replace(P, loss_rate=0.0)
    pools, none = {**EMPTY, "msc_lung": jnp.asarray(1.0)}, schedule_of((infusion(cells_per_kg=0.0),))
    released = -math.expm1(-day(0.10) * 48.0)
    for debris, homing, share in ((0.0, 1.0, 0.15), (0.1, 1.0, 0.225), (0.0, 2.0, 0.30 / 1.15), (0.0, 0.0, 0.0)):
        done = after(none, 48.0, pools, debris=debris, homing=homing, p=still)["msc"]
        np.testing.assert_allclose(done["liver"], share * released, rtol=1e-10, atol=1e-15)
        other = 0.70 if debris == 0.0 else 0.625
        np.testing.assert_allclose(done["pools"]["spleen"] / done["pools"]["other"], 0.15 / other, rtol=1e-9)


@settings(max_examples=15, deadline=None)
@given(
    start=st.floats(0.0, 20.0), length=st.floats(0.1, 10.0), cells=st.floats(1e4, 1e8), route=st.sampled_from(ROUTES)
)
def test_nothing_is_infused_twice_and_no_pool_is_negative(start, length, cells, route):
    """Infused is what the window of the step holds; pools, losses and the liver's share of it are not negative."""
    done = after(schedule_of((infusion(route, start, cells, length),)), 12.0, viability=0.7)
    for kind in KINDS:
        parts = done[kind]
        assert all(float(v) >= 0.0 for group in ("pools", "lost") for v in parts[group].values())
        assert float(parts["liver"]) >= -1e-12 * float(parts["infused"])
    given_share = min(max(12.0 - start, 0.0) / length, 1.0)
    np.testing.assert_allclose(done["label"]["infused"], 70.0 * cells * 1e-6 * given_share, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(done["msc"]["infused"], 0.7 * done["label"]["infused"], rtol=1e-12)


def tree_close(left, right, rtol=1e-10):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-12), left, right)


def test_kinetics_are_linear_and_do_not_care_about_the_order_of_infusions():
    first, second = infusion("portal", 0.5, 3e5), infusion("intravenous", 2.0, 2e6, 7.0)
    both = after(schedule_of((first, second)), 12.0)
    tree_close(both, after(schedule_of((second, first)), 12.0))
    tree_close(both, after(schedule_of((first, second), 5), 12.0))  # rows without cells do nothing
    alone = [after(schedule_of((one,), 2), 12.0) for one in (first, second)]
    tree_close(both, jax.tree.map(jnp.add, *alone))
    tripled = after(
        schedule_of(tuple(dataclasses.replace(i, cells_per_kg=3 * i.cells_per_kg) for i in (first, second))), 12.0
    )
    tree_close(tripled, jax.tree.map(lambda v: 3.0 * v, both))


def test_a_mixed_route_is_the_mixture_of_its_routes():
    whole = [after(schedule_of((infusion(route),)), 9.0) for route in ROUTES]
    shares = np.asarray([0.1, 0.3, 0.2, 0.25, 0.15])
    plain = schedule_of((infusion(),))
    mixed = after(DoseSchedule(plain.start_h, plain.duration_h, plain.cells_per_kg, jnp.asarray(shares[None])), 9.0)
    tree_close(mixed, jax.tree.map(lambda *v: sum(s * x for s, x in zip(shares, v, strict=True)), *whole))


def test_twice_as_fast_in_half_the_time_is_the_same():
    """Only rate x time counts: all rates doubled, all times halved."""
    rates = ("loss_rate", "lung_release_rate", "label_loss_rate", "label_lung_release_rate")
    fast = dataclasses.replace(P, **{name: 2.0 * getattr(P, name) for name in rates})
    slow = after(schedule_of((infusion(start_h=3.0, duration_h=4.0),)), 12.0)
    quick = after(schedule_of((infusion(start_h=1.5, duration_h=2.0),)), 6.0, p=fast)
    tree_close(slow, quick)


def test_a_short_infusion_tends_to_a_bolus():
    """The pool after an infusion of length T differs from that of a bolus at its middle by (k T)^2 / 24."""
    rate = P.loss_rate + P.lung_release_rate
    for length in (4.0, 0.4):
        done = after(schedule_of((infusion(start_h=3.0 - 0.5 * length, duration_h=length),)), 12.0)
        bolus = 63.0 * math.exp(-rate * 9.0)
        excess = float(done["msc"]["pools"]["lung"]) / bolus - 1.0
        assert excess == pytest.approx((rate * length) ** 2 / 24.0, rel=2e-2)


def test_dead_cells_are_label_and_nothing_else():
    dead = after(schedule_of((infusion("portal"),)), 12.0, viability=0.0)
    assert all(float(v) == 0.0 for v in jax.tree.leaves(dead["msc"]))
    tree_close(dead["label"], after(schedule_of((infusion("portal"),)), 12.0, viability=1.0)["label"])


def test_gradient_by_the_dose_of_no_cells_is_the_effect_of_one():
    """The response is linear, so that its derivative at zero is finite and equals the response to a unit dose."""
    plain = schedule_of((infusion("intravenous"),))
    one = float(after(plain, 12.0)["msc"]["pools"]["spleen"]) / 1e6

    def spleen(cells):
        dose = DoseSchedule(plain.start_h, plain.duration_h, cells, plain.route_mix)
        return after(dose, 12.0)["msc"]["pools"]["spleen"]

    np.testing.assert_allclose(jax.grad(spleen)(jnp.zeros(1)), one, rtol=1e-10)
