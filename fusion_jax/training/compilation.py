"""Compiled programs kept on disk, so that a second run of the same study does not wait for the compiler."""

from __future__ import annotations

import os
import pathlib

import jax


def use_cache(folder: str | os.PathLike | None = None) -> pathlib.Path:
    """Turns on the persistent compilation cache; JAX_COMPILATION_CACHE_DIR goes first, then the user's cache."""
    default = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "fusion_jax" / "xla"
    folder = pathlib.Path(folder or os.environ.get("JAX_COMPILATION_CACHE_DIR", default))
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    return folder
