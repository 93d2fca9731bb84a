"""Compiled programs that trainings share: one is compiled once, for all that are alike in what is compiled in.

On Linux a process may have so many memory mappings and no more, and every program on the CPU takes some hundred of
them, those of single operations too, which JAX keeps: a study of hundreds of cells would end in the compiler. And what
the compiler has freed the C library keeps for later, some fifty MB more with every cell. `spare` gives both back.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import gc
import pathlib
import threading
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from typing import Any

import jax

MAPS, LIMIT = pathlib.Path("/proc/self/maps"), pathlib.Path("/proc/sys/vm/max_map_count")
MOST = 16  # programs that are kept at a time: cells that share one stand beside each other in a study


class Programs:
    """At most `most` programs by what is compiled in; the one that was asked for longest ago goes first."""

    def __init__(self, most: int = MOST):
        self.most, self.holders, self.lock = most, 0, threading.Lock()
        self.found: collections.OrderedDict[Hashable, Future] = collections.OrderedDict()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        with self.lock:
            self.holders += 1
        try:
            yield
        finally:
            with self.lock:
                self.holders -= 1
                if not self.holders:
                    self.found.clear()

    def forget(self) -> None:
        """Lets go of those that are not being compiled or run."""
        with self.lock:
            self.found.clear()

    def compiled(self, key: Hashable, make: Callable[[], Any]) -> Any:
        with self.lock:
            if key is None or not self.holders:
                own, mine = Future(), True
            elif mine := key not in self.found:
                own = self.found[key] = Future()
                while len(self.found) > self.most:
                    self.found.popitem(last=False)
            else:
                own = self.found[key]
                self.found.move_to_end(key)
        if mine:
            self._make(key, own, make)
        return own.result()

    def _make(self, key: Hashable, own: Future, make: Callable[[], Any]) -> None:
        try:
            own.set_result(make())
        except BaseException as error:  # whoever waits is told; who asks later tries again
            own.set_exception(error)
            with self.lock:
                self.found.pop(key, None)


_PROGRAMS = Programs()


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Within it, in every thread, programs that were compiled are kept for trainings that are alike."""
    with _PROGRAMS.held():
        yield


def compiled(key: Hashable, make: Callable[[], Any]) -> Any:
    """`make()`, or what it gave for an equal key; two threads that ask at a time compile once.

    Args:
        key: all that is compiled in; None for a program that is nobody else's.
    """
    return _PROGRAMS.compiled(key, make)


def form(tree: Any) -> Hashable:
    """What a program depends on of its arguments: structure, and shapes, dtypes and placement of the leaves."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((x.shape, x.dtype, x.sharding) for x in map(jax.numpy.asarray, leaves))


def spare() -> bool:
    """Gives freed memory back to the system, and lets go of all compiled programs where their mappings become too many:
    more than half of those that the process may have.

    What runs goes on; what is needed again is compiled again, or read from the cache on disk. Returns whether programs
    were let go of.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)
    try:
        with MAPS.open("rb") as file:
            count = sum(1 for _ in file)
        most = int(LIMIT.read_text())
    except (OSError, ValueError):
        return False  # another system, which has no such limit
    if count <= most // 2:
        return False
    _PROGRAMS.forget()
    jax.clear_caches()
    gc.collect()
    return True
