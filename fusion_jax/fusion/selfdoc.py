"""SelfDoc: two different cross-attentions between modalities, their tokens being a node and its neighbours.

Reference: Li et al., "SelfDoc: Self-Supervised Document Representation Learning", CVPR 2021
(arXiv 2106.03331). No public code: which stream gives query, key and value, and the order of the steps, are
the paper's figure of a layer; residuals, norms, the gate and everything about graphs and M > 2 are ours.
Golden `selfdoc`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion, check_heads
from fusion_jax.graphs import Graph
from fusion_jax.nn.attention import MultiHeadAttention, masked_softmax
from fusion_jax.nn.dropout import dropout, split_key
from fusion_jax.nn.init import stack
from fusion_jax.nn.mlp import MLP, gelu
from fusion_jax.nn.norm import layer_norm
from fusion_jax.nn.segment import edge_attend, segment_max
from fusion_jax.records import Array, Attention, Fused, Info

NORMAL = nnx.initializers.normal(0.02)
GATES = ("sigmoid", "softmax")
STEPS = ("cross1", "self1", "cross2", "self2")


class Step(NamedTuple):
    """One of the four attentions of a layer."""

    streams: Array  # [N, M, D], after residual and norm (and feed-forward)
    core: Array  # [N, M, D], the attention's output
    weights: Array  # [E, M, H]


def _each(module, x: Array, call=lambda m, x: m(x)) -> Array:
    """Module m of a stack on stream m: x [N, M, ...] -> [N, M, ...]."""
    return jax.vmap(call, in_axes=(0, 1), out_axes=1)(module, x)


class StreamAttention(nnx.Module):
    """y_m = LN(v_m + MHA_m(q_m, k_m, v_m)) over the edges, weights of its own for each of the M streams.

    The residual is the stream that gives the values. With `ffn`: LN(y + W_2 gelu(W_1 y)) behind it.
    """

    def __init__(self, streams: int, dim: int, heads: int, *, ffn: bool, rate: float, rngs: nnx.Rngs):
        self.attention = stack(
            lambda rngs: MultiHeadAttention(dim, heads, kernel_init=NORMAL, rngs=rngs), streams, rngs
        )
        self.norm = stack(lambda rngs: layer_norm(dim, rngs=rngs), streams, rngs)

        def mlp(rngs):
            return MLP(dim, 4 * dim, activation=gelu, kernel_init=NORMAL, rngs=rngs)

        self.mlp = stack(mlp, streams, rngs) if ffn else None
        self.norm2 = stack(lambda rngs: layer_norm(dim, rngs=rngs), streams, rngs) if ffn else None
        self.heads, self.rate = heads, rate

    def core(self, q: Array, k: Array, v: Array, graph: Graph, mask: Array, *, key: Array | None = None):
        """q, k, v [N, M, D], mask bool [E, M] -> attention [N, M, D] and weights [E, M, H].

        A receiver whose edges are all masked gets 0, without the bias of the projections.
        """
        n, m, d = v.shape
        linears = ((self.attention.query, q), (self.attention.key, k), (self.attention.value, v))
        q, k, v = (_each(linear, x).reshape(n, m, self.heads, -1) for linear, x in linears)
        keys = None if key is None else jax.random.split(key, m)

        def one(q, k, v, seen, key):
            return edge_attend(q, k, v, graph, seen, rate=self.rate, key=key)

        axes = (1, 1, 1, 1, None if key is None else 0)
        out, weights = jax.vmap(one, in_axes=axes, out_axes=1)(q, k, v, mask, keys)
        any_seen = segment_max(mask.astype(jnp.int32), graph) > 0
        out = jnp.where(any_seen[..., None], _each(self.attention.out, out.reshape(n, m, d)), 0)
        return out, weights

    def __call__(self, q, k, v, graph, mask, *, key=None) -> Step:
        weights_key, core_key, ffn_key = split_key(key, 3)
        core, weights = self.core(q, k, v, graph, mask, key=weights_key)
        y = _each(self.norm, v + dropout(core, self.rate, core_key))
        if self.mlp is not None:
            y = _each(self.norm2, y + dropout(_each(self.mlp, y), self.rate, ffn_key))
        return Step(y, core, weights)


class CrossModalityLayer(nnx.Module):
    """The four steps on streams x [N, M, D]; p(x)_m is the mean of the other present streams, m's partner.

    1. a = cross1(q = x, k = p(x), v = x): the weights say where the two agree, the content stays one's own.
    2. a = self1(a).
    3. a = cross2(q = p(a), k = p(a), v = a): the partner's pattern mixes one's own content. (The figure has
       it from the pattern's side, whose branch leaves with the other's content; m of `cross2` is here the
       attention whose VALUE is m, so stream m stays stream m.)
    4. a = self2(a).
    """

    def __init__(self, streams: int, dim: int, heads: int, *, ffn: bool, rate: float, rngs: nnx.Rngs):
        def block(ffn):
            return StreamAttention(streams, dim, heads, ffn=ffn, rate=rate, rngs=rngs)

        self.cross1, self.self1, self.cross2, self.self2 = block(False), block(ffn), block(False), block(ffn)

    def __call__(
        self,
        x: Array,  # [N, M, D]
        mask: Array,  # bool [N, M], the streams a node has
        graph: Graph,
        own: Array,  # bool [E, M], edges of the self-attentions
        cross1: Array,  # bool [E, M]
        cross2: Array,  # bool [E, M]
        *,
        key: Array | None = None,
    ) -> tuple[Step, Step, Step, Step]:
        keys = split_key(key, 4)
        p = partner(x, mask)
        first = self.cross1(x, p, x, graph, cross1, key=keys[0])
        a = self.self1(*(first.streams,) * 3, graph, own, key=keys[1])
        p = partner(a.streams, mask)
        second = self.cross2(p, p, a.streams, graph, cross2, key=keys[2])
        b = self.self2(*(second.streams,) * 3, graph, own, key=keys[3])
        return first, a, second, b


def partner(x: Array, mask: Array) -> Array:
    """[N, M, D]: for each stream the mean of the node's other present streams, 0 where there are none."""
    m = mask.shape[1]
    others = mask[:, None, :] & ~jnp.eye(m, dtype=bool)  # [N, M, M]
    total = jnp.einsum("nmo,nod->nmd", others.astype(x.dtype), jnp.where(mask[..., None], x, 0))
    return total / jnp.maximum(others.sum(-1, keepdims=True), 1).astype(x.dtype)


