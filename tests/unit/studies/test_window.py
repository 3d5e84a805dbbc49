"""Windows with known edges: what ends them, what they are empty for, how flat they are, and how a factor moves them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hepatojax
from hepatojax.assembly import with_parameters
from hepatojax.build import build
from hepatojax.checks.validate.course import column_case
from hepatojax.checks.verify.gradient import QUICK_TO_COMPILE
from hepatojax.parameters.registry import load_parameters, registry_of
from hepatojax.scenario import DiseaseSpec, GridSpec, InfusionSpec
from hepatojax.status import Status
from hepatojax.studies.interval import BOUND, DEAD, FAILED, GAIN, WindowVerdict
from hepatojax.studies.line import FailedPlace, Line, Reading, crossing, highest
from hepatojax.studies.objective import Aim, Limit, StudyError
from hepatojax.studies.problem import DoseProblem
from hepatojax.studies.program import Outcome, Program
from hepatojax.studies.variables import Variable
from hepatojax.studies.window import Factor, WindowStudy, amplification_factors, therapeutic_window, windows_by

AMOUNT = Variable("cells_per_kg[0]", 1e4, 1e8, "log")
HALF = 1e6


def dose_of(x):
    return AMOUNT.value(x[0])


def saturating(x):
    """An objective of 3 without cells, with a gain of d / (d + 1e6)."""
    return 3.0 + dose_of(x) / (dose_of(x) + HALF)


def over(most):
    return lambda x: dose_of(x) / most - 1.0


def nothing(inputs, value):
    return inputs


IDLE = Factor("idle", "-", 1.0, 0.5, 2.0, nothing)


@pytest.fixture
def windowed(stand_in):
    """The window of a stand-in."""

    def find(objective, *excesses, least_gain=0.1, dies=None, **options):
        program = stand_in(objective, *excesses, variables=1, dies=dies)
        return therapeutic_window(program, least_gain, [IDLE], variable=AMOUNT, **options).window

    return find


def test_edges_of_a_saturating_gain_under_a_limit(windowed):
    window = windowed(saturating, over(2e7), over(5e6))
    assert window.verdict == WindowVerdict.OPEN
    assert window.converged
    assert window.untreated == pytest.approx(3.0)
    assert window.lower.active == GAIN
    assert window.upper.active == "limit 1"  # the other limit is kept there
    assert window.lower.x == pytest.approx(AMOUNT.place(HALF / 9.0), abs=1e-4)  # d / (d + K) = 0.1
    assert window.upper.x == pytest.approx(AMOUNT.place(5e6), abs=1e-4)
    assert window.intervals == 1
    assert window.best.x == window.upper.x  # the gain rises all the way
    assert window.best.gain == pytest.approx(5.0 / 6.0, rel=1e-3)


def test_newton_takes_few_runs(windowed):
    window = windowed(saturating, over(5e6), doses=15)
    assert window.forward == 16  # the run without cells comes with the scan
    assert window.jacobians <= 12


def test_multiplier_is_gain_per_excess_along_the_dose(windowed):
    """g = d/(d+K), e = d/m - 1: dg/de = m K / (m + K)^2 at d = m."""
    window = windowed(saturating, over(5e6))
    assert window.multiplier == pytest.approx(5e6 * HALF / (6e6) ** 2, rel=1e-3)


def test_flat_range_of_a_saturating_gain(windowed):
    """0.95 of the best gain 5/6 is 0.791667, at d = K g / (1 - g)."""
    best = windowed(saturating, over(5e6)).best
    assert best.low == pytest.approx(HALF * 0.7916667 / 0.2083333, rel=2e-3)
    assert best.high == pytest.approx(5e6, rel=2e-3)


def test_best_dose_inside_and_flat_on_both_sides(windowed):
    """A parabola of x with its top at 0.37: gain within 10 % at 0.37 +- sqrt(0.1) / 2."""

    def hill(x):
        return jnp.where(jnp.isinf(x[0]), 0.0, 1.0 - 4.0 * (x[0] - 0.37) ** 2)

    window = windowed(hill, least_gain=0.5, share=0.1)
    assert window.best.x == pytest.approx(0.37, abs=1e-4)
    reach = np.sqrt(0.1) / 2.0
    assert AMOUNT.place(window.best.low) == pytest.approx(0.37 - reach, abs=1e-4)
    assert AMOUNT.place(window.best.high) == pytest.approx(0.37 + reach, abs=1e-4)
    assert (window.lower.active, window.upper.active) == (GAIN, GAIN)
    assert window.upper.x == pytest.approx(0.37 + np.sqrt(0.5) / 2.0, abs=1e-4)
    assert np.isnan(window.multiplier)  # no limit ends it


def test_bounds_of_the_variable_end_a_window_that_nothing_else_ends(windowed):
    window = windowed(lambda x: 1.0 - jnp.exp(-dose_of(x)))
    assert (window.lower.active, window.upper.active) == (BOUND, BOUND)
    assert (window.lower.dose, window.upper.dose) == (pytest.approx(1e4), pytest.approx(1e8))


def test_a_limit_may_end_the_window_below(windowed):
    """A harm that a small dose does not yet relieve."""
    window = windowed(saturating, lambda x: 1e6 / dose_of(x) - 0.5)
    assert window.lower.active == "limit 0"
    assert window.lower.dose == pytest.approx(2e6, rel=1e-3)


def test_empty_because_the_gain_is_never_reached(windowed):
    window = windowed(saturating, least_gain=1.5)
    assert window.verdict == WindowVerdict.NO_GAIN
    assert "0.99 at most" in window.reason
    assert (window.lower, window.upper, window.best) == (None, None, None)
    assert window.converged  # nothing was left to be sought


def test_empty_because_a_limit_is_broken_first(windowed):
    window = windowed(saturating, over(1e8), over(5e4))
    assert window.verdict == WindowVerdict.LIMIT_BROKEN
    assert "limit 1" in window.reason


@pytest.mark.parametrize(("most", "open_"), [(1.3e5, True), (1.0e5, False)])
def test_a_window_narrower_than_the_scan_is_found(windowed, most, open_):
    """The gain begins at 1.11e5; with four doses, 1e4, 2.2e5, 4.6e6 and 1e8, none of the scan is inside."""
    window = windowed(saturating, over(most), doses=4)
    assert window.open == open_
    if open_:
        assert window.lower.dose == pytest.approx(HALF / 9.0, rel=1e-3)
        assert window.upper.dose == pytest.approx(most, rel=1e-3)


def test_the_first_of_several_intervals_is_reported(windowed):
    def waves(x):
        return jnp.where(jnp.isinf(x[0]), 0.0, jnp.sin(4.0 * jnp.pi * x[0]))

    window = windowed(waves, least_gain=0.5, doses=33)
    assert window.intervals == 2
    assert "first of 2" in window.reason
    assert window.lower.x == pytest.approx(1.0 / 24.0, abs=1e-4)
    assert window.upper.x == pytest.approx(5.0 / 24.0, abs=1e-4)
    assert window.best.x == pytest.approx(1.0 / 8.0, abs=1e-3)


def test_a_failed_dose_has_no_number_and_ends_the_window(windowed):
    window = windowed(saturating, dies=lambda x: dose_of(x) > 1.2e7, doses=5)  # 1e4, 1e5, 1e6, 1e7, 1e8
    assert window.upper.active == FAILED
    assert window.upper.dose == pytest.approx(1e7)
    assert not window.upper.converged
    assert not window.converged
    assert np.isnan(window.scan.gain[-1])
    assert window.scan.status[-1] == Status.OXYGEN_NOT_CONVERGED
    assert window.failures == (Status.OXYGEN_NOT_CONVERGED,)
    assert "1 of 5 doses" in window.reason


def test_a_failure_during_the_search_is_no_number_either(windowed):
    """The edge lies in a gap between scanned doses where every run fails."""
    window = windowed(saturating, over(3e6), dies=lambda x: (dose_of(x) > 2e6) & (dose_of(x) < 5e6), doses=5)
    assert (window.upper.active, window.upper.converged) == (FAILED, False)
    assert window.failures == (Status.OXYGEN_NOT_CONVERGED,)  # no scanned dose failed
    assert window.upper.dose == pytest.approx(1e6)


@pytest.mark.parametrize("dies", [lambda x: jnp.isinf(x[0]), lambda x: ~jnp.isinf(x[0])])
def test_no_window_is_known_where_nothing_runs(windowed, dies):
    window = windowed(saturating, dies=dies)
    assert window.verdict == WindowVerdict.FAILED_SIMULATION
    assert not window.converged
    assert "oxygen did not converge" in window.reason


def test_no_window_is_known_where_a_dose_that_failed_may_be_inside(windowed):
    """Without the doses from 5e4 to 5e6 the gain of 0.1 under 1e6 cells/kg is never seen, but it may be there."""
    failing = lambda x: (dose_of(x) > 5e4) & (dose_of(x) < 5e6)  # noqa: E731
    window = windowed(saturating, over(1e6), dies=failing, doses=5)
    assert window.verdict == WindowVerdict.FAILED_DOSES
    assert not window.open and not window.converged
    assert "2 of 5 doses have no numbers" in window.reason
    whole = windowed(saturating, over(1e6), doses=5)
    assert whole.open and whole.converged


def test_a_failure_between_the_scanned_doses_is_no_empty_window(windowed):
    """Nothing of the scan is inside; the search between 1e5 and 1e6 runs into doses that fail."""
    window = windowed(saturating, over(5e5), dies=lambda x: (dose_of(x) > 1.1e5) & (dose_of(x) < 9e5), doses=5)
    assert not window.scan.failed.any()
    assert window.verdict == WindowVerdict.FAILED_DOSES
    assert not window.converged
    assert "between them" in window.reason


@pytest.mark.parametrize("share", [0.4, 0.2])
def test_a_window_between_the_last_living_and_the_first_dead_liver_is_found(stand_in, share):
    """A gain of 0.2 is reached from 3e6 on, the liver dies beyond 5e6; or the gain is not reached before that."""

    def function(x, inputs):
        d = dose_of(x)
        dead = d > 5e6
        return Outcome(share * d / (d + 3e6), jnp.zeros(0), jnp.where(dead, int(Status.DEAD_LIVER), int(Status.OK)))

    program = Program(function, jnp.zeros(()), ("x0",))
    window = therapeutic_window(program, 0.2, [IDLE], variable=AMOUNT, doses=5).window
    if share == 0.4:
        assert window.open
        assert window.lower.dose == pytest.approx(3e6, rel=1e-3)
        assert window.upper.active == DEAD
        assert 3e6 < window.upper.dose <= 5e6
    else:
        assert (window.verdict, window.converged) == (WindowVerdict.NO_GAIN, True)


def test_a_failure_below_the_first_interval_may_hide_an_earlier_one(windowed):
    def humps(x):
        return jnp.where(jnp.isinf(x[0]), 0.0, jnp.sin(3.0 * jnp.pi * x[0]) ** 2)

    whole = windowed(humps, least_gain=0.5, doses=25)
    assert whole.converged and whole.upper.x < 0.3
    hidden = windowed(humps, least_gain=0.5, doses=25, dies=lambda x: (x[0] > 0.05) & (x[0] < 0.28))
    assert hidden.lower.x > 0.3
    assert not hidden.lower.converged and not hidden.converged


def test_what_is_unknown_over_a_band_is_not_called_empty():
    """Of a factor of 0 and 2, none of the doses runs at 0; of one of 0.5 and 2 all do."""

    def function(x, inputs):
        d, (first, second) = dose_of(x), inputs
        status = jnp.where((first == 0.0) & jnp.isfinite(x[0]), int(Status.OXYGEN_NOT_CONVERGED), int(Status.OK))
        return Outcome(second * d / (d + HALF), jnp.zeros(0), status)

    fatal = Factor("fatal", "-", 1.0, 0.0, 2.0, lambda given, value: (jnp.asarray(value), given[1]))
    useless = Factor("potency", "-", 1.0, 0.01, 2.0, lambda given, value: (given[0], jnp.asarray(value)))
    program = Program(function, (jnp.ones(()), jnp.ones(())), ("x0",))
    study = therapeutic_window(program, 0.1, [fatal, useless], variable=AMOUNT, doses=5)
    assert study.unknown == ("fatal low",)
    assert study.emptied == ("potency low",)


def test_a_dead_liver_is_a_result(stand_in):
    def function(x, inputs):
        dead = dose_of(x) > 2e7
        return Outcome(saturating(x), jnp.zeros(0), jnp.where(dead, int(Status.DEAD_LIVER), int(Status.OK)))

    program = Program(function, jnp.zeros(()), ("x0",))
    study = therapeutic_window(program, 0.1, [IDLE], variable=AMOUNT, doses=5)
    assert study.window.upper.active == DEAD
    assert study.window.failures == (Status.DEAD_LIVER,)
    assert study.failures == ()


def factor_study(**options):
    """A gain p d / (d + K) under d <= 2e6 q, with factors p and q."""
    traces = []

    def function(x, inputs):
        traces.append(1)
        potency, tolerance = inputs
        d = dose_of(x)
        return Outcome(potency * d / (d + HALF), (d / (2e6 * tolerance) - 1.0)[None], jnp.asarray(int(Status.OK)))

    program = Program(function, (1.0, 1.0), ("x0",), ("harm",))
    potency = Factor("potency", "-", 1.0, 0.05, 2.0, lambda given, value: (value, given[1]))
    tolerance = Factor("tolerance", "-", 1.0, 0.5, 3.0, lambda given, value: (given[0], value))
    study = therapeutic_window(program, 0.1, [potency, tolerance], variable=AMOUNT, name="portal", **options)
    return study, traces


def test_band_moves_the_edge_that_a_factor_moves():
    study, _ = factor_study()
    potency, tolerance = study.band
    assert potency.at_high.lower.dose == pytest.approx(HALF * 0.05 / 0.95, rel=1e-3)
    assert potency.at_high.upper.dose == pytest.approx(2e6, rel=1e-3)
    assert potency.at_low.verdict == WindowVerdict.NO_GAIN
    assert study.emptied == ("potency low",)
    assert tolerance.at_low.upper.dose == pytest.approx(1e6, rel=1e-3)
    assert tolerance.at_high.upper.dose == pytest.approx(6e6, rel=1e-3)
    assert tolerance.at_high.lower.dose == pytest.approx(HALF / 9.0, rel=1e-3)
    assert study.moved("upper") == (pytest.approx(1e6, rel=1e-3), pytest.approx(6e6, rel=1e-3))
    assert study.moved("lower") == (pytest.approx(HALF * 0.05 / 0.95, rel=1e-3), pytest.approx(HALF / 9.0, rel=1e-3))


@pytest.mark.parametrize(("low", "common"), [(0.5, (2.0 * HALF / 9.0, 2e6)), (0.04, None)])
def test_doses_in_every_window(low, common):
    """A potency p moves the window 1.1e5..2e6 to 1.1e5/p..2e6/p: half leaves doses in common, a twenty-fifth none."""

    def function(x, inputs):
        d = dose_of(x) * inputs
        return Outcome(d / (d + HALF), (d / 2e6 - 1.0)[None], jnp.asarray(int(Status.OK)))

    factor = Factor("potency", "-", 1.0, low, 1.0, lambda given, value: value)
    study = therapeutic_window(Program(function, 1.0, ("x0",), ("harm",)), 0.1, [factor], variable=AMOUNT)
    assert study.emptied == ()
    assert study.common == (common and pytest.approx(common, rel=1e-3))
    assert factor_study()[0].common is None  # one of the windows is empty


def test_one_compiled_program_serves_the_band():
    """Traced once for the scan, and a few times for the derivative, but not again for each factor."""
    names = []
    _, traces = factor_study(on_window=lambda name, window: names.append(name))
    assert names == [
        "portal nominal",
        "portal potency 0.05",
        "portal potency 2",
        "portal tolerance 0.5",
        "portal tolerance 3",
    ]
    assert len(traces) <= 4


def test_a_window_cannot_be_had_without_its_band(windowed, stand_in):
    with pytest.raises(StudyError, match="at least one uncertain factor"):
        therapeutic_window(stand_in(saturating, variables=1), 0.1, [], variable=AMOUNT)
    with pytest.raises(StudyError, match="at least one uncertain factor"):
        WindowStudy("bare", AMOUNT, (), windowed(saturating), ())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"least_gain": 0.0}, "least_gain is 0"),
        ({"least_gain": np.nan}, "least_gain is nan"),
        ({"share": 1.0}, "share is 1"),
        ({"doses": 2}, "doses is 2"),
        ({"variable": None}, "wants `variable`"),
        ({"variable": Variable("start_h[0]", 1.0, 2.0)}, "must be cells_per_kg"),
        ({"variable": Variable("cells_per_kg[0]", 1.0, 2.0)}, 'scale "log"'),
        ({"variables": 2}, "wants one variable"),
    ],
)
def test_what_is_no_window_is_refused(stand_in, options, message):
    options = {"least_gain": 0.1, "variable": AMOUNT, "variables": 1, **options}
    program = stand_in(saturating, variables=options.pop("variables"))
    with pytest.raises(StudyError, match=message):
        therapeutic_window(program, options.pop("least_gain"), [IDLE], **options)


def test_crossing_where_newton_leaves_the_bracket():
    """A reading as flat as tanh: Newton's step from its far end would leave the bracket."""

    def steep(x):
        return Reading(float(np.tanh(50.0 * (0.3 - x))), float(-50.0 / np.cosh(50.0 * (0.3 - x)) ** 2))

    x, converged = crossing(steep, 0.0, 1.0, 0.9)
    assert converged
    assert x == pytest.approx(0.3, abs=1e-4)


