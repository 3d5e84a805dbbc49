"""Compiled derivatives are found again by what they are of, and by nothing less."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.studies.compiled import Compiled, Programs
from hepatojax.studies.curvature import Curvature
from hepatojax.studies.patients import PatientProgram, stacked
from hepatojax.studies.program import Outcome, Program

X = np.array([0.3, 0.7])


class Kept(dict[str, bytes]):
    """Programs in memory."""

    def load(self, key: str) -> bytes | None:
        """The program of a key."""
        return self.get(key)

    def save(self, key: str, program: bytes) -> None:
        """Keep a program."""
        self[key] = program

    def compiling(self) -> AbstractContextManager[None]:
        """No cache is in use here."""
        return nullcontext()


class Traced:
    """The gradient of a function, and how often it was traced."""

    def __init__(self, of: Callable[..., Any]):
        self.of, self.times = of, 0

    def __call__(self, *arguments: Any) -> Any:
        self.times += 1
        return jax.grad(self.of)(*arguments)


def gradient(of: Callable[..., Any], kept: Programs | None, name: str = "gradient", **how: Any) -> tuple[Traced, Any]:
    traced = Traced(of)
    return traced, Compiled(traced, of, name, kept, **how)


def fail(error: Exception, *_: Any, **__: Any) -> Any:
    raise error


def quartic(x: Any, scale: Any) -> Any:
    return scale * jnp.sum(x**4)


def test_a_kept_program_is_run_without_tracing_the_derivative():
    kept, x = Kept(), jnp.asarray(X)
    for times in (1, 0, 0):
        traced, compiled = gradient(quartic, kept)
        for scale in (2.0, 3.0):
            np.testing.assert_allclose(compiled(x, scale), 4.0 * scale * X**3, rtol=1e-15)
        assert traced.times == times and len(kept) == 1


def test_without_a_place_nothing_is_kept_and_all_is_as_jax_does_it():
    traced, compiled = gradient(quartic, None)
    for scale in (2.0, 3.0):
        np.testing.assert_allclose(compiled(X, scale), 4.0 * scale * X**3, rtol=1e-15)
    assert traced.times == 1


@pytest.mark.parametrize("error", [RuntimeError("no such symbol\nat all"), AttributeError("no such class")])
def test_a_program_that_cannot_be_loaded_is_compiled_again_with_a_warning(monkeypatch, error):
    kept = Kept()
    gradient(quartic, kept)[1](X, 1.0)
    monkeypatch.setattr("hepatojax.studies.compiled.deserialize_and_load", partial(fail, error))
    traced, compiled = gradient(quartic, kept)
    with pytest.warns(UserWarning, match=r"cannot be loaded and is compiled again: no such \w+$"):
        np.testing.assert_allclose(compiled(X, 1.0), 4.0 * X**3, rtol=1e-15)
    assert traced.times == 1


def test_a_program_that_cannot_be_saved_is_used_with_a_warning(monkeypatch):
    kept = Kept()
    monkeypatch.setattr("hepatojax.studies.compiled.serialize", partial(fail, NotImplementedError()))
    traced, compiled = gradient(quartic, kept)
    with pytest.warns(UserWarning, match=r"cannot be kept, a later start compiles it again: NotImplementedError$"):
        np.testing.assert_allclose(compiled(X, 1.0), 4.0 * X**3, rtol=1e-15)
    np.testing.assert_allclose(compiled(X, 2.0), 8.0 * X**3, rtol=1e-15)
    assert traced.times == 1 and not kept


@jax.custom_jvp
def doubled(x: Any) -> Any:
    return 2.0 * x


doubled.defjvps(lambda tangent, *_: 2.0 * tangent)


def powers(x: Any, number: float = 1.0, array: Any = 1.0, inner: Callable[[Any], Any] = jnp.sin) -> Any:
    """A function with something held in it at each depth: in a loop, a branch and a function of its own derivative."""

    def body(_: Any, y: Any) -> Any:
        return jax.lax.cond(y[0] > 0, lambda y: number * y * array, lambda y: y, y)

    return jnp.sum(inner(doubled(jax.lax.fori_loop(0, 2, body, x))))


LONG = np.linspace(1.0, 2.0, 2000)
CHANGED = LONG + 1e-12 * (np.arange(2000) == 1000)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"number": 1.0}, {"number": np.nextafter(1.0, 2.0)}),
        ({"array": LONG}, {"array": CHANGED}),
        ({"inner": jnp.sin}, {"inner": jnp.cos}),
    ],
)
def test_whatever_the_function_holds_is_told_apart(one, other):
    kept, x = Kept(), jnp.linspace(0.1, 1.0, 2000)
    for held in (one, other):
        of = partial(powers, **held)
        traced, compiled = gradient(of, kept)
        np.testing.assert_allclose(compiled(x), jax.grad(of)(x), rtol=1e-12)
        assert traced.times == 1
    assert len(kept) == 2


def test_a_held_device_array_is_told_apart_too():
    kept, x = Kept(), jnp.linspace(0.1, 1.0, 2000)
    for array in (LONG, CHANGED):
        _, compiled = gradient(partial(powers, array=jnp.asarray(array)), kept)
        np.testing.assert_allclose(compiled(x), jax.grad(partial(powers, array=array))(x), rtol=1e-12)
    assert len(kept) == 2


@pytest.mark.parametrize(
    "x", [jnp.ones(2, jnp.float32), jnp.ones(3), {"x": jnp.ones(2)}], ids=["type", "shape", "structure"]
)
def test_arguments_of_another_kind_have_a_program_of_their_own(x):
    kept = Kept()

    def of(x: Any) -> Any:
        return jnp.sum(jnp.asarray(jax.tree.leaves(x)[0]) ** 2)

    _, compiled = gradient(of, kept)
    for arguments in (jnp.ones(2), x):
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-7), compiled(arguments), jax.grad(of)(arguments))
    assert len(kept) == 2


def test_names_options_and_settings_are_told_apart():
    kept = Kept()
    gradient(quartic, kept)[1](X, 1.0)
    gradient(quartic, kept, "another")[1](X, 1.0)
    gradient(quartic, kept, options={"xla_backend_optimization_level": 1})[1](X, 1.0)
    before = jax.config.values["jax_default_matmul_precision"]
    jax.config.update("jax_default_matmul_precision", "float32")
    try:
        gradient(quartic, kept)[1](X, 1.0)
    finally:
        jax.config.update("jax_default_matmul_precision", before)
    assert len(kept) == 4


def weighted(x: Any, weight: Any) -> Outcome:
    return Outcome(weight * jnp.sum(doubled(x) ** 4), jnp.sum(x)[None], jnp.zeros((), jnp.int32))


def problem(kept: Programs | None) -> Program:
    return Program(weighted, jnp.asarray(3.0), ("a", "b"), ("sum",), programs=kept)


def test_a_program_gives_the_same_numbers_from_what_was_kept(monkeypatch):
    kept, alone = Kept(), problem(None)
    patients = stacked([jnp.asarray(1.0), jnp.asarray(2.0)])
    for _ in range(2):
        with monkeypatch.context() as patch:
            if kept:
                patch.setattr(Program, "_seeded", partial(fail, AssertionError("a derivative is traced")))
            again = problem(kept)
            got = again.linearise(X)
            along, back = again.push(X, np.array([1.0, 2.0])), again.pull(X, np.array([1.0, 0.5]))
            of_patients = PatientProgram(again).linearise(X, patients)
        np.testing.assert_array_equal(got.jacobian, alone.linearise(X).jacobian)
        np.testing.assert_allclose(got.jacobian[0], 3.0 * 64.0 * X**3, rtol=1e-14)
        np.testing.assert_allclose(along, got.jacobian @ [1.0, 2.0], rtol=1e-14)
        np.testing.assert_allclose(back, [1.0, 0.5] @ got.jacobian, rtol=1e-14)
        np.testing.assert_allclose(of_patients.jacobian[1], PatientProgram(alone).linearise(X, patients).jacobian[1])
        assert len(kept) == 3


def test_a_limit_without_a_name_is_refused_whatever_is_kept():
    kept = Kept()
    patients = stacked([jnp.asarray(1.0)])
    PatientProgram(problem(kept)).linearise(X, patients)
    unnamed = Program(weighted, jnp.asarray(3.0), ("a", "b"), programs=kept)
    for linearise in (unnamed.linearise, partial(PatientProgram(unnamed).linearise, inputs=patients)):
        with pytest.raises(ValueError, match="1 limits are simulated, 0 have a name"):
            linearise(X)


def test_limits_without_simulation_take_part_where_many_patients_are_told_of_them():
    kept = Kept()
    for most in (1.0, 4.0):

        def excess(x: Any, inputs: Any, most: float = most) -> Any:
            return (jnp.sum(x) / most - 1.0)[None]

        program = Program(weighted, jnp.asarray(3.0), ("a", "b"), ("sum", "closed"), excess, programs=kept)
        found = PatientProgram(program).linearise(X, stacked([jnp.asarray(1.0)]))
        np.testing.assert_allclose(found.outcome.limits[0], [1.0, 1.0 / most - 1.0], rtol=1e-15)
        np.testing.assert_allclose(found.jacobian[0, 2], [1.0 / most] * 2, rtol=1e-15)


def test_second_derivatives_are_kept_beside_first_ones():
    kept = Kept()
    for _ in range(2):
        product = Curvature(problem(kept)).times(X, np.array([1.0, 0.0]))
        np.testing.assert_allclose(product.product, [3.0 * 192.0 * X[0] ** 2, 0.0], rtol=1e-12)
    assert len(kept) == 2


ELSEWHERE = """
import sys
import jax, jax.numpy as jnp
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
from hepatojax.cli.device import kept_programs
from hepatojax.numerics.safe_math import decay_mean, hill
from hepatojax.studies.compiled import Compiled
def of(x):
    return jnp.sum(hill(jnp.sin(x) ** 2, 0.5, 2.0) * decay_mean(x))
