"""A node's neighbourhood as a table of fixed width, for mechanisms that see it as a sequence of tokens."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fusion_jax.graphs import Graph
from fusion_jax.nn.segment import at_senders
from fusion_jax.records import Array


class Neighbours(NamedTuple):
    """Column 0 is the node itself, the others its senders; `valid` is false where a node has fewer."""

    edges: Array  # int [N, K - 1], ids of edges of graph.looped
    valid: Array  # bool [N, K]

    def gather(self, x: Array, graph: Graph) -> Array:
        """x [N, ...] of every entry of the table: [N, K, ...], 0 where it is not valid."""
        # by way of the edges: the gradient sums over each sender's edges in their stored order
        sent = at_senders(x, graph.looped)[self.edges]
        valid = self.valid[:, 1:].reshape(*self.edges.shape, *(1,) * (x.ndim - 1))
        return jnp.concatenate([x[:, None], jnp.where(valid, sent, jnp.zeros((), x.dtype))], axis=1)


def neighbours(graph: Graph, width: int) -> Neighbours:
    """The table of `width` K columns; shapes do not depend on the edges, so it works inside compiled code.

    A node with more than K - 1 senders keeps K - 1 of them, evenly spaced in the order of their ids: which ones
    depends on the numbering of the nodes, so exact symmetry under renumbering ends there.
    """
    graph = graph.looped
    start, n = graph.row_ptr[:-1, None], graph.num_nodes
    degree = jnp.diff(graph.row_ptr)[:, None] - 1  # without the loop
    before = (graph.senders < graph.receivers).astype(jnp.int32)
    loop = jax.ops.segment_sum(before, graph.receivers, n, indices_are_sorted=True)[:, None]
    column = jnp.arange(width - 1, dtype=jnp.int32)[None]
    place = jnp.where(degree > width - 1, column * degree // max(width - 1, 1), column)
    edges = start + place + (place >= loop).astype(jnp.int32)  # step over the loop
    valid = jnp.concatenate([jnp.ones((n, 1), bool), column < degree], axis=1)
    return Neighbours(jnp.where(valid[:, 1:], edges, 0), valid)
