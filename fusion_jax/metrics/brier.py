"""Brier's score: the squared distance of the predicted distribution from the class that is true."""

from __future__ import annotations

import numpy as np

from fusion_jax.metrics.base import Metric, Scored


def confidence(rows: Scored) -> tuple[np.ndarray, np.ndarray]:
    """The probability of the predicted class, and whether it is right, [N] each."""
    return rows.p.max(1), rows.p.argmax(1) == rows.target.labels


def squared_distance(p: np.ndarray, labels: np.ndarray) -> float:
    """mean_n sum_k (p_nk - [y_n = k])^2 of p [N, C] and labels [N], in [0, 2].

    Brier 1950, as he wrote it: with two classes twice the squared error of one of them, which others call by his name.
    """
    return float(((p - np.eye(p.shape[1])[labels]) ** 2).sum(1).mean())


class Brier(Metric):
    """`squared_distance`, summed over classes, in [0, 2]."""

    heading = "Brier"
    tasks = ("classes",)
    higher = False
    table = "calibration"
    rank = 10
    note = "Brier: summed over classes, in [0, 2]."

    def __call__(self, rows):
        return squared_distance(rows.p, np.asarray(rows.target.labels))
