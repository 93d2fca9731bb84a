"""The quotient graph of a partition: which parts are joined, by how many edges."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from fusion_jax.graphs import Array
from fusion_jax.structures.base import Maker, Structure


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Joined:
    """The parts of every graph as nodes; P is here the largest number of parts of a graph, in the order of slots.

    Attributes:
        counts: int32 [G, P, P], symmetric, the edges between two parts; 0 on the diagonal and in padding.
    """

    counts: Array

    @property
    def adjacent(self) -> Array:  # bool [G, P, P]
        return self.counts > 0

    def permuted(self, order: Array) -> Joined:
        del order  # no node is named here
        return self

    def report(self) -> dict[str, float]:
        counts = np.asarray(self.counts)
        return dict(edges=int(counts.sum()) // 2, joined=int((counts > 0).sum()) // 2)


class Quotient(Maker):
    """Counts of the edges between different parts of a partition.

    Args:
        parts, size, weighted, seed: of the partition, which the record of `Structure("partition", ...)` with these is.
    Raises:
        ValueError: options that the partition refuses.
    """

    def __init__(
        self, *, parts: int | str | None = None, size: int | None = None, weighted: bool = False, seed: int = 0
    ):
        self.uses = (Structure("partition", dict(parts=parts, size=size, weighted=weighted, seed=seed)),)

    def make(self, edge_sets, used, earlier=None) -> list[Joined]:
        (partitions,) = used
        slots = max(int(np.asarray(p.slot).max(initial=-1)) + 1 for p in partitions)
        records = []
        for edges, parts in zip(edge_sets, partitions, strict=True):
            between = edges.adjacency().tocoo()
            at = edges.graph_ids[between.row]
            p, q = (np.asarray(parts.slot)[np.asarray(parts.part)[ids]] for ids in (between.row, between.col))
            counts = np.zeros((edges.num_graphs, slots, slots), np.int32)
            np.add.at(counts, (at, p, q), p != q)
            records.append(Joined(jnp.asarray(counts)))
        return records
