"""Sets of classes by split conformal prediction, in NumPy: scores, what neighbours say of them, thresholds.

A score [N, C] says how little a class conforms to a row. The set of a row are the classes whose score is at most the
ceil((n + 1)(1 - alpha))-th smallest score of the true classes of n calibration rows. Where these and the row are
exchangeable, so that any order of them is as likely, the set holds the true class with probability at least 1 - alpha,
whatever the model.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import beta, betabinom


def probability_scores(p: np.ndarray) -> np.ndarray:
    """1 - p, of probabilities [N, C]."""
    return 1 - p


def adaptive_scores(p: np.ndarray, u: np.ndarray) -> np.ndarray:
    """[N, C]: the probability of all classes before c, from the likeliest on, and the share u of its own.

    Romano, Sesia and Candes, "Classification with Valid and Adaptive Coverage", 2020. Equal probabilities stand in the
    order of the classes. Because u is drawn the sets are no larger than need be, and may be empty.

    Args:
        p: probabilities [N, C].
        u: [N] in [0, 1], drawn uniformly.
    """
    order = np.argsort(-p, axis=1, kind="stable")
    ranked = np.take_along_axis(p, order, 1)
    before = np.cumsum(ranked, 1) - ranked
    scores = np.empty_like(p)
    np.put_along_axis(scores, order, before + u[:, None] * ranked, 1)
    return scores


def diffused(scores: np.ndarray, senders: np.ndarray, receivers: np.ndarray, share: float) -> np.ndarray:
    """(1 - share) s_v + share * mean of s_u over the senders u of v; s_v where a node has none.

    Zargarbashi, Antonelli and Bojchevski, "Conformal Prediction Sets for Graph Neural Networks", 2023, one step. It
    looks at no label and treats all nodes alike, so rows that were exchangeable are so still.
    """
    total = np.zeros_like(scores)
    np.add.at(total, receivers, scores[senders])
    degree = np.bincount(receivers, minlength=len(scores))[:, None]
    mean = total / np.maximum(degree, 1)
    return np.where(degree > 0, (1 - share) * scores + share * mean, scores)


def rank(rows: int, alpha: float) -> int:
    """Which of the sorted scores of so many calibration rows is the threshold, from 1 on; above `rows` there is none.
    A trillionth is taken off, so that (n + 1)(1 - alpha) is whole where it is on paper."""
    return int(np.ceil((rows + 1) * (1 - alpha) - 1e-12))


def threshold(true: np.ndarray, alpha: float) -> float:
    """The largest score that sets take in, from those [n] of the true classes of calibration rows; infinite where n
    is below (1 - alpha) / alpha, and sets hold all classes."""
    k = rank(len(true), alpha)
    return float(np.sort(true)[k - 1]) if k <= len(true) else np.inf


def binomial_interval(hits: int, rows: int, level: float = 0.95) -> tuple[float, float]:
    """The interval of Clopper and Pearson for a share."""
    tail = (1 - level) / 2
    low = beta.ppf(tail, hits, rows - hits + 1) if hits else 0.0
    high = beta.ppf(1 - tail, hits + 1, rows - hits) if hits < rows else 1.0
    return float(low), float(high)


def expected(calibration: int, rows: int, alpha: float, level: float = 0.95) -> tuple[float, float]:
    """Between what shares the coverage of `rows` rows lies at this level where all is exchangeable and no scores are
    equal.

    The number of rows covered is beta-binomial with parameters k and n + 1 - k: the calibration rows are few too, so
    this is wider than binomial.
    """
    k = rank(calibration, alpha)
    if k > calibration:
        return 1.0, 1.0
    low, high = betabinom.interval(level, rows, k, calibration + 1 - k)
    return float(low) / rows, float(high) / rows