traced = []
def gradient(x):
    traced.append(x)
    return jax.grad(of)(x)
x = jnp.arange(1.0, 4.0)
if sys.argv[1] == "jax":
    print(len(traced), *jax.jit(gradient)(x))
else:
    compiled = Compiled(gradient, of, "gradient", kept_programs())
    print(len(traced), *compiled(x))
    print(len(traced))
    print(*compiled(jax.device_put(x, jax.devices()[-1])))
"""


def run_on_a_terminal(run: Callable[..., Any]) -> list[str]:
    """Where JAX writes what it has traced in colours."""
    master, terminal = pty.openpty()
    run(stdout=terminal, stderr=terminal)
    os.close(terminal)
    said = b""
    with suppress(OSError):  # as the end is told of a terminal
        while part := os.read(master, 10_000):
            said += part
    os.close(master)
    return said.decode().splitlines()


@pytest.mark.parametrize("devices", [1, 4])
def test_processes_share_programs_beside_the_cache_of_jax(tmp_path, devices):
    """Also one that JAX has in its own cache, and on the first of several devices; on others JAX does it."""

    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(tmp_path)}

    def run(how: str, **where: Any) -> list[str]:
        command = [sys.executable, "-W", "error::UserWarning", "-c", ELSEWHERE, how]
        done = subprocess.run(command, **({"stdout": subprocess.PIPE} | where), text=True, check=True, env=environment)
        return (done.stdout or "").splitlines()

    (plain,) = run("jax")
    first, traced, _ = run("kept")
    again, not_traced, elsewhere = run("kept")
    assert first.split()[1:] == again.split()[1:] == elsewhere.split() == plain.split()[1:]
    assert (traced, not_traced) == ("1", "0")
    assert run_on_a_terminal(partial(run, "kept"))[1] == "0"
