"""Rows of nodes side by side in the parts of a partition, or in windows of it, and back.

A node stands in one part, so that its gradient is a gather too; it stands in several windows, whose gradients are
summed in the order that the record has from the host. No gradient is a scatter.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from fusion_jax.nn import segment
from fusion_jax.records import Array, Attention


class Parts(Protocol):
    """What is read of the record of the structure `partition`."""

    part: Array
    local: Array
    members: Array
    valid: Array
    graph: Array
    slot: Array
    of_graph: Array


class Halos(Protocol):
    """What is read of the record of the structure `windows`."""

    ids: Array
    valid: Array
    inside: Array
    by_node: Array
    node_ptr: Array


@jax.custom_vjp
def _exchange(x, to, back):
    """x [K, F] -> [L, F]: row i is x[to[i]], 0 where that is K; back [K] says which row k became, L where none."""
    del back
    return x.at[to].get(mode="fill", fill_value=0)


_exchange.defvjp(
    lambda x, to, back: (_exchange(x, to, back), (to, back)),
    lambda saved, g: (_exchange(g, *saved[::-1]), *(np.zeros(a.shape, jax.dtypes.float0) for a in saved)),
)


def _moved(x: Array, to: Array, back: Array) -> Array:
    return at(x, to) if x.dtype == bool else _exchange(x, to, back)


class Table(NamedTuple):
    """Nodes in a table in which each stands once at most.

    Attributes:
        ids: int32 [..., B], node ids; N where there is none.
        valid: bool [..., B].
        place: int32 [N], where in the flattened table a node stands; the table's size where it does not.
    """

    ids: Array
    valid: Array
    place: Array

    def gather(self, x: Array) -> Array:
        """x [N, ...] -> [*ids.shape, ...], 0 where there is no node."""
        return _moved(segment.flat(x), self.ids.reshape(-1), self.place).reshape(*self.ids.shape, *x.shape[1:])

    def scatter(self, y: Array) -> Array:
        """y [*ids.shape, ...] -> [N, ...], 0 at a node that is not in the table."""
        inner = y.shape[self.ids.ndim :]
        rows = segment.flat(y.reshape(self.ids.size, *inner))
        return _moved(rows, self.place, self.ids.reshape(-1)).reshape(len(self.place), *inner)

    def there(self, present: Array | None) -> Array:
        """bool [*ids.shape], the places of nodes that are `present` bool [N] (all if None)."""
        return self.valid if present is None else self.valid & at(present, self.ids)


def of_parts(parts: Parts) -> Table:
    """The table [P, B] of the members of every part."""
    return Table(parts.members, parts.valid, parts.part * parts.valid.shape[1] + parts.local)


def of_graphs(parts: Parts) -> Table:
    """The table [G, S, B] of the members of the parts of every graph, S parts in each."""
    n, room, (graphs, most) = len(parts.part), parts.valid.shape[1], parts.of_graph.shape
    ids = parts.members.at[parts.of_graph].get(mode="fill", fill_value=n)
    graph, slot = (jnp.append(a, jnp.asarray(end, a.dtype)) for a, end in ((parts.graph, graphs), (parts.slot, 0)))
    place = (graph[parts.part] * most + slot[parts.part]) * room + parts.local
    return Table(ids, ids < n, place)


def in_windows(x: Array, halos: Halos) -> Array:
    """x [N, ...] of the nodes of every window, [P, W, ...]; 0 where there is none."""
    return segment.gather(x, halos.ids, halos.by_node, halos.node_ptr)


def at(flags: Array, ids: Array) -> Array:
    """flags bool [K, ...] at ids [...] -> [*ids.shape, ...]; false where an id is K."""
    return jnp.asarray(flags).at[ids].get(mode="fill", fill_value=False)


def along_pairs(name: str, weights: Array, receivers: Array, senders: Array, seen: Array, nodes: int) -> Attention:
    """The record of an attention in tables, along the pairs of a query and a key.

    Args:
        weights: [T, H, B, L].
        receivers, senders: int [T, B] and [T, L], node ids, N where there is none.
        seen: bool [T, L], the keys that can be seen.
        nodes: N.
    """
    shape = weights.shape[0], *weights.shape[2:]
    valid = (receivers < nodes)[:, :, None] & seen[:, None]
    ends = (jnp.minimum(jnp.broadcast_to(ids, shape), nodes - 1) for ids in (senders[:, None], receivers[:, :, None]))
    weights = jnp.where(valid[..., None], jnp.moveaxis(weights, 1, -1), 0)
    return Attention(
        name,
        weights.reshape(-1, weights.shape[-1]),
        ("edge", "head"),
        "node",
        "node",
        *(ids.reshape(-1) for ids in ends),
        valid=valid.reshape(-1, 1),
    )
