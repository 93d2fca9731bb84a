"""A query made of the mean modality reads the modalities of senders and node in one decoder layer.

Reference: Vaswani et al., "Attention Is All You Need", 2017 (arXiv 1706.03762), the layer of
`transformer_decoder` with the neighbourhood as memory; golden `transformer-decoder` pins the layer.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion, check_heads
from fusion_jax.graphs import Graph
from fusion_jax.nn.dropout import dropout, split_key
from fusion_jax.nn.init import masked_mean
from fusion_jax.nn.segment import at_receivers, edge_dot, propagate, segment_max, segment_sum
from fusion_jax.nn.transformer import DecoderLayer
from fusion_jax.records import Array, Attention, Fused, Info


class TransformerDecoderEdges(Fusion):
    """c_i = LN2(t_i + CrossAttn(t_i, {x_jm})); out_i = LN3(c_i + W2 relu(W1 c_i + b1) + b2).

    t_i is the mean of the present x_im; the memory of node i is every present x_jm with an edge j -> i in the
    edge set of modality m, and its own: one softmax a receiver, over edges and modalities together. Where
    neither the node nor a sender has anything, t_i = 0 and the attention gives its output bias.

    Args:
        heads: H, divides D (the paper: 8, at D = 512).
        hidden: width between W1 and W2, 4 D if None.
        rate: dropout on the attention weights, behind relu and behind each step.

    Attentions "cross m" [E_m, H] are the weights on the edges of `graph.view(m).looped`, for every modality m; those of
    all modalities together sum to 1 at a receiver.

    Raises:
        ValueError: heads do not divide D.
    """

    info = Info(
        "Vaswani et al., Attention Is All You Need",
        2017,
        pinned="stand-in",
        golden="transformer-decoder",
        cost="O(E M D + N M D^2)",
        needs=("graph",),
    )
    placements = ("before", "after")
    symmetries = ("nodes", "modalities")

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        heads: int = 4,
        hidden: int | None = None,
        rate: float = 0.1,
        rngs: nnx.Rngs,
    ):
        check_heads("transformer_decoder_edges", dim, heads)
        hidden = 4 * dim if hidden is None else hidden
        self.layer = DecoderLayer(dim, heads, hidden, self_attention=False, rate=rate, rngs=rngs)
        self.modalities, self.rate = modalities, rate

    def nodes(self, x, mask, graph, context):
        weights_key, cross_key, last = split_key(context.key, 3)
        state = masked_mean(x, mask)  # [N, D]
        cross_out, weights = self._cross_attend(state, x, mask, graph, weights_key)
        out = self.layer.feed_forward(self.layer.after_cross(state, cross_out, key=cross_key), key=last)
        graphs = [graph.view(m).looped for m in range(self.modalities)]
        attention = (
            Attention(
                f"cross {m}",
                w,
                ("edge", "head"),
                "node",
                "node",
                g.senders,
                g.receivers,
                valid=mask[g.senders, m][:, None],
                normalised=False,
            )
            for m, (w, g) in enumerate(zip(weights, graphs, strict=True))
        )
        return Fused(out, attention=tuple(attention))

    def _cross_attend(self, state: Array, x: Array, mask: Array, graph: Graph, key: Array | None):
        """Attention of state [N, D] over x [N, M, D] at the senders: [N, D] and the weights."""
        attention, split = self.layer.multihead_attn, self.layer.multihead_attn.split
        q, k, v = split(attention.query(state)), split(attention.key(x)), split(attention.value(x))
        scale = 1 / math.sqrt(q.shape[-1])
        graphs = [graph.view(m).looped for m in range(self.modalities)]
        seen = [mask[g.senders, m][:, None] for m, g in enumerate(graphs)]  # [E, 1]
        logits = [edge_dot(q, k[:, m], g) * scale for m, g in enumerate(graphs)]  # [E, H]
        weights = _softmax(logits, seen, graphs)
        keys = split_key(key, len(graphs))
        out = sum(
            propagate(v[:, m], g, dropout(w, self.rate, drop))
            for m, (g, w, drop) in enumerate(zip(graphs, weights, keys, strict=True))
        )
        return attention.out(out.reshape(*state.shape[:-1], -1)), weights


def _softmax(logits: list[Array], seen: list[Array], graphs: list[Graph]) -> tuple[Array, ...]:
    """Softmax of each receiver over its seen edges of all graphs together; 0 where it sees none."""
    logits = [jnp.where(s, l, -jnp.inf) for s, l in zip(seen, logits, strict=True)]
    tops = [segment_max(jax.lax.stop_gradient(l), g) for l, g in zip(logits, graphs, strict=True)]
    top = jnp.stack(tops).max(0)
    top = jnp.where(jnp.isfinite(top), top, 0)  # [N, H]
    weights = [
        jnp.where(s, jnp.exp(jnp.where(s, l - at_receivers(top, g), 0)), 0)
        for s, l, g in zip(seen, logits, graphs, strict=True)
    ]
    total = sum(segment_sum(w, g) for w, g in zip(weights, graphs, strict=True))
    total = jnp.where(total > 0, total, 1)
    return tuple(w / at_receivers(total, g) for w, g in zip(weights, graphs, strict=True))
