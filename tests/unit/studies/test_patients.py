"""Gradients of several patients at once against one by one."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.assembly import with_parameters
from hepatojax.build import build
from hepatojax.checks.validate.course import column_case
from hepatojax.checks.verify.gradient import QUICK_TO_COMPILE
from hepatojax.parameters.registry import registry_of
from hepatojax.scenario import DiseaseSpec, GridSpec, InfusionSpec
from hepatojax.status import Status
from hepatojax.studies.objective import Aim, Limit, StudyError
from hepatojax.studies.patients import PatientProgram, patient_gradients, stacked
from hepatojax.studies.problem import DoseProblem
from hepatojax.studies.program import Outcome, Program
from hepatojax.studies.variables import Variable

X = np.asarray([0.3, 0.6])


def root(a):
    """Square root by an iteration that takes longer the larger a is, differentiated implicitly."""

    def newton(a):
        return jax.lax.while_loop(lambda r: jnp.abs(r * r - a) > 1e-13 * a, lambda r: 0.5 * (r + a / r), 1.0 + a)

    return jax.lax.custom_root(lambda r: r * r - a, a, lambda _, a: newton(a), lambda g, y: y / g(1.0))


def patient_program(limits=1, closed=False):
    """An objective through an iterative solve, whose length depends on the patient."""

    def function(x, inputs):
        mass, rate = inputs["mass"], inputs["rate"]
        objective = root(mass * (1.0 + x[0] ** 2)) - rate * x[1] ** 2
        excess = jnp.stack([mass * x[0] - 40.0, x[0] * x[1] - rate, x[1] ** 2 - 0.5])
        status = jnp.where(rate > 5.0, int(Status.OXYGEN_NOT_CONVERGED), int(Status.OK))
        return Outcome(objective, excess[:limits], status)

    names = tuple(f"limit {i}" for i in range(limits + closed))
    also = (lambda x, inputs: (jnp.sum(x) - inputs["rate"])[None]) if closed else None
    return Program(function, {"mass": jnp.asarray(70.0), "rate": jnp.asarray(1.0)}, ("x0", "x1"), names, also)


def patients(count):
    return [{"mass": jnp.asarray(50.0 * 3.0**i), "rate": jnp.asarray(1.0 + 0.1 * i)} for i in range(count)]


def one_by_one(program, inputs, x):
    """Each patient by the program's own compiled call, which `linearise` uses with the inputs of one."""
    places, seeds = jnp.broadcast_to(x, (len(inputs), 2)), jnp.eye(program._rows(program.mode))
    alone = [program._linearised(at, seeds, each, program.mode) for each, at in zip(inputs, places, strict=True)]
    return jax.tree.map(lambda *parts: np.stack(parts), *alone)


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("limits", [0, 1, 3])
def test_patients_at_once_are_as_one_by_one(limits, closed):
    program, inputs = patient_program(limits, closed), patients(3)
    assert program.mode == ("forward" if limits == 3 else "reverse")
    found, wanted = patient_gradients(program, inputs, X), one_by_one(program, inputs, X)
    assert found.jacobian.shape == (3, 1 + limits + closed, 2)
    np.testing.assert_allclose(found.jacobian, wanted.jacobian, rtol=1e-13)
    for part, alone in zip(found.outcome, wanted.outcome, strict=True):
        np.testing.assert_allclose(part, alone, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(found.of(1).jacobian, wanted.jacobian[1], rtol=1e-13)
    assert found.ok.all()


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_batches_are_bounded_and_lose_nobody(count):
    program, inputs = patient_program(), patients(count)
    seen = []

    def function(x, given):
        jax.debug.callback(lambda mass: seen.append(float(mass)), given["mass"])
        return program.function(x, given)

    watched = dataclasses.replace(program, function=function)
    found = PatientProgram(watched, batch=2).linearise(X, stacked(inputs))
    jax.effects_barrier()
    assert len(seen) == {1: 1, 2: 2, 3: 4, 5: 6}[count]
    np.testing.assert_allclose(found.jacobian, one_by_one(program, inputs, X).jacobian, rtol=1e-13)


def test_every_patient_may_have_its_own_dose():
    program, inputs = patient_program(), patients(3)
    places = np.asarray([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
    found = patient_gradients(program, inputs, places)
    np.testing.assert_allclose(found.jacobian, one_by_one(program, inputs, places).jacobian, rtol=1e-13)


def test_a_patient_whose_run_fails_leaves_the_others_alone():
    inputs = [*patients(2), {"mass": jnp.asarray(70.0), "rate": jnp.asarray(6.0)}]
    found = patient_gradients(patient_program(), inputs, X)
    np.testing.assert_array_equal(found.ok, [True, True, False])
    assert found.of(2).status == Status.OXYGEN_NOT_CONVERGED


def test_patients_that_cannot_be_stacked_are_refused():
    program = patient_program()
    with pytest.raises(StudyError, match="at least one"):
        patient_gradients(program, [], X)
    other = {"mass": jnp.ones(2), "rate": jnp.asarray(1.0)}
    with pytest.raises(StudyError, match="number 1 differs from the first by more than numbers"):
        patient_gradients(program, [*patients(1), other], X)
    with pytest.raises(StudyError, match="one and the same leading axis"):
        PatientProgram(program).linearise(X, {"mass": jnp.ones(2), "rate": jnp.ones(3)})
    with pytest.raises(StudyError, match="one and the same leading axis"):
        PatientProgram(program).linearise(X, patients(1)[0])


def test_limits_without_a_name_are_refused_for_one_patient_and_for_many():
    program = dataclasses.replace(patient_program(limits=2), limits=("the first",))
    with pytest.raises(ValueError, match="2 limits are simulated, 1 have a name"):
        program.linearise(X)
    with pytest.raises(ValueError, match="2 limits are simulated, 1 have a name"):
        patient_gradients(program, patients(2), X)


def column_patients():
    """Two patients on a column of 4 cells: another body mass, rate of division and inflammation at the start."""
    disease = DiseaseSpec(activity=0.3, lesion_fraction=0.5, lesion_from_zone=0.4)
    dose = InfusionSpec(start_h=5.3, cells_per_kg=1e6, route="intravenous")
    scenario = dataclasses.replace(column_case(disease=disease, dose=dose), grid=GridSpec(cells=(4, 1, 1)))
    model, state, schedule = build(scenario, arm="treated")
    values = {"patient.body_mass_kg": 95.0, "hepatocytes.division_rate": 1.5}  # [1/d]
    heavy = with_parameters(model, registry_of(scenario), values)
    inflamed = state.replace(voxel={**state.voxel, "macrophage_m1": 1.2 * state.voxel["macrophage_m1"]})
    return (model, state, schedule), (heavy, inflamed, schedule)


def column_program(patient, mode):
    """Mass and limits after two days by the start and the size of the infusion."""
    variables = (Variable("start_h[0]", 0.0, 24.0), Variable("cells_per_kg[0]", 1e5, 1e7, "log"))
    limits = (Limit("blocked_fraction", "peak", most=0.1), Limit("total_cells", most=8.0))
    if mode == "forward":
        limits = (*limits, Limit("meld_smooth", "peak", most=30.0))
    problem = DoseProblem(*patient, 48.0, (Aim("functional_mass"),), variables, limits)
    program = dataclasses.replace(problem.program, compiler_options=QUICK_TO_COMPILE)
    assert program.mode == mode
    return program


@pytest.mark.slow  # two derivatives of a run to compile
@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_two_patients_on_a_column_are_as_one_by_one(mode):
    """The solvers' tolerance of 1e-10 bounds what company may change; 1e-9 leaves it room."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        inputs = column_patients()
        program = column_program(inputs[0], mode)
        found, wanted = patient_gradients(program, inputs, X), one_by_one(program, inputs, X)
    assert found.ok.all()
    assert not np.allclose(found.jacobian[0], found.jacobian[1], rtol=1e-2)
    np.testing.assert_allclose(found.outcome.objective, wanted.outcome.objective, rtol=1e-9)
    np.testing.assert_allclose(found.outcome.limits, wanted.outcome.limits, rtol=1e-9)
    sizes = np.abs(wanted.jacobian).max(axis=2, keepdims=True)
    np.testing.assert_allclose(found.jacobian / sizes, wanted.jacobian / sizes, atol=1e-9)
