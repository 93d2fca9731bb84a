"""The nodes of a graph shared out over devices: which row each has there, and what every device holds of the edges.

The parts are METIS's (`structures.partition`), of sizes that differ by at most one; without it blocks of nodes in their
order, which cost more exchange and give the same numbers. A part has at least one row more than nodes. This row stands
for no node, and the edges that fill up a device that has fewer than another are loops on it: what comes out is a graph
as any other, with rows that are not `present`, and it may be asked for the same as the whole one.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
import scipy.sparse as sp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fusion_jax.graphs import Graph
from fusion_jax.parted import AXIS, Order, Parted
from fusion_jax.structures.partition import balanced


@dataclasses.dataclass(frozen=True)
class Layout:
    """Which row each node has.

    Attributes:
        node: int [P, B], the node of every row; N where it stands for none, as the last of each part does.
        row: int [N], the row p B + b of every node.
    """

    node: np.ndarray
    row: np.ndarray

    @property
    def parts(self) -> int:
        return len(self.node)

    @property
    def nodes(self) -> int:
        return len(self.row)

    def of_rows(self, values: Any, axis: int = 0) -> np.ndarray:
        """Values of nodes, [N, ...], as those of rows, [P B, ...]; 0 where a row stands for no node."""
        values = np.moveaxis(np.asarray(values), axis, 0)
        more = np.concatenate([values, np.zeros_like(values, shape=(1, *values.shape[1:]))])
        return np.moveaxis(more[self.node.reshape(-1)], 0, axis)


def layout(graph: Graph, parts: int, seed: int = 0) -> Layout:
    """The nodes in so many parts with few edges between them, those of a part in their order.

    Args:
        graph: the whole graph; with the edge sets of single modalities all of them count.
        seed: of METIS.
    """
    n = graph.num_nodes
    found = [np.stack([np.asarray(each.senders), np.asarray(each.receivers)]) for each in (graph, *graph.views)]
    ends = np.concatenate(found, axis=1).astype(np.int64)
    ends = ends[:, ends[0] != ends[1]]
    ends = np.unique(np.concatenate([ends, ends[::-1]], axis=1), axis=1)
    try:
        slot = balanced(sp.csr_array((np.ones(ends.shape[1]), ends), shape=(n, n)), parts, seed)
    except ImportError:
        slot = np.arange(n) * parts // max(n, 1)
    members = [np.flatnonzero(slot == p) for p in range(parts)]
    room = max(map(len, members)) + 1
    node = np.stack([np.pad(each, (0, room - len(each)), constant_values=n) for each in members])
    row = np.zeros(n, int)
    row[node[node < n]] = np.flatnonzero(node.reshape(-1) < n)
    return Layout(node, row)


def parted(graph: Graph, where: Layout, mesh: Mesh) -> Graph:
    """The graph with its nodes shared out over the devices of `mesh` [P]; so are those of single modalities."""
    taken = {where.node.size}
    views = tuple(_both(view, where, mesh, taken) for view in graph.views)
    return dataclasses.replace(_both(graph, where, mesh, taken), views=views)


def _both(graph: Graph, where: Layout, mesh: Mesh, taken: set[int]) -> Graph:
    """An edge set without and with loops."""
    present = np.ones(where.nodes, bool) if graph.present is None else graph.present
    looped = None if graph.looped is None else _parted(graph.looped, where, mesh, taken, loops=True)
    return dataclasses.replace(
        _parted(graph, where, mesh, taken, loops=False),
        looped=looped,
        present=jax.device_put(where.of_rows(present), NamedSharding(mesh, PartitionSpec(AXIS))),
    )


def _parted(graph: Graph, where: Layout, mesh: Mesh, taken: set[int], *, loops: bool) -> Graph:
    """One edge set. `taken` are the lengths of arrays that are there already: each is one of its own
    (`nn.numbered`)."""
    parts, room = where.node.shape
    senders, receivers = (where.row[np.asarray(ids)] for ids in (graph.senders, graph.receivers))
    here = np.flatnonzero(where.node.reshape(-1) == where.nodes) if loops else np.zeros(0, int)
    count = np.bincount(np.concatenate([receivers, here]) // room, minlength=parts)
    most = max(int(count.max()), 1)
    while parts * most in taken:
        most += 1
    taken.add(parts * most)
    here = np.concatenate([here, np.repeat(np.arange(1, parts + 1) * room - 1, most - count)])
    edges = {name: _filled(name, np.asarray(value), len(here)) for name, value in graph.edges.items()}
    number = np.concatenate([np.arange(len(senders)), np.full(len(here), len(senders))])
    senders, receivers = np.concatenate([senders, here]), np.concatenate([receivers, here])
    order = np.lexsort((number, receivers))  # a node's edges stay in their order, and so do the terms of its sums
    senders, receivers, number = senders[order], receivers[order], number[order].reshape(parts, most)
    made = Graph.create(senders, receivers, where.node.size, looped=False)
    along, everywhere = (NamedSharding(mesh, spec) for spec in (PartitionSpec(AXIS), PartitionSpec()))
    edges = {name: jax.device_put(value[order], along) for name, value in edges.items()}
    ends = {name: jax.device_put(ids.astype(np.int32), along) for name, ids in _named(senders, receivers).items()}
    held = _held(senders.reshape(parts, most), receivers.reshape(parts, most), where)
    held = dataclasses.replace(held, edges=number.astype(np.int32), mesh=mesh)
    tuple_ = made.jraph._replace(**ends, edges=edges or None, n_node=None, n_edge=None)
    counts = jax.device_put((made.jraph.n_node, made.jraph.n_edge), everywhere)
    return dataclasses.replace(
        made,
        jraph=tuple_._replace(n_node=counts[0], n_edge=counts[1]),
        row_ptr=jax.device_put(made.row_ptr, everywhere),
        by_sender=jax.device_put(np.lexsort((receivers, senders)).astype(np.int32), along),
        sender_ptr=jax.device_put(made.sender_ptr, everywhere),
        parted=jax.device_put(held, along),
    )


def _named(senders: np.ndarray, receivers: np.ndarray) -> dict[str, np.ndarray]:
    return dict(senders=senders, receivers=receivers)


def _filled(name: str, value: np.ndarray, more: int) -> np.ndarray:
    """An array of edges with `more` loops behind it: weight 1, 0 in all others."""
    fill = np.ones if name == "weight" else np.zeros
    return np.concatenate([value, fill((more, *value.shape[1:]), value.dtype)])


def _held(senders: np.ndarray, receivers: np.ndarray, where: Layout) -> Parted:
    """What every device holds, on the host; `edges` and `mesh` are left to the caller.

    Args:
        senders, receivers: int [P, F], rows of the whole.
    """
    parts, room = where.node.shape
    home = np.arange(parts)
    needed = [
        [np.unique(s[s // room == q]) if q != p else np.zeros(0, int) for q in home] for p, s in enumerate(senders)
    ]
    longest = max(len(rows) for lists in needed for rows in lists)
    gathered = parts > 1 and room + parts * longest >= parts * room
    send = np.full((parts, parts, longest), room - 1)
    columns = np.empty_like(senders)
    for p, own in enumerate(senders):
        owner = own // room
        columns[p] = own if gathered else own - p * room
        for q in range(parts):
            rows = needed[p][q]
            send[q, p, : len(rows)] = rows - q * room
            if not gathered and q != p:
                away = owner == q
                columns[p, away] = room + q * longest + np.searchsorted(rows, own[away])
    wide = parts * room if gathered else room + parts * longest
    if longest == 0:
        wide = room
    order = Order(
        columns,
        receivers - home[:, None] * room,
        _pointers(receivers - home[:, None] * room, room),
        np.argsort(columns, axis=1, kind="stable"),
        _pointers(columns, wide),
    )
    lists = send.reshape(parts, -1)
    made = Parted(
        order,
        None if gathered else send,
        np.zeros((parts, 0), int) if gathered else np.argsort(lists, axis=1, kind="stable"),
        np.minimum(where.node, where.nodes),
        np.zeros(0),
        where.nodes,
        None,
    )
    return jax.tree.map(lambda a: a.astype(np.int32), made)


def _pointers(ids: np.ndarray, rows: int) -> np.ndarray:
    """int [P, rows + 1], where the entries of every row begin in ids [P, F] once they are sorted."""
    counts = np.stack([np.bincount(own, minlength=rows) for own in ids])
    return np.concatenate([np.zeros((len(ids), 1), int), np.cumsum(counts, axis=1)], axis=1)


def node_mesh(parts: int) -> Mesh:
    """The first `parts` devices of this process as the axis "nodes".

    Raises:
        ValueError: there are not so many, or fewer than one.
    """
    devices = jax.local_devices()
    if not 1 <= parts <= len(devices):
        raise ValueError(f"training.node_devices={parts}, expected 1 to {len(devices)}, the number of devices here")
    return Mesh(np.array(devices[:parts]), (AXIS,))


def exchanged_rows(graph: Graph) -> tuple[int, int]:
    """Rows that a device receives of others in one exchange of a parted edge set, and rows that it needs at least.

    The first is the same for all devices, as lists are filled up; the second the mean over them.
    """
    held = graph.parted
    parts, room = held.rows.shape
    senders = np.asarray(graph.senders).reshape(parts, -1)
    least = np.mean([len(np.unique(own[own // room != p])) for p, own in enumerate(senders)])
    return (parts - 1) * (room if held.send is None else held.send.shape[-1]), round(float(least))
