"""What every test runs under: float64 on, no silent promotion of dtype or rank, programs that are quick to compile.

The tests compile thousands of programs and run each for milliseconds, so the compiler is told to hurry, which halves
their time. Flags in `XLA_FLAGS` have the last word: with those of `CONTRIBUTING.md` the tests run what a user runs.
"""

import os
import subprocess
import sys
from collections.abc import Callable

import jax
import pytest

IN_A_HURRY = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true --xla_cpu_use_fusion_emitters=false"
)
os.environ["XLA_FLAGS"] = f"{IN_A_HURRY} {os.environ.get('XLA_FLAGS', '')}"  # read at the first array, not at import
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def fresh_python() -> Callable[..., str]:
    """Run code in a new interpreter and return what it prints."""

    def run(code: str) -> str:
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
