"""Features of nodes that lack them, filled in from the graph.

Reference: Rossi et al., "On the Unreasonable Effectiveness of Feature Propagation in Learning on Graphs with Missing
Node Features", LoG 2022 (arXiv 2111.12128).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fusion_jax.graphs import Graph
from fusion_jax.nn.segment import propagate, segment_sum
from fusion_jax.records import Array

STEPS = 40  # as in the paper


def propagated(x: Array, known: Array, graph: Graph, steps: int = STEPS) -> Array:
    """x [N, d] with the rows that are not known filled: x <- D^-1/2 A D^-1/2 x, then known rows as they were, `steps`
    times, from 0 in the unknown ones.

    D has the row sums of A on its diagonal; edge weights count where there are any, loops do not. A row that no known
    row reaches in so many steps has 0. Where all rows are known nothing is computed.

    Args:
        known: bool [N].
    """
    first = jnp.where(known[:, None], x, 0)
    weight = graph.edges.get("weight", jnp.ones(graph.num_edges)).astype(x.dtype)
    weight = jnp.where(graph.senders == graph.receivers, 0, weight)
    degree = segment_sum(weight, graph)
    scale = jnp.where(degree > 0, jax.lax.rsqrt(jnp.where(degree > 0, degree, 1)), 0)
    weight = scale[graph.senders] * weight * scale[graph.receivers]

    def step(_, filled: Array) -> Array:
        return jnp.where(known[:, None], first, propagate(filled, graph, weight))

    return jax.lax.cond(known.all(), lambda: first, lambda: jax.lax.fori_loop(0, steps, step, first))
