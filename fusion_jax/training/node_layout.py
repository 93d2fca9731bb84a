"""Which device and which row each node has where the nodes of a graph are shared out over devices.

The parts are METIS's (`structures.partition`), of sizes that differ by at most one; without it blocks of nodes in their
order, which cost more exchange and give the same numbers. A part has at least one row more than nodes, its last: it
stands for no node.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
import scipy.sparse as sp
from jax.sharding import Mesh

from fusion_jax.graphs import Graph
from fusion_jax.parted import AXIS
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


def node_mesh(parts: int) -> Mesh:
    """The first `parts` devices of this process as the axis "nodes".

    Raises:
        ValueError: there are not so many, or fewer than one.
    """
    devices = jax.local_devices()
    if not 1 <= parts <= len(devices):
        more = "; XLA_FLAGS=--xla_force_host_platform_device_count=N makes N of a CPU" if len(devices) == 1 else ""
        raise ValueError(
            f"training.node_devices={parts}, expected 1 to {len(devices)}, the number of devices here{more}"
        )
    return Mesh(np.array(devices[:parts]), (AXIS,))
