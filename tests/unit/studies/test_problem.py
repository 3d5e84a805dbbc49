"""A dose problem on the real model: what it refuses, and its gradient against differences."""

import dataclasses

import jax
import numpy as np
import pytest

from hepatojax.build import build
from hepatojax.checks.validate.course import column_case
from hepatojax.checks.verify.gradient import QUICK_TO_COMPILE
from hepatojax.scenario import DiseaseSpec, GridSpec, InfusionSpec
from hepatojax.simulate import simulate
from hepatojax.status import Status
from hepatojax.studies.certificate import certify
from hepatojax.studies.objective import Aim, Limit, StudyError
from hepatojax.studies.problem import DoseProblem, in_precision
from hepatojax.studies.variables import Variable

WOUND = DiseaseSpec(activity=0.3, lesion_fraction=0.5, lesion_from_zone=0.4)
DOSE = InfusionSpec(start_h=5.3, cells_per_kg=1e6, route="intravenous")
AIMS = (Aim("functional_mass"), Aim("total_cells", weight=-0.01))
VARIABLES = (Variable("start_h[0]", 0.0, 48.0), Variable("cells_per_kg[0]", 1e5, 1e7, "log"))
LIMITS = (Limit("total_cells", most=8.0), Limit("blocked_fraction", "peak", most=0.1))
PLACE = np.asarray([0.31, 0.62])


@pytest.fixture(scope="module")
def wounded():
    scenario = dataclasses.replace(column_case(disease=WOUND, dose=DOSE), grid=GridSpec(cells=(6, 1, 1)))
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return build(scenario, arm="treated")


@pytest.fixture(scope="module")
def problem(wounded):
    return DoseProblem(*wounded, 72.0, AIMS, VARIABLES, LIMITS)


@pytest.mark.slow  # to compile the gradient of a run takes minutes
def test_the_gradient_of_a_run_is_certified(problem):
    """Both modes, differences by every variable to 1e-5, Taylor rates, float32, and any scale of the objective."""
    program = dataclasses.replace(problem.program, compiler_options=QUICK_TO_COMPILE)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        certificate = certify(program, PLACE)
    assert certificate.passed, certificate.faults
    assert all(figure.tested for figure in certificate.figures)
    differences = [figure for figure in certificate.figures if figure.name.startswith("difference")]
    assert [figure.bound for figure in differences] == [1e-5, 1e-5]


@pytest.mark.slow  # two runs to compile
def test_an_outcome_is_that_of_a_run_of_the_schedule(problem, wounded):
    model, state, _ = wounded
    schedule, _ = problem.dosed(PLACE)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        outcome = problem.evaluate(PLACE)
        run = jax.jit(lambda s: simulate(model, state, s, end_h=72.0, adjoint="none"))(schedule)
    cells = float(schedule.cells_per_kg[0]) / 1e6
    np.testing.assert_allclose(outcome.objective, run.endpoints["functional_mass"][-1] - 0.01 * cells, rtol=1e-12)
    assert outcome.status == Status.OK
    blocked, total = (float(excess) for excess in outcome.limits)  # what takes no simulation comes last
    assert total == pytest.approx(cells / 8.0 - 1.0)
    peak = float(run.endpoints["blocked_fraction"].max())
    assert peak <= 0.1 * (1.0 + blocked) <= peak + 0.1 / 100.0 * np.log(24) + 1e-12


@pytest.mark.slow  # a run and a batch of runs to compile
def test_multiples_are_the_outcomes_of_so_many_times_the_cells(problem):
    """The amount is a variable on a logarithmic scale over two decades, so that twice the cells are a place too."""
    twice = PLACE + np.asarray([0.0, np.log10(2.0) / 2.0])
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        found = problem.multiples(PLACE, (0.0, 1.0, 2.0))
        wanted = [problem.evaluate(place) for place in (PLACE, twice)]
    for number, outcome in enumerate(wanted, start=1):
        np.testing.assert_allclose(found.objective[number], outcome.objective, rtol=1e-9)
        np.testing.assert_allclose(found.limits[number], outcome.limits, rtol=1e-7)
    smoothed = np.log(24) / 100.0  # the smooth maximum of nothing plugged at the end of 24 macro-steps
    np.testing.assert_allclose(found.limits[0], [smoothed - 1.0, -1.0], rtol=1e-9)
    assert np.all(found.status == Status.OK)


@pytest.mark.parametrize(("adjoint", "checkpoints"), [("saved", None), ("two-level", None), ("two-level", 3)])
def test_a_run_is_cut_into_the_segments_that_were_asked_for(problem, monkeypatch, adjoint, checkpoints):
    class Asked(Exception):
        pass

    def asked(*_, **how):
        raise Asked(how["adjoint"], how["checkpoints"])

    monkeypatch.setattr("hepatojax.studies.problem.simulate", asked)
    with pytest.raises(Asked) as found:
        dataclasses.replace(problem, adjoint=adjoint, checkpoints=checkpoints).evaluate(PLACE)
    assert found.value.args == (adjoint, checkpoints)


def test_nothing_of_a_problem_names_a_place_in_memory_so_that_another_process_finds_its_programs(problem):
    inputs = problem.program.inputs
    assert " at 0x" not in repr(jax.tree.structure(inputs))
    assert "0x" not in jax.make_jaxpr(problem.program.outputs)(PLACE, inputs).pretty_print(use_color=False)


def test_names_say_which_limit_and_variable_is_which(problem):
    program = problem.program
    assert program.variables == ("start_h[0]", "cells_per_kg[0]")
    assert program.limits == ("blocked_fraction peak most", "total_cells most")


def test_the_twin_has_its_fields_in_the_other_precision_and_the_rest_alike(wounded):
    model, state, _ = wounded
    single_model, single = in_precision(model, state, "float32")
    assert single_model.numerics.precision == "float32"
    assert {leaf.dtype.name for leaf in jax.tree.leaves(single.voxel)} == {"float32"}
    assert {leaf.dtype.name for leaf in jax.tree.leaves(single.body)} == {"float64"}
    assert single.quasi_steady.circulation.pressure.dtype == np.float64
    _, back = in_precision(single_model, single, "float64")
    for found, wanted in zip(jax.tree.leaves(back), jax.tree.leaves(state), strict=True):
        assert found.dtype == wanted.dtype
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"aims": ()}, "aims: give at least one"),
        ({"adjoint": "backwards"}, "allowed: none, saved, two-level"),
        ({"checkpoints": 4}, 'checkpoints is 4; only the adjoint "two-level" has them'),
        ({"checkpoints": 5, "adjoint": "two-level"}, "checkpoints is 5; 24 macro-steps allow 1, 2, 3, 4, 6, 8, 12, 24"),
        ({"end_h": 71.0}, "whole number of macro-steps"),
        ({"end_h": 24.0}, "outside the run, which is 0..24 h"),
        ({"variables": (Variable("cells_per_kg[4]", 0.0, 1e6),)}, "the schedule has 1 infusions"),
    ],
)
def test_a_problem_that_does_not_fit_is_refused(problem, changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(problem, **changes)
    assert issubclass(StudyError, ValueError)
