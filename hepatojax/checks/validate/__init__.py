"""What `hepatojax validate` runs: the model against published experiments, through the functions that a run calls.

Agreement with a target that a parameter was fitted to is a fit; docs/validation.md says which ones are.
"""

from hepatojax.checks.records import Check
from hepatojax.checks.validate import (
    basins,
    cirrhosis,
    lesion,
    oxygen,
    perfusion,
    regeneration,
    rest,
    serum_hgf,
    viable_cells,
)

CHECKS: tuple[Check, ...] = (
    *rest.CHECKS,
    *perfusion.CHECKS,
    *oxygen.CHECKS,
    *serum_hgf.CHECKS,
    *regeneration.CHECKS,
    *lesion.CHECKS,
    *viable_cells.CHECKS,
    *cirrhosis.CHECKS,
    *basins.CHECKS,
)
