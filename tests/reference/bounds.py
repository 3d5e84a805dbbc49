"""Which states lie beyond the physical bounds that their field specifications declare."""

import numpy as np

from hepatojax.model import SPECIFICATIONS
from hepatojax.state import LiverState

STATES = {spec.name: spec for spec in SPECIFICATIONS if spec.kind == "state"}


def outside(state: LiverState) -> list[str]:
    """States with a value beyond its bounds, or one that is no number."""
    held = {name: np.asarray(values) for name, values in {**state.voxel, **state.body}.items()}
    assert set(held) == set(STATES)
    low, high = ({name: getattr(spec, end) for name, spec in STATES.items()} for end in ("low", "high"))
    return [
        f"{name}: {values.min()} to {values.max()}"
        for name, values in held.items()
        if not np.isfinite(values).all()
        or (low[name] is not None and values.min() < low[name])
        or (high[name] is not None and values.max() > high[name])
    ]
