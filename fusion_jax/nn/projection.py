"""Co-occurrence of symbols, its factors, and its projection to the symbols of one sequence, on the host in float64.

Reference: Mehta, "Self-Attention as Distributional Projection", 2025 (arXiv 2511.13780; no code). Golden
`distributional-projection`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from flax import nnx
from scipy.spatial.distance import cdist
from scipy.special import softmax
from sklearn.cluster import KMeans

from fusion_jax.graphs import Graph

ABSENT = -1  # the symbol of what is not there
RCOND = 1e-4
ACROSS = 0.5  # weight of a pair across an edge, 1 / (1 + distance); within a node it is 1


def one_hot(symbols: np.ndarray, size: int) -> sp.csr_array:
    """float64 [N, V], 1 in the column of every symbol of a row; symbols int [N, M], ABSENT where there is none."""
    row, column = np.nonzero(symbols != ABSENT)
    held = np.ones(len(row)), (row, symbols[row, column])
    return sp.csr_array(held, shape=(len(symbols), size))


def ordered_counts(
    symbols: np.ndarray, size: int, left: np.ndarray, right: np.ndarray, weight: np.ndarray | float = 1.0
) -> np.ndarray:
    """[V, V]: the weight with which symbol a stands in row left_e and b in row right_e, summed over pairs e of rows."""
    weight = np.broadcast_to(np.asarray(weight, np.float64), len(left))
    y = one_hot(symbols, size)
    pairs = sp.csr_array((weight, (left, right)), shape=(len(symbols),) * 2)
    return (y.T @ (pairs @ y)).toarray()


class Counts(NamedTuple):
    """How often symbols meet, [V, V] each, not yet in logarithms."""

    symmetric: np.ndarray  # in one node (weight 1), or across an edge, whichever its direction (1/2)
    directed: np.ndarray  # row: of the sender, column: of the receiver of an edge (1/2)


def counts_of_graph(symbols: np.ndarray, size: int, graph: Graph | None) -> Counts:
    """What meets in the nodes of a graph and across its edges; no loop counts, and an edge that is there twice once.

    Args:
        symbols: int [N, M], ABSENT for modalities that are missing and in nodes that are not to count.
    """
    y = one_hot(symbols, size)
    together = (y.T @ y).toarray()
    inside = together - np.diag(np.diag(together))  # two symbols of one node are of two modalities: never the same
    if graph is None:
        return Counts(inside, np.zeros((size, size)))
    senders, receivers = (np.asarray(ends) for ends in (graph.senders, graph.receivers))
    edges = np.unique(np.stack([senders, receivers])[:, senders != receivers], axis=1)
    either = np.unique(np.sort(edges, axis=0), axis=1)
    across = ordered_counts(symbols, size, *either, ACROSS)
    return Counts(inside + across + across.T, ordered_counts(symbols, size, *edges, ACROSS))


def symmetric_factors(s: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """G [V, k] and sign [k] with G diag(sign) G^T = S up to the k eigenvalues of largest modulus.

    S is indefinite: without its signs a product of factors could not be it.
    """
    values, vectors = scipy.linalg.eigh(s)
    order = np.argsort(-np.abs(values), kind="stable")[:rank]
    return vectors[:, order] * np.sqrt(np.abs(values[order])), np.sign(values[order])


def directed_factors(d: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """W_q, W_k [V, k] with W_q W_k^T = D up to its k largest singular values: U sqrt(s) and V sqrt(s)."""
    u, s, vt = scipy.linalg.svd(d)
    root = np.sqrt(s[:rank])
    return u[:, :rank] * root, vt[:rank].T * root


def at_pairs(s: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """M = Q S Q^T [..., L, L] of sequences ids int [..., L], Q their one-hot rows (no query matrix)."""
    return s[ids[..., :, None], ids[..., None, :]]


def projection(s: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """M and the contextual rows E = M (Q S) [..., L, V]; no softmax is taken."""
    m = at_pairs(s, ids)
    return m, m @ s[ids]


def attention(
    w_q: np.ndarray, w_k: np.ndarray, ids: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores (Q W_q)(Q W_k)^T [L, L], softmax(scores / sqrt(k)) over its rows, and that times values [L, ...]."""
    scores = w_q[ids] @ w_k[ids].T
    weights = softmax(scores / np.sqrt(w_q.shape[1]), axis=-1)
    return scores, weights, weights @ values


