"""How well a metric is known from the test rows it was measured on: the influence of every row, and intervals from it.

Seeds that share their test rows differ by training alone; what another draw of test rows would give, they do not
know. The influence of row i is psi_i = N dT/dw_i at equal weights w of the N rows. On rows drawn anew the metric T
has the variance var(psi) / N (the infinitesimal jackknife, Efron 1982), and the difference of two predictors that of
the difference of their psi: for accuracy this is the comparison of McNemar's table, for the AUC that of DeLong,
DeLong and Clarke-Pearson 1988.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import log_softmax
from scipy.stats import rankdata


def of(test: pd.DataFrame) -> dict[str, np.ndarray]:
    """{metric: psi [N]} of one seed's stored predictions on test rows; {} for survival, whose pairs it leaves out."""
    prediction = np.stack(test.prediction.to_numpy())
    if "labels" in test:
        return of_classes(prediction, test.labels.to_numpy())
    return of_values(prediction, np.stack(test["values"].to_numpy())) if "values" in test else {}


def of_classes(logits: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Of accuracy, macro_f1, weighted_f1, f1 (two classes), log_loss and, where every class occurs, auc."""
    n, classes = logits.shape
    guess, log_p = logits.argmax(1), log_softmax(np.asarray(logits, np.float64), axis=-1)
    true, given = labels[:, None] == np.arange(classes), guess[:, None] == np.arange(classes)  # [N, C]
    correct, loss = (guess == labels).astype(float), -log_p[np.arange(n), labels]
    both, hit = true.sum(0) + given.sum(0), (true & given).sum(0)
    occurs = both > 0
    both = np.where(occurs, both, 1)
    f1 = 2 * hit / both
    slope = (2 * (true & given) - f1 * (true.astype(int) + given)) / both  # of each class's F1 by each row's weight
    weighted = (f1 * true.sum(0)).sum() / n
    found = dict(
        accuracy=correct - correct.mean(),
        macro_f1=n * slope[:, occurs].mean(1),
        weighted_f1=slope @ true.sum(0) + f1[labels] - weighted,
        log_loss=loss - loss.mean(),
    )
    if classes == 2:
        found["f1"] = n * slope[:, 1]
    if true.any(0).all():
        scores = logits[:, 1:].astype(np.float64) - logits[:, :1] if classes == 2 else np.exp(log_p)
        found["auc"] = np.mean([_auc(s, t) for s, t in zip(scores.T, true.T[-scores.shape[1] :], strict=True)], 0)
    return found


def _auc(score: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """A positive row's share of negatives below it less the AUC, times N / positives; of a negative one alike."""
    n, count = len(score), positive.sum()
    beaten = np.empty(n)  # the other kind's rows that are on the right side, ties counting half
    for kind, sign in ((positive, 1), (~positive, -1)):
        beaten[kind] = rankdata(sign * score)[kind] - rankdata(sign * score[kind])
    share = beaten / np.where(positive, n - count, count)
    return (share - share[positive].mean()) * n / np.where(positive, count, n - count)


def of_values(prediction: np.ndarray, values: np.ndarray) -> dict[str, np.ndarray]:
    """Of rmse, mae and r2, averaged over the outputs [N, K]."""
    error = np.asarray(prediction, np.float64) - values
    square, size = (error**2).mean(1), np.abs(error).mean(1)
    found = dict(mae=size - size.mean())
    if square.any():
        found["rmse"] = (square - square.mean()) / (2 * np.sqrt(square.mean()))
    spread = (values - values.mean(0)) ** 2
    if (spread.sum(0) > 0).all():
        lost = (error**2).sum(0) / spread.sum(0)
        found["r2"] = len(error) * ((lost * spread - error**2) / spread.sum(0)).mean(1)
    return found


def half_width(psi: np.ndarray, level: float = 0.95) -> float:
    """Half the interval of a metric (or of a difference) with the influences psi [N], by Student's t with N - 1
    degrees of freedom; infinite for one row, of which nothing is known."""
    n = len(psi)
    if n < 2:
        return float("inf")
    return float(stats.t.ppf((1 + level) / 2, n - 1) * np.std(psi, ddof=1) / np.sqrt(n))


def wilson(share: float, rows: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval (1927) of a share of right rows among `rows`: wide at 0 and 1 too, where var(psi) is 0."""
    z = stats.norm.ppf((1 + level) / 2)
    centre = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z / (1 + z**2 / rows) * np.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2))
    return float(centre - half), float(centre + half)
