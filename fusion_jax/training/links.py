"""The graphs of link prediction: no edge joins a pair of nodes that is held out, in training or in evaluation.

Rows are pairs of nodes. Those that are no training rows lose every edge between them, in both directions and in every
edge set of the run: the links among them, since an edge would be the answer; and in other edge sets the pairs without a
link too, so that a missing edge is no answer either.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from fusion_jax.graphs import Graph
from fusion_jax.training.inductive import Own


def cut_all(training: Graph, evaluation: Graph, pairs: np.ndarray, held: Sequence[np.ndarray]) -> list[Own]:
    """The graphs of every seed, over one node more than the data: all of the same shapes.

    Args:
        training, evaluation: the run's edge sets, the same record where evaluation has no others.
        pairs: int [R, 2], the rows.
        held: int [K, 2] a seed, those between which no edge may stand.
    """
    rows, made = jnp.asarray(pairs, jnp.int32), {}

    def one(held: np.ndarray) -> Own:
        cut = dataclasses.replace(without_links(training, held), pairs=rows)
        if evaluation is training:
            return Own(cut, cut)
        other = dataclasses.replace(without_links(evaluation, held), pairs=rows)
        return Own(cut, other, other)

    for each in held:  # seeds often share their split
        if each.tobytes() not in made:
            made[each.tobytes()] = one(each)
    return [made[each.tobytes()] for each in held]


def without_links(graph: Graph, held: np.ndarray) -> Graph:
    """The graph without the edges between the pairs `held` [K, 2] in either direction, over one more node.

    An edge that is gone becomes a loop at the last node, which is not `present`, so that every seed's graph has the
    same number of edges.
    """
    n, held = graph.num_nodes, np.asarray(held, np.int64)
    gone = np.concatenate([held[:, 0] * n + held[:, 1], held[:, 1] * n + held[:, 0]])

    def cut(g: Graph, loops: int) -> Graph:
        s, r = np.asarray(g.senders), np.asarray(g.receivers)
        lost = np.isin(s.astype(np.int64) * n + r, gone)
        s, r = (np.concatenate([np.where(lost, n, ids), np.full(loops, n)]) for ids in (s, r))
        edges = {name: _with_loops(name, np.asarray(value), loops) for name, value in g.edges.items()}
        n_node = np.array(g.jraph.n_node)
        n_node[-1] += 1
        made = Graph.create(s, r, n_node, edges, looped=False)
        return dataclasses.replace(made, present=jnp.arange(n + 1) < n)

    views = tuple(without_links(view, held) for view in graph.views)
    return dataclasses.replace(cut(graph, 0), looped=cut(graph.looped, 1), views=views)


def _with_loops(name: str, value: np.ndarray, loops: int) -> np.ndarray:
    """An edge array with that of so many loops behind it, as `Graph.create` fills it."""
    fill = np.ones if name == "weight" else np.zeros
    return np.concatenate([value, fill((loops, *value.shape[1:]), value.dtype)])
