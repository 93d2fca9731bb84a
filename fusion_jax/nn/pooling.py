"""Means over the nodes of each graph of a batch, rows that stand for no node left out."""

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
