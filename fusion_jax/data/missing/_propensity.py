"""How probable it is that something is missing, where that depends on a score of the node."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.special import expit

STRENGTH = 2.0  # odds of being missing that differ by e^2 = 7.4 between nodes one standard deviation apart
ROUNDS = 30  # of power iteration: enough for a direction, and no more is asked of it


def probability(score: np.ndarray, rate: float, strength: float) -> np.ndarray:
    """p [N] = 1 / (1 + exp(-a - strength z)), z the standardised score [N] and a such that the mean of p is `rate`."""
    if rate == 0:
        return np.zeros(len(score))
    z = standardised(score)
    high = 100.0 + abs(strength) * np.abs(z).max(initial=0)  # there every p is 1 to the last bit, and 0 below
    low = -high
    for _ in range(200):  # the mean rises with a: halving the interval ends at the last bit
        middle = (low + high) / 2
        low, high = (middle, high) if expit(middle + strength * z).mean() < rate else (low, middle)
    return expit((low + high) / 2 + strength * z)


def standardised(score: np.ndarray) -> np.ndarray:
    """The score [N] with mean 0 and variance 1; 0 throughout where it does not vary."""
    deviation = score.std()
    return (score - score.mean()) / deviation if deviation > 0 else np.zeros(len(score))


def leading(x: np.ndarray | sp.csr_matrix, present: np.ndarray) -> np.ndarray:
    """float64 [N], the score of x [N, d] on its first principal component, standardised over the rows `present`; 0 in
    all others.

    A single value that is missing (NaN) is its column's mean. The component's largest entry is positive.
    """
    rows = sp.csr_matrix(x)[present] if sp.issparse(x) else np.asarray(x, np.float64)[present]
    found = np.zeros(len(present))
    if rows.shape[0] == 0:
        return found
    if not sp.issparse(rows):
        known = ~np.isnan(rows)
        mean = np.where(known, rows, 0).sum(0) / np.maximum(known.sum(0), 1)
        rows = np.where(known, rows, mean) - mean
    else:
        mean = np.asarray(rows.mean(0)).ravel()
    centre = 0 if not sp.issparse(rows) else mean

    def onto(v: np.ndarray) -> np.ndarray:
        return rows @ v - centre @ v if sp.issparse(rows) else rows @ v

    v = np.random.default_rng(0).normal(size=rows.shape[1])
    for _ in range(ROUNDS):
        along = onto(v)  # its mean is 0, so that the centre has no part in the way back
        v = rows.T @ along
        length = np.linalg.norm(v)
        if length == 0:
            return found
        v = v / length
    found[present] = standardised(onto(v * np.sign(v[np.abs(v).argmax()])))
    return found
