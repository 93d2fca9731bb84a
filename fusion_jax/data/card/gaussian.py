"""Lower bounds, in bits, on what features say of classes: by Gaussian models in closed form, scored on rows held out.

For any model q(y | x) that has not seen the row, I(X; Y) >= H(Y) + E log2 q(y | x) (Barber and Agakov, "The IM
Algorithm", 2003). The models are discriminants with a Gaussian a class, a normal-inverse-Wishart prior and its
predictive distribution, a multivariate t, in the place of estimates: with few rows it knows that it does not know.

- joint: a covariance a class. Its log-odds are quadratic, so that it has products of two modalities: interactions of
  second order, and none of a higher order. Of a single source the same, or one covariance for all classes.
- additive: log-odds f_a(x_a) + f_b(x_b), which a late fusion has too: the product of the single predictives, or one
  covariance for all classes (linear in both).

One number is fitted to the scored rows: the exponent of p(x | y), which 0 makes know nothing. The bound is
optimistic by it, by some 1 / (2 n ln 2) bits, and pessimistic by all else: by what is no Gaussian, and by few rows.
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

FOLDS = 5
POWERS = np.array([0.0, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 1.0, 1.25, 1.5, 2.0])


def folds(labels: np.ndarray) -> np.ndarray:
    """[n], the fold of every row: those of a class are dealt out in the order of the rows, one class after another."""
    order, fold = np.argsort(labels, kind="stable"), np.empty(len(labels), int)
    fold[order] = np.arange(len(labels)) % min(FOLDS, len(labels))
    return fold


class Held:
    """Log p(x | y) of rows under models that were fitted to the other folds.

    Args:
        labels: int [n], classes 0 ... C - 1 or some of them.
        classes: C.
    """

    def __init__(self, labels: np.ndarray, classes: int):
        self.labels, self.classes, self.fold = labels, classes, folds(labels)
        counts = np.bincount(labels, minlength=classes)
        self.log_share = np.log2(counts / len(labels), where=counts > 0, out=np.zeros(classes))[labels]  # [n]
        one = np.eye(classes)[labels]
        fits = [one[self.fold != f].sum(0) for f in range(self.fold.max() + 1)]
        self.log_prior = np.log(np.stack([(n + 1) / (n + 1).sum() for n in fits])[self.fold])  # [n, C]

    def models(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Two of [n, C], of features x [n, d] in units of their deviation: quadratic, a Gaussian a class; linear, one
        covariance for all classes, up to what is alike for all of them."""
        quadratic, linear = np.empty((2, len(x), self.classes))
        for f in range(self.fold.max() + 1):
            held = self.fold == f
            fitted = _moments(x[~held], self.labels[~held], self.classes)
            quadratic[held], linear[held] = _predictive(x[held], *fitted), _common(x[held], *fitted)
        return quadratic, linear

    def rows(self, *models: np.ndarray) -> np.ndarray:
        """[n], log2 q(y | x) / p(y) of every row by the model whose mean is largest, with the best of the powers: the
        mean is the bound, in bits. 0 for all rows where none is above 0."""
        found = [np.zeros(len(self.labels)), *map(self._rows, models)]
        return max(found, key=np.mean)

    def _rows(self, log_p: np.ndarray) -> np.ndarray:
        logits = POWERS[:, None, None] * (log_p - log_p.max(1, keepdims=True)) + self.log_prior
        own = np.take_along_axis(logits, np.broadcast_to(self.labels[:, None], (len(POWERS), len(log_p), 1)), 2)[..., 0]
        said = own - np.log(np.exp(logits).sum(2))  # the likeliest class has its prior there, so the sum is not 0
        return said[said.mean(1).argmax()] / np.log(2) - self.log_share


def _moments(x: np.ndarray, labels: np.ndarray, classes: int):
    """Rows [C], means [C, d], scatter [C, d, d] and the covariance within classes [d, d] of fitted rows.

    The last is drawn towards 1 by d + 1 rows: features come in units of their deviation.
    """
    d = x.shape[1]
    one = np.eye(classes)[labels]
    count = one.sum(0)
    mean = (one.T @ x) / np.maximum(count, 1)[:, None]
    apart = x - mean[labels]
    scatter = np.stack([apart[labels == c].T @ apart[labels == c] for c in range(classes)])
    within = (scatter.sum(0) + (d + 1) * np.eye(d)) / (len(x) + d + 1)
    return count, mean, scatter, within


def _predictive(x: np.ndarray, count, mean, scatter, within) -> np.ndarray:
    """log t of rows [h, d] in each class: prior mean 0 with the weight of a row, prior covariance `within` with d."""
    d = x.shape[1]
    kappa, nu = 1 + count, 2 * d + 1 + count
    centre = (count / kappa)[:, None] * mean
    shift = (count / kappa)[:, None, None] * mean[:, :, None] * mean[:, None, :]
    df = nu - d + 1
    scale = (d * within + scatter + shift) * ((kappa + 1) / (kappa * df))[:, None, None]
    apart = x[None] - centre[:, None]  # [C, h, d]
    far = (apart @ np.linalg.inv(scale) * apart).sum(2)
    size = gammaln((df + d) / 2) - gammaln(df / 2) - d / 2 * np.log(df * np.pi) - np.linalg.slogdet(scale)[1] / 2
    return (size[:, None] - ((df + d) / 2)[:, None] * np.log1p(far / df[:, None])).T


def _common(x: np.ndarray, count, mean, scatter, within) -> np.ndarray:
    del scatter
    centre = (count / (count + 1))[:, None] * mean
    pull = np.linalg.solve(within, centre.T)  # [d, C]
    return x @ pull - (centre.T * pull).sum(0) / 2
