"""Pairs of nodes that are two edges apart, as edges of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from fusion_jax.arrays import refuse
from fusion_jax.graphs import Array
from fusion_jax.structures.base import Edges, Maker, moved

BLOCK = 2**22  # paths of two edges that are held at a time


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pairs:
    """Edges j -> i for the paths j -> k -> i, sorted by receiver, then sender.

    Attributes:
        senders, receivers: int32 [E2]; N where `valid` is false, behind all others.
        row_ptr: int32 [N + 1]; the pairs that node i receives are row_ptr[i]:row_ptr[i + 1].
        by_sender: int32 [E2]; the pair ids sorted by sender, then receiver (the reverse order, for gradients).
        sender_ptr: int32 [N + 1]; row pointers of that reverse order.
        valid: bool [E2].
    """

    senders: Array
    receivers: Array
    row_ptr: Array
    by_sender: Array
    sender_ptr: Array
    valid: Array

    def permuted(self, order: Array) -> Pairs:
        senders, receivers = moved(self.senders, order), moved(self.receivers, order)
        place = jnp.lexsort((senders, receivers))
        senders, receivers = senders[place], receivers[place]
        by_sender = jnp.lexsort((receivers, senders)).astype(self.by_sender.dtype)
        pointers = _reordered(self.row_ptr, order), _reordered(self.sender_ptr, order)
        return Pairs(senders, receivers, pointers[0], by_sender, pointers[1], self.valid)

    def report(self) -> dict[str, float]:
        count = np.diff(np.asarray(self.row_ptr))
        total, heard = int(count.sum()), int((count > 0).sum())
        return dict(pairs=total, receivers=heard, mean=total / max(heard, 1), largest=int(count.max(initial=0)))


class TwoHop(Maker):
    """The pairs of different nodes j, i with a directed path j -> k -> i, each once.

    Args:
        exact: without the pairs that an edge j -> i joins too.
        limit: of their number; five million messages of 64 floats take 1.3 GB.
    Raises:
        ValueError: a limit that is no integer >= 1; when made, more pairs than the limit, naming the node that most
            paths go through.
    """

    def __init__(self, *, exact: bool = True, limit: int = 5_000_000):
        if type(limit) is not int or limit < 1:
            refuse("structure 'two_hop'", f"limit={limit!r}", "an integer >= 1")
        self.exact, self.limit = exact, limit

    def make(self, edge_sets, used=(), earlier=None) -> list[Pairs]:
        found = [self.pairs(edges) for edges in edge_sets]
        room = max(len(senders) for senders, _ in found)
        return [_record(e.num_nodes, *each, room) for e, each in zip(edge_sets, found, strict=True)]

    def pairs(self, edges: Edges) -> tuple[np.ndarray, np.ndarray]:
        """senders and receivers, sorted by receiver, then sender."""
        n, found, count = edges.num_nodes, [], 0
        direct = edges.receivers * n + edges.senders  # ascending
        for senders, receivers in _paths(edges):
            keep = senders != receivers
            if self.exact:
                keep &= ~np.isin(receivers * n + senders, direct)
            found.append((senders[keep], receivers[keep]))
            count += len(found[-1][0])
            if count > self.limit:
                heard, told = (np.bincount(ids, minlength=n) for ids in (edges.receivers, edges.senders))
                hub = int((heard * told).argmax())
                raise ValueError(
                    f"more than limit={self.limit} pairs; most paths go through node {hub}, which has {heard[hub]} "
                    f"senders and {told[hub]} receivers"
                )
        senders, receivers = (np.concatenate([np.zeros(0, int), *ids]) for ids in zip(*found, strict=True))
        return senders, receivers


def _paths(edges: Edges) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The ends (senders, receivers) of the paths of two edges, each pair once, a block of receivers at a time."""
    incoming = edges.incoming()
    block = np.cumsum(incoming @ np.diff(incoming.indptr)) // BLOCK
    for rows in np.split(np.arange(edges.num_nodes), np.flatnonzero(np.diff(block)) + 1):
        two = (incoming[rows] @ incoming).tocsr()
        two.sort_indices()
        yield two.indices.astype(np.int64), np.repeat(rows, np.diff(two.indptr))


def _reordered(pointers: Array, order: Array) -> Array:
    """Row pointers of the rows in another order."""
    counts = jnp.diff(pointers)[order]
    return jnp.concatenate([pointers[:1], jnp.cumsum(counts)]).astype(pointers.dtype)


def _record(n: int, senders: np.ndarray, receivers: np.ndarray, room: int) -> Pairs:
    def pointers(ids):
        return np.concatenate([[0], np.cumsum(np.bincount(ids, minlength=n))])

    ends = (np.append(ids, np.full(room - len(ids), n)) for ids in (senders, receivers))
    order = np.append(np.lexsort((receivers, senders)), np.arange(len(senders), room))
    held = (*ends, pointers(receivers), order, pointers(senders))
    return Pairs(*(jnp.asarray(a, jnp.int32) for a in held), jnp.asarray(np.arange(room) < len(senders)))
