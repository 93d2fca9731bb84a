"""Means and maxima over the nodes of each graph of a batch, rows that stand for no node left out."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fusion_jax.graphs import Graph
from fusion_jax.records import Array


def node_count(graph: Graph) -> Array:
    """Number of present nodes of each graph, int [G]."""
    if graph.present is None:
        return graph.jraph.n_node
    return jax.ops.segment_sum(graph.present.astype(jnp.int32), graph.graph_ids, graph.num_graphs)


def graph_mean(x: Array, graph: Graph) -> Array:
    """Mean of x [N, F] over the present nodes of each graph, [G, F]; 0 where there is none."""
    if graph.present is not None:
        x = jnp.where(graph.present[:, None], x, 0)
    total = jax.ops.segment_sum(x, graph.graph_ids, graph.num_graphs, indices_are_sorted=True)
    return total / jnp.maximum(node_count(graph), 1).astype(x.dtype)[:, None]


def pool_mean(x: Array, mask: Array, graph: Graph | None) -> Array:
    """Mean of x [N, ..., F] over the nodes of each graph where `mask` is true, [G, ..., F]; 0 where there is none.

    Args:
        mask: bool [N, ...], the axes of x but the last.
        graph: whose graphs; None for one graph of all rows. Rows that stand for no node are to be masked.
    """
    total = _segments(jax.ops.segment_sum, jnp.where(mask[..., None], x, 0), graph)
    count = _segments(jax.ops.segment_sum, mask.astype(x.dtype), graph)
    return total / jnp.maximum(count, 1)[..., None]


def pool_max(x: Array, mask: Array, graph: Graph | None) -> Array:
    """Largest x [N, ..., F] over the nodes of each graph where `mask` is true, [G, ..., F]; 0 where there is none."""
    top = _segments(jax.ops.segment_max, jnp.where(mask[..., None], x, -jnp.inf), graph)
    return jnp.where(jnp.isfinite(top), top, 0)


def at_nodes(pooled: Array, graph: Graph | None, num_nodes: int) -> Array:
    """What was pooled over graphs [G, ...], at each of their nodes [N, ...]."""
    if graph is None:
        return jnp.broadcast_to(pooled, (num_nodes, *pooled.shape[1:]))
    return pooled[graph.graph_ids]


def _segments(reduce, x: Array, graph: Graph | None) -> Array:
    if graph is None:
        return reduce(x, jnp.zeros(x.shape[0], jnp.int32), 1, indices_are_sorted=True)
    return reduce(x, graph.graph_ids, graph.num_graphs, indices_are_sorted=True)
