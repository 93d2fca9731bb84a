"""Sums over the edges of a graph whose nodes lie on several devices: the rows that others need are exchanged first.

A device runs a kernel on the edges into its own rows, as it would on a graph by itself; what it lacks are rows of
senders on other devices. These come in one `all_to_all` of lists that were made on the host, or, where nearly all rows
are needed, in one `all_gather`; the gradient goes back the same way and is summed where the row lies, in a stored
order. All else of a model is written for the whole graph, and the compiler shares it out by rows: what is summed over
nodes, as losses and the statistics of a batch are, is summed over devices.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from fusion_jax.graphs import Graph
from fusion_jax.parted import AXIS, Order, Parted
from fusion_jax.records import Array


def over_parts(
    fn: Callable[..., Array], graph: Graph, own: tuple[Array, ...] = (), sent: tuple[Array, ...] = ()
) -> Array:
    """fn(order of the graph, *own, *sent), on every device for its own rows where the nodes are shared out.

    Args:
        fn: returns an array with a row a receiver or an edge; `order` counts the rows of `sent`, of which there may be
            more than receivers.
        own: arrays [N, ...] or [E, ...] of which a receiver or an edge needs its own row only.
        sent: arrays [N, ...], read at senders.
    """
    parted = graph.parted
    if parted is None:
        order = Order(graph.senders, graph.receivers, graph.row_ptr, graph.by_sender, graph.sender_ptr)
        return fn(order, *own, *sent)

    def one(held: Parted, own: tuple[Array, ...], sent: tuple[Array, ...]) -> Array:
        held = jax.tree.map(lambda a: a[0], held)
        return fn(held.order, *own, *(exchanged(x, held) for x in sent))

    spec = PartitionSpec(AXIS)
    return jax.shard_map(one, mesh=parted.mesh, in_specs=spec, out_specs=spec, check_vma=False)(parted, own, sent)


def exchanged(x: Array, held: Parted) -> Array:
    """x [B, ...] of this device with the rows of others that its edges read, [K, ...].

    Runs where the axis "nodes" is bound.

    Args:
        held: what this device holds, without the axis P.
    """
    if held.send is None:
        return jax.lax.all_gather(x, AXIS, tiled=True)
    if held.send.size == 0:
        return x
    lists = _taken(x, held.send.reshape(-1), held.send_order)
    return jnp.concatenate([x, jax.lax.all_to_all(lists, AXIS, 0, 0, tiled=True)])


@jax.custom_vjp
def _taken(x: Array, ids: Array, order: Array) -> Array:
    """x[ids]; `order` sorts the ids, so that the gradient is a sum in a stored order and no unsorted scatter."""
    del order
    return x[ids]


def _taken_fwd(x: Array, ids: Array, order: Array):
    return x[ids], (ids, order, jnp.zeros((x.shape[0], 0), x.dtype))


def _taken_bwd(saved, g: Array):
    ids, order, like = saved
    dx = jax.ops.segment_sum(g[order], ids[order], like.shape[0], indices_are_sorted=True)
    return dx, *(np.zeros(a.shape, jax.dtypes.float0) for a in (ids, order))


_taken.defvjp(_taken_fwd, _taken_bwd)
