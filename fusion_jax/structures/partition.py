"""A balanced partition of the nodes with few edges between its parts.

The cut is METIS's by recursive bisection, the best of `TRIALS` (Karypis and Kumar, "A fast and high quality multilevel
scheme for partitioning irregular graphs", SIAM J. Sci. Comput. 1998; pymetis, MIT and Apache-2.0). METIS balances
nearly: nodes are then moved, the least loss first, until the sizes differ by at most one. Against spectral bisection
with exchanges of pairs, the share of edges cut was 0.09 and 0.17 on Cora in 8 parts, 0.23 and 0.34 in 52, 0.33 and
0.39 on 8 planted groups of 150, 0.045 and 0.049 on a 40 x 50 grid, in a hundredth of the time.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp

from fusion_jax.arrays import refuse
from fusion_jax.graphs import Array
from fusion_jax.structures.base import Edges, Maker, moved, table

TRIALS = 10
STEPS = 2**10  # METIS takes whole numbers: the largest weight is so many of the smallest that is told from none


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Parts:
    """A partition; P parts over all graphs of the batch, those of a graph side by side, B places in each.

    Attributes:
        part: int32 [N], the part of each node; P where the row is not present.
        local: int32 [N], the node's place among the members of its part; 0 where the row is not present.
        members: int32 [P, B], node ids, those that came later last, else ascending; N where there is none.
        valid: bool [P, B].
        size: int32 [P], the number of members; 0 in padding.
        graph: int32 [P], the graph the part belongs to; G in padding.
        slot: int32 [P], the part's number within its graph, in the order of first members; 0 in padding.
        of_graph: int32 [G, S], the parts of each graph by their slots; P where there is none.
        cut: float [G], the share of the edges (of their weight, if `weighted`) that join two parts; 0 without edges.
    """

    part: Array
    local: Array
    members: Array
    valid: Array
    size: Array
    graph: Array
    slot: Array
    of_graph: Array
    cut: Array

    def permuted(self, order: Array) -> Parts:
        return dataclasses.replace(
            self, part=self.part[order], local=self.local[order], members=moved(self.members, order)
        )

    def report(self) -> dict[str, float]:
        real = np.asarray(self.graph) < len(self.cut)
        size = np.asarray(self.size)[real]
        return dict(
            parts=int(real.sum()),
            smallest=int(size.min(initial=size.max(initial=0))),
            largest=int(size.max(initial=0)),
            empty=int((size == 0).sum()),
            cut=float(np.mean(self.cut)),
        )


class Partition(Maker):
    """Sizes within a graph differ by at most one; no part is empty unless the graph has fewer nodes than parts.

    Nodes that arrive later join the part that most of their senders are in (most weight, if `weighted`), of equals the
    smaller, then the first; round by round, so that a node may hear of a part through others that arrived. Those that
    no part reaches fill the smallest one after another. A graph without earlier nodes is cut anew.

    Args:
        parts: the number of parts of each graph; or "sqrt", the square root of its number of nodes, rounded.
        size: in its place the largest size of a part: ceil(nodes / size) parts in each graph.
        weighted: cut little weight in the place of few edges.
        seed: of METIS.
    Raises:
        ValueError: not one of `parts` and `size`, or a value that is none of the above.
    """

    def __init__(
        self, *, parts: int | str | None = None, size: int | None = None, weighted: bool = False, seed: int = 0
    ):
        if (parts is None) == (size is None):
            refuse("structure 'partition'", f"parts={parts!r} and size={size!r}", "one of them")
        for name, value in (("parts", parts), ("size", size)):
            named = name == "parts" and value == "sqrt"
            if value is not None and not named and (type(value) is not int or value < 1):
                expected = "an integer >= 1" + (" or 'sqrt'" if name == "parts" else "")
                refuse("structure 'partition'", f"{name}={value!r}", expected)
        self.parts, self.size, self.weighted, self.seed = parts, size, weighted, seed

    def count(self, nodes: int) -> int:
        """The number of parts of a graph of so many nodes."""
        if self.size is not None:
            return -(-nodes // self.size)
        return round(nodes**0.5) if self.parts == "sqrt" else self.parts

    def make(self, edge_sets, used=(), earlier=None) -> list[Parts]:
        if earlier is None:
            return _records(edge_sets, [self.cut(e) for e in edge_sets], self.weighted)
        grown = [self.extended(old, e) for old, e in zip(earlier, edge_sets, strict=True)]
        return _records(edge_sets, grown, self.weighted)

    def cut(self, edges: Edges, known: np.ndarray | None = None) -> Slots:
        """The partition of each graph by itself; graphs that are `known`, bool [G], are left out."""
        adjacency = edges.adjacency(self.weighted)
        slot, counts = np.full(edges.num_nodes, -1), np.zeros(edges.num_graphs, int)
        for g, ids in enumerate(edges.rows):
            if known is None or not known[g]:
                counts[g] = self.count(len(ids))
                slot[ids] = balanced(adjacency[ids][:, ids], int(counts[g]), self.seed)
        return Slots(slot, counts, np.zeros(edges.num_nodes, bool))

    def extended(self, old: Parts, edges: Edges) -> Slots:
        """The partition `old` with the nodes that `edges` has more; rows keep their ids."""
        part, graph = np.asarray(old.part), np.asarray(old.graph)
        had = np.zeros(edges.num_nodes, bool)
        had[: len(part)] = (part < len(graph)) & edges.present[: len(part)]
        known = np.bincount(edges.graph_ids[had], minlength=edges.num_graphs) > 0  # graphs with earlier nodes
        found = self.cut(edges, known)
        found.counts[known] = np.bincount(graph, minlength=edges.num_graphs)[: edges.num_graphs][known]
        found.slot[had] = np.asarray(old.slot)[part[np.flatnonzero(had)]]
        late = edges.present & (found.slot < 0)
        self._join(edges, found.slot, found.counts)
        return dataclasses.replace(found, late=late)

    def _join(self, edges: Edges, slot: np.ndarray, counts: np.ndarray) -> None:
        """Gives every present node without a slot (-1) one, in place."""
        begins = np.cumsum(counts) - counts
        total, incoming = int(counts.sum()), edges.incoming(self.weighted)
        while True:
            free = np.flatnonzero(edges.present & (slot < 0))
            part = np.where(slot < 0, -1, slot + begins[edges.graph_ids])
            size = np.bincount(part[part >= 0], minlength=total)
            votes = (incoming[free] @ indicator(part, total)).toarray()
            heard = votes.max(1, initial=0) > 0
            if not heard.any():
                break
            most = votes[heard] == votes[heard].max(1, keepdims=True)
            chosen = np.where(most, size * total + np.arange(total), np.iinfo(int).max).argmin(1)
            slot[free[heard]] = chosen - begins[edges.graph_ids[free[heard]]]
        for i in free:
            g = edges.graph_ids[i]
            slot[i] = size[begins[g] : begins[g] + counts[g]].argmin()
            size[begins[g] + slot[i]] += 1


@dataclasses.dataclass(frozen=True)
class Slots:
    """A partition on the host: slot int [N] (-1 where absent), counts int [G] of slots, late bool [N]: came later."""

    slot: np.ndarray
    counts: np.ndarray
    late: np.ndarray


def balanced(adjacency: sp.csr_array, parts: int, seed: int = 0) -> np.ndarray:
    """int [n], the slot of every node: sizes differ by at most one; slots stand in the order of their first nodes.

    Args:
        adjacency: float64 [n, n], symmetric, >= 0, without loops.
    Raises:
        ImportError: pymetis is not installed.
    """
    n = adjacency.shape[0]
    if n <= parts or parts == 1:
        return np.arange(n) if n <= parts else np.zeros(n, int)
    slot = evened(adjacency, _metis(adjacency, parts, seed), parts)
    first = np.unique(slot, return_index=True)[1]
    return np.argsort(np.argsort(first))[slot]


def _metis(adjacency: sp.csr_array, parts: int, seed: int) -> np.ndarray:
    try:
        import pymetis
    except ImportError as error:
        raise ImportError("structure 'partition' needs METIS: pip install 'fusion_jax[partition]'") from error
    if adjacency.nnz == 0:
        return np.arange(adjacency.shape[0]) * parts // adjacency.shape[0]
    scale = min(STEPS, 2**30 * adjacency.data.max() / adjacency.data.sum()) / adjacency.data.max()  # sums of 31 bits
    _, found = pymetis.part_graph(
        parts,
        adjacency=pymetis.CSRAdjacency(adjacency.indptr.astype(np.int32), adjacency.indices.astype(np.int32)),
        eweights=np.maximum(np.rint(adjacency.data * scale), 1).astype(np.int32),
        recursive=True,
        options=pymetis.Options(seed=seed, ncuts=TRIALS),
    )
    return np.asarray(found)


def evened(adjacency: sp.csr_array, slot: np.ndarray, parts: int) -> np.ndarray:
    """The partition with sizes that differ by at most one: nodes move from parts that are too large to parts that are
    too small, each time the one that loses least (of equals the first, to the first part)."""
    slot, size = slot.copy(), np.bincount(slot, minlength=parts)
    wanted = np.full(parts, len(slot) // parts)
    wanted[np.lexsort((np.arange(parts), -size))[: len(slot) % parts]] += 1
    while (size > wanted).any():
        nodes, small = np.flatnonzero((size > wanted)[slot]), np.flatnonzero(size < wanted)
        strength = (adjacency[nodes] @ indicator(slot, parts)).toarray()
        gain = strength[:, small] - strength[np.arange(len(nodes)), slot[nodes]][:, None]
        i, j = np.unravel_index(gain.argmax(), gain.shape)
        size[slot[nodes[i]]] -= 1
        size[small[j]] += 1
        slot[nodes[i]] = small[j]
    return slot


def indicator(part: np.ndarray, parts: int) -> sp.csr_array:
    """float64 [N, parts], 1 at the part of each node; a row of 0 where that is none of 0, ..., parts - 1."""
    rows = np.flatnonzero((part >= 0) & (part < parts))
    return sp.csr_array((np.ones(len(rows)), (rows, part[rows])), shape=(len(part), parts))


def given(edges: Edges, slot: np.ndarray) -> Parts:
    """The record of a partition that is there already.

    Args:
        slot: int [N], the number of each node's part within its graph; -1 where the row is not present.
    """
    counts = np.zeros(edges.num_graphs, int)
    np.maximum.at(counts, edges.graph_ids, slot + 1)
    return _records([edges], [Slots(np.asarray(slot), counts, np.zeros(len(slot), bool))], weighted=False)[0]


def _records(edge_sets: list[Edges], found: list[Slots], weighted: bool) -> list[Parts]:
    parts = max(int(f.counts.sum()) for f in found)
    parted = [
        np.where(f.slot < 0, parts, f.slot + (np.cumsum(f.counts) - f.counts)[e.graph_ids])
        for e, f in zip(edge_sets, found, strict=True)
    ]
    room = max(int(np.bincount(p[p < parts], minlength=1).max()) for p in parted)
    most = max(int(f.counts.max(initial=0)) for f in found)
    shape = parts, room, most
    return [_record(*each, shape, weighted) for each in zip(edge_sets, found, parted, strict=True)]


def _record(edges: Edges, found: Slots, part: np.ndarray, shape: tuple[int, int, int], weighted: bool) -> Parts:
    (parts, room, most), n, graphs = shape, edges.num_nodes, edges.num_graphs
    size = np.bincount(part, minlength=parts + 1)[:parts]
    order = np.lexsort((np.arange(n), found.late, part))[: size.sum()]  # members, part after part
    members = table(np.split(order, np.cumsum(size)[:-1]) if parts else [], room, n, parts)
    local = np.zeros(n, np.int32)
    local[order] = np.arange(len(order)) - np.repeat(np.cumsum(size) - size, size)
    graph = np.repeat(np.arange(graphs), found.counts)
    slot = np.concatenate([np.zeros(0, int), *map(np.arange, found.counts)])
    more = parts - len(graph)
    strength, at = edges.adjacency(weighted).tocoo(), edges.graph_ids
    every = np.bincount(at[strength.row], strength.data, graphs)
    lost = np.bincount(at[strength.row], strength.data * (part[strength.row] != part[strength.col]), graphs)
    return Parts(
        part=jnp.asarray(part, jnp.int32),
        local=jnp.asarray(local),
        members=jnp.asarray(members),
        valid=jnp.asarray(members < n),
        size=jnp.asarray(size, jnp.int32),
        graph=jnp.asarray(np.append(graph, np.full(more, graphs)), jnp.int32),
        slot=jnp.asarray(np.append(slot, np.zeros(more)), jnp.int32),
        of_graph=jnp.asarray(table(np.split(np.arange(len(graph)), np.cumsum(found.counts)[:-1]), most, parts)),
        cut=jnp.asarray(lost / np.where(every > 0, every, 1)),
    )
