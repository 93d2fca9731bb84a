"""Small directed graphs with loops, parallel edges, isolated nodes and absent rows, and what is plainly so of them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from fusion_jax.graphs import Graph
from fusion_jax.structures.base import Structure, derive

N_NODE = (9, 1, 0, 14, 5)


def batch(seed=0, n_node=N_NODE, degree=2.0, absent=0, weighted=True):
    """A batch of graphs; some rows of the largest graph are not present, but their edges stay."""
    rng = np.random.default_rng(seed)
    begins, senders, receivers = np.cumsum((0, *n_node)), [], []
    for begin, n in zip(begins, n_node, strict=False):
        count = int(degree * n)
        s, r = rng.integers(0, max(n - 1, 1), (2, count))  # the last node of a graph is isolated; loops come by chance
        s, r = np.append(s, s[: count // 3]), np.append(r, r[: count // 3])  # parallel edges
        senders.append(begin + s)
        receivers.append(begin + r)
    senders, receivers = np.concatenate(senders), np.concatenate(receivers)
    edges = {"weight": rng.integers(1, 9, len(senders)).astype(np.float32)} if weighted else {}
    graph = Graph.create(senders, receivers, np.array(n_node), edges)
    if absent:
        large = int(np.argmax(n_node))
        there = np.ones(sum(n_node), bool)
        there[begins[large + 1] - absent - 2 : begins[large + 1] - 2] = False
        graph = dataclasses.replace(graph, present=jnp.asarray(there))
    return graph


def with_rows(graph, more):
    """The graph with so many rows behind its last that are not present, and a loop and an edge among them."""
    n = graph.num_nodes
    n_node = np.asarray(graph.jraph.n_node).copy()
    n_node[-1] += more
    there = np.ones(n, bool) if graph.present is None else np.asarray(graph.present)
    edges = {k: np.append(v, np.ones(2, v.dtype)) for k, v in graph.edges.items()}
    larger = Graph.create(
        np.append(graph.senders, [n, n]), np.append(graph.receivers, [n, n + more - 1]), n_node, edges
    )
    return dataclasses.replace(larger, present=jnp.asarray(np.append(there, np.zeros(more, bool))))


def present(graph):
    return np.ones(graph.num_nodes, bool) if graph.present is None else np.asarray(graph.present)


def directed(graph):
    """{(sender, receiver): the largest weight}, without loops and what touches an absent row."""
    there, found = present(graph), {}
    weight = np.asarray(graph.edges.get("weight", np.ones(graph.num_edges)))
    for s, r, w in zip(np.asarray(graph.senders).tolist(), np.asarray(graph.receivers).tolist(), weight, strict=True):
        if s != r and there[s] and there[r]:
            found[s, r] = max(found.get((s, r), 0), w)
    return found


def undirected(graph, weighted=False):
    """[N, N], symmetric."""
    a = np.zeros((graph.num_nodes, graph.num_nodes))
    for (s, r), w in directed(graph).items():
        a[s, r] = a[r, s] = max(a[s, r], w if weighted else 1)
    return a


def graph_ids(graph):
    n_node = np.asarray(graph.jraph.n_node)
    return np.repeat(np.arange(len(n_node)), n_node)


def made(graph, name, **options):
    """The record of one structure of one graph, on the host."""
    structure = Structure(name, options)
    return host(derive([graph], [structure])[0].structure(structure))


def host(record):
    """The same record with NumPy arrays, which strict promotion leaves alone."""
    return jax.tree.map(np.asarray, record)
