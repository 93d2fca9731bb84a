"""Numbers that sum up curves of a score against how much is taken away, or how much is disturbed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def area(levels: Sequence[float], score: np.ndarray) -> np.ndarray:
    """[...], the mean height of the curve score [..., K] over the levels [K] (trapezoids), in the score's own units."""
    return np.trapezoid(score, levels, axis=-1) / (levels[-1] - levels[0])


def equity(loss: np.ndarray) -> np.ndarray:
    """[...] in [0, 1], how evenly a model leans on its M modalities, of what the absence of each costs, loss [..., M].

    1 - M / (M - 1) G, with G = sum_ij |l_i - l_j| / (2 M sum_i l_i) the Gini coefficient of l = max(loss, 0): 1 where
    all absences cost alike, 0 where one costs all. NaN where none costs anything, or M is 1.
    """
    cost = np.maximum(np.asarray(loss, np.float64), 0)
    count, total = cost.shape[-1], cost.sum(-1)
    apart = np.abs(cost[..., :, None] - cost[..., None, :]).sum((-2, -1))
    told = (total > 0) & (count > 1)
    return np.where(told, 1 - apart / (2 * max(count - 1, 1) * np.where(total > 0, total, 1)), np.nan)
