"""Seeds in turn on a CPU: each by a run of the one program, as many at a time as there are cores.

A training of small matrices keeps one core busy and no more, whatever the compiler makes of it; two seeds keep two. The
program knows nothing of how many seeds there are, so that one more of them compiles nothing. All threads of the process
share the cores: where several cells train, each is given what the others leave.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from fusion_jax.training.flat import stacked

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_FREE = threading.BoundedSemaphore(CORES)


def rows(tree: Any) -> list[Any]:
    """A tree with leaves [S, ...] as one a seed."""
    held, structure = jax.tree.flatten(tree)
    held = [_row_by_row(leaf) for leaf in held]
    return [jax.tree.unflatten(structure, own) for own in zip(*held, strict=True)]


def in_turn(program: Callable, arguments: Sequence[tuple], together: bool = True) -> Any:
    """What the program gives for the arguments of every seed, leaves [S, ...].

    Args:
        together: whether several may run at a time; not where one by itself lies over several devices.
    """

    def run(own: tuple) -> Any:
        with _FREE:
            return jax.block_until_ready(program(*own))

    at_a_time = min(CORES, len(arguments)) if together else 1
    if at_a_time == 1:
        return stacked([run(own) for own in arguments])
    with ThreadPoolExecutor(at_a_time) as pool:
        return stacked(list(pool.map(run, arguments)))


def _row_by_row(leaf: Any) -> list[Any]:
    """The rows of an array, cut on the host: nothing is compiled for them."""
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        own = _row_by_row(jax.random.key_data(leaf))
        return [jax.random.wrap_key_data(row, impl=jax.random.key_impl(leaf)) for row in own]
    # copies: a program is given its state's buffers
    return [jax.device_put(np.array(row)) for row in np.asarray(leaf)]
