"""What is read of a schedule without a simulation. No JAX here, for the estimate of memory asks for it."""

from hepatojax.scenario import ROUTES

TOTAL, SPACING = "total_cells", "spacing_h"
AMOUNT = "cells_per_kg["  # what the name of a variable begins with that is the amount of an infusion
TOTALS = (TOTAL, *(f"total_{route}" for route in ROUTES))
SINGLES = tuple(f"each_{route}" for route in ROUTES)
OF_SCHEDULE = (*TOTALS, *SINGLES, SPACING)
