"""Linear algebra on one thread, for as long as anybody asks for it.

How many threads there are is a setting of the whole process, and what some routines give depends on it; small products
take many times as long on several that share the cores. Who enters while another is inside shares the setting: neither
puts it back under the other.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from threadpoolctl import threadpool_limits

_LOCK = threading.Lock()
_HELD: list[threadpool_limits] = []  # the limit, once for each that is inside


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Inside, BLAS and OpenMP use one thread in this process; their own number when the last inside has left."""
    with _LOCK:
        _HELD.append(_HELD[0] if _HELD else threadpool_limits(1))
    try:
        yield
    finally:
        with _LOCK:
            limit = _HELD.pop()
            if not _HELD:
                limit.restore_original_limits()
