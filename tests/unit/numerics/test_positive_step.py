"""The positive stepper: order, positivity, conservation, dilution, arrivals, derivatives."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from hepatojax.mechanism import Arrival, Rates, Transfer, bolus
from hepatojax.numerics.positive_step import connected_groups, predict_middle, solve_transfers, step_states
from hepatojax.numerics.safe_math import decay_deficit, decay_mean
from hepatojax.parameters.registry import load_parameters
from tests.reference import dense

PAIRS = ((1, 0), (0, 1), (2, 0), (2, 1), (0, 2), (3, 2))  # target, source of some transfers


def chain(y):
    """A nonlinear cycle a -> b -> c -> a with division b -> 2a, death of c, and a partnerless d fed by c."""
    return Rates(
        production={"a": 0.02 + 0.0 * y["a"], "d": 0.3 * y["c"]},
        loss={"c": 0.1 + 0.2 * y["a"], "d": 0.5 + y["a"]},
        transfers=(
            Transfer("a", "b", 0.8 * y["c"] / (0.2 + y["c"])),
            Transfer("b", "a", 0.3 / (1.0 + y["a"]), 2.0),
            Transfer("b", "c", 0.4 * y["d"]),
            Transfer("c", "a", 0.1 + 0.0 * y["c"]),
        ),
    )


def start(dtype=jnp.float64):
    return {n: jnp.full((2,), v, dtype) for n, v in {"a": 1.0, "b": 0.3, "c": 0.2, "d": 0.7}.items()}


def integrate(states, rates, end, steps, **kw):
    return jax.lax.fori_loop(0, steps, lambda _, y: step_states(y, rates, end / steps, **kw)[0], states)


def reference(end):
    def right(_, v):
        a, b, c, d = v
        ab, ba, bc, ca = 0.8 * c / (0.2 + c) * a, 0.3 / (1 + a) * b, 0.4 * d * b, 0.1 * c
        return [0.02 - ab + 2 * ba + ca, ab - ba - bc, bc - ca - (0.1 + 0.2 * a) * c, 0.3 * c - (0.5 + a) * d]

    return solve_ivp(right, (0, end), [1.0, 0.3, 0.2, 0.7], rtol=1e-12, atol=1e-14, method="DOP853").y[:, -1]


def test_second_order():
    exact = reference(4.0)
    errors = []
    for steps in (16, 32, 64, 128):
        y = integrate(start(), chain, 4.0, steps)
        errors.append(max(abs(float(y[n][0]) - e) for n, e in zip("abcd", exact, strict=True)))
    slope = -np.polyfit(np.log([16, 32, 64, 128]), np.log(errors), 1)[0]
    assert slope >= 1.9, (slope, errors)


@settings(max_examples=30, deadline=None)
@given(st.floats(1e-3, 1e4), st.lists(st.sampled_from([0.0, 1e-30, 1e-6, 1.0, 50.0]), min_size=4, max_size=4))
def test_positive_at_any_step(step, values):
    y = {n: jnp.full((1,), v) for n, v in zip("abcd", values, strict=True)}
    new, _ = _jitted(y, step)
    assert all(np.isfinite(v) and v >= 0.0 for v in map(float, (w[0] for w in new.values())))


_jitted = jax.jit(lambda y, h: step_states(y, chain, h, tracked=("a", "b", "c", "d")))


def test_transfers_conserve_to_round_off():
    def closed(y):
        k = y["a"] + 0.3
        return Rates(transfers=(Transfer("a", "b", 3.0 * k), Transfer("b", "c", 2.0 * k), Transfer("c", "a", k)))

    y = {n: jnp.asarray([v, 10 * v]) for n, v in {"a": 1.0, "b": 0.0, "c": 1e-9}.items()}
    total = sum(y.values())
    for step in (1e-2, 1.0, 1e3):
        new = integrate(y, closed, step * 20, 20)
        np.testing.assert_allclose(sum(new.values()), total, rtol=1e-14)


def test_budget_closes_and_states_its_terms():
    y = start()
    sources = {
        "d": bolus(jnp.full((2,), 0.4), 0.5),
        "c": bolus(jnp.full((2,), 0.2), 0.2),
    }
    ratio = 1.07
    new, budgets = step_states(
        y, chain, 0.5, diluted=tuple("abcd"), volume_ratio_end=ratio, sources=sources, tracked=("a", "b", "c", "d")
    )
    for n, b in budgets.items():
        np.testing.assert_allclose(
            new[n] * ratio, y[n] + b.produced + b.received + b.arrived - b.lost - b.left, rtol=3e-15
        )
    np.testing.assert_array_equal(budgets["c"].arrived, sources["c"].amount)


def test_dilution_conserves_amount():
    y = {"a": jnp.asarray(2.0), "b": jnp.asarray(1.0)}
    still = lambda s: Rates(transfers=(Transfer("a", "b", 0.7),))  # noqa: E731
    new, _ = step_states(y, still, 0.3, diluted=("a", "b"), volume_ratio_end=1.25)
    np.testing.assert_allclose((new["a"] + new["b"]) * 1.25, 3.0, rtol=1e-15)


def test_dilution_is_second_order_with_production():
    growth, supply, loss = 0.4, 1.3, 0.2  # dy/dt = P - (D + g) y
    rate = growth + loss
    exact = 2.0 * np.exp(-rate) + supply / rate * (1 - np.exp(-rate))

    def error(steps):
        y = {"a": jnp.asarray(2.0)}
        kw = {"diluted": ("a",), "volume_ratio_end": np.exp(growth / steps)}
        y = integrate(y, lambda s: Rates({"a": supply}, {"a": loss}), 1.0, steps, **kw)
        return abs(float(y["a"]) - exact)

    assert np.log2(error(8) / error(16)) > 1.9


def test_mixed_dilution_is_refused():
    y = {"a": jnp.asarray(2.0), "b": jnp.asarray(1.0)}
    with pytest.raises(ValueError, match="diluted"):
        step_states(y, lambda s: Rates(transfers=(Transfer("a", "b", 1.0),)), 0.1, diluted=("a",))


@pytest.mark.parametrize("joined", [False, True])
def test_bolus_decays_from_its_true_arrival(joined):
    k, h, dose = 0.46, 0.25, 3.0
    transfers = (Transfer("a", "b", 0.0),) if joined else ()
    rates = lambda s: Rates(loss={"a": k}, transfers=transfers)  # noqa: E731
    y = {"a": jnp.asarray(0.0), "b": jnp.asarray(0.0)}

    def end(t, dose):
        new, _ = step_states(y, rates, h, sources={"a": bolus(dose, t / h)})
        return new["a"]

    for t in (0.0, 0.03, 0.2, 0.25):
        value, (by_time, by_dose) = jax.value_and_grad(end, (0, 1))(jnp.asarray(t), jnp.asarray(dose))
        exact = dose * np.exp(-k * (h - t))
        apart = 3e-4 if joined else (k * h) ** 3 / 25  # the joined state decays by MPRK22, not exactly
        within = 1e-13 if t in (0.0, h) and not joined else apart
        np.testing.assert_allclose(value, exact, rtol=within)
        np.testing.assert_allclose(by_dose, exact / dose, rtol=within)
        np.testing.assert_allclose(by_time, k * exact, rtol=1e-2 if joined else (k * h) ** 2 / 4)
        at_zero = jax.grad(end, 1)(jnp.asarray(t), jnp.asarray(0.0))
        np.testing.assert_allclose(at_zero, exact / dose, rtol=within)


def test_arrivals_of_one_step_add_up():
    """Two boluses at once are the sum of each alone, for which the split has to be linear."""
    rates = lambda s: Rates(loss={"a": 0.8})  # noqa: E731
    early, late = bolus(jnp.asarray(2.0), 0.1), bolus(jnp.asarray(0.5), 0.7)

    def end(arrival):
        return float(step_states({"a": jnp.asarray(0.0)}, rates, 0.5, sources={"a": arrival})[0]["a"])

    both = jax.tree.map(lambda a, b: a + b, early, late)
    assert end(both) == pytest.approx(end(early) + end(late), rel=1e-15)


def test_partner_sees_the_time_mean_of_an_arrival():
    """db/dt = a: a bolus into a at time t of the step adds amount x (h - t) to b."""
    y = {"a": jnp.asarray(0.0), "b": jnp.asarray(0.0)}
    for t in (0.0, 0.3, 1.0):
        new, _ = step_states(y, lambda s: Rates({"b": s["a"]}), 1.0, sources={"a": bolus(jnp.asarray(2.0), t)})
        np.testing.assert_allclose(new["b"], 2.0 * (1.0 - t), atol=1e-15)


def test_middle_is_first_order():
    exact = reference(0.005)
    middle = predict_middle(start(), chain, 0.01)
    for n, e in zip("abcd", exact, strict=True):
        np.testing.assert_allclose(middle[n][0], e, rtol=1e-4)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_finite_gradients_at_zero_and_tiny_states(dtype):
    for value in (0.0, 1e-37, 1e-22, 1e-10):
        y = {n: jnp.full((2,), value, dtype) for n in "abcd"}
        source = bolus(jnp.full((2,), value, dtype), 0.4)

        def total(y, source):
            new, _ = step_states(y, chain, 0.25, diluted=tuple("abcd"), volume_ratio_end=1.1, sources={"c": source})
            return sum(jnp.sum(v) for v in new.values())

        gradients = jax.grad(total, (0, 1))(y, source)
        assert all(np.all(np.isfinite(g)) and g.dtype == dtype for g in jax.tree.leaves(gradients))


def test_float32_stays_float32_beside_float64():
    y = {"a": jnp.ones((2,), jnp.float32), "b": jnp.asarray(1.0, jnp.float64)}
    new, _ = step_states(
        y, lambda s: Rates({"a": 0.1}, {"b": 0.1}), jnp.asarray(0.1), volume_ratio_end=jnp.asarray(1.0)
    )
    assert new["a"].dtype == jnp.float32
    assert new["b"].dtype == jnp.float64


def test_groups():
    transfers = (Transfer("a", "c", 1.0), Transfer("d", "c", 1.0))
    assert connected_groups(tuple("abcd"), transfers) == (("a", "c", "d"), ("b",))


def test_decay_functions_near_zero():
    z = jnp.asarray([0.0, 1e-12, 1e-5, 1e-4, 1.3e-4, 1e-2, 3.0])
    exact = np.array(
        [1 - 0.5 * float(v) + float(v) ** 2 / 6 - float(v) ** 3 / 24 if v < 1e-3 else -np.expm1(-v) / v for v in z]
    )
    np.testing.assert_allclose(decay_mean(z), exact, rtol=1e-14)
    np.testing.assert_allclose(decay_deficit(z)[1:], [0.5e-12, 0.5e-5 - 1e-10 / 6, *(1 - exact[3:])], rtol=1e-11)


def supplied(supply, amount, step=0.5, loss=0.8):
    """What one step leaves of a state that loses, holds an amount and is supplied by a partner of one."""
    rates = Rates(loss={"b": jnp.asarray(loss)}, transfers=(Transfer("a", "b", supply),))
    return step_states({"a": jnp.asarray(1.0), "b": amount}, lambda _: rates, step)[0]["b"]


def test_an_empty_state_has_a_slope_for_supply_and_one_for_an_amount_but_no_gradient():
    """One step of h and loss l: h / (1 + lh/2) for a supply, 1 / (1 + lh + (lh)^2/2) for an amount, less than their
    sum for both at once; what differentiation gives at zero is that of an amount for both."""
    step, decay, little = 0.5, 0.4, 1e-9
    of_supply, of_amount = step / (1.0 + 0.5 * decay), 1.0 / (1.0 + decay + 0.5 * decay**2)
    np.testing.assert_allclose(supplied(jnp.asarray(little), jnp.asarray(0.0)) / little, of_supply, rtol=1e-8)
    np.testing.assert_allclose(supplied(jnp.asarray(0.0), jnp.asarray(little)) / little, of_amount, rtol=1e-8)
    both = float(supplied(jnp.asarray(little), jnp.asarray(little))) / little
    assert abs(both - (of_supply + of_amount)) > 1e-3
    at_zero = jax.grad(supplied, argnums=(0, 1))(jnp.asarray(0.0), jnp.asarray(0.0))
    np.testing.assert_allclose(at_zero, [step * of_amount, of_amount], rtol=1e-12)


def test_the_derivative_by_a_transfer_that_is_off_is_of_first_order_and_exact_once_it_is_on():
    """MSC that engraft at a rate k, by their own rates of the registry: living cells a day after a bolus, by k."""
    p = load_parameters().stem_cells
    loss = {"a": jnp.asarray(p.death_rate), "e": jnp.asarray(p.engrafted_death_rate)}

    def living(rate, steps):
        cells = {"a": jnp.asarray(0.0), "e": jnp.asarray(0.0)}
        rates = Rates(loss=loss, transfers=(Transfer("a", "e", rate),))
        for n in range(steps):
            sources = {"a": bolus(jnp.asarray(1.0), 0.5)} if n == 0 else {}
            cells, _ = step_states(cells, lambda _: rates, 24.0 / steps, sources=sources)
        return cells["a"] + cells["e"]

    def error(rate, steps, h=1e-5):
        course = [float(living(jnp.asarray(rate + k * h), steps)) for k in range(5)]
        slope = np.asarray((-25.0, 48.0, -36.0, 16.0, -3.0)) @ course / (12.0 * h)
        return float(jax.grad(living)(jnp.asarray(rate), steps)) / slope - 1.0

    off = [error(0.0, steps) for steps in (2, 4, 8)]
    assert -0.016 < off[0] < off[1] < off[2] < 0.0
    assert off[0] / off[1] > 1.9 and off[1] / off[2] > 1.9
    assert max(abs(error(1e-4, steps)) for steps in (2, 4, 8)) < 1e-6


def test_rates_that_bend_in_an_arrival_follow_it_over_an_edge():
    """A hazard that is steep in the cells present: its integral has no jump where an arrival slides over an edge."""

    def hazard(s):
        return Rates({"h": s["w"] ** 4 / (0.5**4 + s["w"] ** 4)}, {"w": 0.01})

    def integral(arrival_h):
        y = {"w": jnp.zeros(1), "h": jnp.zeros(1)}
        for n in range(3):
            at = min(max(arrival_h - 6.0 * n, 0.0), 6.0)
            amount = jnp.full(1, 0.7 if 6.0 * n <= arrival_h < 6.0 * (n + 1) else 0.0)
            y, _ = step_states(y, hazard, 6.0, sources={"w": bolus(amount, at / 6.0)})
        return float(y["h"][0])

    before, after = integral(6.0 - 1e-9), integral(6.0)
    assert before == pytest.approx(after, rel=1e-6)
    times = np.linspace(0.0, 12.0, 4001)
    level = 0.7 * np.exp(-0.01 * times)
    exact = np.trapezoid(level**4 / (0.5**4 + level**4), times)
    assert after == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize("passed", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_an_effect_of_an_effect_weighs_the_square_of_the_time_left(passed):
    """dc/dt = b, db/dt = a: a bolus into a at share s of the step adds a h (1 - s) to b and a h^2/2 (1 - s)^2 to c."""
    y = {name: jnp.asarray(0.0) for name in "abc"}
    new, _ = step_states(
        y, lambda s: Rates({"b": s["a"], "c": s["b"]}), 3.0, sources={"a": bolus(jnp.asarray(2.0), passed)}
    )
    np.testing.assert_allclose(new["b"], 2.0 * 3.0 * (1.0 - passed), atol=1e-14)
    np.testing.assert_allclose(new["c"], 2.0 * 4.5 * (1.0 - passed) ** 2, atol=1e-14)


def test_an_arrival_at_an_edge_is_the_same_in_the_step_before_and_behind():
    y, dose, kw = start(), jnp.full((2,), 0.4), {"diluted": tuple("abcd"), "volume_ratio_end": 1.1}
    late, _ = step_states(y, chain, 0.5, sources={"d": bolus(dose, 1.0)}, **kw)
    late, _ = step_states(late, chain, 0.5, **kw)
    early, _ = step_states(y, chain, 0.5, **kw)
    early, _ = step_states(early, chain, 0.5, sources={"d": bolus(dose / 1.1, 0.0)}, **kw)
    for name in "abcd":
        np.testing.assert_allclose(early[name], late[name], rtol=1e-13)
        seen = predict_middle({**y, "d": y["d"] + dose}, chain, 0.5)[name]
        np.testing.assert_allclose(
            predict_middle(y, chain, 0.5, sources={"d": bolus(dose, 0.0)})[name], seen, rtol=1e-14
        )


def test_the_slope_by_the_time_of_an_arrival_jumps_by_the_square_of_the_step():
    """The end of a chain of four effects, by the time of a bolus, on both sides of an edge: the jump falls fourfold."""

    def rates(s):
        return Rates({"b": s["a"], "c": s["b"], "d": s["c"]}, {"a": 0.3})

    def jump(steps):
        step_h, edge = 8.0 / steps, 4.0

        def end(arrival_h, holder):
            y = {name: jnp.asarray(0.0) for name in "abcd"}
            for n in range(steps):
                sources = {"a": bolus(jnp.asarray(1.0), (arrival_h - n * step_h) / step_h)} if n == holder else {}
                y, _ = step_states(y, rates, step_h, sources=sources)
            return y["d"]

        behind = round(edge / step_h)
        before, after = (jax.grad(end)(jnp.asarray(edge), holder) for holder in (behind - 1, behind))
        return abs(float(before / after) - 1.0)

    jumps = [jump(4), jump(8), jump(16)]
    assert jumps[0] / jumps[1] > 3.0 and jumps[1] / jumps[2] > 3.5, jumps


def test_moments_of_an_even_inflow():
    """An even inflow leaves a half of its amount as mean and a third as early; boluses add up to it."""
    passed = np.linspace(0.0005, 0.9995, 1000)
    parts = [bolus(1e-3, s) for s in passed]
    whole = Arrival(*(sum(getattr(part, name) for part in parts) for name in ("amount", "early", "between")))
    np.testing.assert_allclose([whole.amount, whole.mean, whole.early], [1.0, 1 / 2, 1 / 3], rtol=1e-6)


def balance(numbers):
    """Matrix and right side of four states; the numbers are what stays of each, the transfers and the right side."""
    matrix = np.diag(np.asarray(numbers[:4], object))
    for rate, (target, source) in zip(numbers[4:10], PAIRS, strict=True):
        matrix[source, source] += rate
        matrix[target, source] -= rate
    return matrix, np.asarray(numbers[10:], object)


def exact_slopes(numbers):
    """Derivatives of the four states by all numbers, A du = db - dA u, without round-off."""
    numbers = [Fraction(float(n)) for n in numbers]
    matrix, rhs = balance(numbers)
    solved = np.asarray(dense.solved_exactly(matrix, rhs), object)
    unit = np.eye(len(numbers), dtype=int).astype(object)
    changes = (balance(list(direction)) for direction in unit)
    return np.asarray([dense.solved_exactly(matrix, b - a @ solved) for a, b in changes], float).T


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("size", [1e-3, 1.0])
@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
def test_derivatives_of_eliminated_transfers_have_all_digits(mode, size, dtype):
    def eliminated(v):
        return jnp.stack(solve_transfers(list(v[:4]), dict(zip(PAIRS, v[4:10], strict=True)), list(v[10:])))

    numbers = np.random.default_rng(4).uniform(0.5, 1.5, 14)
    numbers[4:10] *= size
    numbers = jnp.asarray(numbers, dtype)
    exact = exact_slopes(numbers)
    found = np.asarray(mode(eliminated)(numbers), float)
    lost = np.abs(found - exact).max(0) / np.abs(exact).max(0) / float(jnp.finfo(dtype).eps)
    assert lost.max() < 8.0
