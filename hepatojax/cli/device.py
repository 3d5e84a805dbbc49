"""Prepare JAX for a run: precision switch, compilation cache, device; and say which device it is.

All switches but that of JAX's own cache are set before the first array is made, and the garbage collector with them.
Arithmetic of 64 bits is on for every run, since pressure, plasma and body are float64 whatever the precision of the
fields. A device that was not asked for is never taken in silence.

Reference: RELIABILITY 5.2 (TF32) and 5.4; ECOSYSTEM 5, row 18.
"""

from __future__ import annotations

import gc
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hepatojax.status import DeviceError

if TYPE_CHECKING:
    from hepatojax.io.programs import ProgramFolder

CACHE_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
PLATFORM_VARIABLE = "JAX_PLATFORMS"


def cache_folder() -> Path:
    """Where compiled programs are kept between runs.

    Returns:
        `JAX_COMPILATION_CACHE_DIR`, else `hepatojax/compiled` in the user's cache folder; it need not exist.
    """
    given = os.environ.get(CACHE_VARIABLE)
    return Path(given) if given else _own_cache() / "compiled"


def kept_programs() -> ProgramFolder | None:
    """Where compiled derivatives are kept between runs, which are found without tracing them.

    Returns:
        `derivatives` in the folder where JAX keeps its programs; None where it keeps none, see `prepare_jax`.
    """
    import jax

    from hepatojax.io.programs import ProgramFolder

    folder, used = (jax.config.values[f"jax_{name}"] for name in ("compilation_cache_dir", "enable_compilation_cache"))
    return ProgramFolder(Path(folder) / "derivatives", without_cache) if folder and used else None


@contextmanager
def without_cache() -> Iterator[None]:
    """JAX's own cache switched off: of a program that comes out of it a part is missing when it is saved again."""
    import jax
    from jax.experimental.compilation_cache.compilation_cache import reset_cache

    used = jax.config.values["jax_enable_compilation_cache"]
    jax.config.update("jax_enable_compilation_cache", False)
    reset_cache()  # JAX looks at its switch once
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", used)
        reset_cache()


def preset_folder() -> Path:
    """Where start states are kept between runs.

    Returns:
        `hepatojax/presets` in the user's cache folder, which is `XDG_CACHE_HOME` or `~/.cache`; it need not exist.
    """
    return _own_cache() / "presets"


def _own_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hepatojax"


def usable_cache() -> str | None:
    """The folder of compiled programs, made if needed; None, with a warning, where it cannot be written."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return str(folder)
    except OSError as error:
        warnings.warn(f"{folder}: {error.strerror}; compiled programs are not kept between runs", stacklevel=2)
        return None


def prepare_jax(device: str | None, require_gpu: bool = False) -> str:
    """Configure JAX before its first array, and pick the device; never falls back without saying so.

    Args:
        device: "cpu", "gpu", or None for what JAX prefers.
        require_gpu: True refuses anything but a GPU.

    Returns:
        One line that names the device.

    Raises:
        DeviceError: a GPU was asked for and JAX has none, or JAX finds no device at all; exit code 5.

    Reference: RELIABILITY 5.2 and 5.4.
    """
    import jax

    if device == "cpu" and require_gpu:
        raise DeviceError("--device cpu contradicts --require-gpu")
    if device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    # tracing makes a million small objects that stay; to look at all of them again and again is a third of its time
    gc.set_threshold(100_000, 50, 50)
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_default_matmul_precision", "highest")
    # which line of ours an instruction comes from: the compiler would carry it along, some 80 MiB for a large program
    jax.config.update("jax_include_full_tracebacks_in_locations", False)
    jax.config.update("jax_traceback_in_locations_limit", 0)
    jax.config.update("jax_compilation_cache_dir", usable_cache())
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    chosen = _devices()[0]
    if (device == "gpu" or require_gpu) and chosen.platform != "gpu":
        raise DeviceError(
            f"a GPU was asked for and JAX has only {chosen.platform}; install hepatojax[cuda12] or use --device cpu"
        )
    cores = f", {os.cpu_count()} cores" if chosen.platform == "cpu" else f", {jax.device_count()} found"
    return f"{chosen.platform}: {chosen.device_kind}{cores}"


def _devices() -> list[Any]:
    """The devices of JAX; how it fails where there is none becomes one line with the variable or option to change."""
    import jax

    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:  # JAX asserts where CUDA is asked for on a machine without a GPU
        asked = os.environ.get(PLATFORM_VARIABLE)
        advice = f"unset {PLATFORM_VARIABLE}={asked} or use --device cpu" if asked else "try --device cpu"
        reason = " ".join(str(error).split())[:200] or "none of that platform"
        raise DeviceError(f"JAX finds no device: {reason}; {advice}") from None
