"""Similarity network fusion: one edge set from what is near in each of several modalities.

Reference: Wang et al., "Similarity network fusion for aggregating data types on a genomic scale", Nature Methods 2014.
Its Python form (rmarkello/snfpy, 0.2.2 of 2019) does not run with today's scikit-learn, so the arithmetic is here; the
numbers are its own. Golden `snf`.

    W_v(i, j) = exp(-d_ij^2 / (2 s_ij^2)) / (s_ij sqrt(2 pi)),  s_ij = mu (mean d_i. + mean d_j. + d_ij) / 3
    P_v = W_v / row sums, made symmetric, S_v the K strongest entries of each row of P_v, divided by their sum
    P_v <- S_v (mean of the other P) S_v' + I, for all v at once, `STEPS` times
    fused = (P + P' + I) / 2 of the mean P, its rows divided by their sums

The means of distances are over the K nearest. A pair that fewer modalities know has the mean of those; a node without
any knows nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.spatial.distance import cdist

STEPS = 20
MU = 0.5
NEAREST = 20  # K
TINY = np.spacing(1)


class Fused(NamedTuple):
    """What the modalities agree on.

    Attributes:
        network: float64 [N, N], symmetric; 1/2 or more on the diagonal.
        spread: of every modality, the P [N, N] of the last step.
        near: of every modality, its S [N, N]; rows and columns of nodes that lack it are 0.
    """

    network: np.ndarray
    spread: list[np.ndarray]
    near: list[np.ndarray]


def affinity(distance: np.ndarray, near: np.ndarray, *, mu: float = MU) -> np.ndarray:
    """The kernel W of distances [A, B] with a width of its own for each pair.

    Args:
        near: the mean distances to the K nearest nodes, of the rows [A, 1] and of the columns [1, B], added [A, B].
        mu: in (0, 1), share of the mean distance that is the width.
    """
    width = (near + distance) / 3
    width = mu * (np.where(width > TINY, width, 0) + TINY)
    return np.exp(-0.5 * (distance / width) ** 2) / (np.sqrt(2 * np.pi) * width)


def mean_nearest(distance: np.ndarray, k: int) -> np.ndarray:
    """The mean of the k smallest entries of each row [A, 1], of a square matrix without its diagonal of zeros.

    0 of a node that is alone.
    """
    nearest = np.sort(distance, axis=1)[:, 1 : k + 1]
    return nearest.sum(1, keepdims=True) / max(nearest.shape[1], 1) + TINY


def strongest(weights: np.ndarray, k: int) -> np.ndarray:
    """The k largest entries of each row (all of equals at the end), divided by their sum; 0 elsewhere."""
    k = min(k, weights.shape[1])
    kept = np.where(weights >= np.partition(weights, -k, axis=1)[:, [-k]], weights, 0)
    return _rows_to_one(kept)


def fuse(affinities: Sequence[np.ndarray], k: int, *, present: np.ndarray | None = None, steps: int = STEPS) -> Fused:
    """The fused network of affinities W_v [N, N].

    Args:
        k: K, how many entries of a row carry what spreads.
        present: bool [N, V], who has the modality; the rows and columns of the others are not read. All if None.
        steps: rounds of spreading.
    """
    n, count = len(affinities[0]), len(affinities)
    present = np.ones((n, count), bool) if present is None else present
    known = [np.outer(p, p) for p in present.T]
    spread, near = [], []
    for w, both, has in zip(affinities, known, present.T, strict=True):
        p = _symmetric(_rows_to_one(np.where(both, w, 0)))
        s = np.zeros((n, n))
        s[np.ix_(has, has)] = strongest(p[np.ix_(has, has)], k) if has.any() else 0
        spread.append(p)
        near.append(s)
    others, few = np.maximum(np.sum(known, axis=0) - 1, 1), [sp.csr_array(s) for s in near]
    for _ in range(steps if count > 1 else 0):
        total = np.sum(spread, axis=0)
        moved = [s @ (s @ (total - p).T).T / others for s, p in zip(few, spread, strict=True)]
        spread = [_symmetric(m + np.diag(has.astype(float))) for m, has in zip(moved, present.T, strict=True)]
    mean = np.sum(spread, axis=0) / np.maximum(np.sum(known, axis=0), 1)
    mean = _rows_to_one(mean)
    return Fused((mean + mean.T + np.eye(n)) / 2, spread, near)


class Network:
    """The fused network of nodes by the features of their modalities, and how near others are that arrive.

    Args:
        views: of every modality, float [N, d], standardised.
        present: bool [N, V].
        k: K of the kernel and of what spreads; all other nodes where there are fewer.
    """

    def __init__(self, views: Sequence[np.ndarray], present: np.ndarray, *, k: int = NEAREST):
        self.views, self.present, self.k = views, present, k
        distances = [cdist(x, x) for x in views]
        self.means = [
            _spread_out(mean_nearest(d[np.ix_(has, has)], k), has) for d, has in zip(distances, present.T, strict=True)
        ]
        affinities = [affinity(d, mean + mean.T) for d, mean in zip(distances, self.means, strict=True)]
        self.fused = fuse(affinities, k, present=present)

    def arriving(self, views: Sequence[np.ndarray], present: np.ndarray) -> np.ndarray:
        """How near nodes that arrive are to those of the network, by one step of spreading: [A, N].

        r = the mean over the modalities v of S_v (mean of the other P) S_v', as rows of the network came about, with
        the node's own row of S_v (where there is one modality, that row); then r / (1 + its sum), as the node itself
        stands in a row of the network. Both means count the modalities that the two nodes of an entry have.

        Args:
            views, present: as for the network, of the A nodes.
        """
        shared = present.astype(float) @ self.present.T.astype(float)  # [A, N]
        rows = []
        for v, (x, old) in enumerate(zip(views, self.views, strict=True)):
            distance, both = cdist(x, old), np.outer(present[:, v], self.present[:, v])
            known = np.where(self.present[:, v], distance, np.inf)
            own = np.sort(known, axis=1)[:, : min(self.k, max(int(self.present[:, v].sum()), 1))].mean(1, keepdims=True)
            own = np.where(np.isfinite(own), own, 0) + TINY
            near = strongest(np.where(both, affinity(distance, own + self.means[v].T), 0), self.k)
            rows.append(near if len(views) == 1 else self._spread(v, near) / np.maximum(shared - 1, 1))
        mean = np.sum(rows, axis=0) / np.maximum(shared, 1)
        return mean / (1 + mean.sum(1, keepdims=True))

    def _spread(self, v: int, near: np.ndarray) -> np.ndarray:
        others = np.sum([p for u, p in enumerate(self.fused.spread) if u != v], axis=0)
        return near @ others @ self.fused.near[v].T


def _spread_out(means: np.ndarray, has: np.ndarray) -> np.ndarray:
    """[N, 1] with the means at the nodes that have the modality, else 0."""
    out = np.zeros((len(has), 1))
    out[has] = means
    return out


def _rows_to_one(weights: np.ndarray) -> np.ndarray:
    total = weights.sum(1, keepdims=True)
    return weights / np.where(total > 0, total, 1)


def _symmetric(a: np.ndarray) -> np.ndarray:
    return (a + a.T) / 2
