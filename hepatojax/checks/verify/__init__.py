"""What `hepatojax verify` runs: the solver against exact mathematics, through the functions that the model calls.

First each equation on its own (flow, carried species, oxygen, signals, slow states, body), then the coupled model, then
the derivatives. The exact cases are V01-V10 of VALIDATION and the verification tests of NUMERICS; orders are fitted
over four grids or four steps. A check calls what a run calls, not a copy of it.
"""

from hepatojax.checks.records import Check
from hepatojax.checks.verify import body, coupling, gradient, oxygen, perfusion, signals, states, transport

CHECKS: tuple[Check, ...] = (
    *perfusion.CHECKS,
    *transport.CHECKS,
    *oxygen.CHECKS,
    *signals.CHECKS,
    *states.CHECKS,
    *body.CHECKS,
    *coupling.CHECKS,
    *gradient.CHECKS,
)
