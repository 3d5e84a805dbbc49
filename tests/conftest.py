"""What every test runs under: float64 on, no silent promotion of dtype or rank."""

import os
import subprocess
import sys
from collections.abc import Callable

import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def fresh_python() -> Callable[..., str]:
    """Run code in a new interpreter, with `devices` CPU devices, and return what it prints."""

    def run(code: str, *, devices: int = 1) -> str:
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        if devices > 1:
            environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
