"""Releases of jaxlib that compute wrong numbers or crash: what is set so that they do not, else said by name.

`avoid` runs when fusion_jax is imported. What it sets counts where JAX has computed nothing before; where it has,
`told` finds the flaw by an example of its own.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import os
import warnings
from collections.abc import Callable, MutableMapping


@dataclasses.dataclass(frozen=True)
class Flaw:
    """A flaw of some releases on one backend.

    Attributes:
        releases: of jaxlib, in which it was seen.
        what: goes wrong, as the end of a sentence.
        source: where that is reported.
        flag: of the compiler, with which it does not happen; "" where none is known.
        there: whether it happens in this process, asked where the flag may have come too late.
    """

    releases: tuple[str, ...]
    backend: str
    what: str
    source: str
    flag: str = ""
    there: Callable[[], bool] = lambda: True


def _sums_go_wrong() -> bool:
    """Whether the last of 32,769 sums of three squares is not what it should be."""
    import jax  # here, as the flags of all are set before it is imported
    import jax.numpy as jnp
    import numpy as np

    rows = 32_769  # one more than two threads share evenly
    x = np.zeros((rows, 3), np.float32)
    x[:, 0] = np.arange(rows) % 1024  # squares that float32 holds

    def norm(row):
        return jnp.sum((jnp.eye(3, dtype=jnp.float32) @ row) ** 2)

    return not np.array_equal(jax.jit(jax.vmap(norm))(x), x[:, 0] ** 2)


FLAWS = (
    Flaw(
        ("0.10.2",),
        "cpu",
        "sums behind products of small matrices are wrong in single rows of many, and those of seven axes crash",
        "jax-ml/jax issues 39103 and 40412",
        "--xla_cpu_experimental_ynn_fusion_type=-reduce",
        _sums_go_wrong,
    ),
    Flaw(
        ("0.11.0",),
        "cpu",
        "sums over arrays of eight axes crash or do not end",
        "jax-ml/jax issue 39257",
        "--xla_cpu_experimental_ynn_fusion_type=-reduce",
        lambda: False,  # a crash can't be tried
    ),
    Flaw(
        ("0.11.0", "0.11.1"),
        "gpu",
        "single operations were seen to give wrong values and NaN on an RTX A6000 with CUDA 13",
        "jax-ml/jax issue 40633",
    ),
)


def avoid(release: str = "", environment: MutableMapping[str, str] = os.environ) -> None:
    """Adds to XLA_FLAGS what a release needs; a flag that is set already stays as it is.

    Args:
        release: of jaxlib; the installed one if "". One that is not named here may not know a flag, and ends with it.
    """
    flags = environment.get("XLA_FLAGS", "")
    for flaw in _of(release or importlib.metadata.version("jaxlib")):
        if flaw.flag and flaw.flag.partition("=")[0] not in flags:
            flags = f"{flags} {flaw.flag}".strip()
            environment["XLA_FLAGS"] = flags


@functools.cache
def told(backend: str, release: str = "") -> None:
    """Warns once of every flaw that is still there: of those without a flag, and where the flag came too late.

    Args:
        backend: JAX's default, "cpu", "gpu" or "tpu".
    """
    release = release or importlib.metadata.version("jaxlib")
    for flaw in _of(release):
        if flaw.backend == backend and flaw.there():
            do = f"import fusion_jax before JAX computes anything, or set XLA_FLAGS={flaw.flag}" if flaw.flag else ""
            do = do or "install another release, or compare with JAX_PLATFORMS=cpu"
            warnings.warn(f"jaxlib {release}: {flaw.what} ({flaw.source}); {do}", stacklevel=2)


def _of(release: str) -> list[Flaw]:
    return [flaw for flaw in FLAWS if release in flaw.releases]
