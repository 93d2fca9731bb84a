"""Graphs made from features, and features made from graphs."""

from __future__ import annotations

import jraph
import numpy as np
import scipy.sparse as sp

from fusion_jax.data.base import edge_set


def standardise(x: np.ndarray, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
    """(x - mean) / std with the statistics of `rows`; a column without spread there is only centred."""
    x = np.asarray(x, np.float64)
    mean, std = x[rows].mean(0), x[rows].std(0)
    return (x - mean) / np.where(std > 1e-8, std, 1)


def knn(x: np.ndarray, k: int, *, block: int = 4096) -> jraph.GraphsTuple:
    """Symmetric k-nearest-neighbour graph by cosine: i and j are joined where either is among the other's k nearest.

    Both directions are edges, there are no loops; ties are broken by the lower id, so that the graph is the
    same everywhere. Edge array ``weight`` [E] is the cosine clipped at 0.

    Args:
        x: [N, d].
        k: in [1, N).
    Raises:
        ValueError: k out of range.
    """
    n = len(x)
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
    """Structure as features: the `dim` leading singular vectors of the two-step normalised adjacency, [N, dim].

    The matrix is (D^-1/2 (A + I) D^-1/2)^2, its singular vectors are scaled by their values; the sign of each is
    fixed by its largest entry, so the encoding is the same on every machine.
    """
    from sklearn.utils.extmath import randomized_svd

    n = int(np.sum(graph.n_node))
    a = sp.csr_matrix((np.ones(len(graph.senders)), (graph.receivers, graph.senders)), shape=(n, n))
    a = ((a + a.T + sp.eye(n)) > 0).astype(float)
    scale = sp.diags(1 / np.sqrt(np.asarray(a.sum(1)).ravel()))
    a = scale @ a @ scale
    u, s, _ = randomized_svd(a @ a, min(dim, n - 1), n_iter=7, random_state=seed)
    largest = u[np.abs(u).argmax(0), np.arange(u.shape[1])]
    return (u * s * np.sign(largest)).astype(np.float32)
