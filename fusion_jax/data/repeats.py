"""Pairs of nodes that a list of edges holds more than once: one edge, with the mean of what they carry."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def codes(pair: np.ndarray, time: np.ndarray) -> np.ndarray:
    """One number for each different (pair, time), int [E]."""
    pair, (times, time) = np.unique(pair, return_inverse=True)[1], np.unique(time, return_inverse=True)
    return pair * max(len(times), 1) + time


def merged(
    a: np.ndarray, b: np.ndarray, arrays: Mapping[str, np.ndarray], directed: bool, nodes: int
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Senders, receivers and arrays of the edges, each once: a new data set's, and those that arrive later.

    A pair that stands there again (undirected: whatever its direction) is one edge, whose arrays are the mean; with an
    array ``time`` only where the times are equal. Undirected, the edges run both ways.

    Args:
        a, b: int [E] of [0, nodes), no loops.
        arrays: [E, ...].
    """
    a, b = np.asarray(a, np.int64), np.asarray(b, np.int64)
    one, other = (a, b) if directed else (np.minimum(a, b), np.maximum(a, b))
    key = codes(one * nodes + other, np.asarray(arrays.get("time", np.zeros(len(a)))))
    _, first, inverse, counts = np.unique(key, return_index=True, return_inverse=True, return_counts=True)
    one, other = one[first], other[first]
    held = {name: _means(np.asarray(value), inverse, counts) for name, value in arrays.items() if name != "time"}
    if "time" in arrays:
        held["time"] = np.asarray(arrays["time"])[first]
    held = {name: held[name] for name in arrays}
    if not directed:
        one, other = np.concatenate([one, other]), np.concatenate([other, one])
        held = {name: np.concatenate([value, value]) for name, value in held.items()}
    return one, other, held


def _means(value: np.ndarray, group: np.ndarray, counts: np.ndarray) -> np.ndarray:
    total = np.zeros((len(counts), *value.shape[1:]))
    np.add.at(total, group, value)
    return total / counts.reshape(-1, *([1] * (value.ndim - 1)))
