"""The expected calibration error: how far the probability of the predicted class is from how often it is right."""

from __future__ import annotations

import numpy as np

from fusion_jax.metrics.base import Metric
from fusion_jax.metrics.brier import confidence

BINS = 15  # Guo et al.'s number


def reliability(
    confidence: np.ndarray, correct: np.ndarray, bins: int = BINS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows by their confidence in bins of equal width, ((b - 1) / B, b / B].

    Args:
        confidence: [N] in [0, 1], the probability of the predicted class.
        correct: bool [N].
    Returns:
        count, mean confidence and accuracy, [B] each; the last two are NaN in empty bins.
    """
    edges = np.linspace(0, 1, bins + 1)
    where = np.searchsorted(edges[1:-1], confidence)
    count = np.bincount(where, minlength=bins)
    total = [np.bincount(where, weights=v, minlength=bins) for v in (confidence, correct)]
    of = np.where(count > 0, count, np.nan)
    return count, total[0] / of, total[1] / of


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> float:
    """ECE = sum_b n_b / N |accuracy_b - confidence_b| over the bins of `reliability`.

    Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, 2017, eq. 3.
    """
    count, predicted, observed = reliability(confidence, correct, bins)
    held = count > 0
    return float((count[held] * np.abs(observed - predicted)[held]).sum() / count.sum())


class Ece(Metric):
    """Of the top-label probability, in 15 bins of equal width."""

    heading = "ECE"
    tasks = ("classes",)
    higher = False
    table = "calibration"
    rank = 0
    note = "ECE: expected calibration error of the top-label probability, 15 bins of equal width."

    def __call__(self, rows):
        return expected_calibration_error(*confidence(rows))
