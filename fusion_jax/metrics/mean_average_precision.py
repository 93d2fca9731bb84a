"""How far up a label's rows are ranked: the mean over labels of the precision at each of its rows."""

from __future__ import annotations

import numpy as np

from fusion_jax.metrics.base import Metric


def average_precision(score: np.ndarray, positive: np.ndarray) -> float:
    """sum_k (R_k - R_(k - 1)) P_k over the distinct scores, highest first; NaN without a positive row.

    Args:
        score: [N]. positive: bool [N].
    """
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.diff(score[order], append=np.nan))  # of every block of equal scores; NaN equals nothing
    hits = np.cumsum(positive[order])[last]
    if not positive.any():
        return float("nan")
    return float((np.diff(hits, prepend=0) * hits / (last + 1)).sum() / hits[-1])


class MeanAveragePrecision(Metric):
    """Over the labels that some row has; NaN where none has any."""

    heading = "mAP"
    tasks = ("labels",)
    fraction = True
    rank = 30
    note = "mAP: mean average precision over the labels that some row has."

    def __call__(self, rows):
        true = rows.target.labels
        held = np.flatnonzero(true.any(0))
        return float(np.mean([average_precision(rows.prediction[:, c], true[:, c]) for c in held] or [np.nan]))
