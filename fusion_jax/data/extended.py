"""A data set with nodes that have arrived behind its own: unlabelled, in no split, joined to its edge sets.

They stand in the graph as if they had been there all along: along an edge set that was given with the nodes messages
run as its edges say, so that old nodes hear of new ones where an edge leads there. To an edge set that was made from
features (`Dataset.made`) they are attached as the inductive setting does it (`data.graphs.grow`): each receives from
its nearest neighbours among the old nodes and sends to nobody. Single values that are missing are filled from training
rows, by the mean where the data set has none that are missing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax
import jraph
import numpy as np
import scipy.sparse as sp

from fusion_jax import tasks
from fusion_jax.arrays import refuse
from fusion_jax.data.arrivals import Arrivals, Edges
from fusion_jax.data.base import Dataset, Split, Splits, edge_set
from fusion_jax.data.graphs import FromFeatures, grow
from fusion_jax.data.imputation import all_filled
from fusion_jax.records import Target


def extended(
    data: Dataset, new: Arrivals, edges: Mapping[str, Edges], target: Target, n_node: np.ndarray | None = None
) -> Dataset:
    """The data set with the nodes of `new` behind its own.

    Args:
        edges: {name of an edge set: the edges that come with the nodes}.
        target: with the rows that are asked for behind its own (`asked_nodes`, `asked_graphs`, `asked_links`).
        n_node: [g], the nodes of each graph that arrives; they join the one graph that there is if None.
    Raises:
        ValueError: the nodes would join one graph of several.
    """
    features = {name: _behind(x, new.features[name]) for name, x in data.features.items()}
    mask, old = np.concatenate([data.mask, new.mask]), np.arange(data.num_nodes + len(new)) < data.num_nodes
    gaps = any(np.isnan(x[new.mask[:, m]]).any() for m, x in enumerate(new.features.values()))
    impute = data.impute or ("mean" if gaps else "")
    graphs = {}
    for name, g in data.graphs.items():
        if n_node is None and len(g.n_node) > 1 and len(new):
            refuse(f"edge set {name!r}", f"{len(g.n_node)} graphs", "one graph, which nodes can join")
        counts = np.append(g.n_node[:-1], g.n_node[-1] + len(new)) if n_node is None else np.append(g.n_node, n_node)
        own = edges.get(name)
        if own is None and name in data.made and n_node is None and len(new):
            known = all_filled(features, mask, np.flatnonzero(old), impute)
            own = _attached(grow(data.made[name], known, mask, old)[1], data.num_nodes)
        graphs[name] = _joined(g, own, counts)
    return dataclasses.replace(
        data,
        features=features,
        mask=mask,
        graphs=graphs,
        target=target,
        splits=Splits(_no_split, fixed=True, rule=data.splits.rule),
        ids=None if data.ids is None else np.concatenate([data.ids, new.ids.astype(str)]),
        labelled=None if data.labelled is None else np.concatenate([data.labelled, np.zeros(len(new), bool)]),
        impute=impute,
    )


def asked_nodes(target: Target, count: int) -> Target:
    """The target with `count` rows behind its own that say nothing."""
    behind = jax.tree.map(lambda a: np.asarray(a)[np.zeros(count, int)], target)
    hidden = tasks.of(target).hide_unseen(behind, np.zeros(count, bool))
    return jax.tree.map(lambda a, b: np.concatenate([a, b.astype(a.dtype)]), target, hidden)


def asked_links(target: Target, pairs: np.ndarray, edges: jraph.GraphsTuple) -> tuple[Target, np.ndarray]:
    """The target with the pairs [R, 2] behind its own, but for those that it has; and the row of each of them.

    Args:
        edges: of the edge set that must not contradict a label: a pair that it joins is a link.
    """
    n = 1 + max(int(np.max(a, initial=0)) for a in (target.pairs, pairs, edges.senders, edges.receivers))

    def codes(a, b):
        a, b = np.asarray(a, np.int64), np.asarray(b, np.int64)
        return np.minimum(a, b) * n + np.maximum(a, b)

    own, asked = codes(*target.pairs.T), codes(*pairs.T)
    fresh, first = np.unique(asked[~np.isin(asked, own)], return_index=True)
    more = pairs[~np.isin(asked, own)][first].astype(target.pairs.dtype)
    label = np.isin(fresh, codes(edges.senders, edges.receivers))
    found = dataclasses.replace(
        target,
        fields=dict(labels=np.concatenate([target.labels, label]), pairs=np.concatenate([target.pairs, more])),
    )
    every = np.concatenate([own, fresh])
    order = np.argsort(every, kind="stable")
    return found, order[np.searchsorted(every[order], asked)]


def symmetric(g: jraph.GraphsTuple) -> bool:
    """Whether the edge set has every edge in both directions, with the same arrays: whether it is undirected."""
    n = int(np.sum(g.n_node))
    s, r = np.asarray(g.senders, np.int64), np.asarray(g.receivers, np.int64)
    if not g.edges:
        return bool(np.array_equal(np.unique(s * n + r), np.unique(r * n + s)))
    held = [np.asarray(value, np.float64).reshape(len(s), -1) for value in g.edges.values()]
    one, other = (np.unique(np.column_stack([code, *held]), axis=0) for code in (s * n + r, r * n + s))
    return one.shape == other.shape and bool(np.allclose(one, other, rtol=1e-6, atol=0))


def _no_split(seed: int) -> Split:
    raise ValueError("the splits of the cell's seeds are given")


def _behind(x, more: np.ndarray):
    return sp.csr_matrix(sp.vstack([x, sp.csr_matrix(more)])) if sp.issparse(x) else np.concatenate([x, more])


def _attached(grown: jraph.GraphsTuple, old: int) -> Edges:
    """The edges of a grown edge set that nodes behind the first `old` receive."""
    late = np.flatnonzero(np.asarray(grown.receivers) >= old)
    arrays = {name: np.asarray(value)[late] for name, value in (grown.edges or {}).items()}
    return Edges(grown.senders[late], grown.receivers[late], arrays)


def _joined(g: jraph.GraphsTuple, more: Edges | None, n_node: np.ndarray) -> jraph.GraphsTuple:
    if more is None:
        more = Edges(g.senders[:0], g.receivers[:0], {name: v[:0] for name, v in (g.edges or {}).items()})
    made = edge_set(
        np.concatenate([g.senders, more.senders]),
        np.concatenate([g.receivers, more.receivers]),
        n_node,
        {
            name: np.concatenate([v, np.asarray(more.arrays[name]).astype(v.dtype)])
            for name, v in (g.edges or {}).items()
        },
    )
    return FromFeatures(*made) if isinstance(g, FromFeatures) else made
