"""How many edges lie between every two nodes of a graph, up to a cutoff."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from scipy.sparse.csgraph import dijkstra

from fusion_jax.arrays import refuse
from fusion_jax.graphs import Array
from fusion_jax.structures.base import Edges, Maker, moved, table

BLOCK = 2**22  # distances that are held in floats at a time


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Hops:
    """Shortest paths in blocks, a graph each; B is the largest number of present nodes of a graph.

    Attributes:
        members: int32 [G, B], the ids of the present nodes of each graph, ascending; N where there is none.
        valid: bool [G, B].
        local: int32 [N], the node's place in the block of its graph; 0 where the row is not present.
        hops: int8 [G, B, B], the number of edges between two members, 0 from a node to itself; `cutoff` where it is
            that or more, where there is no path, and where a place is not valid.
    """

    members: Array
    valid: Array
    local: Array
    hops: Array

    def permuted(self, order: Array) -> Hops:
        return dataclasses.replace(self, members=moved(self.members, order), local=self.local[order])

    def report(self) -> dict[str, float]:
        size, pairs = np.asarray(self.valid).sum(1), np.asarray(self.hops)
        return dict(
            largest=int(size.max(initial=0)),
            pairs=int((size.astype(np.int64) ** 2).sum()),
            joined=int((pairs == 1).sum()),
        )


class Distances(Maker):
    """d(i, j), the number of edges of a shortest path between i and j.

    Args:
        cutoff: distances from here on are not told apart.
        limit: of the pairs of places, G B^2; what attends over them holds several floats for each and each head.
    Raises:
        ValueError: a cutoff that is no integer from 1 to 127, a limit that is none >= 1; when made, more pairs than the
            limit, naming the largest graph.
    """

    def __init__(self, *, cutoff: int = 20, limit: int = 500_000_000):
        if type(cutoff) is not int or not 1 <= cutoff <= 127:
            refuse("structure 'distances'", f"cutoff={cutoff!r}", "an integer from 1 to 127")
        if type(limit) is not int or limit < 1:
            refuse("structure 'distances'", f"limit={limit!r}", "an integer >= 1")
        self.cutoff, self.limit = cutoff, limit

    def make(self, edge_sets, used=(), earlier=None) -> list[Hops]:
        room = max((len(ids) for edges in edge_sets for ids in edges.rows), default=0)
        return [self.one(edges, room) for edges in edge_sets]

    def one(self, edges: Edges, room: int) -> Hops:
        n = edges.num_nodes
        if edges.num_graphs * room**2 > self.limit:
            large = int(np.argmax([len(ids) for ids in edges.rows]))
            raise ValueError(
                f"{edges.num_graphs} x {room} x {room} pairs, more than limit={self.limit}; graph {large} has "
                f"{len(edges.rows[large])} nodes"
            )
        adjacency, local = edges.adjacency(), np.zeros(n, np.int32)
        hops = np.full((edges.num_graphs, room, room), self.cutoff, np.int8)
        for g, ids in enumerate(edges.rows):
            local[ids] = np.arange(len(ids))
            own, step = adjacency[ids][:, ids], max(BLOCK // max(len(ids), 1), 1)
            for begin in range(0, len(ids), step):
                asked = np.arange(begin, min(begin + step, len(ids)))
                found = dijkstra(own, directed=False, indices=asked, unweighted=True, limit=self.cutoff)
                hops[g, asked, : len(ids)] = np.minimum(found, self.cutoff)
        members = table(edges.rows, room, n)
        return Hops(*map(jnp.asarray, (members, members < n, local, hops)))
