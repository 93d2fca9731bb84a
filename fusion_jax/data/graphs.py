"""Graphs made from features, and features made from graphs.

A graph made from features depends on every node's features: on whose are near, and on the statistics that
standardise them. Where some nodes are yet to come (the inductive setting) `grow` makes it from the others alone and
then lets the rest arrive.
"""

from __future__ import annotations

from collections.abc import Iterable

import jraph
import numpy as np
import scipy.sparse as sp

from fusion_jax.arrays import spread
from fusion_jax.data import snf
from fusion_jax.data.base import METRICS, Neighbours, edge_set
from fusion_jax.one_thread import one_thread

_ALL = slice(None)
TINY = np.finfo(float).tiny


class FromFeatures(jraph.GraphsTuple):
    """An edge set made here from features, told apart from one that is given: it says something of every node."""

    __slots__ = ()


def standardise(x: np.ndarray, rows: slice | np.ndarray = _ALL) -> np.ndarray:
    """(x - mean) / std with the statistics of `rows`; 0 where a column has no spread there (`arrays.spread`)."""
    x = np.asarray(x)
    mean, deviation = x[rows].mean(0, dtype=np.float64), spread(x[rows])
    return (x - mean) / np.where(deviation > 0, deviation, np.inf)


def standardised(
    features: dict[str, np.ndarray], mask: np.ndarray, rows: slice | np.ndarray = _ALL
) -> dict[str, np.ndarray]:
    """Every modality standardised with the statistics of the `rows` that have it; 0 where it is missing.

    A modality that none of the rows has is 0 throughout: nothing tells its scale.
    """
    at = np.zeros(len(mask), bool)
    at[rows] = True
    views = {}
    for i, (name, x) in enumerate(features.items()):
        x, has = np.where(mask[:, [i]], x, 0), at & mask[:, i]
        views[name] = np.where(mask[:, [i]], standardise(x, has), 0) if has.any() else np.zeros(x.shape)
    return views


def neighbour_graphs(
    features: dict[str, np.ndarray],
    mask: np.ndarray,
    k: int,
    rows: slice | np.ndarray = _ALL,
    *,
    metric: str = "cosine",
    mutual: bool = False,
    fuse: bool = False,
) -> dict[str, jraph.GraphsTuple]:
    """`knn` on all modalities side by side, and `knn_<modality>` on each, among the nodes that have it.

    Args:
        rows: the nodes whose statistics standardise the features.
        metric, mutual: see `knn`.
        fuse: whether `snf` is made too, see `fused`.
    """
    views, how = standardised(features, mask, rows), dict(metric=metric, mutual=mutual)
    graphs = {"knn": knn(np.concatenate(list(views.values()), axis=1), k, **how)}
    for i, (name, x) in enumerate(views.items()):
        graphs[f"knn_{name}"] = knn(x, k, present=mask[:, i], **how)
    return graphs | ({"snf": fused(features, mask, k, rows)} if fuse else {})


def neighbour_recipes(
    modalities: Iterable[str], k: int, *, metric: str = "cosine", mutual: bool = False, fuse: bool = False
) -> dict[str, Neighbours]:
    """How `neighbour_graphs` makes each of its edge sets, by name."""
    names, how = tuple(modalities), (metric, mutual)
    made = {"knn": Neighbours(k, (names,), *how)} | {f"knn_{m}": Neighbours(k, ((m,),), *how) for m in names}
    return made | ({"snf": fused_recipe(names, k)} if fuse else {})


def fused(
    features: dict[str, np.ndarray], mask: np.ndarray, k: int, rows: slice | np.ndarray = _ALL
) -> jraph.GraphsTuple:
    """The edge set of what the modalities agree on: each node's k strongest in the network of `snf`, either way.

    Edge array ``weight`` [E] is the similarity of the network, the largest of it 1.

    Args:
        rows: the nodes whose statistics standardise the features.
    Raises:
        ValueError: k out of range.
    """
    there = mask.any(1)
    return _of_network(_network(standardised(features, mask, rows), mask, there), there, k)


def fused_recipe(modalities: Iterable[str], k: int) -> Neighbours:
    """How `fused` makes its edge set."""
    return Neighbours(k, tuple((m,) for m in modalities), "euclidean", fused=True)


def _network(views: dict[str, np.ndarray], mask: np.ndarray, there: np.ndarray) -> snf.Network:
    return snf.Network([x[there] for x in views.values()], mask[there])


def _of_network(network: snf.Network, there: np.ndarray, k: int) -> jraph.GraphsTuple:
    ids, near = np.flatnonzero(there), np.round(network.fused.network, 12)
    n = len(ids)
    if not 1 <= k < n:
        raise ValueError(f"fused: k={k}, expected 1 <= k < N = {n}")
    np.fill_diagonal(near, -np.inf)
    chosen = np.zeros((n, n), bool)
    np.put_along_axis(chosen, np.argsort(-near, axis=1, kind="stable")[:, :k], True, axis=1)
    receivers, senders = np.nonzero((chosen | chosen.T) & (near > 0))
    weight = (near[receivers, senders] / near.max(initial=TINY)).astype(np.float32)
    return FromFeatures(*edge_set(ids[senders], ids[receivers], len(there), {"weight": weight}))


