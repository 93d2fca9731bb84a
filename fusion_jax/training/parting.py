"""A graph whose nodes are shared out over devices, and what each of these holds of it.

The edges that fill up a device that has fewer than another are loops on its last row, which stands for no node: what
comes out is a graph as any other, with rows that are not `present`, and it may be asked for the same as the whole one.
"""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fusion_jax.graphs import Graph
from fusion_jax.parted import AXIS, Order, Parted
from fusion_jax.training.node_layout import Layout


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
    number = np.concatenate([np.arange(len(senders)), np.full(len(here), len(senders))])
    senders, receivers = np.concatenate([senders, here]), np.concatenate([receivers, here])
    order = np.lexsort((number, receivers))  # a node's edges stay in their order, and so do the terms of its sums
    senders, receivers, number = (ids[order].astype(np.int32) for ids in (senders, receivers, number))
    edges = {name: _filled(name, np.asarray(value), len(here))[order] for name, value in graph.edges.items()}
    shape = parts, most
    held = dataclasses.replace(
        _held(senders.reshape(shape), receivers.reshape(shape), where), edges=number.reshape(shape), mesh=mesh
    )
    ends, edges, by_sender, held = jax.device_put(
        ((senders, receivers), edges, np.lexsort((receivers, senders)).astype(np.int32), held),
        NamedSharding(mesh, PartitionSpec(AXIS)),
    )
    rows = where.node.size
    pointers = [_pointers(ids[None], rows)[0].astype(np.int32) for ids in (receivers, senders)]
    counts = np.array([rows], np.int32), np.array([len(number)], np.int32)
    pointers, counts = jax.device_put((pointers, counts), NamedSharding(mesh, PartitionSpec()))
    tuple_ = graph.jraph._replace(
        senders=ends[0], receivers=ends[1], edges=edges or None, n_node=counts[0], n_edge=counts[1]
    )
    return Graph(tuple_, pointers[0], by_sender, pointers[1], parted=held, largest=rows)


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


def exchanged_rows(graph: Graph) -> tuple[int, int]:
    """Rows that a device receives of others in one exchange of a parted edge set, and rows that it needs at least.

    The first is the same for all devices, as lists are filled up; the second the mean over them.
    """
    held = graph.parted
    parts, room = held.rows.shape
    senders = np.asarray(graph.senders).reshape(parts, -1)
    least = np.mean([len(np.unique(own[own // room != p])) for p, own in enumerate(senders)])
    return (parts - 1) * (room if held.send is None else held.send.shape[-1]), round(float(least))
