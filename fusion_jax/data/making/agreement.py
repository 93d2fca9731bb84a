"""Whether what nodes hold agrees with who is joined to whom: statistics over edges, and what chance would give.

The statistic is the mean over edges of z_u . z_v, z a vector a node: of one-hot labels the share of edges within a
class (edge homophily), of standardised values their assortativity, of standardised rows of length 1 the mean cosine.
Chance is a permutation of the nodes: the edges stay, what the nodes hold is dealt anew.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import ArpackNoConvergence, eigsh
from scipy.stats import binom

DRAWS = 199
EDGES = 5000  # of larger edge sets so many, drawn once
WIDTH = 64  # of wider features so many random projections
WEDGES = 20_000
RANDOM, SMALL = 20, 20  # random graphs to compare with; nodes of a graph that tells too little


@dataclasses.dataclass(frozen=True)
class Agreement:
    """What edges say, against chance.

    Attributes:
        value: mean over edges of z_u . z_v.
        chance: its mean over permutations.
        above, below: share of permutations with at least, at most that value, itself among them: one-sided p.
        edges: how many it was taken over.
    """

    value: float
    chance: float
    above: float
    below: float
    edges: int


def agreement(z: np.ndarray, a: np.ndarray, b: np.ndarray, seed: int = 0, draws: int = DRAWS) -> Agreement | None:
    """The mean of z_u . z_v over the pairs (a, b) against permutations of the nodes among them; None without pairs.

    Args:
        z: [N, q], float or bool.
        a, b: int [E], node numbers.
    """
    rng = np.random.default_rng(seed)
    if len(a) > EDGES:
        chosen = rng.choice(len(a), EDGES, replace=False)
        a, b = a[chosen], b[chosen]
    if len(a) == 0:
        return None
    used, at = np.unique(np.concatenate([a, b]), return_inverse=True)
    at, z = at.reshape(2, -1), np.asarray(z, np.float64)[used]
    if z.shape[1] > WIDTH:
        z = z @ rng.normal(size=(z.shape[1], WIDTH)) / np.sqrt(WIDTH)

    def mean(order: np.ndarray) -> float:
        held = z[order]
        return float(np.einsum("ij,ij->", held[at[0]], held[at[1]]) / at.shape[1])

    value = mean(np.arange(len(used)))
    null = np.array([mean(rng.permutation(len(used))) for _ in range(draws)])
    near = 1e-12 * max(1.0, abs(value))
    above, below = ((null >= value - near).sum() + 1) / (draws + 1), ((null <= value + near).sum() + 1) / (draws + 1)
    return Agreement(value, float(null.mean()), float(above), float(below), len(a))


def directions(x: np.ndarray) -> np.ndarray:
    """Standardised columns, rows of length 1: z_u . z_v is the cosine, about 0 for random pairs. x [N, d] is finite."""
    x = np.asarray(x, np.float64)
    deviation = x.std(0)
    x = (x - x.mean(0)) / np.where(deviation > 0, deviation, np.inf)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(length > 0, length, 1)


def adjusted_homophily(labels: np.ndarray, a: np.ndarray, b: np.ndarray, classes: int) -> float:
    """(h - s) / (1 - s), with h the share of edges within a class and s = sum_c (D_c / 2E)^2 that of degrees alone.

    1 where all edges lie within a class, 0 where classes are as the degrees of their nodes would have it. Platonov et
    al., "Characterizing Graph Datasets for Node Classification: Homophily-Heterophily Dichotomy and Beyond", NeurIPS
    2023. NaN without edges or where all ends are of one class.

    Args:
        labels: int [N]; a, b: int [E], every pair once.
    """
    if len(a) == 0:
        return float("nan")
    share = np.bincount(np.concatenate([labels[a], labels[b]]), minlength=classes) / (2 * len(a))
    by_degree = float((share**2).sum())
    within = float((labels[a] == labels[b]).mean())
    return (within - by_degree) / (1 - by_degree) if by_degree < 1 else float("nan")


def closure(a: np.ndarray, b: np.ndarray, nodes: int, seed: int = 0) -> tuple[float, float, float]:
    """How often two neighbours of a node are joined, what a random graph of these degrees gives, and p of so many.

    Of at most `WEDGES` random pairs of neighbours. In a random graph with these degrees (configuration model) the
    probability is ((<k^2> - <k>) / <k>)^2 / (N <k>), <k> over the nodes; p is binomial, one-sided, of triangles, each
    of which closes three pairs. Newman, "The structure and function of complex networks", SIAM Review 2003.

    Args:
        a, b: int [E], every pair once, no loops.
    """
    rng = np.random.default_rng(seed)
    both = np.concatenate([a, b]), np.concatenate([b, a])
    adjacency = sp.csr_matrix((np.ones(len(both[0]), bool), both), shape=(nodes, nodes))
    degree = np.diff(adjacency.indptr)
    wedges = degree * (degree - 1.0)
    if wedges.sum() == 0:
        return 0.0, 0.0, 1.0
    count = min(WEDGES, int(wedges.sum() / 2))
    centre = rng.choice(nodes, count, p=wedges / wedges.sum())
    one = (rng.random(count) * degree[centre]).astype(int)
    other = (rng.random(count) * (degree[centre] - 1)).astype(int)
    other += other >= one
    u, v = (adjacency.indices[adjacency.indptr[centre] + at].astype(np.int64) for at in (one, other))
    known = np.unique(both[0].astype(np.int64) * nodes + both[1])
    closed = int(np.isin(u * nodes + v, known).sum())
    k = degree[degree > 0].astype(float)
    expected = min(1.0, ((k**2).mean() / k.mean() - 1) ** 2 / (len(k) * k.mean()))
    return closed / count, float(expected), float(binom.sf(closed // 3 - 1, count // 3, expected))


def mixing(a: np.ndarray, b: np.ndarray, nodes: int, seed: int = 0) -> tuple[float, float, float]:
    """The second eigenvalue of (D + k)^-1/2 A (D + k)^-1/2, k the mean degree; its mean over random graphs of these
    degrees; and how many of their standard deviations lie between.

    It is larger the more the graph falls into parts that few edges join (communities, a line in time). Without k it
    would be that of a few nodes at the end of a chain: Amini, Chen, Bickel and Levina, "Pseudo-likelihood methods for
    community detection in large sparse networks", Annals of Statistics 2013. Random graphs pair the ends of the edges
    anew, without loops and double edges: the erased configuration model.

    Args:
        a, b: int [E], every pair once, no loops.
    """
    rng = np.random.default_rng(seed)
    value, null = _second(a, b, nodes), []
    for _ in range(RANDOM):
        ends = rng.permutation(np.concatenate([a, b])).reshape(2, -1)
        low, high = ends.min(0), ends.max(0)
        code = np.unique(low[low != high].astype(np.int64) * nodes + high[low != high])
        null.append(_second(code // nodes, code % nodes, nodes))
    deviation = max(float(np.std(null, ddof=1)), 1e-9)
    return value, float(np.mean(null)), (value - float(np.mean(null))) / deviation


def _second(a: np.ndarray, b: np.ndarray, nodes: int) -> float:
    if nodes < SMALL or len(a) == 0:
        return 0.0
    both = np.concatenate([a, b]), np.concatenate([b, a])
    adjacency = sp.csr_matrix((np.ones(len(both[0])), both), shape=(nodes, nodes))
    degree = np.asarray(adjacency.sum(1)).ravel()
    scale = sp.diags(1 / np.sqrt(degree + degree.mean()))
    start = np.random.default_rng(0).normal(size=nodes)  # the same at every call
    try:
        found = eigsh(scale @ adjacency @ scale, k=2, which="LA", v0=start, tol=1e-4, return_eigenvectors=False)
    except ArpackNoConvergence:
        return 0.0
    return float(found.min())