def _grow_fused(how: Neighbours, views: dict[str, np.ndarray], mask: np.ndarray, seen: np.ndarray):
    """`grow` of a fused edge set: who arrives receives from the k seen nodes that are nearest after one more step."""
    there = mask.any(1)
    here, come = there & seen, np.flatnonzero(there & ~seen)
    network = _network(views, mask, here)
    inside = _of_network(network, here, how.k)
    near = np.round(network.arriving([x[come] for x in views.values()], mask[come]), 12)
    nearest = np.argsort(-near, axis=1, kind="stable")[:, : how.k]
    values = np.take_along_axis(near, nearest, 1)
    kept = values > 0
    within = network.fused.network - np.diag(np.diag(network.fused.network))
    weight = (values[kept] / within.max(initial=TINY)).astype(np.float32)
    after = edge_set(
        np.concatenate([inside.senders, np.flatnonzero(here)[nearest[kept]]]),
        np.concatenate([inside.receivers, np.repeat(come, kept.sum(1))]),
        len(mask),
        {"weight": np.concatenate([inside.edges["weight"], weight])},
    )
    return inside, after


def union(graphs: list[jraph.GraphsTuple]) -> jraph.GraphsTuple:
    """The edges of all graphs over the same nodes, each once and without edge arrays."""
    pairs = np.unique(np.concatenate([np.stack([g.receivers, g.senders], 1) for g in graphs]), axis=0)
    joined = edge_set(pairs[:, 1], pairs[:, 0], graphs[0].n_node)
    return FromFeatures(*joined) if any(isinstance(g, FromFeatures) for g in graphs) else joined


def grow(
    how: Neighbours, features: dict[str, np.ndarray | sp.csr_matrix], mask: np.ndarray, seen: np.ndarray
) -> tuple[jraph.GraphsTuple, jraph.GraphsTuple]:
    """The edge set among the nodes that are `seen`, and the same once the other nodes have arrived.

    The first is made as `knn` makes it, from the seen nodes alone: their features, their statistics. In the second
    every other node receives from its k nearest seen nodes and sends to nobody; of a mutual graph from those of them
    that have it among their own k nearest, of the seen nodes and itself. So what the seen nodes are told stays
    what it was in training, and what a node that arrives is told does not depend on who else arrives: the
    out-of-sample extension of Delalleau, Bengio and Le Roux, "Efficient Non-Parametric Function Induction in
    Semi-Supervised Learning", AISTATS 2005.

    Args:
        features, mask: of all N nodes, as `Dataset` holds them.
        seen: bool [N].
    Returns:
        Two edge sets over all N nodes; edge array ``weight`` as `knn` (or `fused`) has it, none where there are
        several groups that are not fused.
    Raises:
        ValueError: not more than k seen nodes have a group's modalities.
    """
    names = list(features)
    used = {m: features[m] for m in names if any(m in group for group in how.groups)}
    dense = {m: x.toarray() if sp.issparse(x) else x for m, x in used.items()}
    columns = mask[:, [names.index(m) for m in dense]]
    views = standardised(dense, columns, seen)
    if how.fused:
        return _grow_fused(how, views, columns, seen)
    before, after = [], []
    for group in how.groups:
        x = np.concatenate([views[m] for m in group], axis=1)
        there = mask[:, [names.index(m) for m in group]].any(1)
        inside = knn(x, how.k, present=there & seen, metric=how.metric, mutual=how.mutual)
        here, come = np.flatnonzero(there & seen), np.flatnonzero(there & ~seen)
        placed, arriving = _placed(x[here], how.metric), _placed(x[come], how.metric)
        nearest, near = _nearest(arriving, placed, how.k, metric=how.metric)
        kept = np.ones(nearest.shape, bool)
        if how.mutual and len(come):
            last = _nearest(placed, placed, how.k, others=True, metric=how.metric)[1][:, -1]
            kept = near >= last[nearest]
        weight = _strength(near[kept], how.metric)
        before.append(inside)
        after.append(
            edge_set(
                np.concatenate([inside.senders, here[nearest[kept]]]),
                np.concatenate([inside.receivers, np.repeat(come, kept.sum(1))]),
                len(x),
                {"weight": np.concatenate([inside.edges["weight"], weight])},
            )
        )
    return (before[0], after[0]) if len(before) == 1 else (union(before), union(after))


