"""The decomposition of Williams and Beer for discrete sources, "Nonnegative Decomposition of Multivariate Information",
2010, plug-in, in bits; and the clusters that stand for features.

With the specific information I(y; Z) = sum_z p(z | y) log2 p(y | z) / p(y), redundancy is I_min = sum_y p(y) min_i
I(y; Z_i); what is left of I(Z_i; Y) is unique, and of I(Z_1, Z_2; Y) synergy. Plug-in amounts are too large, the more
so the more cells there are to a row; the permutation null has the same bias, and is taken off. Two sources that say
the same amount of every class are redundant to this measure, whether or not they say the same (its known weakness).
"""

from __future__ import annotations

import numpy as np
from scipy.cluster.vq import kmeans2

MOST = 8  # clusters


def counted(a: np.ndarray, b: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[A, B, C], in how many rows each symbol of a meets each of b and each class."""
    sizes = a.max() + 1, b.max() + 1, labels.max() + 1
    return np.bincount(np.ravel_multi_index((a, b, labels), sizes), minlength=int(np.prod(sizes))).reshape(sizes)


def decomposed(table: np.ndarray) -> dict[str, float]:
    """I_a, I_b, joint, redundant, unique a, unique b and synergy of counts or probabilities [A, B, C]."""
    p = table / table.sum()
    y = p.sum((0, 1))
    one, other = _specific(p.sum(1), y), _specific(p.sum(0), y)
    both = y @ _specific(p.reshape(-1, len(y)), y)
    shared = y @ np.minimum(one, other)
    first, second = y @ one, y @ other
    return {
        "information a": first,
        "information b": second,
        "joint": both,
        "redundant": shared,
        "unique a": first - shared,
        "unique b": second - shared,
        "synergy": both - first - second + shared,
    }


def _specific(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[C], of p(z, y) [Z, C]: the divergence of p(z | y) from p(z)."""
    given = p / np.where(y > 0, y, 1)
    marginal = p.sum(1, keepdims=True)
    ratio = np.where(given > 0, given, 1) / np.where(given > 0, marginal, 1)
    return (given * np.log2(ratio)).sum(0)


def clusters(x: np.ndarray, classes: int, seed: int = 0) -> np.ndarray:
    """int [n], k-means of rows [n, d]: so many that a cell of two sources and the classes has five rows, 2 to 8."""
    wanted = int(np.clip(np.sqrt(len(x) / (5 * classes)), 2, MOST))
    if len(x) <= wanted:
        return np.arange(len(x))
    found = kmeans2(np.asarray(x, np.float64), wanted, iter=20, minit="++", seed=seed, missing="warn")[1]
    return np.unique(found, return_inverse=True)[1].reshape(-1)
