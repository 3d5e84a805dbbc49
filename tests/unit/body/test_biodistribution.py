"""Whole-body kinetics: against the matrix exponential and an ODE solver, ledger, derivatives."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from hepatojax.body.biodistribution import (
    KINDS,
    ORGANS,
    BiodistributionParameters,
    Kinetics,
    course,
    distribute,
    first_pass,
    generator,
    kinetics_of,
    propagate,
)
from hepatojax.parameters.registry import from_registry, load_parameters
from hepatojax.scenario import ROUTES, InfusionSpec
from hepatojax.therapy.schedule import schedule_of

P = from_registry(BiodistributionParameters, load_parameters().biodistribution)
DEBRIS = jnp.asarray(0.07)
EMPTY = {f"{kind}_{organ}": jnp.asarray(0.0) for kind in KINDS for organ in ORGANS}
step = jax.jit(lambda pools, schedule, t, h: distribute(pools, schedule, t, h, 70.0, 0.8, 1.1, DEBRIS, P)[0])


def walk(schedule, step_h, count, start_h=0.0):
    """Steps of `step_h`; returns the list of courses."""
    pools, courses = EMPTY, []
    for n in range(count):
        done = step(pools, schedule, jnp.asarray(start_h + n * step_h), step_h)
        pools = {f"{k}_{o}": done[k].pools[o] for k in KINDS for o in ORGANS}
        courses.append(done)
    return courses


def test_shares_of_every_route_sum_to_one():
    shares = first_pass(P)
    assert shares.shape == (len(ROUTES), 4)
    np.testing.assert_allclose(jnp.sum(shares, axis=1), 1.0, rtol=1e-15)
    np.testing.assert_allclose(shares[0], [0.9, 0.015, 0.07, 0.015], rtol=1e-14)
    np.testing.assert_allclose(shares[1], [0.1, 0.0, 0.0, 0.9], rtol=1e-14)


@pytest.mark.parametrize("time", [0.0, 6.0, 100.0])
def test_uniformisation_is_the_matrix_exponential(time):
    kinetics = Kinetics(0.058, 0.004, 0.2, 0.15)
    matrix = generator(kinetics)
    start = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 20)))
    moved = propagate(matrix, 0.062 + 0.01, jnp.full((2,), time), start)
    rounding = 1e-11 if time > 10.0 else 1e-13  # of expm, whose approximant cancels where integrals grow as t^3
    np.testing.assert_allclose(moved, start @ expm(np.asarray(matrix) * time).T, rtol=rounding)


def test_against_a_tight_ode_solution():
    infusions = (
        InfusionSpec(start_h=1.3, cells_per_kg=1e6, route="intravenous", duration_h=0.5),
        InfusionSpec(start_h=4.0, cells_per_kg=3e5, route="intrasplenic", duration_h=9.0),
    )
    k = kinetics_of("msc", 1.1, DEBRIS, P)
    shares = np.asarray(first_pass(P))
    rates = [(1.3, 1.8, 56.0 / 0.5 * shares[0]), (4.0, 13.0, 0.8 * 21.0 / 9.0 * shares[3])]

    def right(t, y):
        u = sum((np.asarray(r) for a, b, r in rates if a <= t < b), np.zeros(4))
        lung, spleen, other = y[:3]
        released = k.release * lung
        arriving = u[3] + released * float(k.liver_share)
        return [
            u[0] - (k.loss + k.release) * lung,
            u[1] + released * float(k.spleen_share) - k.loss * spleen,
            u[2] + released * (1.0 - float(k.liver_share) - float(k.spleen_share)) - k.loss * other,
            arriving,
            arriving * t,
        ]

    edges, exact = [0.0, 1.3, 1.8, 4.0, 13.0, 18.0], np.zeros(5)
    for a, b in itertools.pairwise(edges):
        exact = solve_ivp(lambda t, y, b=b: right(min(t, b - 1e-12), y), (a, b), exact, rtol=1e-12, atol=1e-13).y[:, -1]
    courses = walk(schedule_of(infusions, 3), 6.0, 3)
    np.testing.assert_allclose([courses[-1]["msc"].pools[o] for o in ORGANS], exact[:3], rtol=1e-9)
    np.testing.assert_allclose(sum(c["msc"].liver.amount for c in courses), exact[3], rtol=1e-9)
    moments = sum(6.0 * ((n + 1) * c["msc"].liver.amount - c["msc"].liver.mean) for n, c in enumerate(courses))
    np.testing.assert_allclose(moments, exact[4], rtol=1e-9)


@pytest.mark.parametrize("route", ROUTES)
def test_ledger_closes(route):
    schedule = schedule_of((InfusionSpec(start_h=3.1, cells_per_kg=1e6, route=route, duration_h=4.0),))
    courses = walk(schedule, 6.0, 5)
    for kind, infused in (("msc", 56.0), ("label", 70.0)):
        end = sum(courses[-1][kind].pools.values())
        lost = sum(sum(c[kind].lost.values()) for c in courses)
        arrived = sum(c[kind].liver.amount for c in courses)
        np.testing.assert_allclose(sum(c[kind].infused for c in courses), infused, rtol=1e-14)
        np.testing.assert_allclose(end + lost + arrived, infused, rtol=1e-12)


def test_steps_compose_exactly():
    schedule = schedule_of((InfusionSpec(start_h=5.9, cells_per_kg=1e6, route="intravenous", duration_h=3.0),))
    long, short = walk(schedule, 24.0, 1)[-1]["msc"], walk(schedule, 3.0, 8)
    for organ in ORGANS:
        np.testing.assert_allclose(long.pools[organ], short[-1]["msc"].pools[organ], rtol=1e-12)
        np.testing.assert_allclose(long.mean[organ], np.mean([c["msc"].mean[organ] for c in short]), rtol=1e-12)
    np.testing.assert_allclose(long.liver.amount, sum(c["msc"].liver.amount for c in short), rtol=1e-12)


def test_derivative_with_respect_to_the_start_is_exact():
    """Lung pool at 18 h falls as exp(-k (18 - s)): its derivative is k times itself, on step edges too."""
    schedule = schedule_of((InfusionSpec(start_h=0.0, cells_per_kg=1e6, route="intravenous", duration_h=0.5),))

    @jax.jit
    @jax.value_and_grad
    def lung(start_h):
        moved = type(schedule)(start_h[None], schedule.duration_h, schedule.cells_per_kg, schedule.route_mix)

        def one(pools, start):
            done, _ = distribute(pools, moved, start, 6.0, 70.0, 1.0, 1.0, DEBRIS, P)
            return {f"{k}_{o}": done[k].pools[o] for k in KINDS for o in ORGANS}, None

        return jax.lax.scan(one, EMPTY, jnp.asarray([0.0, 6.0, 12.0]))[0]["msc_lung"]

    rate = P.loss_rate + P.lung_release_rate
    for start in (4.0, 5.75, 6.0, 6.1, 12.0):
        value, slope = lung(jnp.asarray(start))
        exact = 63.0 * np.exp(-rate * (18.0 - start)) * np.expm1(0.5 * rate) / (0.5 * rate)
        np.testing.assert_allclose(value, exact, rtol=1e-12)
        np.testing.assert_allclose(slope, rate * exact, rtol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_shares_of_released_cells_stay_shares(kind):
    for homing in (0.0, 1.0, 5.0, 1e3):
        k = kinetics_of(kind, homing, jnp.asarray(10.0), P)
        assert 0.0 <= k.liver_share <= 1.0 and 0.0 <= k.spleen_share <= 1.0 - k.liver_share
    plain = kinetics_of("msc", 1.0, jnp.asarray(P.adhesion_half_saturation), P)
    np.testing.assert_allclose([plain.liver_share, plain.spleen_share], [0.225, 0.15], rtol=1e-12)


def test_few_viable_cells_after_three_days():
    """V35: no viable cells beyond the lungs to speak of, none after 72 h; the label stays."""
    schedule = schedule_of((InfusionSpec(start_h=0.0, cells_per_kg=1e6, route="intravenous", duration_h=0.5),))
    done = walk(schedule, 6.0, 12)[-1]
    assert done["msc"].pools["lung"] < 0.02 * 56.0
    assert sum(done["label"].pools.values()) > 0.5 * 70.0


@pytest.mark.parametrize("viability", [1.0, 0.5, 0.0])
@pytest.mark.parametrize(("route", "share"), [("portal", 0.9), ("direct", 0.0)])
def test_dead_cells_of_a_product_block_sinusoids_too(route, share, viability):
    schedule = schedule_of((InfusionSpec(start_h=1.0, cells_per_kg=1e6, route=route, duration_h=2.0),))
    _, trapped = distribute(EMPTY, schedule, jnp.asarray(0.0), 6.0, 70.0, viability, 1.0, DEBRIS, P)
    released = distribute(EMPTY, schedule, jnp.asarray(0.0), 6.0, 70.0, viability, 1.0, DEBRIS, P)[0]["msc"]
    from_lung = float(released.liver.amount) - 70.0 * viability * float(first_pass(P)[ROUTES.index(route), 3])
    np.testing.assert_allclose(trapped.arrival.amount, 70.0 * share + from_lung, rtol=1e-10)
    if share and not viability:  # evenly over 1..3 h
        np.testing.assert_allclose(trapped.arrival.mean, trapped.arrival.amount * 4.0 / 6.0, rtol=1e-12)


def test_pools_without_cells_stay_finite_in_reverse():
    def total(pools):
        done = course(pools, jnp.zeros((1, 4)), jnp.zeros(1), jnp.zeros(1), 6.0, Kinetics(0.0, 0.0, 0.2, 0.1))
        return sum(done.pools.values()) + done.liver.mean

    np.testing.assert_allclose(jax.grad(total)(jnp.zeros(3)), 1.0, rtol=1e-14)


def test_moments_of_arrivals_and_deaths_against_quadrature():
    """Early and between of what reaches the liver and of what dies in the lungs, from 2000 small steps."""
    schedule = schedule_of((InfusionSpec(start_h=1.3, cells_per_kg=1e6, route="intravenous", duration_h=2.0),))
    coarse, fine = walk(schedule, 6.0, 1)[0]["msc"], walk(schedule, 6.0 / 2000, 2000)
    passed = (np.arange(2000) + 0.5) / 2000
    for whole, parts in (
        (coarse.liver, np.array([c["msc"].liver.amount for c in fine])),
        (coarse.deaths["lung"], np.array([c["msc"].lost["lung"] for c in fine])),
    ):
        np.testing.assert_allclose(whole.amount, parts.sum(), rtol=1e-10)
        np.testing.assert_allclose(whole.early, ((1.0 - passed) ** 2 * parts).sum(), rtol=1e-5)
        np.testing.assert_allclose(whole.between, (2.0 * passed * (1.0 - passed) * parts).sum(), rtol=1e-5)
