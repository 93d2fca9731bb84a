"""The nodes of each graph of a batch side by side, for what looks from every node to all others of its graph."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from fusion_jax.graphs import Graph
from fusion_jax.nn.attention import attend
from fusion_jax.records import Array


class Blocks(NamedTuple):
    """Rows of nodes in blocks, a graph each; B is the largest graph.

    Attributes:
        rows: int [G, B], ids of nodes.
        valid: bool [G, B], false behind the graph's last node and at rows that stand for no node.
        graph: int [N], the block of each node.
        slot: int [N], its place there.
    """

    rows: Array
    valid: Array
    graph: Array
    slot: Array

    def gather(self, x: Array) -> Array:
        """x [N, ...] -> [G, B, ...], 0 where not valid."""
        valid = self.valid.reshape(*self.valid.shape, *[1] * (x.ndim - 1))
        return jnp.where(valid, x[self.rows], jnp.zeros((), x.dtype))

    def scatter(self, y: Array) -> Array:
        """y [G, B, ...] -> [N, ...]."""
        return y[self.graph, self.slot]


def blocks(graph: Graph | None, num_nodes: int) -> Blocks:
    """The blocks of a batch of graphs, one of all rows without a graph; B is N where `graph.largest` is not known."""
    ids = jnp.arange(num_nodes)
    present = jnp.ones(num_nodes, bool) if graph is None or graph.present is None else graph.present
    if graph is None or graph.num_graphs == 1:
        return Blocks(ids[None], present[None], jnp.zeros_like(ids), ids)
    start = jnp.cumsum(graph.jraph.n_node) - graph.jraph.n_node
    place = jnp.arange(graph.largest or num_nodes, dtype=start.dtype)
    rows = jnp.minimum(start[:, None] + place, num_nodes - 1)
    of = graph.graph_ids
    return Blocks(rows, (place < graph.jraph.n_node[:, None]) & present[rows], of, ids.astype(start.dtype) - start[of])


def attend_within(q: Array, k: Array, v: Array, graph: Graph, *, rate: float, key: Array | None) -> Array:
    """Attention of every node to the present nodes of its graph; q, k, v [N, H, d] -> [N, H, d].

    Works on blocks [G, B, B] where B is the largest graph, or on one matrix [N, N] with a mask, whichever is
    smaller: H min(G B^2, N^2) numbers are stored for the gradient, several times over.
    """
    n, block = graph.num_nodes, graph.largest
    present = jnp.ones(n, bool) if graph.present is None else graph.present
    ids = graph.graph_ids
    if not block or graph.num_graphs * block**2 > n**2:
        same = (ids[:, None] == ids[None]) & present[None]
        return attend(q, k, v, same, rate=rate, key=key)[0]
    held = blocks(graph, n)
    y, _ = attend(q[held.rows], k[held.rows], v[held.rows], held.valid, rate=rate, key=key)
    return held.scatter(y)