@pytest.mark.parametrize(("rising", "other"), [(0.0, 1.0), (0.2, 0.5), (1.0, 0.1)])
def test_highest_point_of_a_smooth_and_of_a_kinked_reading(rising, other):
    def smooth(x):
        return Reading(-((x - 0.4) ** 4) - (x - 0.4) ** 2, -4.0 * (x - 0.4) ** 3 - 2.0 * (x - 0.4))

    def kinked(x):
        return Reading(min(x, 3.0 * (0.4 - x) + 0.4), 1.0 if x < 0.4 else -3.0)

    for read in (smooth, kinked):
        x, converged = highest(read, rising, other)
        assert converged
        assert x == pytest.approx(0.4, abs=1e-4)


def test_the_highest_point_is_no_lower_than_where_the_search_began():
    """Between two hills the middle rises towards the lower one: sin(4 pi x) (1 - x), whose first hill is the higher."""

    def hills(x):
        angle = 4.0 * np.pi * x
        return Reading(np.sin(angle) * (1.0 - x), 4.0 * np.pi * np.cos(angle) * (1.0 - x) - np.sin(angle))

    x, converged = highest(hills, 0.05, 0.9)
    assert converged
    assert x == pytest.approx(0.1179, abs=1e-3)


def test_a_line_never_hands_out_a_failed_number(stand_in):
    line = Line(stand_in(saturating, variables=1, dies=lambda x: x[0] > 0.5))
    assert line.at(0.2).ok
    for _ in range(2):
        with pytest.raises(FailedPlace, match="oxygen"):
            line.at(0.7)
    assert line.jacobians == 2


