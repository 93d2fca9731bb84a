"""The area under the risk-coverage curve: the errors left where the least confident rows are put aside."""

from __future__ import annotations

import numpy as np

from fusion_jax.metrics.base import Metric
from fusion_jax.metrics.brier import confidence


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


class Aurc(Metric):
    """Of the rows by the probability of their predicted class."""

    heading = "AURC by probability"
    tasks = ("classes",)
    higher = False
    digits = 4  # areas are far below the error rate
    table = "calibration"
    rank = 30
    note = (
        "AURC: error rate among the most confident rows, averaged over how many of them are taken, where confidence is "
        "the top-label probability, or less of the uncertainty the model itself states (- where it states none). A "
        "model with fewer errors has the smaller area however it ranks them: compare the two of a row."
    )

    def __call__(self, rows):
        return area_under_risk_coverage(*confidence(rows))
