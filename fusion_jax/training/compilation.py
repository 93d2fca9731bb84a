"""What a process sets up before it trains: the platform, compiled programs kept on disk, JAX's own switches."""

from __future__ import annotations

import contextlib
import os
import pathlib
import uuid
import warnings
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from fusion_jax import flaws
from fusion_jax.folders import expand, user_cache


def use_cache(folder: str | os.PathLike | None = None) -> pathlib.Path | None:
    """Turns on the persistent compilation cache, so that a second run of a study does not wait for the compiler.

    JAX_COMPILATION_CACHE_DIR goes first (empty: no cache), then the user's cache. A folder that cannot be written
    is no reason to stop: a warning says so, and nothing is kept.

    Returns:
        the folder, or None where there is no cache.
    """
    default = user_cache()
    named = folder or os.environ.get("JAX_COMPILATION_CACHE_DIR", default and default / "xla")
    place = None
    if named:
        try:
            place = pathlib.Path(expand(named)).absolute()
            place.mkdir(parents=True, exist_ok=True)
            probe = place / f".probe-{uuid.uuid4().hex}"
            probe.touch()
            probe.unlink()
        except (OSError, ValueError) as error:
            warnings.warn(f"compiled programs are not kept: {error}", stacklevel=2)
            place = None
    jax.config.update("jax_compilation_cache_dir", None if place is None else str(place))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    return place


@contextlib.contextmanager
def compiled_quickly() -> Iterator[None]:
    """Runs the block with programs that are made in less time and run slower: where each runs once or twice."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


def check_platform() -> str:
    """The platform JAX computes on, "cpu", "gpu" or "tpu"; warns of what its release gets wrong there.

    Raises:
        ValueError: the one that is asked for is not there; says which, and what to set.
    """
    try:
        backend = jax.default_backend()
    except (RuntimeError, AssertionError) as error:  # JAX asserts where a plugin it has heard of is not installed
        asked = {n: os.environ[n] for n in ("JAX_PLATFORMS", "JAX_PLATFORM_NAME") if os.environ.get(n)}
        text = ", ".join(f"{n}={v}" for n, v in asked.items()) or f"jax_platforms={jax.config.jax_platforms}"
        why = f" ({' '.join(str(error).split())})" if str(error) else ""
        raise ValueError(
            f"{text}: no such platform here; set JAX_PLATFORMS=cpu, or install JAX for the platform{why}"
        ) from error
    flaws.told(backend)
    return backend


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """JAX's switches as the code is written for them, whatever the user has set for code of their own.

    A cell is one compiled program, NaN stands for what does not exist (a seed that becomes NaN by training is found
    and named), and Optax adds numbers of different types. The generator is part of what decides the numbers.
    """
    ignored = [name for name in ("jax_disable_jit", "jax_debug_nans", "jax_debug_infs") if getattr(jax.config, name)]
    if ignored:
        warnings.warn(f"{', '.join(ignored).upper()} is set, and does not hold inside a cell", stacklevel=3)
    with (
        jax.disable_jit(False),
        jax.debug_nans(False),
        jax.debug_infs(False),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        jax.transfer_guard("allow"),
        jax.default_prng_impl("threefry2x32"),
    ):
        yield


def cost_of(compiled, params) -> dict[str, float]:
    """Parameters of one seed, and what the compiler says of the program: flops and peak memory."""
    count = sum(int(np.prod(p.shape[1:])) for p in jax.tree.leaves(params))
    analysis = compiled.cost_analysis() or {}
    analysis = analysis[0] if isinstance(analysis, Sequence) else analysis
    memory = compiled.memory_analysis()
    peak = 0 if memory is None else memory.temp_size_in_bytes + memory.argument_size_in_bytes
    return dict(parameters=count, flops=float(analysis.get("flops", 0.0)), peak_bytes=float(peak))
