"""How far predicted probabilities can be believed: calibration, proper scores, and what abstaining would save.

Everything is on the host, in float64, of the rows it is given. Lower is better throughout.
"""

from __future__ import annotations

import numpy as np

BINS = 15  # Guo et al.'s number


def measures(p: np.ndarray, labels: np.ndarray, uncertainty: np.ndarray | None = None) -> dict[str, float]:
    """ece, brier and aurc of the distributions p [N, C]; aurc_uncertainty where uncertainty [N] is given."""
    confidence, correct = p.max(1), p.argmax(1) == labels
    found = dict(
        ece=expected_calibration_error(confidence, correct),
        brier=brier(p, labels),
        aurc=area_under_risk_coverage(confidence, correct),
    )
    if uncertainty is not None:
        found["aurc_uncertainty"] = area_under_risk_coverage(-np.asarray(uncertainty, np.float64), correct)
    return found


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


def brier(p: np.ndarray, labels: np.ndarray) -> float:
    """mean_n sum_k (p_nk - [y_n = k])^2 of p [N, C] and labels [N], in [0, 2].

    Brier 1950, as he wrote it: with two classes twice the squared error of one of them, which others call by his name.
    """
    return float(((p - np.eye(p.shape[1])[labels]) ** 2).sum(1).mean())


def risk_coverage(score: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coverage i / N and risk, the error rate among the i rows with the largest score, for i = 1 ... N.

    Geifman and El-Yaniv: Selective Classification for Deep Neural Networks, 2017. Rows of equal score come in no
    order: each counts with the error rate of them all, which is the expectation over the orders they could have.
    """
    ids, inverse = np.unique(-np.asarray(score), return_inverse=True)
    sizes = np.bincount(inverse, minlength=len(ids))
    rates = np.bincount(inverse, weights=~np.asarray(correct, bool), minlength=len(ids)) / sizes
    covered = np.arange(1, len(inverse) + 1)
    return covered / len(inverse), np.cumsum(np.repeat(rates, sizes)) / covered


def area_under_risk_coverage(score: np.ndarray, correct: np.ndarray) -> float:
    """AURC: the mean over i of the risks of `risk_coverage`.

    Geifman, Uziel, El-Yaniv: Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers, 2019. An order by
    chance has the overall error rate.
    """
    return float(risk_coverage(score, correct)[1].mean())
