"""One thread a fit: small products of a linear model take many times as long on several threads that share cores."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from threadpoolctl import threadpool_limits

_LOCK = threading.Lock()
_HELD: list[threadpool_limits] = []  # the limit, once for each that is inside


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Inside, BLAS uses one thread in this process; its own number again when the last that is inside has left."""
    with _LOCK:
        _HELD.append(_HELD[0] if _HELD else threadpool_limits(1, "blas"))
    try:
        yield
    finally:
        with _LOCK:
            limit = _HELD.pop()
            if not _HELD:
                limit.restore_original_limits()
