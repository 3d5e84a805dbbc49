"""The states of a course stay within the physical bounds that their field specifications declare."""

import jax
import pytest

from hepatojax.build import build_study
from hepatojax.scenario import ArmSpec, DiseaseSpec, GridSpec, InfusionSpec, LobuleSpec, RunSpec, Scenario
from hepatojax.simulate import SaveAt, simulate_chunks
from tests.reference.bounds import outside

DOSE = InfusionSpec(start_h=2.0, cells_per_kg=4e6, route="portal")
DISEASES = {
    "healthy": DiseaseSpec(),
    "wounded": DiseaseSpec(activity=1.0, flare=10.0, resected_fraction=0.3, lesion_fraction=0.6),
}


@pytest.fixture(autouse=True)
def promotion():
    """Of dtypes and ranks, as a user has it."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.slow  # a program of its own; by default the main job's states are held to their bounds
@pytest.mark.parametrize("disease", DISEASES)
def test_every_saved_state_lies_within_its_bounds(disease: str):
    scenario = Scenario(
        lobule=LobuleSpec(geometry="column"),
        grid=GridSpec(cells=(8, 1, 1)),
        disease=DISEASES[disease],
        arms=(ArmSpec("treated", (DOSE,)),),
        run=RunSpec(end_h=96.0, save_every_h=24.0, fields=()),
    )
    study = build_study(scenario)
    assert outside(study.state) == []
    course = simulate_chunks(study.model, study.state, study.schedules["treated"], end_h=96.0, save=SaveAt(24.0))
    for part in course:
        part.raise_for_status()
        assert outside(part.state) == []