def test_other_inputs_share_what_is_compiled(stand_in):
    program = dataclasses.replace(
        stand_in(saturating, over(1e6), variables=1, twin=True), inputs=jnp.ones(()), closed=None
    )
    other = program.with_inputs(jnp.zeros(()))
    assert other.twin is None
    assert all(getattr(other, name) is getattr(program, name) for name in ("_one", "_many", "_compiled"))
    assert "simulated" in other.__dict__  # else every other inputs would be traced once
    assert other.inputs == 0


def test_the_name_is_public():
    assert hepatojax.therapeutic_window is therapeutic_window


def test_factors_are_those_of_amplification_by_default():
    factors = amplification_factors(load_parameters())
    assert {factor.name for factor in factors} >= {"amplification.phagocytes_per_msc", "amplification.licensing"}
    assert all(factor.name.startswith("amplification.") and factor.low < factor.high for factor in factors)
    with pytest.raises(StudyError, match="no such parameter"):
        amplification_factors(load_parameters(), ["amplification.luck"])


@pytest.mark.slow  # the gradient of a run takes minutes to compile
def test_window_of_a_column_by_two_routes():
    """Edges where runs of their own say so; a factor changes neither the rest nor, with its own value, the window."""
    wound = DiseaseSpec(activity=0.3, lesion_fraction=0.5, lesion_from_zone=0.4)
    dose = InfusionSpec(start_h=5.3, cells_per_kg=1e6, route="intravenous")
    scenario = dataclasses.replace(column_case(disease=wound, dose=dose), grid=GridSpec(cells=(4, 1, 1)))
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        model, state, schedule = build(scenario, arm="treated")
        limits = (Limit("blocked_fraction", "peak", most=0.02), Limit("total_cells", most=30.0))
        problem = DoseProblem(model, state, schedule, 24.0, (Aim("regulatory_t"),), (AMOUNT,), limits)
        parameters = registry_of(scenario)
        factor = amplification_factors(parameters, ["amplification.tregs_per_phagocyte"])[0]
        problem.__dict__["program"] = dataclasses.replace(problem.program, compiler_options=QUICK_TO_COMPILE)
        intravenous, portal = windows_by(problem, 0.01, [factor], ("intravenous", "portal"), doses=7)
        changed = with_parameters(model, parameters, {factor.name: factor.high})
        same = factor.inputs((model, state, schedule), factor.value)[0]
        assert all(study.window.open and study.window.converged for study in (intravenous, portal))
        assert portal.window.upper.active == "blocked_fraction peak most"
        assert portal.window.upper.dose < intravenous.window.upper.dose
        at_edge = problem.program.with_inputs((model, state, schedule)).evaluate(
            np.asarray([intravenous.window.lower.x])
        )
        none = problem.evaluate(np.asarray([-np.inf]))
    assert float(at_edge.objective - none.objective) == pytest.approx(0.01, rel=1e-3)
    low, high = intravenous.band[0][1:]
    assert high.lower.dose < intravenous.window.lower.dose < low.lower.dose
    assert problem.program._many._cache_size() == 1
    for name, constant in model.rest.items():
        np.testing.assert_allclose(changed.rest[name], constant, rtol=1e-9)
    for new, old in zip(jax.tree.leaves(same), jax.tree.leaves(model), strict=True):
        assert type(new) is type(old) or np.asarray(new).dtype == np.asarray(old).dtype
        np.testing.assert_allclose(new, old, rtol=1e-6)
