"""What every device holds of an edge set whose nodes are shared out over devices."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
from jax.sharding import Mesh

AXIS = "nodes"  # of the mesh


class Order(NamedTuple):
    """An edge set as sums over edges read it: E edges from K rows to N rows, sorted by receiver.

    Attributes:
        senders: int32 [E] in [0, K); receivers: int32 [E] in [0, N), non-decreasing.
        row_ptr: int32 [N + 1]; by_sender: int32 [E], the edges sorted by sender; sender_ptr: int32 [K + 1] of these.
    """

    senders: jax.Array
    receivers: jax.Array
    row_ptr: jax.Array
    by_sender: jax.Array
    sender_ptr: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Parted:
    """An edge set over P devices, each with B rows, some of which stand for no node, and the F edges into them.

    What a device receives from others is its halo. Row p B + b of a graph that has this is row b of device p.

    Attributes:
        order: the edges of every device, [P, ...]; receivers are its rows in [0, B), senders in [0, K): its own rows,
            behind them L rows of each device (K = B + P L), or, where `send` is None, the rows of all (K = P B).
        send: int32 [P, P, L], the rows that device p sends to device q; what fills a list up is a row of no node.
        send_order: int32 [P, P L], the places of these lists, sorted by row.
        rows: int32 [P, B], the number of each row's node where the graph is whole; N where it stands for none.
        edges: int32 [P, F], the number of each edge there; E where it only fills up.
        nodes: N, of the whole graph.
        mesh: the devices as the axis "nodes".
    """

    order: Order
    send: jax.Array | None
    send_order: jax.Array | None
    rows: jax.Array
    edges: jax.Array
    nodes: int = dataclasses.field(metadata=dict(static=True))
    mesh: Mesh = dataclasses.field(metadata=dict(static=True))
