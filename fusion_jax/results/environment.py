"""What a result depends on besides its config: versions, the code's revision, the device."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import pathlib
import platform
import subprocess
from typing import Any

import jax

_PACKAGES = (
    "fusion_jax",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "jraph",
    "numpy",
    "scipy",
    "scikit-learn",
)
_FLAGS = ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "JAX_ENABLE_X64", "JAX_DEFAULT_MATMUL_PRECISION")  # decide numbers


def _git(*args: str) -> str | None:
    try:
        done = subprocess.run(
            ("git", *args),
            cwd=pathlib.Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@functools.cache
def _in_checkout() -> bool:
    """Whether a repository holds this file: an installed package may lie in the folder of another one."""
    return _git("ls-files", "--error-unmatch", "--", str(pathlib.Path(__file__).resolve())) is not None


@functools.cache
def revision() -> str | None:
    """The git revision of the code, None outside a checkout."""
    return _git("rev-parse", "HEAD") if _in_checkout() else None


@functools.cache
def environment() -> dict[str, Any]:
    """Versions of the packages, git revision and whether it is dirty (None outside a checkout), devices, platform, and
    the variables that decide how numbers are computed ("" where not set)."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    status = _git("status", "--porcelain") if _in_checkout() else None
    return dict(
        versions=versions,
        python=platform.python_version(),
        platform=platform.platform(),
        git_revision=revision(),
        git_dirty=None if status is None else bool(status),
        backend=jax.default_backend(),
        devices=[d.device_kind for d in jax.devices()],
        flags={name: os.environ.get(name, "") for name in _FLAGS},
    )