def knn(
    x: np.ndarray,
    k: int,
    *,
    present: np.ndarray | None = None,
    block: int = 4096,
    metric: str = "cosine",
    mutual: bool = False,
) -> jraph.GraphsTuple:
    """Symmetric k-nearest-neighbour graph: an edge where either is among the other's k nearest.

    Both directions are edges, there are no loops; ties are broken by the lower id, so that the graph is the
    same everywhere. Edge array ``weight`` [E] is the cosine (the correlation) clipped at 0, or 1 / (1 + distance).

    Args:
        x: [N, d].
        k: in [1, N).
        present: bool [N]; the other nodes get no edges. All nodes if None.
        metric: what is near: "cosine"; "correlation", the cosine of rows less their means; "euclidean", the distance.
        mutual: an edge only where both are among the other's k nearest; a node may have none.
    Raises:
        ValueError: k out of range, or another metric.
    """
    n = len(x)
    if present is not None and not np.all(present):
        ids = np.flatnonzero(present)
        some = knn(np.asarray(x)[ids], k, block=block, metric=metric, mutual=mutual)
        return FromFeatures(*edge_set(ids[some.senders], ids[some.receivers], n, some.edges))
    if not 1 <= k < n:
        raise ValueError(f"knn: k={k}, expected 1 <= k < N = {n}")
    x = _placed(x, metric)
    nearest, values = _nearest(x, x, k, block=block, others=True, metric=metric)
    rows, cols, values = np.repeat(np.arange(n), k), nearest.ravel(), values.ravel()
    if mutual:
        both = np.isin(rows * n + cols, cols * n + rows)
        rows, cols, values = rows[both], cols[both], values[both]
    pairs = np.unique(np.concatenate([rows * n + cols, cols * n + rows]))
    weight = dict(zip(np.concatenate([rows * n + cols, cols * n + rows]), np.tile(values, 2), strict=True))
    near = np.array([weight[p] for p in pairs], np.float32)
    return FromFeatures(*edge_set(pairs // n, pairs % n, n, {"weight": _strength(near, metric)}))


def _placed(x: np.ndarray, metric: str) -> np.ndarray:
    """x [N, d] in float64, where the metric looks at it: on the sphere, but for distances."""
    if metric not in METRICS:
        raise ValueError(f"knn: metric={metric!r}, expected one of {', '.join(METRICS)}")
    if metric == "euclidean":
        return np.asarray(x, np.float64)
    return _unit(x if metric == "cosine" else x - np.mean(x, axis=1, keepdims=True, dtype=np.float64))


def _strength(near: np.ndarray, metric: str) -> np.ndarray:
    """Weights >= 0, float32, of how near two nodes are."""
    if metric == "euclidean":
        return (1 / (1 + np.sqrt(np.maximum(-near.astype(np.float64), 0)))).astype(np.float32)
    return np.maximum(near.astype(np.float32), 0)


def _unit(x: np.ndarray) -> np.ndarray:
    """Rows of length 1, float64; a row of zeros stays one."""
    x = np.asarray(x, np.float64)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(length > 0, length, 1)


def _nearest(
    a: np.ndarray, b: np.ndarray, k: int, *, block: int = 4096, others: bool = False, metric: str = "cosine"
) -> tuple[np.ndarray, np.ndarray]:
    """The rows of b that are nearest to each row of a, and how near: two arrays [len(a), k].

    How near is the product of two rows, or minus their squared distance. With `others`, a is b and no row is its own
    neighbour.
    """
    rows, values = [np.zeros((0, k), int)], [np.zeros((0, k))]
    for start in range(0, len(a), block):
        stop = min(start + block, len(a))
        near = a[start:stop] @ b.T
        if metric == "euclidean":
            near = 2 * near - (a[start:stop] ** 2).sum(1)[:, None] - (b**2).sum(1)
        near = np.round(near, 10)  # rounding makes ties equal on every machine
        if others:
            near[np.arange(stop - start), np.arange(start, stop)] = -np.inf
        rows.append(np.argsort(-near, axis=1, kind="stable")[:, :k])
        values.append(np.take_along_axis(near, rows[-1], 1))
    return np.concatenate(rows), np.concatenate(values)


def spectral_encoding(graph: jraph.GraphsTuple, dim: int, *, seed: int = 0) -> np.ndarray:
    """Structure as features: the `dim` leading singular vectors of the two-step adjacency, [N, dim].

    The matrix is (D^-1/2 (A + I) D^-1/2)^2, its singular vectors are scaled by their values, and the sign of
    each is fixed by its largest entry. The value 1 occurs once a connected component: a graph of many
    components leaves the basis of that subspace open, and rounding chooses it: there the columns may differ
    between machines by a rotation (distances and regularised linear models do not).
    """
    from sklearn.utils.extmath import randomized_svd

    n = int(np.sum(graph.n_node))
    a = sp.csr_matrix((np.ones(len(graph.senders)), (graph.receivers, graph.senders)), shape=(n, n))
    a = ((a + a.T + sp.eye(n)) > 0).astype(float)
    scale = sp.diags(1 / np.sqrt(np.asarray(a.sum(1)).ravel()))
    a = scale @ a @ scale
    with one_thread():  # the result depends on their number
        u, s, _ = randomized_svd(a @ a, min(dim, n - 1), n_iter=7, random_state=seed)
    largest = u[np.abs(u).argmax(0), np.arange(u.shape[1])]
    return (u * s * np.sign(largest)).astype(np.float32)
