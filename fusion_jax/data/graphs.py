"""Graphs made from features, and features made from graphs."""

from __future__ import annotations

import threading

import jraph
import numpy as np
import scipy.sparse as sp

from fusion_jax.arrays import spread
from fusion_jax.data.base import edge_set

_ALL = slice(None)


_ONE_THREAD = threading.Lock()

def standardise(x: np.ndarray, rows: slice | np.ndarray = _ALL) -> np.ndarray:
    """(x - mean) / std with the statistics of `rows`; 0 where a column has no spread there (`arrays.spread`)."""
    x = np.asarray(x)
    mean, deviation = x[rows].mean(0, dtype=np.float64), spread(x[rows])
    return (x - mean) / np.where(deviation > 0, deviation, np.inf)


def standardised(
    features: dict[str, np.ndarray], mask: np.ndarray, rows: slice | np.ndarray = _ALL
) -> dict[str, np.ndarray]:
    """Every modality standardised with the statistics of the `rows` that have it; 0 where it is missing."""
    at = np.zeros(len(mask), bool)
    at[rows] = True
    return {
        name: np.where(mask[:, [i]], standardise(np.where(mask[:, [i]], x, 0), at & mask[:, i]), 0)
        for i, (name, x) in enumerate(features.items())
    }


def neighbour_graphs(
    features: dict[str, np.ndarray], mask: np.ndarray, k: int, rows: slice | np.ndarray = _ALL
) -> dict[str, jraph.GraphsTuple]:
    """`knn` on all modalities side by side, and `knn_<modality>` on each, among the nodes that have it.

    Args:
        rows: the nodes whose statistics standardise the features.
    """
    views = standardised(features, mask, rows)
    graphs = {"knn": knn(np.concatenate(list(views.values()), axis=1), k)}
    for i, (name, x) in enumerate(views.items()):
        graphs[f"knn_{name}"] = knn(x, k, present=mask[:, i])
    return graphs


def union(graphs: list[jraph.GraphsTuple]) -> jraph.GraphsTuple:
    """The edges of all graphs over the same nodes, each once and without edge arrays."""
    pairs = np.unique(np.concatenate([np.stack([g.receivers, g.senders], 1) for g in graphs]), axis=0)
    return edge_set(pairs[:, 1], pairs[:, 0], graphs[0].n_node)


def knn(x: np.ndarray, k: int, *, present: np.ndarray | None = None, block: int = 4096) -> jraph.GraphsTuple:
    """Symmetric k-nearest-neighbour graph by cosine: an edge where either is among the other's k nearest.

    Both directions are edges, there are no loops; ties are broken by the lower id, so that the graph is the
    same everywhere. Edge array ``weight`` [E] is the cosine clipped at 0.

    Args:
        x: [N, d].
        k: in [1, N).
        present: bool [N]; the other nodes get no edges. All nodes if None.
    Raises:
        ValueError: k out of range.
    """
    n = len(x)
    if present is not None and not np.all(present):
        ids = np.flatnonzero(present)
        some = knn(np.asarray(x)[ids], k, block=block)
        return edge_set(ids[some.senders], ids[some.receivers], n, some.edges)
    if not 1 <= k < n:
        raise ValueError(f"knn: k={k}, expected 1 <= k < N = {n}")
    x = np.asarray(x, np.float64)
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    rows, cols, values = [], [], []
    for start in range(0, n, block):
        stop = min(start + block, n)
        cosine = np.round(x[start:stop] @ x.T, 10)  # rounding makes ties equal on every machine
        cosine[np.arange(stop - start), np.arange(start, stop)] = -np.inf
        nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
        rows.append(np.repeat(np.arange(start, stop), k))
        cols.append(nearest.ravel())
        values.append(np.take_along_axis(cosine, nearest, 1).ravel())
    rows, cols, values = map(np.concatenate, (rows, cols, values))
    pairs = np.unique(np.concatenate([rows * n + cols, cols * n + rows]))
    weight = dict(zip(np.concatenate([rows * n + cols, cols * n + rows]), np.tile(values, 2), strict=True))
    cosine = np.array([weight[p] for p in pairs], np.float32)
    return edge_set(pairs // n, pairs % n, n, {"weight": np.maximum(cosine, 0)})


def spectral_encoding(graph: jraph.GraphsTuple, dim: int, *, seed: int = 0) -> np.ndarray:
    """Structure as features: the `dim` leading singular vectors of the two-step adjacency, [N, dim].

    The matrix is (D^-1/2 (A + I) D^-1/2)^2, its singular vectors are scaled by their values, and the sign of
    each is fixed by its largest entry. The value 1 occurs once a connected component: a graph of many
    components leaves the basis of that subspace open, and rounding chooses it: there the columns may differ
    between machines by a rotation (distances and regularised linear models do not).
    """
    from sklearn.utils.extmath import randomized_svd
    from threadpoolctl import threadpool_limits

    n = int(np.sum(graph.n_node))
    a = sp.csr_matrix((np.ones(len(graph.senders)), (graph.receivers, graph.senders)), shape=(n, n))
    a = ((a + a.T + sp.eye(n)) > 0).astype(float)
    scale = sp.diags(1 / np.sqrt(np.asarray(a.sum(1)).ravel()))
    a = scale @ a @ scale
    # The result depends on the number of threads, which is a setting of the whole process: one caller at a time.
    with _ONE_THREAD, threadpool_limits(1):
        u, s, _ = randomized_svd(a @ a, min(dim, n - 1), n_iter=7, random_state=seed)
    largest = u[np.abs(u).argmax(0), np.arange(u.shape[1])]
    return (u * s * np.sign(largest)).astype(np.float32)
