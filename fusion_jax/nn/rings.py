"""The nodes one edge away and those exactly two away, as edge sets: on a grid a 3 x 3 window and what is around it."""

from __future__ import annotations

from typing import Protocol

import jax.numpy as jnp

from fusion_jax.graphs import Graph
from fusion_jax.nn.presence import zero_absent
from fusion_jax.nn.segment import propagate
from fusion_jax.records import Array


class Pairs(Protocol):
    """What is read of the record of the structure `two_hop`."""

    senders: Array
    receivers: Array
    row_ptr: Array
    by_sender: Array
    sender_ptr: Array
    valid: Array


Ring = tuple[Graph, Array]  # an edge set and bool [E], the edges of it that count


def one_hop(graph: Graph) -> Ring:
    """The edges without the loops."""
    return graph, graph.senders != graph.receivers


def two_hop(pairs: Pairs, graph: Graph) -> Ring:
    """The pairs of the structure `two_hop` of `graph` as edges."""
    last = max(graph.num_nodes - 1, 0)  # what is behind the last pair has the id N, which is no row
    ends = jnp.cumsum(graph.jraph.n_node)
    tuple_ = graph.jraph._replace(
        senders=jnp.minimum(pairs.senders, last),
        receivers=jnp.minimum(pairs.receivers, last),
        edges=None,
        n_edge=pairs.row_ptr[ends] - pairs.row_ptr[ends - graph.jraph.n_node],
    )
    held = Graph(tuple_, pairs.row_ptr, pairs.by_sender, pairs.sender_ptr, present=graph.present, largest=graph.largest)
    return held, pairs.valid


def ring_mean(x: Array, ring: Ring, present: Array | None = None) -> Array:
    """Mean of x over the ring of each node, [N, ...] as x; 0 where the ring is empty.

    Args:
        x: [N, ...].
        present: bool [N], who has something in x; others are not counted. None: everybody.
    """
    graph, counts = ring
    there = jnp.ones(x.shape[0], bool) if present is None else present
    total = propagate(there.astype(x.dtype), graph, counts)
    mean = propagate(zero_absent(x, present), graph, counts)
    return mean / jnp.maximum(total, 1).reshape(-1, *[1] * (x.ndim - 1))
