"""The area under the ROC curve of classification: how often a row of a class is ranked before one of another."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from fusion_jax.metrics.base import Metric, Scored


def area_under_roc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Mean over columns of the share of (positive, negative) pairs of rows in the right order, ties counting half.

    From the rank sums of all columns at once (Mann-Whitney): scikit-learn draws a curve a class, which took longer
    than anything else between two cells.

    Args:
        scores: [N, K]. positive: bool [N, K], both kinds in every column.
    """
    count = positive.sum(0)
    ranks = np.where(positive, rankdata(scores, axis=0), 0).sum(0)
    return float(((ranks - count * (count + 1) / 2) / (count * (len(scores) - count))).mean())


def influence_of_rows(score: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """psi [N] of one column: a positive row's share of negatives below it less the AUC, times N / positives; of a
    negative one alike."""
    n, count = len(score), positive.sum()
    beaten = np.empty(n)  # the other kind's rows that are on the right side, ties counting half
    for kind, sign in ((positive, 1), (~positive, -1)):
        beaten[kind] = rankdata(sign * score)[kind] - rankdata(sign * score[kind])
    share = beaten / np.where(positive, n - count, count)
    return (share - share[positive].mean()) * n / np.where(positive, count, n - count)


class Auc(Metric):
    """Of two classes that of class 1; of more the mean over classes against the rest. NaN where one has no row.

    Scores that are log-probabilities as they come (shares of votes, say) rank as they are: made to sum to 1 once more,
    equal shares would differ in their last bit, and would be no ties.
    """

    heading = "AUC"
    tasks = ("classes",)
    fraction = True
    pairs = True
    rank = 40

    def __call__(self, rows):
        true = _of_every_class(rows)
        if not true.any(0).all():
            return float("nan")
        # of two classes the logits' difference ranks: probabilities saturate at 1 and would make ties
        given, log_p = np.asarray(rows.prediction, np.float64), rows.log_p
        shares = np.abs(given - log_p).max() < 1e-5  # float32 log-probabilities are off by less
        scores = given[:, 1:] - given[:, :1] if given.shape[1] == 2 else given if shares else log_p
        return area_under_roc(scores, true[:, -scores.shape[1] :])

    def influence(self, rows):
        true = _of_every_class(rows)
        if not true.any(0).all():
            return None
        logits = rows.prediction
        two = logits.shape[1] == 2
        scores = logits[:, 1:].astype(np.float64) - logits[:, :1] if two else np.exp(rows.log_p)
        each = zip(scores.T, true.T[-scores.shape[1] :], strict=True)
        return np.mean([influence_of_rows(score, positive) for score, positive in each], 0)


def _of_every_class(rows: Scored) -> np.ndarray:
    """bool [N, C], which class a row has."""
    return np.asarray(rows.target.labels)[:, None] == np.arange(rows.prediction.shape[1])
