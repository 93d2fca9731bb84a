"""Which rows no other row beats in both score and cost (the Pareto front)."""

from __future__ import annotations

import numpy as np


def front(score: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """bool [R]: no other row costs no more and scores no less with one of the two better.

    Args:
        score: [R], larger is better. Scores within 1e-9 of each other (relative) are equal: equal means may differ in
            their last bit.
        cost: [R]. A row whose score or cost is NaN is not on the front and beats nobody.
    """
    score, cost = np.asarray(score, float), np.asarray(cost, float)
    tie = np.isclose(score[:, None], score[None], rtol=1e-9, atol=0)
    more = np.where(tie, 0, score[:, None] - score[None])  # [R, R], of row i over row j
    cheaper = cost[None] - cost[:, None]
    with np.errstate(invalid="ignore"):
        beats = (more >= 0) & (cheaper >= 0) & ((more > 0) | (cheaper > 0))
    return np.isfinite(score) & np.isfinite(cost) & ~beats.any(0)
