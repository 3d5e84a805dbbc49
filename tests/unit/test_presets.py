"""Preparations kept between runs: computed once, found again as they were, and never taken for another case."""

import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.io.presets import PresetFolder
from hepatojax.presets import digest, kept
from hepatojax.tissue.hexagon import radial_column

LIKE = {"fields": (jnp.zeros(()), jnp.zeros((), jnp.float32)), "step": jnp.zeros((), jnp.int32)}


def prepared():
    return {"fields": (jnp.linspace(0.0, 1.0, 5), jnp.ones((2, 3), jnp.float32)), "step": jnp.asarray(7, jnp.int32)}


def refuse():
    raise AssertionError("computed again")


def leaves(tree):
    return [(np.asarray(leaf).tolist(), leaf.dtype) for leaf in (*tree["fields"], tree["step"])]


def test_a_second_run_finds_what_the_first_computed(tmp_path):
    first = kept(PresetFolder(tmp_path), "case", LIKE, prepared)
    again = kept(PresetFolder(tmp_path), "case", LIKE, refuse)
    assert leaves(first) == leaves(again) == leaves(prepared())


def test_another_key_finds_nothing(tmp_path):
    kept(PresetFolder(tmp_path), "case", LIKE, prepared)
    with pytest.raises(AssertionError, match="computed again"):
        kept(PresetFolder(tmp_path), "another case", LIKE, refuse)


def test_without_a_folder_it_is_computed_each_time():
    assert leaves(kept(None, "case", LIKE, prepared)) == leaves(prepared())


@pytest.mark.parametrize("change", [{"radius_um": 501.0}, {"cells": 7}, {"portal_tract_radius_um": 36.0}])
def test_the_digest_tells_lobules_apart(change):
    size = {"cells": 6, "radius_um": 500.0, "height_um": 10.0, "central_vein_radius_um": 40.0}
    size["portal_tract_radius_um"] = 35.0
    assert digest(radial_column(**size)) == digest(radial_column(**size))
    assert digest(radial_column(**size)) != digest(radial_column(**{**size, **change}))
