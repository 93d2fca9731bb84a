"""Windows of a partition: each part with its halo, the nodes from which messages reach it.

A window is what all nodes of a part attend to in HaloNet (Vaswani et al., "Scaling Local Self-Attention for Parameter
Efficient Visual Backbones", CVPR 2021), with a part in the place of a block of pixels. Edges are read as directed: a
halo is made of senders.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from fusion_jax.arrays import refuse
from fusion_jax.graphs import Array
from fusion_jax.structures.base import Edges, Maker, Structure, moved, table
from fusion_jax.structures.partition import Parts, indicator


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Halos:
    """The window of every part of the partition; W places in each.

    Attributes:
        ids: int32 [P, W], the members of the part in their order, then its halo by ascending id; N where there is none.
        valid: bool [P, W].
        inside: bool [P, W], true at the members.
        by_node: int32 [P W], the places p W + w sorted by their node (the reverse order, for gradients); those of no
            node last.
        node_ptr: int32 [N + 1]; the places of node i are by_node[node_ptr[i]:node_ptr[i + 1]].
    """

    ids: Array
    valid: Array
    inside: Array
    by_node: Array
    node_ptr: Array

    @classmethod
    def of(cls, ids: np.ndarray, inside: np.ndarray, num_nodes: int) -> Halos:
        """The record of windows that are there already: ids and inside [P, W], on the host."""
        ids = jnp.asarray(ids, jnp.int32)
        return cls(ids, ids < num_nodes, jnp.asarray(inside), *_reverse(ids, num_nodes))

    def permuted(self, order: Array) -> Halos:
        ids = moved(self.ids, order)
        by_node, node_ptr = _reverse(ids, len(order))
        return dataclasses.replace(self, ids=ids, by_node=by_node, node_ptr=node_ptr)

    def report(self) -> dict[str, float]:
        window, block = np.asarray(self.valid).sum(1), np.asarray(self.inside).sum(1)
        real = max(int((block > 0).sum()), 1)
        return dict(
            halo=float((window - block).sum() / real),
            largest=int(window.max(initial=0)),
            ratio=float(window.sum() / max(block.sum(), 1)),
        )


class Windows(Maker):
    """The members of a part, then the nodes outside it with a directed path of at most `hops` edges into it.

    Args:
        parts, size, weighted, seed: of the partition, which the record of `Structure("partition", ...)` with these is.
        hops: 0 for no halo.
    Raises:
        ValueError: hops that are no integer >= 0; options that the partition refuses.
    """

    def __init__(
        self,
        *,
        parts: int | str | None = None,
        size: int | None = None,
        weighted: bool = False,
        seed: int = 0,
        hops: int = 1,
    ):
        if type(hops) is not int or hops < 0:
            refuse("structure 'windows'", f"hops={hops!r}", "an integer >= 0")
        self.uses = (Structure("partition", dict(parts=parts, size=size, weighted=weighted, seed=seed)),)
        self.hops = hops

    def make(self, edge_sets, used, earlier=None) -> list[Halos]:
        found = [self.rows(*each) for each in zip(edge_sets, *used, strict=True)]
        room = max((len(row) for rows in found for row in rows), default=0)
        return [_record(e.num_nodes, *each, room) for e, *each in zip(edge_sets, found, *used, strict=True)]

    def rows(self, edges: Edges, parts: Parts) -> list[np.ndarray]:
        """The ids of each window."""
        n = edges.num_nodes
        block = indicator(np.asarray(parts.part), len(parts.size)).T.tocsr()
        reach, incoming = block, edges.incoming()
        for _ in range(self.hops):
            reach = reach + reach @ incoming
            reach.data[:] = 1
        halo = (reach - block).tocsr()
        halo.eliminate_zeros()
        halo.sort_indices()
        members = np.asarray(parts.members)
        return [np.append(m[m < n], halo.indices[slice(*halo.indptr[p : p + 2])]) for p, m in enumerate(members)]


def _record(n: int, rows: list[np.ndarray], parts: Parts, room: int) -> Halos:
    return Halos.of(table(rows, room, n), np.arange(room) < np.asarray(parts.size)[:, None], n)


def _reverse(ids: Array, num_nodes: int) -> tuple[Array, Array]:
    """`by_node` and `node_ptr` of ids [P, W]."""
    flat = ids.reshape(-1)
    order = jnp.argsort(flat, stable=True)
    ends = jnp.searchsorted(flat[order], jnp.arange(num_nodes + 1, dtype=flat.dtype))
    return order.astype(jnp.int32), ends.astype(jnp.int32)
