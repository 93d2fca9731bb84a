"""How far up each link is ranked among the pairs without a link: the mean of one over its rank."""

from __future__ import annotations

import numpy as np

from fusion_jax.metrics.base import Metric, Scored


def ranks(rows: Scored) -> np.ndarray:
    """float [P], of every link its rank among all pairs of these rows without one, 1 the first.

    Each link by itself, as in the Open Graph Benchmark (Hu et al. 2020); among equal scores it has the mean rank.
    """
    score, positive = np.asarray(rows.prediction[:, 0], np.float64), np.asarray(rows.target.labels)
    links, others = score[positive], np.sort(score[~positive])
    above = len(others) - np.searchsorted(others, links, "right")
    not_below = len(others) - np.searchsorted(others, links, "left")
    return 1 + (above + not_below) / 2


class MeanReciprocalRank(Metric):
    """mean over links of 1 / rank; NaN without a link."""

    heading = "MRR"
    tasks = ("links",)
    fraction = True
    rank = 50
    note = "MRR, Hits@k: of every link among the pairs without a link of its part, ties at their mean rank."

    def __call__(self, rows):
        found = ranks(rows)
        return float((1 / found).mean()) if found.size else float("nan")
