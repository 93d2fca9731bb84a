"""What the contract tests share: a small graph with weights, times and views, contexts, and what an attention is."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax import tasks, zoo
from fusion_jax.graphs import Graph
from fusion_jax.records import Attention, Context, Target
from fusion_jax.structures.base import Structure, derive
from tests import helpers

N, M, D, C = 7, 3, 16, 3
PADDING = 2  # nodes at the end without modalities, joined only to each other
LABELS = np.arange(N + PADDING, dtype=np.int32) % C
TRAIN = np.arange(N + PADDING) < 4


def each(kind: str) -> list:
    return [pytest.param(n, marks=pytest.mark.xdist_group(f"{kind}-{n}")) for n in zoo.names(kind)]


def rates(kind: str, name: str) -> list[str]:
    """The options that are rates of dropout."""
    return [option for option in zoo.options(kind, name) if option == "rate" or option.endswith("_rate")]


def with_rates(kind: str) -> list:
    """Every mechanism of the kind with each of its rates."""
    pairs = [(name, option) for name in zoo.names(kind) for option in rates(kind, name)]
    return [pytest.param(*p, marks=pytest.mark.xdist_group(f"{kind}-{p[0]}"), id=f"{p[0]}-{p[1]}") for p in pairs]


def only(kind: str, name: str, rate: str) -> dict[str, float]:
    """The options of which one rate is 1/2, and all others 0."""
    return {option: 0.5 if option == rate else 0.0 for option in rates(kind, name)}


def context(rows: int = N, key: jax.Array | None = None) -> Context:
    """What mechanisms may know, labels of the first nodes too; with a key that of training."""
    train = jnp.asarray(TRAIN[:rows])
    target = Target("classes", labels=jnp.asarray(LABELS[:rows]), num_outputs=C)
    target = tasks.of(target).hide_unseen(target, train)
    epoch = {} if key is None else dict(step=jnp.int32(2), total=10)
    return Context(key=key, target=target, train=train, **epoch)


def reordered(told: Context, order: np.ndarray) -> Context:
    """The context of nodes in another order."""
    target = dataclasses.replace(told.target, labels=told.target.labels[order])
    return dataclasses.replace(told, target=target, train=told.train[order])


def padded(graph: Graph, structures: tuple[Structure, ...] = ()) -> Graph:
    """The graph with PADDING more nodes and some edges among them."""
    n = graph.num_nodes
    extra = np.arange(n, n + PADDING)
    edges = {k: np.concatenate([v, np.zeros((PADDING, *v.shape[1:]), v.dtype)]) for k, v in graph.edges.items()}
    made = Graph.create(
        np.concatenate([np.asarray(graph.senders), extra]),
        np.concatenate([np.asarray(graph.receivers), extra[::-1]]),
        np.concatenate([np.asarray(graph.jraph.n_node), [PADDING]]),
        edges,
        tuple(padded(v) for v in graph.views),
    )
    return derive([made], structures, structures)[0] if structures else made


def graphs(modalities: int, structures: tuple[Structure, ...] = ()) -> Graph:
    """N nodes and edges of their own for each modality."""
    rng = np.random.default_rng(5)

    def one(seed, views=()):
        g = helpers.small_graph(N, 20, seed)
        e = g.num_edges
        edges = {"weight": rng.random(e).astype(np.float32) + 0.1, "time": rng.random(e).astype(np.float32)}
        return Graph.create(np.asarray(g.senders), np.asarray(g.receivers), N, edges, views)

    made = one(0, tuple(one(1 + m) for m in range(modalities)))
    return derive([made], structures, structures)[0] if structures else made


def permuted(graph: Graph, order: np.ndarray) -> Graph:
    """The graph, and its structures, of the nodes in another order: row i is the one that was row order[i]."""
    rank = np.argsort(order)
    made = Graph.create(
        rank[np.asarray(graph.senders)],
        rank[np.asarray(graph.receivers)],
        np.asarray(graph.jraph.n_node),
        {k: np.asarray(v) for k, v in graph.edges.items()},
        tuple(permuted(v, order) for v in graph.views),
    )
    return dataclasses.replace(made, derived={k: record.permuted(order) for k, record in graph.derived.items()})


def of_present(graph: Graph, present: np.ndarray) -> Graph:
    """The graph of the present nodes alone."""
    s, r = np.asarray(graph.senders), np.asarray(graph.receivers)
    rank, kept = np.cumsum(present) - 1, present[s] & present[r]
    edges = {k: np.asarray(v)[kept] for k, v in graph.edges.items()}
    return Graph.create(rank[s[kept]], rank[r[kept]], int(present.sum()), edges)


def close(a: Any, b: Any, tol: float = 2e-5) -> None:
    a, b = np.asarray(a), np.asarray(b)
    np.testing.assert_allclose(a, b, rtol=tol, atol=tol * max(1.0, float(np.abs(b).max(initial=0))))


def differ(a: Any, b: Any) -> bool:
    """Whether two results of one form differ in any number."""
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return any(not np.array_equal(x, y, equal_nan=True) for x, y in leaves)


def equal(a: Any, b: Any) -> None:
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def check_attention(attention: tuple[Attention, ...], nodes: int, modalities: int = 1) -> None:
    """Names differ; axes fit; a key that cannot be seen weighs exactly 0; what is normalised sums to 1 over keys."""
    assert len({a.name for a in attention}) == len(attention)
    for a in attention:
        w = np.asarray(a.weights)
        assert len(a.axes) == w.ndim, f"{a.name}: axes {a.axes} of weights {w.shape}"
        assert np.isfinite(w).all(), a.name
        edges = 0 if a.senders is None else len(a.senders)
        assert ("edge" in a.axes) is (a.senders is not None) is (a.receivers is not None), a.name
        known = dict(node=nodes, modality=modalities, edge=edges)
        sizes = {axis: size for axis, size in zip(a.axes, w.shape, strict=True) if axis in known}
        assert sizes == {axis: known[axis] for axis in sizes}, f"{a.name}: axes {a.axes} of weights {w.shape}"
        valid = np.ones_like(w, bool)
        if a.valid is not None:
            assert np.ndim(a.valid) == w.ndim, f"{a.name}: valid {np.shape(a.valid)} of weights {w.shape}"
            valid = np.broadcast_to(np.asarray(a.valid), w.shape)
        assert not w[~valid].any(), f"{a.name}: a key that cannot be seen has a weight"
        if a.scores is not None:
            assert np.shape(a.scores) == w.shape, a.name
        if not a.normalised:
            continue
        if a.senders is None:
            assert a.axes[-1] == a.keys or a.keys in ("token", "other"), f"{a.name}: the last axis is that of the keys"
            total, seen = w.sum(-1), valid.any(-1)
        else:
            total, seen = (sums(x, a, nodes) for x in (w, valid.astype(float)))
        close(total, np.asarray(seen > 0, float))


def sums(x: np.ndarray, a: Attention, nodes: int) -> np.ndarray:
    """Of numbers on edges, the sum at every receiver."""
    by_edge = np.moveaxis(x, a.axes.index("edge"), 0)
    total = np.zeros((nodes, *by_edge.shape[1:]))
    np.add.at(total, np.asarray(a.receivers), by_edge)
    return total
