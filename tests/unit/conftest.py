"""A small liver without a derived rest, for tests of what stands around the solver."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.assembly import build_lobule, model_parameters
from hepatojax.body.circulation import Patient
from hepatojax.model import BODY_STATES, POOLS, VOXEL_STATES, Disease, LiverModel, Numerics
from hepatojax.parameters.registry import from_registry, load_parameters
from hepatojax.rest import first_guess
from hepatojax.scenario import GridSpec, LobuleSpec, ProductSpec, Scenario
from hepatojax.state import LiverState
from hepatojax.therapy.product import cell_product


@pytest.fixture(scope="session")
def small_liver():
    """A column of six cells and a random state of it; nothing is solved, so that it costs no compilation."""
    parameters = load_parameters()
    scenario = Scenario(lobule=LobuleSpec(geometry="column"), grid=GridSpec(cells=(6, 1, 1)))
    model = LiverModel(
        lobule=jax.tree.map(jnp.asarray, build_lobule(scenario, parameters)),
        parameters=model_parameters(parameters),
        rest={},
        rest_resistance=jnp.ones(()),
        patient=from_registry(Patient, parameters.patient),
        product=cell_product(ProductSpec(), parameters.product),
        disease=Disease(0.0),
        lobule_share=1.0,
        numerics=Numerics(precision="float64"),
    )
    rng = np.random.default_rng(61)
    voxel = {name: jnp.asarray(rng.uniform(0.1, 0.9, model.grid.shape)) for name in VOXEL_STATES}
    body = {name: jnp.asarray(rng.uniform(0.1, 0.9)) for name in (*BODY_STATES, *POOLS, "liver_volume")}
    return model, LiverState(voxel, body, first_guess(model).solved, jnp.zeros((), jnp.int32))
