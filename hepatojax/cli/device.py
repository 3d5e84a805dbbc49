"""Prepare JAX for a run: precision switch, compilation cache, device; and say which device it is."""

from __future__ import annotations

import os
from pathlib import Path

from hepatojax.status import DeviceError

CACHE_VARIABLE = "JAX_COMPILATION_CACHE_DIR"


def cache_folder() -> Path:
    """Where compiled programs are kept between runs."""
    given = os.environ.get(CACHE_VARIABLE)
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(given) if given else base / "hepatojax" / "compiled"


def prepare_jax(device: str | None, require_gpu: bool = False) -> str:
    """Configure JAX before its first array, and pick the device; never falls back without saying so.

    Args:
        device: "cpu", "gpu", or None for what JAX prefers. require_gpu: True refuses anything but a GPU.

    Returns:
        One line that names the device.

    Raises:
        DeviceError: a GPU was asked for and JAX has none.
    """
    import jax

    if device == "cpu" and require_gpu:
        raise DeviceError("--device cpu contradicts --require-gpu")
    if device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_default_matmul_precision", "highest")
    jax.config.update("jax_compilation_cache_dir", str(cache_folder()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    chosen = jax.devices()[0]
    if (device == "gpu" or require_gpu) and chosen.platform != "gpu":
        raise DeviceError(
            f"a GPU was asked for and JAX has only {chosen.platform}; install hepatojax[cuda12] or use --device cpu"
        )
    cores = f", {os.cpu_count()} cores" if chosen.platform == "cpu" else f", {len(jax.devices())} found"
    return f"{chosen.platform}: {chosen.device_kind}{cores}"