class Selfdoc(Fusion):
    """out = sum_m g_m x_m, g = sigmoid(W_2 leaky_relu(W_1 [x_1; ...; x_M])), after the cross-modality layers.

    Stream m's tokens at node i are modality m of i and of i's senders, so token j is the same node in every
    stream; `tokens` are the streams at i itself. An edge counts for stream m if its sender has m
    (self-attention), or both m and a partner (cross-attention); in the second cross-attention, where the
    partner asks, the receiver needs a partner too. Where no edge counts the attention is 0 and the residual
    stays.

    Attentions are "gate" [N, M] and, on the edges of `graph.looped`, "cross1", "self1", "cross2" and "self2", of
    [layers, E', M, H] each.

    Args:
        layers: number of layers, of four attentions each.
        heads: H, divides D.
        ffn: feed-forward D -> 4 D -> D behind each self-attention; the figure shows none.
        gate: "sigmoid", one gate a modality, or "softmax" over the present ones.
        rate: dropout on the weights and before each residual, in [0, 1).
    Raises:
        ValueError: heads do not divide the width, or an unknown gate.
    """

    info = Info(
        "Li et al., SelfDoc: Self-Supervised Document Representation Learning",
        2021,
        golden="selfdoc",
        cost="O(E M D + N M D^2)",
        needs=("graph",),
    )
    placements = ("before", "after", "interleaved")

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        layers: int = 1,
        heads: int = 4,
        ffn: bool = False,
        gate: str = "sigmoid",
        rate: float = 0.1,
        rngs: nnx.Rngs,
    ):
        check_heads("selfdoc", dim, heads)
        if gate not in GATES:
            raise ValueError(f"fusion 'selfdoc': gate {gate!r} is none of {GATES}")
        self.layers = nnx.List(
            [CrossModalityLayer(modalities, dim, heads, ffn=ffn, rate=rate, rngs=rngs) for _ in range(layers)]
        )
        self.gate_mlp = MLP(
            modalities * dim, dim, modalities, activation=jax.nn.leaky_relu, kernel_init=NORMAL, rngs=rngs
        )
        self.gate = gate

    def gates(self, x: Array, mask: Array) -> Array:
        """[N, M], 0 for missing modalities."""
        logits = self.gate_mlp(jnp.where(mask[..., None], x, 0).reshape(x.shape[0], -1))
        if self.gate == "softmax":
            return masked_softmax(logits, mask)
        return jnp.where(mask, jax.nn.sigmoid(logits), 0)

    def nodes(self, x, mask, graph, context):
        graph = graph.looped
        has_partner = mask & (mask.sum(1, keepdims=True) > 1)
        own, cross1 = mask[graph.senders], has_partner[graph.senders]
        cross2 = cross1 & has_partner[graph.receivers]
        weights = []
        for layer, layer_key in zip(self.layers, split_key(context.key, len(self.layers)), strict=True):
            steps = layer(x, mask, graph, own, cross1, cross2, key=layer_key)
            x = steps[-1].streams
            weights.append([step.weights for step in steps])
        gates = self.gates(x, mask)
        out = (gates[..., None] * jnp.where(mask[..., None], x, 0)).sum(1)
        gate = Attention(
            "gate", gates, ("node", "modality"), "node", "modality", valid=mask, normalised=self.gate == "softmax"
        )
        axes, ends = ("layer", "edge", "modality", "head"), (graph.senders, graph.receivers)
        each = zip(STEPS, zip(*weights, strict=True), (cross1, own, cross2, own), strict=True)
        along = (
            Attention(name, jnp.stack(w), axes, "node", "node", *ends, valid=seen[None, :, :, None])
            for name, w, seen in each
        )
        return Fused(out, x, (gate, *along))
