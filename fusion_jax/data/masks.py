"""Which modalities a node lacks, where a data set is complete and a study wants some of them missing."""

from __future__ import annotations

import numpy as np


def missing_at_random(nodes: int, modalities: int, rate: float, name: str) -> np.ndarray:
    """bool [N, M], each entry false with probability `rate` by itself, the same ones at every call.

    A row that would be false throughout gets one entry back, drawn uniformly.

    Args:
        name: of the data set, for the message.
    Raises:
        ValueError: `rate` is not in [0, 1).
    """
    if not 0 <= rate < 1:
        raise ValueError(f"{name}: missing={rate}, expected a number in [0, 1)")
    rng = np.random.default_rng(0)
    mask = rng.random((nodes, modalities)) >= rate
    empty = np.flatnonzero(~mask.any(1))
    mask[empty, rng.integers(modalities, size=empty.size)] = True
    return mask
