"""Attention in two levels: every part chooses a few parts by its mean query, its nodes attend to the nodes of those.

Reference: Zhu et al., "BiFormer: Vision Transformer with Bi-Level Routing Attention", CVPR 2023 (arXiv 2303.08810);
code rayleizhu/BiFormer, commit 1697bbb, `ops/bra_legacy.py`. Golden `biformer`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.layers.base import GraphLayer
from fusion_jax.nn import segment
from fusion_jax.nn.attention import attend, masked_softmax
from fusion_jax.nn.neighbour_mean import NeighbourScale
from fusion_jax.nn.parts import Table, along_pairs, of_graphs
from fusion_jax.nn.presence import reached_in_graph, zero_absent
from fusion_jax.records import EVALUATION, Array, Attention, Info
from fusion_jax.structures.base import declare

STD = 27**-0.5  # of the nine weights of a channel that the reference starts from


class Routing(NamedTuple):
    """The parts that every part looks at, the best first.

    Attributes:
        index: int32 [G, S, k], their numbers within the graph.
        weight: [G, S, k], softmax of their scores.
        valid: bool [G, S, k], false where there are not so many that have a node.
        score: [G, S, S], scaled product of the mean query and the mean key.
    """

    index: Array
    weight: Array
    valid: Array
    score: Array


class _Seen(NamedTuple):
    """What `Biformer.attend` returns, who is routed where, where the nodes stand, and the values [N, D]."""

    out: Array
    weights: Array
    seen: Array
    routing: Routing
    table: Table
    value: Array


class Biformer(GraphLayer):
    """y_i = (concat_h(sum_j a_ij v_j) + l * v_i + n * mean_{N(i)} v + c) W_o + b_o, a = softmax_j(q_i . k_j / sqrt(D)).

    [q, k, v] = x W + b. j runs over the nodes of the `topk` parts R of i's graph that its own part P likes best, by the
    product of the mean query of P and the mean key of R / sqrt(D). A part need not like itself. The scale of both
    levels is that of the full width D, not of a head's.

    Ours: parts of a balanced partition of the graph in the place of a grid of windows, means and keys of the present
    nodes alone, no part without one; l, n and c [D] in the place of a depthwise convolution of v. By the published
    blocks, more parts are seen the deeper the layer is: 1, 4, 16 and all of 49.

    Args:
        heads: H, divides `out`, the width of q, k and v.
        parts: the number of parts of each graph; or "sqrt", the square root of its number of nodes.
        size: in its place the largest size of a part.
        weighted: parts cut little edge weight in the place of few edges.
        topk: k >= 1, of parts; from their number on this is attention to the whole graph.
        soft_routing: whether keys and values are multiplied by their part's share in the softmax over the k scores.
        diff_routing: whether gradients flow through those shares.
        local: whether there are l, n and c.
        rate: dropout on the attention weights of nodes.
    Raises:
        ValueError: heads do not divide the width, topk below 1, `diff_routing` without `soft_routing`, or options that
            the partition refuses.
    """

    info = Info(
        "Zhu et al., BiFormer: Vision Transformer with Bi-Level Routing Attention",
        2023,
        pinned="authors' code",
        golden="biformer",
        cost="O(P^2 D + N k B D + N D^2), P parts of B nodes",
        needs=("graph",),
    )

    def __init__(
        self,
        dim: int,
        out: int | None = None,
        *,
        heads: int = 4,
        parts: int | str = "sqrt",
        size: int | None = None,
        weighted: bool = False,
        topk: int = 4,
        soft_routing: bool = False,
        diff_routing: bool = False,
        local: bool = True,
        rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        name, out = "graph layer 'biformer'", dim if out is None else out
        if heads < 1 or out % heads:
            raise ValueError(f"{name}: heads={heads} does not divide the width D={out}")
        if type(topk) is not int or topk < 1:
            raise ValueError(f"{name}: topk={topk!r}; expected an integer >= 1")
        if diff_routing and not soft_routing:
            raise ValueError(f"{name}: diff_routing=True with soft_routing=False, where no weight of routing is used")
        parts = None if size is not None and parts == "sqrt" else parts
        self.structures = (declare(name, "partition", parts=parts, size=size, weighted=weighted),)
        self.qkv, self.proj = nnx.Linear(dim, 3 * out, rngs=rngs), nnx.Linear(out, out, rngs=rngs)
        self.enhance = NeighbourScale(out, std=STD, rngs=rngs) if local else None
        self.heads, self.topk, self.rate, self.scale = heads, topk, rate, out**-0.5
        self.soft_routing, self.diff_routing = soft_routing, diff_routing

    def route(self, q: Array, k: Array, there: Array) -> Routing:
        """Routing by the means of q and k [G, S, B, D] over the places that are there, bool [G, S, B]."""
        if not self.diff_routing:
            q, k = jax.lax.stop_gradient((q, k))
        return route(means(q, there), means(k, there), there.any(-1), self.topk, scale=self.scale)

    def attend(
        self,
        q: Array,  # [G, S, B, D]
        k: Array,  # [G, S, C, D]
        v: Array,  # [G, S, C, D]
        there: Array,  # bool [G, S, C], the keys that may be seen
        routing: Routing,
        *,
        key: Array | None = None,
    ) -> tuple[Array, Array, Array]:
        """Attention of the places of every part to those of the parts it is routed to.

        Returns:
            out [G, S, B, D], weights [G, S, H, B, k C] in the order of `routing`, and bool [G, S, k C], the keys seen.
        """
        seen = (routed(there, routing.index) & routing.valid[..., None]).reshape(*there.shape[:2], -1)
        k, v = (routed(x, routing.index) for x in (k, v))  # [G, S, k, C, D]
        if self.soft_routing:
            k, v = (x * routing.weight[..., None, None] for x in (k, v))
        q, k, v = (x.reshape(*x.shape[:2], -1, self.heads, x.shape[-1] // self.heads) for x in (q, k, v))
        out, weights = attend(q, k, v, seen, scale=self.scale, rate=self.rate, key=key)
        return out.reshape(*out.shape[:3], -1), weights, seen

    def _attended(self, x: Array, graph: Graph, present: Array | None, key: Array | None) -> _Seen:
        table = of_graphs(graph.structure(self.structures[0]))
        qkv = jnp.split(self.qkv(zero_absent(x, present)), 3, axis=-1)
        held, there = [table.gather(a) for a in qkv], table.there(present)
        routing = self.route(*held[:2], there)
        return _Seen(*self.attend(*held, there, routing, key=key), routing, table, qkv[2])

    def attention(self, x, graph, present, context) -> tuple[Attention, ...]:
        """Weights [G S B k B, H] along the pairs of a node and one its part is routed to, and [G, S, S] of routing."""
        del context
        _, weights, seen, routing, table, _ = self._attended(x, graph, present, None)
        keys = routed(table.ids, routing.index).reshape(*seen.shape)
        tables = (a.reshape(-1, *a.shape[2:]) for a in (weights, table.ids, keys, seen))
        chosen = routing.index[..., None] == jnp.arange(table.ids.shape[1], dtype=jnp.int32)  # [G, S, k, S]
        chosen = chosen & routing.valid[..., None]
        share, valid = jnp.where(chosen, routing.weight[..., None], 0).sum(-2), chosen.any(-2)
        return (
            along_pairs("attention", *tables, len(x)),
            Attention("routing", share, ("graph", "query", "part"), "part", "part", valid=valid, scores=routing.score),
        )

    def reached(self, present, graph):
        return reached_in_graph(present, graph)

    def __call__(self, x, graph, present=None, context=EVALUATION):
        found = self._attended(x, graph, present, context.key)
        out = found.table.scatter(found.out)
        return self.proj(out if self.enhance is None else out + self.enhance(found.value, graph, present))


def means(x: Array, there: Array) -> Array:
    """The mean of x [..., B, D] over the places that are there, bool [..., B]; 0 where there are none."""
    held = there[..., None]
    return jnp.where(held, x, 0).sum(-2) / jnp.maximum(held.sum(-2), 1).astype(x.dtype)


def route(q: Array, k: Array, some: Array, topk: int, *, scale: float) -> Routing:
    """The `topk` parts (fewer where a graph has not so many) with the largest scale q_r . k_s, q and k [G, S, D].

    Args:
        some: bool [G, S], the parts that hold somebody; others are chosen by none.
    """
    score = jnp.einsum("grd,gsd->grs", scale * q, k)
    seen = jnp.broadcast_to(some[:, None], score.shape)
    top, index = jax.lax.top_k(jnp.where(seen, score, -jnp.inf), min(topk, score.shape[-1]))
    valid = jnp.isfinite(top)
    return Routing(index, masked_softmax(top, valid), valid, score)


def routed(x: Array, index: Array) -> Array:
    """x [G, S, ...] of the parts index int [G, S, k] of the same graph -> [G, S, k, ...]; no gradient is a scatter."""
    graphs, parts = x.shape[:2]
    rows = x.reshape(graphs * parts, *x.shape[2:])
    ids = index + (parts * jnp.arange(graphs, dtype=index.dtype))[:, None, None]
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return rows[ids]
    flat = ids.reshape(-1)
    order = jnp.argsort(flat).astype(jnp.int32)
    ends = jnp.searchsorted(flat[order], jnp.arange(graphs * parts + 1, dtype=flat.dtype)).astype(jnp.int32)
    return segment.gather(rows, ids, order, ends)
