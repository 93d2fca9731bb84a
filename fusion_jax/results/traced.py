"""A graph inside a program whose edges are arguments: the orders that `Graph.create` derives on the host, by XLA."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp
import jraph
import numpy as np

from fusion_jax.graphs import Array, Graph


def joined(
    old: jraph.GraphsTuple | None,
    senders: Array,
    receivers: Array,
    arrays: Mapping[str, Array],
    nodes: int,
    n_node: Array | None = None,
) -> Graph:
    """The edges of `old` and those given, over one more row than there are nodes, which is not `present`.

    So are rows behind the nodes of all graphs, where `n_node` counts fewer than there are rows.

    Args:
        old: on the host; None where there are none.
        senders, receivers: int32 [e]. A loop, or an edge with a number of no node, becomes a loop at the last row.
        arrays: [e, ...], the edge arrays that `old` has.
        nodes: of the old and the new together; it may be a symbolic dimension.
        n_node: int32 [G], the nodes of each graph; all are one if None.
    """
    out = [(ids < 0) | (ids >= nodes) for ids in (senders, receivers)]
    none = (senders == receivers) | out[0] | out[1]
    s, r = (jnp.where(none, nodes, ids).astype(jnp.int32) for ids in (senders, receivers))
    sizes = jnp.full(1, nodes, jnp.int32) if n_node is None else n_node
    count = sizes.sum(dtype=jnp.int32)
    sizes = sizes.at[-1].add(nodes + 1 - count)
    held = [(s, r, dict(arrays))]
    if old is not None:
        held.insert(0, (old.senders, old.receivers, dict(old.edges or {})))
    loops = jnp.arange(nodes + 1, dtype=jnp.int32)
    extra = {
        k: (jnp.ones if k == "weight" else jnp.zeros)((nodes + 1, *v.shape[1:]), v.dtype) for k, v in arrays.items()
    }
    without = [_without_loops(*each) for each in held[:-1]]
    there = loops < count
    plain, looped = (
        dataclasses.replace(_sorted(parts, nodes + 1, sizes), present=there)
        for parts in (held, [*without, held[-1], (loops, loops, extra)])
    )
    return dataclasses.replace(plain, looped=looped)


def _without_loops(senders: np.ndarray, receivers: np.ndarray, arrays: Mapping[str, np.ndarray]):
    keep = np.asarray(senders) != np.asarray(receivers)
    return senders[keep], receivers[keep], {name: value[keep] for name, value in arrays.items()}


def _sorted(parts, rows: int, n_node: Array) -> Graph:
    """The edges of all parts, sorted by receiver, then sender."""
    s, r = (jnp.concatenate([jnp.asarray(part[i], jnp.int32) for part in parts]) for i in range(2))
    arrays = {k: jnp.concatenate([jnp.asarray(part[2][k]) for part in parts]) for k in parts[-1][2]}
    order = jnp.lexsort((s, r))
    s, r, arrays = s[order], r[order], {name: value[order] for name, value in arrays.items()}

    def pointers(ids):
        counts = jnp.zeros(rows, jnp.int32).at[ids].add(1)
        return jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(counts, dtype=jnp.int32)])

    n_edge = jnp.full(1, s.shape[0], jnp.int32)
    held = jraph.GraphsTuple(None, arrays or None, r, s, None, n_node, n_edge)
    by_sender = jnp.lexsort((r, s)).astype(jnp.int32)
    return Graph(held, pointers(r), by_sender, pointers(s))
