"""Problems with a known answer that stand in for a simulation."""

from collections.abc import Callable

import jax.numpy as jnp
import pytest

from hepatojax.status import Status
from hepatojax.studies.program import Outcome, Program


@pytest.fixture(scope="session")
def stand_in() -> Callable[..., Program]:
    """A program out of an objective and some excesses of x; it fails where `dies` is true."""

    def make(objective, *excesses, variables=2, dies=None, twin=False, closed=None, closed_names=()):
        def function(x, inputs):
            x = x.astype(inputs.dtype)
            limits = jnp.stack([e(x).astype(jnp.float64) for e in excesses]) if excesses else jnp.zeros(0)
            failed = jnp.asarray(False) if dies is None else dies(x)
            status = jnp.where(failed, int(Status.OXYGEN_NOT_CONVERGED), int(Status.OK))
            return Outcome(objective(x).astype(jnp.float64), limits, status)

        return Program(
            function,
            jnp.zeros(()),
            tuple(f"x{i}" for i in range(variables)),
            (*(f"limit {i}" for i in range(len(excesses))), *closed_names),
            closed,
            jnp.zeros((), jnp.float32) if twin else None,
        )

    return make
