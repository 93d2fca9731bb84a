"""Cross-attention without projections inside every layer: a node state reads its own and its neighbours' modalities.

Reference: "ADEM-VL: Adaptive and Embedded Fusion for Efficient Vision-Language Tuning", 2024 (arXiv 2410.17779); code
of the authors, Hao840/ADEM-VL at cec09b8 (`adem/adapter.py`, `adem/model.py`). Golden `adem-vl`. Its text is the node's
state here, one token a node, its vision tokens at two scales are the node's own modalities and the means of its
neighbours'; the frozen language model around it is edge attention and a feed-forward block.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion.base import Fusion, check_heads
from fusion_jax.graphs import Graph
from fusion_jax.nn.init import masked_mean, normal, zeros
from fusion_jax.nn.neighbour_mean import neighbour_mean
from fusion_jax.nn.norm import RMSNorm
from fusion_jax.nn.presence import reached, sending, zero_absent
from fusion_jax.nn.segment import edge_attend
from fusion_jax.records import Array, Attention, Context, Fused, Info


class Projector(nnx.Module):
    """f -> W_2 SiLU(W_1 f + b_1) + b_2, Xavier uniform, biases 0."""

    def __init__(self, dim: int, hidden: int, out: int, *, rngs: nnx.Rngs):
        init = nnx.initializers.xavier_uniform()
        self.fc1 = nnx.Linear(dim, hidden, kernel_init=init, rngs=rngs)
        self.fc2 = nnx.Linear(hidden, out, kernel_init=init, rngs=rngs)

    def __call__(self, f: Array) -> Array:
        return self.fc2(jax.nn.silu(self.fc1(f)))


class Adapter(nnx.Module):
    """Z = S (I + E_2), S = SiLU(h) SiLU(I + E_1)' without the smallest entries of every query.

    Scores are signed: there is no softmax and no scale. Of the V tokens that are there the floor(r V) with the smallest
    scores are dropped, equals kept; what is left is not rescaled.

    Args:
        tokens: V.
        dim: D.
        drop_ratio: r, in [0, 1).
    """

    def __init__(self, tokens: int, dim: int, *, drop_ratio: float, rngs: nnx.Rngs):
        self.adapter_emb1 = normal(rngs, (1, tokens, dim))
        self.adapter_emb2 = zeros((1, tokens, dim))
        self.dropped = tuple(int(drop_ratio * count) for count in range(tokens + 1))

    def scores(self, h: Array, embedded: Array, valid: Array) -> Array:
        """h [B, T, D], embedded I [B, V, D], valid bool [B, V] -> S [B, T, V] before dropping; 0 at invalid tokens."""
        keys = jax.nn.silu(embedded + self.adapter_emb1[...].astype(embedded.dtype))
        return jnp.where(valid[:, None], jnp.einsum("btd,bvd->btv", jax.nn.silu(h), keys), 0)

    def kept(self, scores: Array, valid: Array) -> Array:
        """bool [B, T, V]: the valid tokens whose score is not below the one at place floor(r V) in ascending order."""
        valid = jnp.broadcast_to(valid[:, None], scores.shape)
        ascending = jnp.sort(jnp.where(valid, scores, jnp.inf), axis=-1)
        place = jnp.asarray(np.array(self.dropped, np.int32))[valid.sum(-1)]
        threshold = jnp.take_along_axis(ascending, jnp.minimum(place, scores.shape[-1] - 1)[..., None], axis=-1)
        return valid & (scores >= threshold)

    def __call__(self, h: Array, embedded: Array, valid: Array) -> tuple[Array, Array]:
        """Z [B, T, D] and the scores that are kept [B, T, V], 0 elsewhere."""
        scores = self.scores(h, embedded, valid)
        scores = jnp.where(self.kept(scores, valid), scores, 0)
        values = jnp.where(valid[..., None], embedded + self.adapter_emb2[...].astype(embedded.dtype), 0)
        return jnp.einsum("btv,bvd->btd", scores, values), scores


class Layer(nnx.Module):
    """h' = h + Attn(RMSNorm h), Attn along edges with the node itself; out = h' + FFN(g) + alpha Z(g), g = RMSNorm h'.

    FFN(g) = W_2 (SiLU(W_1 g) * W_3 g), as in the language model of the reference; no biases.
    """

    def __init__(self, dim: int, heads: int, hidden: int, *, rngs: nnx.Rngs):
        def linear(i: int, o: int):
            return nnx.Linear(i, o, use_bias=False, rngs=rngs)

        self.attention_norm, self.ffn_norm = RMSNorm(dim), RMSNorm(dim)
        self.wq, self.wk, self.wv, self.wo = (linear(dim, dim) for _ in range(4))
        self.w1, self.w3, self.w2 = linear(dim, hidden), linear(dim, hidden), linear(hidden, dim)
        self.heads = heads

    def attend(self, h: Array, graph: Graph, present: Array) -> Array:
        """h [N, D] after the attention over the senders that are present and, where it is, the node itself."""
        g, loops = self.attention_norm(h), graph.looped
        q, k, v = (w(g).reshape(len(h), self.heads, -1) for w in (self.wq, self.wk, self.wv))
        out, _ = edge_attend(q, k, v, loops, sending(present, loops))
        return h + self.wo(out.reshape(h.shape))

    def feed_forward(self, g: Array) -> Array:
        return self.w2(jax.nn.silu(self.w1(g)) * self.w3(g))


class ADEMVL(Fusion):
    """h_0 = mean of the present x_m; L layers (`Layer`) read 2 M tokens (`Adapter`); out = RMSNorm h_L.

    The tokens of node i are its own x_im, and the means of x_jm over its senders j that have m (in the edge set of
    modality m); I = beta (W_2 SiLU(W_1 f + b_1) + b_2) of every token f that is there. I, E_1 and E_2 are one for all
    layers. A token that is not there has score 0 and no part in the dropping. A node that has nothing, and whose
    senders have nothing, stays 0; one that hears of a modality from its senders has something (`reached`).

    "Parameter-free" speaks of the attention's projections: the two tables E_1 and E_2 are learned. beta = .01 and alpha
    = .1 are what keeps Z, which grows with V and D, small.

    Args:
        layers: L.
        heads: of the edge attention, divide D.
        hidden: of the feed-forward, 4 D if None.
        proj_hidden: of the projector, D if None (128 for vectors of 1024 in the paper).
        drop_ratio: r, in [0, 1).
        beta: factor of the embedded tokens.
        alpha: factor of Z.

    Attentions "tokens l" [N, 2 M] are the scores that are kept in layer l, signed: first the node's own modalities,
    then the neighbourhood's.

    Raises:
        ValueError: heads that do not divide D, no layer, or a drop_ratio out of range.
    """

    info = Info(
        "ADEM-VL: Adaptive and Embedded Fusion for Efficient Vision-Language Tuning",
        2024,
        pinned="authors' code",
        golden="adem-vl",
        cost="O(L (E D + N D^2 + N M D) + E M D)",
        needs=("graph",),
    )
    placements = ("before", "after")

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        layers: int = 2,
        heads: int = 4,
        hidden: int | None = None,
        proj_hidden: int | None = None,
        drop_ratio: float = 0.1,
        beta: float = 0.01,
        alpha: float = 0.1,
        rngs: nnx.Rngs,
    ):
        check_heads("adem_vl", dim, heads)
        if layers < 1 or not 0 <= drop_ratio < 1:
            raise ValueError(
                f"fusion 'adem_vl': layers={layers}, drop_ratio={drop_ratio}; expected at least one layer and a ratio "
                "in [0, 1)"
            )
        self.adapter_proj = Projector(dim, dim if proj_hidden is None else proj_hidden, dim, rngs=rngs)
        self.adapter = Adapter(2 * modalities, dim, drop_ratio=drop_ratio, rngs=rngs)
        hidden = 4 * dim if hidden is None else hidden
        self.layers = nnx.List([Layer(dim, heads, hidden, rngs=rngs) for _ in range(layers)])
        self.norm = RMSNorm(dim)
        self.beta, self.alpha = beta, alpha

    def embed(self, f: Array, valid: Array) -> Array:
        """I [..., V, D] of tokens f [..., V, C]; 0 where not valid bool [..., V]."""
        return jnp.where(valid[..., None], self.beta * self.adapter_proj(f), 0)

    def nodes(self, x: Array, mask: Array, graph: Graph, context: Context) -> Fused:
        del context
        around, heard = neighbourhood(x, mask, graph)
        valid = jnp.concatenate([mask, heard], axis=1)  # [N, 2 M]
        embedded = self.embed(jnp.concatenate([x, around], axis=1), valid)
        h, present, attention = masked_mean(x, mask), mask.any(1), []
        for i, layer in enumerate(self.layers):
            h = layer.attend(h, graph, present)
            g = layer.ffn_norm(h)
            z, scores = self.adapter(g[:, None], embedded, valid)
            h = zero_absent(h + layer.feed_forward(g) + self.alpha * z[:, 0], valid.any(1))
            present = valid.any(1)  # behind the first layer who hears of something has something
            attention.append(
                Attention(
                    f"tokens {i + 1}",
                    scores[:, 0],
                    ("node", "token"),
                    "node",
                    "token",
                    valid=valid,
                    normalised=False,
                )
            )
        return Fused(zero_absent(self.norm(h), present), attention=tuple(attention))

    def reached(self, mask: Array, graph: Graph | None) -> Array:
        if graph is None:
            return mask.any(1)
        views = [graph.view(m) for m in range(mask.shape[1])]
        return jnp.stack([reached(mask[:, m], view) for m, view in enumerate(views)], axis=1).any(1)


def neighbourhood(x: Array, mask: Array, graph: Graph) -> tuple[Array, Array]:
    """The mean of every modality over the senders that have it [N, M, D], and whether there is one, bool [N, M].

    Each modality has its own edge set where the graph has views.
    """
    there = mask.astype(x.dtype)[..., None]
    if not graph.views:
        return neighbour_mean(x, graph, mask), neighbour_mean(there, graph)[..., 0] > 0
    each = [(neighbour_mean(x[:, m], g, mask[:, m]), neighbour_mean(there[:, m], g)) for m, g in enumerate(graph.views)]
    return jnp.stack([mean for mean, _ in each], axis=1), jnp.concatenate([count for _, count in each], axis=1) > 0
