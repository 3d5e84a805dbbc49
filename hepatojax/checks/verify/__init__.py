"""What `hepatojax verify` runs: the solver against exact mathematics, through the functions that the model calls."""

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
