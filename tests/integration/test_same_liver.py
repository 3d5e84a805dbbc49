"""One liver drawn as a lobule and as a tiling of four of them: the courses are the same."""

import jax
import numpy as np
import pytest

from hepatojax.build import build
from hepatojax.scenario import ArmSpec, DiseaseSpec, GridSpec, InfusionSpec, LobuleSpec, RunSpec, Scenario
from hepatojax.simulate import SaveAt, join, simulate_chunks

pytestmark = pytest.mark.slow  # two programs of their own

RADIUS, HEIGHT, VESSEL = 400.0, 25.0, 50.0
ILL = DiseaseSpec(activity=1.0, flare=10.0, resected_fraction=0.3, lesion_fraction=0.5)
DOSE = InfusionSpec(start_h=1.0, cells_per_kg=1e6, route="portal")
END_H = 12.0  # two macro-steps
EXACT = ("msc_per_lobule", "label_per_lobule")  # of the body's books and the volume of tissue, not of the mesh
SOLVED = ("oxygen_mean", "oxygen_outlet", "flow", "perfusion", "portal_gradient")


def scenario(geometry: str, grid: GridSpec, **more) -> Scenario:
    lobule = LobuleSpec(
        geometry=geometry,
        radius_um=RADIUS,
        height_um=HEIGHT,
        central_vein_radius_um=VESSEL,
        portal_tract_radius_um=VESSEL,
        **more,
    )
    run = RunSpec(end_h=END_H, save_every_h=END_H, fields=())
    return Scenario(lobule=lobule, grid=grid, disease=ILL, arms=(ArmSpec("treated", (DOSE,)),), run=run)


def endpoints(case: Scenario) -> dict[str, np.ndarray]:
    """Endpoints of two macro-steps (2,)."""
    model, state, schedule = build(case)
    course = join(list(simulate_chunks(model, state, schedule, end_h=END_H, save=SaveAt(END_H))))
    course.raise_for_status()
    return {name: np.asarray(values) for name, values in course.endpoints.items()}


@pytest.fixture(scope="module")
def drawn():
    """Drawing -> endpoints of the same ill and treated liver; cells of 25 um in both."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return {
            "hexagon": endpoints(scenario("hexagon", GridSpec(cells=(28, 32, 1)))),
            "tiling": endpoints(scenario("tiling", GridSpec(cells=(70, 56, 1)), tiling=(2, 2))),
        }


def test_four_lobules_give_the_course_of_one(drawn):
    """By symmetry no blood or oxygen crosses from one lobule to the next: only the mesh differs, at second order. What
    the liver has lost, 1 - F, agrees better: tissue answers to oxygen, but most of it is lost to the lesion.
    """
    hexagon, tiling = drawn["hexagon"], drawn["tiling"]
    for name in EXACT:
        np.testing.assert_allclose(tiling[name], hexagon[name], rtol=1e-4)
    for name in SOLVED:
        np.testing.assert_allclose(tiling[name], hexagon[name], rtol=5e-3, err_msg=name)
    assert np.all(1.0 - hexagon["functional_mass"] > 0.3)
    np.testing.assert_allclose(1.0 - tiling["functional_mass"], 1.0 - hexagon["functional_mass"], rtol=2e-3)


def test_the_liver_is_treated(drawn):
    """The comparison means something: cells have arrived, and the portal gradient is that of a smaller bed."""
    assert np.all(drawn["hexagon"]["msc_liver"] > 10.0)
    assert np.all(drawn["hexagon"]["portal_gradient"] > 1.1)
