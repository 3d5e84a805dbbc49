"""The state of a liver: what is stepped, and the quasi-steady fields that go with it.

Slow states alone would determine the fields. The fields of the last step are carried along because they start the
solvers and the predictor of the next step: with them a run goes on from a checkpoint as if it had not been stopped.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jax import lax
from jaxtyping import Array, Float, Int

from hepatojax.mechanism import pytree


@pytree
class Circulation:
    """Perfusion as the other fields see it.

    Attributes:
        pressure: of the lobule's solve, 1 at the portal vessels and 0 in the central vein; the next guess [-].
        speed: of the blood at the cell centres, per area of tissue [um/s].
        relative: blood flow of the liver over its rest value, Q/Q0 [-].
        gradient: portal pressure gradient over its rest value [-].
        resistance: of the domain at rest size [Pa s/um3].
    """

    pressure: Float[Array, "nz ny nx"]
    speed: Float[Array, "nz ny nx"]
    relative: Float[Array, ""]
    gradient: Float[Array, ""]
    resistance: Float[Array, ""]


@pytree
class QuasiSteady:
    """Fields that follow the slow states at once, solved at the middle of the last macro-step.

    Attributes:
        oxygen: partial pressure [mmHg], (nz, ny, nx).
        oxygen_guess: the same as the guess of the next solve [mmHg], (nz, ny, nx); its tangent and cotangent carry
            starts, so that it is no derivative and stands apart from `oxygen`.
        tissue: signal -> field [nM], (nz, ny, nx).
        excess: signal -> both phases over the inlet [nM], (2, nz, ny, nx); a guess like `oxygen_guess`.
        inlet: signal -> plasma level of the body [nM].
        arrival: where cells from the blood adhere, volume mean 1 [-], (nz, ny, nx).
        carried: cells left in the blood over those in the inlet [-], (nz, ny, nx); a guess, without derivative.
        circulation: see `Circulation`.
    """

    oxygen: Float[Array, "nz ny nx"]
    oxygen_guess: Float[Array, "nz ny nx"]
    tissue: dict[str, Float[Array, "nz ny nx"]]
    excess: dict[str, Float[Array, "2 nz ny nx"]]
    inlet: dict[str, Float[Array, ""]]
    arrival: Float[Array, "nz ny nx"]
    carried: Float[Array, "nz ny nx"]
    circulation: Circulation

    def apart(self) -> QuasiSteady:
        """The same, with guesses that hand on nothing; for the ends of a chain of solves, see `implicit_solution`.

        The guesses are those that `hepatojax.coupling` says are handed on.
        """
        guesses = {name: lax.stop_gradient(getattr(self, name)) for name in ("oxygen_guess", "excess")}
        return replace(self, **guesses)


@pytree
class LiverState:
    """Everything that a macro-step needs to go on, and all that a checkpoint must hold.

    Attributes:
        voxel: slow states on the grid, each (nz, ny, nx), in the precision of the run.
        body: slow states [their units] and cell pools [1e6 cells] of the body, and liver_volume [-], float64 scalars.
        quasi_steady: the last solved fields; they start the solvers and the predictor of the next step.
        step: number of macro-steps done; the time is step x macro_step_h.
    """

    voxel: dict[str, Float[Array, "nz ny nx"]]
    body: dict[str, Float[Array, ""]]
    quasi_steady: QuasiSteady
    step: Int[Array, ""]

    def replace(self, **changes: Any) -> LiverState:
        """The same state with some parts exchanged.

        Args:
            changes: any of `voxel`, `body`, `quasi_steady` and `step`; a part is replaced as a whole.
        """
        parts = {"voxel": self.voxel, "body": self.body, "quasi_steady": self.quasi_steady, "step": self.step}
        return LiverState(**{**parts, **changes})
