"""Who is present: what a round of message passing leaves out, and who has something after it."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fusion_jax.graphs import Graph
from fusion_jax.nn.segment import at_senders, propagate
from fusion_jax.records import Array


def zero_absent(x: Array, present: Array | None) -> Array:
    """x [N, ..., F] with 0 where `present` bool [N, ...] is false, NaN in its place included; as it is with None."""
    if present is None:
        return x
    return jnp.where(present.reshape(*present.shape, *[1] * (x.ndim - present.ndim)), x, 0)


def there(present: Array | None, graph: Graph) -> Array | None:
    """bool [N], nodes that are `present` and stand for a node of the graph; None where every row is both.

    The outermost nodes of a sampled neighbourhood only send: what they receive here says nothing of them.
    """
    if graph.inner is not None:
        receives = jnp.arange(graph.num_nodes) < graph.inner.num_nodes
        present = receives if present is None else present & receives
    if present is None or graph.present is None:
        return graph.present if present is None else present
    return present & graph.present


def sending(present: Array | None, graph: Graph) -> Array | None:
    """bool [E], the edges whose sender is `present`; None where everybody is."""
    return None if present is None else at_senders(present, graph)


def reached(present: Array, graph: Graph, carries: Array | None = None) -> Array:
    """bool [N, ...]: nodes that were `present` bool [N, ...], or receive from one that was.

    Args:
        carries: bool [E], edges that carry something; all if None.
    """
    weight = None if carries is None else carries.astype(jnp.float32)
    return present | (propagate(present.astype(jnp.float32), graph, weight) > 0)


def reached_by_weight(present: Array, graph: Graph) -> Array:
    """`reached` for sums over weighted edges: an edge of weight 0 carries nothing."""
    weight = graph.edges.get("weight")
    return reached(present, graph, None if weight is None else weight != 0)


def reached_in_graph(present: Array, graph: Graph) -> Array:
    """bool [N, ...]: the nodes of graphs in which somebody was `present` bool [N, ...], where a node sees all."""
    some = jax.ops.segment_max(present.astype(jnp.int32), graph.graph_ids, graph.num_graphs, indices_are_sorted=True)
    heard = some[graph.graph_ids] > 0
    return heard if graph.present is None else heard & graph.present.reshape(-1, *[1] * (heard.ndim - 1))
