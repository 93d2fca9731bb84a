"""The graphs of the inductive setting: what training sees of an edge set, and what evaluation sees of it.

An edge set that is given loses the edges of nodes that are yet to come, and has them all in evaluation. One that was
made from features (`Dataset.made`) is made again from the nodes that training sees, whose neighbours and statistics
would else depend on nodes that are yet to come; in evaluation the others are attached to it (`data.graphs.grow`). One
that was made from features in a way nobody declared is refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import jraph
import numpy as np

from fusion_jax.data.base import Dataset
from fusion_jax.data.graphs import FromFeatures, grow
from fusion_jax.data.imputation import all_filled
from fusion_jax.graphs import Graph


@dataclasses.dataclass(frozen=True)
class Own:
    """The graphs of one seed, where it has its own: an edge set is made again, or links are held out.

    Attributes:
        training: over all N nodes, those that are yet to come without edges and not `present`.
        evaluation: over all N nodes.
        padded: the same over N + 1 nodes, the last of which is not `present` and takes up as many loops as make the
            number of edges that of the other seeds; None where evaluation has the graph of training.
    """

    training: Graph
    evaluation: Graph
    padded: Graph | None = None


def without_nodes(graph: Graph, keep: np.ndarray) -> Graph:
    """The graph as it is without the nodes outside `keep`, with shapes that do not depend on which they are.

    An edge of a node that is gone becomes a loop at the last node that is gone, so every seed's graph has the
    same number of edges; the nodes themselves stay as isolated rows that are not `present` and that training
    gives no weight.
    """
    gone = np.flatnonzero(~keep)
    if gone.size == 0:
        return graph

    def cut(g: Graph) -> Graph:
        s, r = np.asarray(g.senders), np.asarray(g.receivers)
        lost = ~(keep[s] & keep[r]) & (s != r)
        s, r = np.where(lost, gone[-1], s), np.where(lost, gone[-1], r)
        edges = {k: np.asarray(v) for k, v in g.edges.items()}
        smaller = Graph.create(s, r, np.asarray(g.jraph.n_node), edges, looped=False)
        return dataclasses.replace(smaller, present=jnp.asarray(keep))

    return dataclasses.replace(
        cut(graph), looped=cut(graph.looped), views=tuple(without_nodes(v, keep) for v in graph.views)
    )


def padded(graph: Graph, edges: int, present: np.ndarray) -> Graph:
    """The graph with loops at the last node that is not `present` up to that number of edges (as many in `looped`)."""
    host, more = np.flatnonzero(~present)[-1], edges - graph.num_edges

    def pad(g: Graph) -> Graph:
        ids = [np.concatenate([np.asarray(a), np.full(more, host, np.int32)]) for a in (g.senders, g.receivers)]
        held = {k: np.asarray(v) for k, v in g.edges.items()}
        held = {k: np.concatenate([v, np.ones((more, *v.shape[1:]), v.dtype)]) for k, v in held.items()}
        larger = Graph.create(*ids, np.asarray(g.jraph.n_node), held, looped=False)
        return dataclasses.replace(larger, present=jnp.asarray(present))

    return dataclasses.replace(pad(graph), looped=pad(graph.looped))


def check(data: Dataset, names: Sequence[str]) -> None:
    """Raises ValueError where an edge set was made from all nodes' features and `Dataset.made` does not say how."""
    for name in names:
        if name not in data.made and isinstance(data.graphs.get(name), FromFeatures):
            raise ValueError(
                f"data set {data.name!r}, edge set {name!r}: it was made from the features of all nodes, test nodes "
                f"among them, so it is not for setting 'inductive'; declare in Dataset.made how it is made, name "
                f"another edge set (data.graph, data.views), or use data.setting='transductive'"
            )


def grow_all(
    data: Dataset, training: Sequence[str], evaluation: Sequence[str], seen: Sequence[np.ndarray], seeds: Sequence[int]
) -> list[Own]:
    """The graphs of every seed, all of the same shapes where the seeds see equally many nodes.

    Args:
        training, evaluation: names of edge sets: of the run, then of its views.
        seen: bool [N] a seed, the nodes that are there in training.
    Raises:
        ValueError: a seed sees too few nodes for the neighbours they are to have; names the data set and edge set.
    """
    most, n = max(int(here.sum()) for here in seen), data.num_nodes
    there = np.arange(n + 1) < n
    names, made = dict.fromkeys((*training, *evaluation)), {}

    def one(seed: int, here: np.ndarray) -> Own:
        grown = {}
        for name in data.made.keys() & names:
            try:
                known = all_filled(data.features, data.mask, here, data.impute)
                grown[name] = grow(data.made[name], known, data.mask, here)
            except ValueError as error:
                where = f"data set {data.name!r}, edge set {name!r}, setting 'inductive', seed {seed}"
                raise ValueError(f"{where}, whose training sees {here.sum()} nodes: {error}") from error

        def trained(name: str) -> Graph:
            if name not in grown:
                return without_nodes(data.graph(name), here)
            return padded(_graph(grown[name][0], n), _largest(data, name, most), here)

        def evaluated(name: str) -> Graph:
            return _graph(grown[name][1] if name in grown else data.graphs[name], n)

        def with_room(name: str) -> Graph:
            edges = len(data.graphs[name].senders)
            if name in grown:
                edges = _largest(data, name, most) + len(data.made[name].groups) * data.made[name].k * (n - most)
            return padded(_graph(grown[name][1] if name in grown else data.graphs[name], n + 1), edges, there)

        return Own(_join(training, trained), _join(evaluation, evaluated), _join(evaluation, with_room))

    for seed, here in zip(seeds, seen, strict=True):  # seeds often share their split
        if here.tobytes() not in made:
            made[here.tobytes()] = one(seed, here)
    return [made[here.tobytes()] for here in seen]


def _largest(data: Dataset, name: str, nodes: int) -> int:
    """The most edges that so many nodes can have: each chooses k, and every choice is two edges."""
    how = data.made[name]
    return 2 * len(how.groups) * how.k * nodes


def _graph(edges: jraph.GraphsTuple, nodes: int) -> Graph:
    return Graph.create(edges.senders, edges.receivers, nodes, edges.edges or {})


def _join(names: Sequence[str], make: Callable[[str], Graph]) -> Graph:
    """The first as the graph of the run, the others as its views."""
    made = {name: make(name) for name in dict.fromkeys(names)}
    return dataclasses.replace(made[names[0]], views=tuple(made[name] for name in names[1:]))