@dataclasses.dataclass(frozen=True)
class Symbols:
    """Prototypes of every modality, fitted by `fit`; the symbol of a vector is that of the nearest.

    Attributes:
        prototypes: {modality: float64 [k_m, d_m]}; symbols count through all of them in order.
    """

    prototypes: Mapping[str, np.ndarray]

    @property
    def size(self) -> int:
        """V."""
        return sum(map(len, self.prototypes.values()))

    @classmethod
    def fit(cls, features: Mapping[str, np.ndarray], mask: np.ndarray, rows: np.ndarray, count: int) -> Symbols:
        """k-means of each modality on the rows that have it, with `count` prototypes or as many as there are vectors.

        Args:
            features: {modality: [N, d_m]}, mask: bool [N, M], rows: those to fit on.
        """
        found = {}
        for m, (name, x) in enumerate(features.items()):
            own = np.asarray(x, np.float64)[rows[mask[rows, m]]]
            k = min(count, len(np.unique(own, axis=0)))
            if not k:
                found[name] = np.zeros((0, x.shape[1]))
                continue
            label = KMeans(k, n_init=1, random_state=0).fit(own).labels_
            used = np.unique(label)
            found[name] = np.stack([own[label == c].mean(0) for c in used])
        return cls(found)

    def read(self, features: Mapping[str, np.ndarray], mask: np.ndarray) -> np.ndarray:
        """int [N, M], ABSENT where the node lacks the modality or nothing was there to fit on."""
        found, first = np.full(mask.shape, ABSENT), 0
        for m, (name, own) in enumerate(self.prototypes.items()):
            here = np.flatnonzero(mask[:, m])
            if len(own) and len(here):
                found[here, m] = first + cdist(np.asarray(features[name], np.float64)[here], own).argmin(1)
            first += len(own)
        return found


def centroids(symbols: np.ndarray, x: np.ndarray, size: int) -> np.ndarray:
    """C [V, D]: the mean of x [N, M, D] over the places of each symbol int [N, M]; 0 for one that stands nowhere."""
    there = symbols != ABSENT
    total, count = np.zeros((size, x.shape[-1])), np.zeros(size)
    np.add.at(total, symbols[there], np.asarray(x, np.float64)[there])
    np.add.at(count, symbols[there], 1)
    return total / np.maximum(count, 1)[:, None]


def inverse(c: np.ndarray) -> np.ndarray:
    """C^+ [D, V] of centroids C [V, D] that were computed in float32.

    Standardised features have mean 0, so that behind a linear encoder the centroids of a modality are dependent but for
    rounding: directions in which C is below RCOND of its largest are none, where they would be divided by it.
    """
    return np.linalg.pinv(c, rcond=RCOND)


class Maps(NamedTuple):
    """The query and key maps of an attention, of one width in."""

    name: str  # dotted path in the mechanism
    module: nnx.Module  # with the linear maps `query` and `key`
    heads: int

    @property
    def kernels(self) -> tuple[np.ndarray, np.ndarray]:
        """W_Q, W_K float64 [layers, D, p]; of several layers where they are stacked, else of one."""
        found = (np.asarray(part.kernel[...], np.float64) for part in (self.module.query, self.module.key))
        return tuple(kernel.reshape(-1, *kernel.shape[-2:]) for kernel in found)


def maps_of(mechanism: nnx.Module) -> list[Maps]:
    """Every attention of a mechanism whose queries and keys are linear maps from one width to one width, in order."""
    found = []
    for path, module in nnx.iter_modules(mechanism):
        query, key = (getattr(module, name, None) for name in ("query", "key"))
        if not (isinstance(query, nnx.Linear) and isinstance(key, nnx.Linear)):
            continue
        if query.kernel.shape == key.kernel.shape:
            found.append(Maps(".".join(map(str, path)) or "itself", module, getattr(module, "heads", 1)))
    return sorted(found, key=lambda maps: maps.name)
