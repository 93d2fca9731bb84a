"""Attention of every modality of every node to all others of its graph, as a kernel machine solved in its primal form.

Reference: Chen, Tao, Tonin and Suykens, "Primal-Attention: Self-attention through Asymmetric Kernel SVD in Primal
Representation", 2023 (arXiv 2305.19798); code yingyichen-cyy/PrimalAttention at 084d122 (`PrimalAttention_TimeSeries`,
`PrimalAttention_LRA`). Golden `primal-attention`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion, check_heads
from fusion_jax.graphs import Graph
from fusion_jax.nn.directional_attention import unit
from fusion_jax.nn.dropout import dropout, split_key
from fusion_jax.nn.init import masked_mean, stack
from fusion_jax.nn.mlp import gelu
from fusion_jax.nn.norm import layer_norm
from fusion_jax.nn.pooling import at_nodes
from fusion_jax.records import Array, Fused, Info, Tokens
from fusion_jax.zoo import nearest

TRACES, MEANS = ("weights", "data"), ("graph", "batch")


def sampled(valid: Array, graph: Graph, samples: int) -> Array:
    """int [G, n] places in the N M tokens, node by node: of the V valid ones of each graph floor(j (V - 1) / (n - 1)).

    In whole numbers; where V < n some come more than once. Of a graph without a token they mean nothing.
    """
    size = graph.jraph.n_node * valid.shape[1]
    upto = jnp.cumsum(valid.ravel().astype(size.dtype))
    ends, before = jnp.cumsum(size), jnp.concatenate([jnp.zeros_like(upto[:1]), upto])
    first = before[ends - size][:, None]
    last = jnp.maximum(before[ends][:, None] - first - 1, 0)  # V - 1
    steps, j = max(samples - 1, 1), jnp.arange(samples, dtype=size.dtype)
    rank = j * (last // steps) + j * (last % steps) // steps  # j (V - 1) itself may be more than 32 bits hold
    return jnp.minimum(jnp.searchsorted(upto, first + rank + 1), len(upto) - 1)


def energy(score: Array, inverse: Array) -> Array:
    """|s Lambda|^2 / 2 of the scores [..., H, s] under Lambda [H, s], mean over heads: [...]."""
    return ((score * inverse) ** 2).sum(-1).mean(-1) / 2


def objective(energy: Array, trace: Array, valid: Array, graph: Graph, means: str = "graph") -> tuple[Array, Array]:
    """J = mean of the valid tokens' energy [N, M] less the trace [G], and which graphs have a token, both [G].

    With means="batch" the means are over all tokens and graphs together, and both are [1].
    """
    total, count = _sum(jnp.where(valid, energy, 0), graph), _sum(valid.astype(energy.dtype), graph)
    trace, there = jnp.broadcast_to(trace, count.shape), count > 0
    if means == "batch":
        graphs = jnp.maximum(there.sum(), 1).astype(energy.dtype)
        trace, there = (jnp.where(there, trace, 0).sum() / graphs)[None], there.any()[None]
        total, count = total.sum()[None], count.sum()[None]
    return jnp.where(there, total / jnp.maximum(count, 1) - trace, 0), there


def squared(j: Array, there: Array) -> Array:
    """Mean of J^2 [..., G] over the graphs that have a token: squared first."""
    return jnp.where(there, j**2, 0).sum(-1) / jnp.maximum(there.sum(), 1).astype(j.dtype)


def _sum(x: Array, graph: Graph) -> Array:
    """x [N, M] over the tokens of each graph, [G]."""
    return jax.ops.segment_sum(x.sum(1), graph.graph_ids, graph.num_graphs, indices_are_sorted=True)


class Scores(NamedTuple):
    """What an attention computes of tokens [N, M], in order.

    Attributes:
        queries, keys: [N, M, H, d], of length 1.
        we, wr: [G, H, d, s], the projections that the sampled tokens make.
        e, r: [N, M, H, s].
        out: [N, M, D].
    """

    queries: Array
    keys: Array
    we: Array
    wr: Array
    e: Array
    r: Array
    out: Array


class PrimalCosine(nnx.Module):
    """out = W [e; r] + b, e = phi(q) we, r = phi(k) wr, phi(u) = u / |u|; W and b are those of all heads.

    `Lambda` [H, s] is used by the loss alone.
    """

    def __init__(self, head_dim: int, heads: int, rank: int, *, rngs: nnx.Rngs):
        self.Lambda = nnx.Param(jax.random.uniform(rngs.params(), (heads, rank), jnp.float32))
        self.concate_weight = nnx.Linear(2 * rank, head_dim, rngs=rngs)

    def __call__(self, q: Array, k: Array, we: Array, wr: Array) -> tuple[Array, Array, Array]:
        """q, k [..., H, d] of length 1, we, wr [..., H, d, s] -> out [..., H, d], e and r [..., H, s]."""
        e, r = (jnp.einsum("...hd,...hds->...hs", phi, w) for phi, w in ((q, we), (k, wr)))
        return self.concate_weight(jnp.concatenate([e, r], axis=-1)), e, r


class PrimalLayer(nnx.Module):
    """z = LN1(x + attention(x)); LN2(z + W2 gelu(W1 z)).

    Args:
        dim: D.
        heads, rank, samples: H, s and n.
        hidden: width between W1 and W2.
        rate: dropout behind the attention, gelu and W2.
    """

    def __init__(self, dim: int, heads: int, rank: int, samples: int, hidden: int, *, rate: float, rngs: nnx.Rngs):
        def projection(key):
            # As PyTorch's orthogonal_ has three axes: each head's matrix as one vector of length 1, orthogonal to the
            # other heads'; its columns are not orthogonal to each other.
            flat = nnx.initializers.orthogonal()(key, (heads, samples * rank), jnp.float32)
            return nnx.Param(flat.reshape(heads, samples, rank))

        self.query_projection, self.key_projection = (nnx.Linear(dim, dim, rngs=rngs) for _ in range(2))
        self.We, self.Wr = projection(rngs.params()), projection(rngs.params())
        self.inner_attention = PrimalCosine(dim // heads, heads, rank, rngs=rngs)
        self.out_projection = nnx.Linear(dim, dim, rngs=rngs)
        self.conv1, self.conv2 = nnx.Linear(dim, hidden, rngs=rngs), nnx.Linear(hidden, dim, rngs=rngs)
        self.norm1, self.norm2 = layer_norm(dim, rngs=rngs), layer_norm(dim, rngs=rngs)
        self.heads, self.rate = heads, rate

    def _split(self, x: Array) -> Array:
        return x.reshape(*x.shape[:-1], self.heads, -1)

    def attention(self, x: Array, index: Array, graph: Graph) -> Scores:
        """x [N, M, D]; index [G, n], the tokens that are sampled of each graph."""
        q, k = unit(self._split(self.query_projection(x))), unit(self._split(self.key_projection(x)))
        seen = self._split(x.reshape(-1, x.shape[-1])[index])  # [G, n, H, d], of x itself, no query or key
        we, wr = (jnp.einsum("gnhd,hns->ghds", seen, w[...]) for w in (self.We, self.Wr))
        at = [w[0] if len(w) == 1 else at_nodes(w, graph, len(x))[:, None] for w in (we, wr)]
        heads, e, r = self.inner_attention(q, k, *at)
        return Scores(q, k, we, wr, e, r, self.out_projection(heads.reshape(x.shape)))

    def objective(self, scores: Scores, valid: Array, graph: Graph, trace: str, means: str) -> tuple[Array, Array]:
        """J and who has one, as `objective` returns them."""
        inverse = self.inner_attention.Lambda[...]
        left, right = (self.We[...], self.Wr[...]) if trace == "weights" else (scores.we, scores.wr)
        of_heads = (left * right).sum((-1, -2)).mean(-1)  # the mean over heads of trace(left^T right); [G] of data
        return objective(energy(scores.e, inverse) + energy(scores.r, inverse), of_heads, valid, graph, means)

    def after(self, x: Array, attended: Array, *, key: Array | None = None) -> Array:
        """The rest of the layer, of x and what its attention returns, [..., D]."""
        first, inner, outer = split_key(key, 3)
        z = self.norm1(x + dropout(attended, self.rate, first))
        step = self.conv2(dropout(gelu(self.conv1(z)), self.rate, inner))
        return self.norm2(z + dropout(step, self.rate, outer))


class PrimalAttention(Fusion):
    """out = mean over the present m of x_m behind `depth` layers; all tokens (i, m) of a graph are one sequence.

        X_s   n tokens at places floor(linspace(0, V - 1, n)) of the graph's V present ones, node by node, as heads
        we    X_s^T We, wr = X_s^T Wr, [H, d, s]
        e, r  phi(W_q x) we, phi(W_k x) wr, phi(u) = u / |u|
        y     W_o concat_h(W [e_h; r_h] + b) + b_o; there are no values, and no N x N matrix
        J     mean |e Lambda|^2 / 2 + mean |r Lambda|^2 / 2 - trace, of the heads and tokens of a graph

    y is what the attention of a layer adds (`PrimalLayer`). Loss "ksvd" is eta times the mean over layers and graphs of
    J^2, whose zero is the singular value decomposition; state "objective" [N, depth, 1] is J itself of a node's graph.

    A token reads no other but the n sampled ones. Which those are depends on the numbering of the nodes, as positions
    do in the paper: no symmetry is declared. `fuse` takes the places, and with them permuted alongside the nodes
    everything is.

    Ours: tokens, in place of positions of a series, without positional encoding; missing tokens are not sampled and
    leave the means of J; n is a constant where the code takes the length of the series if that is less, so that places
    come several times where V < n. The encoder's last layer norm, and softmax layers in front of the primal one
    ("Primal.+"), which would cost N^2, are left out.

    Args:
        depth: layers.
        heads: H, divides D.
        rank: s.
        samples: n, 10 s if None.
        hidden: width between the layers' last two maps, 4 D if None.
        eta: weight of the loss; with 0 there is none.
        trace: "weights", of We^T Wr, mean over heads; or "data", of we^T wr.
        means: "graph", J of each graph; or "batch", one J of the means over all graphs, as the code for the Long Range
            Arena has it.
        rate: dropout behind the attention and in the two maps.
    Raises:
        ValueError: an option out of its range, heads that do not divide D.
    """

    info = Info(
        "Chen et al., Primal-Attention: Self-attention through Asymmetric Kernel SVD in Primal Representation",
        2023,
        pinned="authors' code",
        golden="primal-attention",
        cost="O(N M D (s + D))",
        needs=("graph",),
    )
    placements = ("before", "after", "interleaved")  # the heads do not divide every number of classes
    symmetries = ()

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        depth: int = 2,
        heads: int = 8,
        rank: int = 20,
        samples: int | None = None,
        hidden: int | None = None,
        eta: float = 0.1,
        trace: str = "weights",
        means: str = "graph",
        rate: float = 0.1,
        rngs: nnx.Rngs,
    ):
        del modalities  # any number of tokens
        check_heads("primal_attention", dim, heads)
        samples, hidden = 10 * rank if samples is None else samples, 4 * dim if hidden is None else hidden
        for name, value in dict(depth=depth, rank=rank, samples=samples, hidden=hidden).items():
            _expect(value >= 1, f"{name}={value!r}", "an integer >= 1")
        _expect(eta >= 0, f"eta={eta!r}", "a number >= 0")
        _expect(trace in TRACES, f"trace={trace!r}{nearest(trace, TRACES)}", f"one of {', '.join(TRACES)}")
        _expect(means in MEANS, f"means={means!r}{nearest(means, MEANS)}", f"one of {', '.join(MEANS)}")
        self.layers = stack(lambda r: PrimalLayer(dim, heads, rank, samples, hidden, rate=rate, rngs=r), depth, rngs)
        self.depth, self.samples, self.eta, self.trace, self.means = depth, samples, eta, trace, means

    def nodes(self, x, mask, graph, context):
        return self.fuse(x, mask, graph, sampled(_valid(mask, graph), graph, self.samples), key=context.key)

    def fuse(self, x: Array, mask: Array, graph: Graph, index: Array, *, key: Array | None = None) -> Fused:
        """The call with the places index int [G, n] of the sampled tokens given, x [N, M, D] 0 where missing."""
        valid, keys = _valid(mask, graph), None if key is None else jax.random.split(key, self.depth)

        @jax.checkpoint  # 2.8 times less memory in training
        def step(h, layer_and_key):
            layer, key = layer_and_key
            scores = layer.attention(h, index, graph)
            j, there = layer.objective(scores, valid, graph, self.trace, self.means)
            return layer.after(h, scores.out, key=key), (j, there)

        h, (j, there) = jax.lax.scan(step, x, (self.layers, keys))
        losses = {"ksvd": self.eta * squared(j, there[0]).mean()} if self.eta else {}
        at = graph.graph_ids if self.means == "graph" else jnp.zeros_like(graph.graph_ids)
        known = jnp.broadcast_to(valid.any(1)[:, None], (len(x), self.depth))
        shown = Tokens("objective", j.T[at][..., None], known, "layer")
        return Fused(masked_mean(h, valid), h, losses=losses, states=(shown,))


def _valid(mask: Array, graph: Graph) -> Array:
    return mask if graph.present is None else mask & graph.present[:, None]


def _expect(holds: bool, found: str, expected: str) -> None:
    if not holds:
        raise ValueError(f"fusion 'primal_attention': {found}; expected {expected}")
