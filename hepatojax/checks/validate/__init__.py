"""What `hepatojax validate` runs: the model against published experiments, through the functions that a run calls.

Agreement with a target that a parameter was fitted to is a fit; docs/validation.md says which ones are. V13 and the two
basins run on a hexagonal lobule in float32, everything else on a porto-central column in float64, see `course`.
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
