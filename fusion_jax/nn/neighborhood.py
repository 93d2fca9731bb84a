"""Attention of every node over its nearest neighbours: as a table of fixed width, or over the edges.

Both forms see the same neighbours and give the same numbers; the table form is two batched matrix products
over gathered keys and values (Hassani et al., "Faster Neighborhood Attention", 2024). With the log-sum-exp of
its logits a partial result can be merged with another one over other keys.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fusion_jax.graphs import Graph
from fusion_jax.nn.attention import masked_softmax
from fusion_jax.nn.dropout import dropout
from fusion_jax.nn.segment import at_senders, edge_attend, edge_dot, segment_max, segment_sum
from fusion_jax.records import Array


class Neighbors(NamedTuple):
    """The neighbours each node sees, in both forms.

    Attributes:
        table: int32 [N, k], edge ids nearest first; an id of E or more where there is no such neighbour.
        kept: bool [E], true at the edges that stand in the table.
    """

    table: Array
    kept: Array


def nearest(graph: Graph, k: int, dilation: int = 1, present: Array | None = None) -> Neighbors:
    """Every `dilation`-th of the k * dilation nearest senders of every node, of those `present` bool [N] (all if None).

    Nearest first: the node itself (where it has a self-loop), then by falling ``edges["weight"]`` where the
    graph has weights, then by sender. Nodes with fewer senders have fewer neighbours; none is repeated.
    """
    others = graph.senders != graph.receivers
    keys, degree = (others, graph.receivers), jnp.diff(graph.row_ptr)
    if present is not None:  # the absent ones last, and not counted
        there = present[graph.senders]
        before = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(there, dtype=jnp.int32)])
        keys, degree = (others, ~there, graph.receivers), jnp.diff(before[graph.row_ptr])
    if "weight" in graph.edges:
        keys = (-graph.edges["weight"], *keys)
    order = jnp.lexsort(keys).astype(graph.row_ptr.dtype)  # stable: ties stay by sender
    slots = jnp.arange(graph.num_edges, dtype=order.dtype)
    rank = jnp.zeros_like(order).at[order].set(slots, unique_indices=True) - graph.row_ptr[graph.receivers]
    steps = jnp.arange(k, dtype=order.dtype) * dilation
    filled = steps < degree[:, None]  # [N, k]
    table = order.at[graph.row_ptr[:-1, None] + steps].get(mode="fill", fill_value=0)
    # Ids past the end differ from each other, so that the gather's transpose may count on unique indices.
    absent = graph.num_edges + jnp.arange(table.size, dtype=order.dtype).reshape(table.shape)
    seen = (rank % dilation == 0) & (rank < jnp.minimum(k * dilation, degree[graph.receivers]))
    return Neighbors(jnp.where(filled, table, absent), seen)


def table_attend(
    q: Array,  # [N, H, d]
    k: Array,  # [N, H, d]
    v: Array,  # [N, H, e]
    graph: Graph,
    neighbors: Neighbors,
    present: Array | None = None,  # bool [N], nodes that may be seen
    *,
    scale: float | None = None,
    rate: float = 0.0,
    key: Array | None = None,
) -> tuple[Array, Array]:
    """softmax(scale q K^T) V over a node's row of the table.

    Returns:
        out [N, H, e] (0 where nobody is seen) and the log-sum-exp of the logits [N, H] (-inf there).
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    valid = neighbors.table < graph.num_edges
    if present is not None:
        k, v = (jnp.where(present[:, None, None], a, 0) for a in (k, v))
        valid = valid & _rows(present[graph.senders], neighbors.table)
    keys, values = (_rows(at_senders(a, graph), neighbors.table) for a in (k, v))  # [N, k, H, d]
    logits = jnp.einsum("nhd,nlhd->nhl", q, keys) * scale
    weights = masked_softmax(logits, valid[:, None])
    top = jnp.where(valid[:, None], logits, -jnp.inf).max(-1)
    total = jnp.where(valid[:, None], jnp.exp(logits - _finite(top)[..., None]), 0).sum(-1)
    return jnp.einsum("nhl,nlhe->nhe", dropout(weights, rate, key), values), _log(total) + _finite(top)


def neighbor_edge_attend(
    q: Array,
    k: Array,
    v: Array,
    graph: Graph,
    neighbors: Neighbors,
    present: Array | None = None,
    *,
    scale: float | None = None,
    rate: float = 0.0,
    key: Array | None = None,
) -> tuple[Array, Array]:
    """`table_attend` by a segment softmax over the edges that are kept: the same arguments and results."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    seen = neighbors.kept
    if present is not None:
        k, v = (jnp.where(present[:, None, None], a, 0) for a in (k, v))
        seen = seen & present[graph.senders]
    out, _ = edge_attend(q, k, v, graph, seen, scale=scale, rate=rate, key=key)
    logits = edge_dot(q, k, graph) * scale  # [E, H]
    top = _finite(segment_max(jnp.where(seen[:, None], logits, -jnp.inf), graph))
    total = segment_sum(jnp.where(seen[:, None], jnp.exp(logits - top[graph.receivers]), 0), graph)
    return out, _log(total) + top


def merge(parts: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    """One result from (out [..., e], log-sum-exp [...]) over disjoint sets of keys, as from one pass.

    out = sum_i exp(lse_i - lse) out_i, lse = log sum_i exp(lse_i); a part without keys has -inf and no share.
    """
    outs, logs = (jnp.stack(a) for a in zip(*parts, strict=True))
    top = _finite(logs.max(0))
    share = jnp.exp(logs - top)
    total = share.sum(0)
    share = share / jnp.where(total > 0, total, 1)
    return (share[..., None] * outs).sum(0), _log(total) + top


def _rows(data: Array, table: Array) -> Array:
    """data [E, ...] put into the table's slots, [N, k, ...]; 0 in empty ones."""
    return jnp.asarray(data).at[table].get(mode="fill", fill_value=0, unique_indices=True)


def _finite(top: Array) -> Array:
    """The maximum without gradient, 0 where there is none."""
    top = jax.lax.stop_gradient(top)
    return jnp.where(jnp.isfinite(top), top, 0)


def _log(total: Array) -> Array:
    return jnp.where(total > 0, jnp.log(jnp.where(total > 0, total, 1)), -jnp.inf)
