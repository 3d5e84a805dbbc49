"""The optimiser finds known optima with their multipliers, and never calls anything else converged."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.studies.batch import RUNS_AT_ONCE
from hepatojax.studies.certificate import MARGIN
from hepatojax.studies.objective import StudyError
from hepatojax.studies.optimise import Record, optimise_dose, screened
from hepatojax.studies.optimum import Verdict, conditions_at, within_reach

LIMITED = ("SLSQP", "trust-constr")


def hill(x):
    """1e-4 (1 - |x - (0.7, 0.8)|^2), a small number on purpose."""
    return 1e-4 * (1.0 - jnp.sum((x - jnp.asarray([0.7, 0.8])) ** 2))


def budget(x):
    """x0 + x1 <= 1 over its bound; the multiplier of `hill` is 1e-4 x 2 x 0.25 at (0.45, 0.55)."""
    return jnp.sum(x) - 1.0


def two_modes(x):
    """A low wide mode and a high narrow one."""
    low, high = jnp.asarray([0.7, 0.3]), jnp.asarray([0.2, 0.8])
    return jnp.exp(-8.0 * jnp.sum((x - low) ** 2)) + 1.5 * jnp.exp(-60.0 * jnp.sum((x - high) ** 2))


@pytest.mark.parametrize("method", LIMITED)
def test_an_active_limit_is_found_with_its_multiplier(stand_in, method):
    optimum = optimise_dose(stand_in(hill, budget, lambda x: x[0] - 0.9), method, starts=3)
    assert optimum.verdict == "converged"
    np.testing.assert_allclose(optimum.x, [0.45, 0.55], atol=1e-3)
    np.testing.assert_allclose(optimum.multipliers["limit 0"], 5e-5, rtol=1e-2)
    assert optimum.multipliers["limit 1"] == 0.0
    conditions = optimum.best.conditions
    assert conditions.hold
    assert conditions.stationarity < 1e-3
    assert all(start.verdict == Verdict.CONVERGED for start in optimum.starts)


@pytest.mark.parametrize("method", [*LIMITED, "L-BFGS-B"])
def test_an_optimum_inside_and_one_on_a_bound(stand_in, method):
    inside = optimise_dose(stand_in(hill), method, starts=2)
    np.testing.assert_allclose(inside.x, [0.7, 0.8], atol=2e-3)
    outside = optimise_dose(stand_in(lambda x: hill(x) + 1e-4 * x[0]), method, starts=2)
    np.testing.assert_allclose(outside.x, [1.0, 0.8], atol=2e-3)
    np.testing.assert_allclose(outside.best.conditions.bounds, [0.4e-4, 0.0], atol=1e-6)
    assert inside.verdict == outside.verdict == Verdict.CONVERGED


def test_many_starts_find_the_better_of_two_modes(stand_in):
    optimum = optimise_dose(stand_in(two_modes), starts=8)
    assert optimum.verdict == Verdict.CONVERGED
    np.testing.assert_allclose(optimum.x, [0.2, 0.8], atol=0.01)
    assert len(optimum.starts) == 8
    assert min(start.objective for start in optimum.starts) < 0.9 * optimum.objective


def test_a_smooth_problem_takes_few_jacobians(stand_in):
    optimum = optimise_dose(stand_in(hill, budget))
    assert max(start.jacobian_calls for start in optimum.starts) <= 20
    assert optimum.jacobian_calls == sum(start.jacobian_calls for start in optimum.starts)


def test_every_place_is_computed_once_and_told(stand_in):
    told = []
    optimum = optimise_dose(stand_in(hill, budget), starts=2, on_iterate=told.append)
    assert [(i.start, *i.x) for i in told if i.start == 0] == [
        (i.start, *i.x) for i in optimum.iterates if i.start == 0
    ]
    assert len({(i.start, *i.x) for i in told}) == len(told) == optimum.jacobian_calls


def test_an_infeasible_problem_is_called_so(stand_in):
    optimum = optimise_dose(stand_in(hill, budget, lambda x: 1.5 - jnp.sum(x)), starts=3)
    assert optimum.verdict == Verdict.INFEASIBLE
    assert max(optimum.limits.values()) > 0.1
    assert "no place near any start keeps every limit" in optimum.message


def test_a_converged_start_is_no_worse_than_one_that_stalled_a_hair_above_it(stand_in):
    """A hill of height 0 and a roof, whose ridge has no gradient to vanish: a hair higher, or much."""

    def level(top):
        return lambda x: jnp.maximum(-((x[0] - 0.3) ** 2), top - 0.5 * jnp.abs(x[0] - 0.8)) - (x[1] - 0.5) ** 2

    places = np.asarray([[0.35, 0.45], [0.8005, 0.5]])
    stalled, converged = 1, 0
    for top, wanted in ((1e-4, converged), (0.1, stalled)):
        optimum = optimise_dose(stand_in(level(top)), first=places, certificate=False)
        assert [start.verdict for start in optimum.starts] == [Verdict.CONVERGED, Verdict.STALLED]
        assert optimum.starts[stalled].objective > optimum.starts[converged].objective
        assert optimum.best is optimum.starts[wanted]


def test_one_steep_start_does_not_make_the_others_look_like_optima(stand_in):
    """On a cliff the gradient is 500, beside it 0.15: a start there has a way to go, and goes it."""

    def cliff(x):
        return jax.nn.sigmoid(2000.0 * (x[0] - 0.5)) + 0.05 * jnp.sin(3.0 * x[1])

    places = np.asarray([[0.5, 0.2], [0.9, 0.05]])
    optimum = optimise_dose(stand_in(cliff), first=places, certificate=False)
    beside = optimum.starts[1]
    assert beside.verdict == Verdict.CONVERGED
    np.testing.assert_allclose(beside.x[1], np.pi / 6.0, atol=1e-2)


@pytest.mark.parametrize("steep", [1.0, 1e12, 1e200])
def test_a_steep_limit_is_within_reach_as_a_gentle_one_is(stand_in, steep):
    place = np.asarray([0.9, 0.9])
    kept = stand_in(hill, lambda x: steep * budget(x)).linearise(place)
    broken = stand_in(hill, budget, lambda x: steep * (1.5 - jnp.sum(x))).linearise(place)
    assert within_reach(kept, place)
    assert not within_reach(broken, place)


@pytest.mark.parametrize("value", [0.0, 3.7])
def test_an_objective_that_does_not_depend_on_the_dose_is_called_so(stand_in, value):
    optimum = optimise_dose(stand_in(lambda x: value + 0.0 * x[0], budget), starts=3)
    assert optimum.verdict == Verdict.INSENSITIVE
    assert optimum.jacobian_calls == 3


def test_a_variable_without_effect_is_named(stand_in):
    assert optimise_dose(stand_in(lambda x: jnp.sin(x[1])), starts=2).idle == ("x0",)


def wrong_gradient():
    @jax.custom_jvp
    def function(x):
        return hill(x)

    function.defjvp(lambda x, t: (hill(x[0]), jax.grad(hill)(x[0]) @ (1.01 * t[0])))
    return function


def test_a_wrong_gradient_is_refused_unless_allowed(stand_in):
    program = stand_in(wrong_gradient())
    refused = optimise_dose(program, starts=2)
    assert refused.verdict == Verdict.FAILED_CERTIFICATE
    assert refused.jacobian_calls == 2
    allowed = optimise_dose(program, starts=2, allow_failed_certificate=True)
    assert allowed.verdict == Verdict.FAILED_CERTIFICATE
    assert allowed.best.verdict == Verdict.CONVERGED
    assert not allowed.certificate.passed
    assert optimise_dose(program, starts=2, certificate=False).verdict == Verdict.CONVERGED


def wrong_only_near_the_top():
    """`hill`, whose derivative by x0 is twice as large within 0.1 of its top."""
    top = jnp.asarray([0.7, 0.8])

    @jax.custom_jvp
    def function(x):
        return hill(x)

    def rule(x, t):
        near = jnp.sum((x[0] - top) ** 2) < 1e-2
        return hill(x[0]), jax.grad(hill)(x[0]) * jnp.where(near, jnp.asarray([2.0, 1.0]), 1.0) @ t[0]

    function.defjvp(rule)
    return function


def test_a_gradient_that_is_wrong_at_the_optimum_only_is_found_there(stand_in):
    program, far = stand_in(wrong_only_near_the_top()), np.asarray([[0.1, 0.2]])
    optimum = optimise_dose(program, first=far)
    assert optimum.certificate.passed and not optimum.certificate_at_optimum.passed and not optimum.proven
    np.testing.assert_allclose(optimum.x, [0.7, 0.8], atol=2e-3)
    assert (optimum.verdict, optimum.best.verdict) == (Verdict.FAILED_CERTIFICATE, Verdict.CONVERGED)
    allowed = optimise_dose(program, first=far, allow_failed_certificate=True)
    assert allowed.verdict == Verdict.CONVERGED and not allowed.proven


def test_the_gradient_is_certified_beside_the_best_place(stand_in):
    optimum = optimise_dose(stand_in(hill, budget), starts=2)
    assert optimum.proven
    for proof, place in ((optimum.certificate, optimum.starts[0].first), (optimum.certificate_at_optimum, optimum.x)):
        np.testing.assert_allclose(proof.place, MARGIN + (1.0 - 2.0 * MARGIN) * place)


def test_no_certificate_is_taken_where_there_is_no_optimum(stand_in):
    refused = optimise_dose(stand_in(wrong_gradient()), starts=2)
    assert refused.certificate is not None and refused.certificate_at_optimum is None
    unasked = optimise_dose(stand_in(hill), starts=2, certificate=False)
    assert unasked.certificate is None and unasked.certificate_at_optimum is None and not unasked.proven


def test_an_optimum_beside_failing_runs_is_kept_and_not_trusted(stand_in):
    """The certificate is taken 0.02 off a bound, where every run fails here: the search is not lost with it."""
    program = stand_in(lambda x: x[0] + 0.0 * x[1], dies=lambda x: (x[0] > 0.9) & (x[0] < 0.999))
    optimum = optimise_dose(program, first=np.asarray([[0.5, 0.5]]))
    assert optimum.objective == pytest.approx(1.0)
    assert optimum.verdict == Verdict.FAILED_CERTIFICATE and optimum.certificate.passed
    (fault,) = optimum.certificate_at_optimum.faults
    assert fault.name == "simulation beside the place: oxygen did not converge"


def test_a_simulation_that_always_fails_gives_no_number(stand_in):
    optimum = optimise_dose(stand_in(hill, dies=lambda x: x[0] >= 0.0), starts=2)
    assert optimum.verdict == Verdict.FAILED_SIMULATION
    assert np.isnan(optimum.objective)
    assert optimum.starts[0].message == "oxygen did not converge"
    assert optimum.certificate is None


def test_a_start_that_runs_into_a_failure_ends_there_and_others_count(stand_in):
    optimum = optimise_dose(
        stand_in(two_modes, dies=lambda x: jnp.sum((x - jnp.asarray([0.2, 0.8])) ** 2) < 1e-3),
        starts=8,
        certificate=False,
    )
    ended = [start for start in optimum.starts if "failed: oxygen did not converge" in start.message]
    assert ended
    assert {start.verdict for start in ended} == {Verdict.STALLED}
    others = [start for start in optimum.starts if start.verdict == Verdict.CONVERGED]
    np.testing.assert_allclose(max(others, key=lambda start: start.objective).x, [0.7, 0.3], atol=0.02)
    if optimum.best in ended:  # by the mode that cannot be reached
        assert optimum.verdict == Verdict.STALLED
        assert optimum.objective > max(start.objective for start in others)


def test_a_failing_place_does_not_cost_what_was_seen_before_it(stand_in):
    """The objective rises into a cliff where no run succeeds: the best place before it is the answer, no optimum."""
    optimum = optimise_dose(
        stand_in(lambda x: x[0], variables=1, dies=lambda x: x[0] > 0.9), starts=3, certificate=False
    )
    assert optimum.verdict == Verdict.STALLED
    for number, start in enumerate(optimum.starts):
        seen = [i.objective for i in optimum.iterates if i.start == number and i.status == 0]
        assert start.objective == max(seen) <= 0.9


@pytest.mark.parametrize("calls", [2, 3, 4, 5])
@pytest.mark.parametrize("method", LIMITED)
def test_out_of_calls_is_never_called_infeasible_and_keeps_the_best_place(stand_in, method, calls):
    def narrow(x):
        return jnp.sum((x - 0.25) ** 2) / 1e-3 - 1.0

    optimum = optimise_dose(stand_in(hill, narrow), method, starts=1, calls=calls, certificate=False)
    assert optimum.verdict in (Verdict.ITERATION_LIMIT, Verdict.CONVERGED)
    kept = [i.objective for i in optimum.iterates if i.limits[0] <= 1e-6]
    if kept:
        assert optimum.objective == max(kept)
    else:
        assert optimum.best.limits[0] == min(i.limits[0] for i in optimum.iterates)


def test_a_limit_that_is_no_number_is_no_place_to_start_from(stand_in):
    program = stand_in(hill, budget, lambda x: jnp.where(x[0] > 0.5, jnp.nan, -1.0))
    assert (screened(program, 4, seed=0)[:, 0] <= 0.5).all()


def test_a_variable_that_only_a_faint_limit_reads_is_not_idle(stand_in):
    """A limit in a small unit counts as much as an objective in a large one."""
    program = stand_in(lambda x: 1e9 * hill(x[:1].repeat(2)), lambda x: 1e-9 * (x[1] - 0.5))
    assert optimise_dose(program, starts=2).idle == ()


def test_too_few_iterations_are_no_convergence(stand_in):
    def valley(x):
        return -((1.0 - 2.0 * x[0]) ** 2) - 100.0 * (x[1] - x[0] ** 2) ** 2

    optimum = optimise_dose(stand_in(valley), starts=1, calls=3, certificate=False)
    assert optimum.verdict == Verdict.ITERATION_LIMIT
    assert optimum.jacobian_calls == 3
    assert optimise_dose(stand_in(valley), starts=1).verdict == Verdict.CONVERGED


def test_a_false_optimum_is_stalled(stand_in):
    """A gradient of the wrong sign: no step that it proposes helps."""

    @jax.custom_jvp
    def function(x):
        return hill(x)

    function.defjvp(lambda x, t: (hill(x[0]), -jax.grad(hill)(x[0]) @ t[0]))
    optimum = optimise_dose(stand_in(function), "L-BFGS-B", starts=1, certificate=False)
    assert optimum.verdict == Verdict.STALLED


def test_scaling_the_objective_changes_nothing_but_its_unit(stand_in):
    places = [optimise_dose(stand_in(lambda x, s=s: s * hill(x), budget), starts=2).x for s in (1e-6, 1.0, 1e6)]
    np.testing.assert_allclose(places[0], places[1], atol=1e-6)
    np.testing.assert_allclose(places[2], places[1], atol=1e-6)


@pytest.mark.parametrize("count", [1, RUNS_AT_ONCE, RUNS_AT_ONCE + 1])
def test_no_more_places_are_computed_at_once_than_the_estimate_of_memory_counts(stand_in, count):
    program, seen = stand_in(hill), []
    many, places = program._many, np.random.default_rng(0).random((count, 2))
    program.__dict__["_many"] = lambda batch, inputs: seen.append(len(batch)) or many(batch, inputs)
    found = program.evaluate_many(places).objective
    assert seen == [RUNS_AT_ONCE] * -(-count // RUNS_AT_ONCE)
    np.testing.assert_allclose(found, [hill(place) for place in places], rtol=1e-12)


def test_screening_prefers_what_keeps_the_limits_and_never_a_failure(stand_in):
    program = stand_in(hill, budget, dies=lambda x: x[0] < 0.3)
    places = screened(program, 8, seed=1)
    outcome = program.evaluate_many(places)
    assert (outcome.status == 0).all()
    kept = outcome.limits[:, 0] <= 0.0
    assert (np.diff(kept.astype(int)) <= 0).all()
    assert (np.diff(outcome.objective[kept]) <= 0.0).all()


def test_conditions_of_an_optimum_by_hand(stand_in):
    program = stand_in(hill, budget)
    here = program.linearise(np.asarray([0.45, 0.55]))
    at_optimum = conditions_at(here, np.asarray([0.45, 0.55]), 1e-4)
    np.testing.assert_allclose(at_optimum.multipliers, [5e-5], rtol=1e-9)
    assert at_optimum.stationarity < 1e-12
    beside = np.asarray([0.55, 0.45])
    np.testing.assert_allclose(
        conditions_at(program.linearise(beside), beside, 1e-4).stationarity, 0.2 * np.sqrt(2.0), rtol=1e-9
    )
    wrong_side = np.asarray([0.9, 0.9])  # the objective rises into the limit: no multiplier explains it
    inward = conditions_at(stand_in(hill, lambda x: 1.8 - jnp.sum(x)).linearise(wrong_side), wrong_side, 1e-4)
    assert inward.multipliers[0] > 0.0


def test_what_cannot_be_done_is_refused(stand_in):
    with pytest.raises(StudyError, match="keeps bounds and no limits"):
        optimise_dose(stand_in(hill, budget), "L-BFGS-B")
    with pytest.raises(StudyError, match="allowed: SLSQP, L-BFGS-B, trust-constr"):
        optimise_dose(stand_in(hill), "newton")
    with pytest.raises(StudyError, match="at least one"):
        optimise_dose(stand_in(hill), starts=0)


class Notebook(Record):
    """A record in memory that counts what it had to have computed."""

    def __init__(self):
        self.known, self.computed = {}, []

    def _look(self, key, compute):
        if key not in self.known:
            self.computed.append(key)
            self.known[key] = compute()
        return self.known[key]

    def screened(self, starts, seed, compute):
        return self._look(("screened", starts, seed), compute)

    def linearised(self, start, x, compute):
        return self._look((start, *x), compute)

    def certificate(self, x, seed, compute):
        return self._look(("certificate", *x, seed), compute)


def same_search(one, other):
    assert [(i.start, *i.x, i.objective) for i in one.iterates] == [
        (i.start, *i.x, i.objective) for i in other.iterates
    ]
    assert (one.verdict, one.objective, one.multipliers) == (other.verdict, other.objective, other.multipliers)


@pytest.mark.parametrize("method", LIMITED)
def test_a_recorded_search_is_not_repeated(stand_in, method):
    notebook, program = Notebook(), stand_in(hill, budget)
    plain = optimise_dose(program, method, starts=2)
    first = optimise_dose(program, method, starts=2, record=notebook)
    same_search(plain, first)
    assert len(notebook.computed) == first.jacobian_calls + 3  # the screening, and certificates at start and optimum
    notebook.computed.clear()
    broken = stand_in(lambda x: 1.0 / 0.0)  # nothing of it may be evaluated
    broken = dataclasses.replace(broken, limits=program.limits)
    same_search(first, optimise_dose(broken, method, starts=2, record=notebook))
    assert notebook.computed == []


def test_a_search_that_was_cut_off_goes_on_where_it_was(stand_in):
    notebook, program = Notebook(), stand_in(hill, budget)
    whole = optimise_dose(program, starts=2)
    notebook.known = {}
    recorded = optimise_dose(program, starts=2, record=notebook)
    lost = [key for key in notebook.known if key[0] == 1][3:]
    for key in lost:
        del notebook.known[key]
    notebook.computed.clear()
    same_search(whole, optimise_dose(program, starts=2, record=notebook))
    assert notebook.computed == lost != []
    assert recorded.iterates[0].jacobian.shape == (2, 2)
