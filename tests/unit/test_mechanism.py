"""Containers of the model and the composition of mechanisms: what is traced, what is fixed, what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.mechanism import (
    CompositionError,
    Fields,
    Mechanism,
    Rates,
    Transfer,
    algebraic,
    check_composition,
    pytree,
    slow,
    static,
)
from hepatojax.state import LiverState
from hepatojax.units import UNITS


@pytree
class Pair:
    """Two leaves and a name that belongs to the structure."""

    first: float
    second: float
    name: str = static(default="pair")


def mechanism(name, reads, writes, kind="algebraic"):
    return Mechanism(name, kind, reads, writes, lambda fields, p: {})


def test_a_derivative_touches_leaves_and_leaves_the_structure_alone():
    slope = jax.grad(lambda pair: pair.first**2 * pair.second)(Pair(3.0, 5.0, "named"))
    assert (float(slope.first), float(slope.second), slope.name) == (30.0, 9.0, "named")
    assert jax.tree.structure(Pair(1.0, 2.0)) == jax.tree.structure(Pair(3.0, 4.0))
    assert jax.tree.structure(Pair(1.0, 2.0)) != jax.tree.structure(Pair(1.0, 2.0, "other"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        Pair(1.0, 2.0).first = 2.0


def test_a_tree_may_hold_what_its_class_would_not_take():
    """JAX fills trees with placeholders; names of leaves appear in paths."""
    paths = jax.tree_util.tree_flatten_with_path(Pair(1.0, 2.0))[0]
    assert [jax.tree_util.keystr(path) for path, _ in paths] == [".first", ".second"]
    assert jax.tree.map(lambda _: None, Pair(1.0, 2.0)).first is None
    assert jax.tree.structure(Transfer("a", "b", 1.0, gain=2.0)).num_leaves == 1


def test_fields_are_a_mapping_that_does_not_change():
    fields = Fields({"b": jnp.asarray(2.0), "a": jnp.asarray(1.0)})
    more = fields.with_({"c": jnp.asarray(3.0), "a": jnp.asarray(9.0)})
    assert (set(fields), len(fields), float(fields.a)) == ({"a", "b"}, 2, 1.0)
    assert (set(more), float(more.a), float(more["c"])) == ({"a", "b", "c"}, 9.0, 3.0)
    with pytest.raises(AttributeError, match="no field named 'tnfa'; there are a, b"):
        _ = fields.tnfa
    assert jax.tree.structure(fields) == jax.tree.structure(Fields({"a": 0.0, "b": 0.0}))  # whatever the order


def test_a_declared_mechanism_keeps_its_name_and_text():
    @slow(reads=("y",), writes=("y",))
    def fading(fields, p):
        """It fades."""
        return Rates(loss={"y": p})

    @algebraic(reads=("y",), writes=("z",))
    def square(fields, p):
        """Its square."""
        return {"z": p * fields.y**2}

    assert (fading.name, fading.kind, fading.__doc__) == ("fading", "slow", "It fades.")
    assert (square.name, square.kind, square.reads, square.writes) == ("square", "algebraic", ("y",), ("z",))
    assert square(Fields({"y": 3.0}), 2.0) == {"z": 18.0}
    assert fading(Fields({"y": 3.0}), 2.0).production == {} and fading(Fields({}), 2.0).transfers == ()


GOOD = (mechanism("sense", ("x",), ("z",)), mechanism("step", ("z", "mean_y"), ("y",), "slow"))


@pytest.mark.parametrize(
    ("mechanisms", "message"),
    [
        ((GOOD[1], GOOD[0]), "step reads 'z', which no earlier mechanism provides"),
        ((*GOOD, mechanism("again", ("x",), ("z",))), "'z' is written by sense and again by again"),
        ((*GOOD, mechanism("twice", ("x",), ("y",), "slow")), "'y' is written by step and again by twice"),
        ((GOOD[0], mechanism("own", ("z",), ("x",))), "'x' is written by the model and again by own"),
        ((*GOOD, mechanism("lost", ("z",), ("w",), "slow")), "lost steps 'w', which is not a declared state"),
        ((GOOD[0],), "no mechanism steps the state 'y'"),
        ((mechanism("mean", ("mean_w",), ("z",)), *GOOD), "mean reads 'mean_w'"),
    ],
)
def test_what_does_not_fit_together_is_refused_by_name(mechanisms, message):
    check_composition(GOOD, ("x",), ("y",))
    with pytest.raises(CompositionError, match=message):
        check_composition(mechanisms, ("x",), ("y",))


def test_a_state_is_replaced_in_parts(small_liver):
    _, state = small_liver
    later = state.replace(step=state.step + 1)
    assert isinstance(later, LiverState) and int(later.step) == 1 and int(state.step) == 0
    assert later.voxel is state.voxel and later.body is state.body
    with pytest.raises(TypeError):
        state.replace(pressure=0.0)


def test_every_declared_field_has_a_unit_of_the_table_and_bounds_in_order():
    from hepatojax.model import SPECIFICATIONS

    names = [spec.name for spec in SPECIFICATIONS]
    assert len(names) == len(set(names))
    for spec in SPECIFICATIONS:
        assert spec.unit in UNITS and UNITS[spec.unit] == (spec.unit, 1.0), spec.name
        assert spec.location in ("voxel", "body") and spec.kind in ("state", "algebraic"), spec.name
        assert spec.low is None or spec.high is None or spec.low < spec.high
        assert not spec.diluted or (spec.kind == "state" and spec.location == "voxel"), spec.name
        assert spec.high != 1.0 or spec.unit == "-", f"{spec.name}: a share has no unit"
        assert np.isfinite(spec.low or 0.0) and not (spec.high == 1.0 and spec.diluted), "a share is not diluted"
