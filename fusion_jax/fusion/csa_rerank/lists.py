"""For every node the list that is ranked anew, the anchors it is described by, and the affinities of the two."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fusion_jax.graphs import Graph
from fusion_jax.nn.within_graph import blocks
from fusion_jax.records import Array

BLOCK = 256  # nodes whose similarities to all others of their graph are held at a time
UNRELATED = -2.0  # the rank of who shares no modality, behind every mean of cosines


class Lists(NamedTuple):
    """For each of L lists K nodes, the list's own at position 0.

    Attributes:
        rows: int32 [L, K], ids of nodes.
        valid: bool [L, K], false behind the last.
    """

    rows: Array
    valid: Array

    def gather(self, x: Array) -> Array:
        """x [N, ...] -> [L, K, ...], 0 where not valid."""
        valid = self.valid.reshape(*self.valid.shape, *[1] * (x.ndim - 1))
        return jnp.where(valid, x[self.rows], jnp.zeros((), x.dtype))

    def joined(self, other: Lists) -> Lists:
        """This list, and behind it the entries of the other that are not in it."""
        known = _among(other.rows, self.rows, self.valid)
        valid = jnp.concatenate([self.valid, other.valid & ~known], 1)
        return Lists(jnp.concatenate([self.rows, other.rows], 1), valid)


def candidates_and_anchors(
    u: Array, mask: Array, train: Array, graph: Graph, candidates: int, anchors: int, edges: bool = True
) -> tuple[Lists, Lists]:
    """Of every node of a graph itself and K candidates [N, K + 1], and itself and A - 1 anchors [N, A], best first.

    Two nodes are as near as the mean of their cosines over the modalities that both have; who has none in common with a
    node is not near it. Candidates are the nodes of the graph that a node receives from, nearest first, then the
    nearest others; anchors the nearest of those in `train`. Of equally near nodes those with smaller ids come first.

    Args:
        u: [N, M, D], unit vectors, 0 where masked.
        mask: bool [N, M], false at rows that stand for no node.
        train: bool [N].
        edges: whether those a node receives from come first among the candidates.
    """
    n, there = len(u), mask.any(1)
    flat = u.reshape(n, -1)
    few = max(anchors - 1, 1)  # no map returns rows of nothing
    near, others = _nearest(flat, mask, train, graph, candidates, few)
    if edges and graph.num_edges:
        first = _neighbours(flat, mask, graph, candidates)
        near = _packed(first.joined(near), candidates)
    itself = Lists(jnp.arange(n, dtype=jnp.int32)[:, None], there[:, None])
    near, others = (
        Lists(part.rows[:, :count], part.valid[:, :count])
        for part, count in ((near, candidates), (others, anchors - 1))
    )
    return tuple(
        Lists(*(jnp.concatenate(pair, 1) for pair in zip(itself, part, strict=True))) for part in (near, others)
    )


def affinity(u: Array, mask: Array, items: Lists, anchors: Lists) -> Array:
    """S [L, K, A]: the mean over the modalities that both have of u_k . u_a; 0 without any, and where not valid."""

    def one(k: Lists, a: Lists) -> Array:
        k, a = (Lists(part.rows[None], part.valid[None]) for part in (k, a))
        dots = jnp.einsum("lkmd,lamd->lka", k.gather(u), a.gather(u))
        both = jnp.einsum("lkm,lam->lka", k.gather(mask).astype(u.dtype), a.gather(mask).astype(u.dtype))
        return (dots / jnp.maximum(both, 1))[0]

    return jax.lax.map(lambda pair: one(*pair), (items, anchors), batch_size=min(BLOCK, len(items.rows)))


def _nearest(flat: Array, mask: Array, train: Array, graph: Graph, many: int, few: int) -> tuple[Lists, Lists]:
    """The `many` nearest nodes of each one's graph, itself left out, and the `few` nearest in `train`."""
    held = blocks(graph, len(flat))
    given = held.gather(flat), held.gather(mask), held.gather(train)
    size = held.rows.shape[1]

    def top(score: Array, allowed: Array, count: int) -> tuple[Array, Array]:
        found, at = jax.lax.top_k(jnp.where(allowed, score, -jnp.inf), min(count, size))
        room = (0, count - len(at))
        return jnp.pad(at, room), jnp.pad(found > -jnp.inf, room)

    def of_graph(flat: Array, mask: Array, train: Array):
        own = mask.astype(flat.dtype)

        def of_node(i, x, has):
            both = own @ has
            allowed = (both > 0) & (jnp.arange(size) != i)
            score = (flat @ x) / jnp.maximum(both, 1)
            return top(score, allowed, many), top(score, allowed & train, few)

        rows = jnp.arange(size), flat, own
        return jax.lax.map(lambda row: of_node(*row), rows, batch_size=min(BLOCK, size))

    at_a_time = min(max(BLOCK // size, 1), len(held.rows))
    found = jax.lax.map(lambda block: of_graph(*block), given, batch_size=at_a_time)

    def to_ids(places: Array, valid: Array) -> Lists:
        ids = jax.vmap(lambda rows, places: rows[places])(held.rows, places)  # [G, B, .]
        return Lists(held.scatter(ids).astype(jnp.int32), held.scatter(valid))

    return tuple(to_ids(*part) for part in found)


def _neighbours(flat: Array, mask: Array, graph: Graph, width: int) -> Lists:
    """The `width` nearest of those each node receives from, once each, itself left out."""
    s, r = graph.senders, graph.receivers
    own, there = mask.astype(flat.dtype), mask.any(1)

    def score(ends):
        s, r = ends
        both = own[s] @ own[r]
        return jnp.where(both > 0, flat[s] @ flat[r] / jnp.maximum(both, 1), UNRELATED)

    near = jax.lax.map(score, (s, r), batch_size=min(BLOCK, len(s)))
    again = (s == jnp.roll(s, 1)) & (r == jnp.roll(r, 1)) & (jnp.arange(len(s)) > 0)  # edges are sorted by both
    counts = (s != r) & there[s] & there[r] & ~again
    order = jnp.lexsort((jnp.where(counts, -near, jnp.inf), r))
    total = jax.ops.segment_sum(counts.astype(jnp.int32), r, graph.num_nodes, indices_are_sorted=True)
    column = jnp.arange(width, dtype=graph.row_ptr.dtype)
    place = jnp.minimum(graph.row_ptr[:-1, None] + column, len(s) - 1)
    return Lists(s[order][place].astype(jnp.int32), column < total[:, None])


def _packed(lists: Lists, width: int) -> Lists:
    """The first `width` valid entries."""
    order = jnp.argsort(~lists.valid, axis=1, stable=True)[:, :width]
    return Lists(*(jnp.take_along_axis(part, order, axis=1) for part in lists))


def _among(rows: Array, known: Array, valid: Array) -> Array:
    """bool [L, K]: which of rows [L, K] are among the valid ones of known [L, J]."""
    return ((rows[:, :, None] == known[:, None]) & valid[:, None]).any(-1)
