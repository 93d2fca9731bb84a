"""Training that does not fit into memory: so many at a time as do."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import jax

One = TypeVar("One")


def in_parts(
    train: Callable[[Sequence[One]], Any], every: Sequence[One], what: str, unit: str
) -> Iterator[tuple[Any, Any]]:
    """(some, train(some)) in order: all of them at once, or in halves of halves where they do not fit into memory.

    Those behind the first that fit go by as many. A warning says how many that is.

    Args:
        what: begins the warning and the error.
        unit: what they are of, "seed".
    Raises:
        MemoryError: one by itself does not fit; what came before it has been handed out.
    """
    first, most = 0, len(every)
    while first < len(every):
        some = every[first : first + most]
        try:
            found = train(some)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            said = " ".join(str(error).split())[:300]
            if len(some) == 1:
                raise MemoryError(
                    f"{what}: one {unit} by itself does not fit into the memory of {jax.devices()[0].device_kind}; try "
                    f"a smaller model.dim, or fewer --jobs at a time ({said})"
                ) from error
        else:
            yield some, found
            first += len(some)
            continue
        most = (len(some) + 1) // 2
        warnings.warn(
            f"{what}: {len(some)} {unit}s do not fit into memory together, {most} at a time are tried ({said})",
            stacklevel=2,
        )
        gc.collect()  # what had been laid on the device is held by the frames of the error
