"""The networks and losses of GCAV: autoencoder, alignment, fusion, and the score that gradients pass through.

Reference: He, Sinha, Xiong, Zhang, GCAV, ICCV 2025; code Zhenghao-He/GCAV, commit 7f95181, `src/align_dim.py` and
`src/IntegrateCAV.py`. Golden `gcav`. L layers, R repeats, E common width, B batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.nn.attention import MultiHeadAttention
from fusion_jax.nn.dropout import dropout, split_key
from fusion_jax.nn.init import normal
from fusion_jax.nn.mlp import MLP, gelu
from fusion_jax.nn.norm import layer_norm
from fusion_jax.records import Array

HE = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")
GROWTH, HOTTEST = 1.2, 1000.0  # of the temperature of the soft score, at every call


def cosine(a: Array, b: Array) -> Array:
    """Cosine of the last axes; 0 where a vector is 0."""
    # the bound stands under the root, whose derivative at 0 is infinite
    norms = jnp.sqrt(jnp.maximum((a**2).sum(-1) * (b**2).sum(-1), 1e-16))
    return (a * b).sum(-1) / norms


class Autoencoder(nnx.Module):
    """code = W2 relu(W1 v + b1) + b2, and mirrored back; dropout behind each relu."""

    def __init__(self, dim: int, hidden: int, code: int, *, rate: float = 0.5, rngs: nnx.Rngs):
        self.encoder = MLP(dim, hidden, code, rate=rate, rngs=rngs)
        self.decoder = MLP(code, hidden, dim, rate=rate, rngs=rngs)

    def __call__(self, v: Array, *, key: Array | None = None) -> tuple[Array, Array]:
        """v [B, d] -> reconstruction [B, d] and code [B, E]."""
        first, second = split_key(key, 2)
        code = self.encoder(v, key=first)
        return self.decoder(code, key=second), code


def reconstruction_loss(reconstruction: Array, v: Array) -> Array:
    """1 - mean cosine."""
    return 1 - cosine(reconstruction, v).mean()


class Alignment(nnx.Module):
    """g(x) = normalise(x + W3 f2(f1(x))), f = dropout(gelu(LN(W . + b))); one width E, so the residual is x."""

    def __init__(self, dim: int, hidden: int, *, rate: float = 0.1, rngs: nnx.Rngs):
        def linear(i, o):
            return nnx.Linear(i, o, kernel_init=HE, rngs=rngs)

        self.linear1, self.linear2, self.linear3 = linear(dim, hidden), linear(hidden, hidden), linear(hidden, dim)
        self.norm1, self.norm2 = layer_norm(hidden, rngs=rngs), layer_norm(hidden, rngs=rngs)
        self.rate = rate

    def __call__(self, x: Array, *, key: Array | None = None) -> Array:
        """x [..., E] -> [..., E] of unit length."""
        first, second = split_key(key, 2)
        h = dropout(gelu(self.norm1(self.linear1(x))), self.rate, first)
        h = dropout(gelu(self.norm2(self.linear2(h))), self.rate, second)
        y = x + self.linear3(h)
        return y / jnp.sqrt(jnp.maximum((y**2).sum(-1, keepdims=True), 1e-24))


def info_nce(anchor: Array, positive: Array, negatives: Array, temperature: float = 0.1) -> Array:
    """Mean of -log(e^p / (e^p + sum e^n)), p and n cosines over the temperature; negatives [B, n, E]."""
    p = cosine(anchor, positive) / temperature
    n = cosine(anchor[:, None], negatives) / temperature
    return (jax.nn.logsumexp(jnp.concatenate([p[:, None], n], 1), axis=1) - p).mean()


def consistency(anchor: Array, positive: Array, anchor_was: Array, positive_was: Array) -> Array:
    """mean(1 - cos) of what alignment made of the anchors, plus the same of the positives."""
    return (1 - cosine(anchor, anchor_was)).mean() + (1 - cosine(positive, positive_was)).mean()


def alignment_loss(emb: Sequence[Array], codes: Sequence[Array], nce: float = 1.0, con: float = 3.0) -> Array:
    """nce InfoNCE + con consistency; emb and codes are (anchor, positive, negatives) after and before."""
    return nce * info_nce(*emb) + con * consistency(emb[0], emb[1], codes[0], codes[1])


class AttentionFusion(nnx.Module):
    """One learned query over the layers: s = q . k_lb, y_b = sum_l softmax(s)_lb v_lb; no 1 / sqrt(E).

    Args:
        over: axis of the softmax: "layers", as the paper has it; "batch", as its code computes, where every
            layer's weights sum to 1 over the batch.
    """

    def __init__(self, dim: int, *, over: str = "layers", rngs: nnx.Rngs):
        if over not in ("layers", "batch"):
            raise ValueError(f"AttentionFusion: over={over!r}, expected 'layers' or 'batch'")
        self.query = normal(rngs, (1, dim), 1.0)
        self.key, self.value = nnx.Linear(dim, dim, rngs=rngs), nnx.Linear(dim, dim, rngs=rngs)
        self.over = over

    def __call__(self, x: Array) -> Array:
        """x [L, B, E] -> [B, E]"""
        scores = (self.key(x) * self.query[0]).sum(-1)
        weights = jax.nn.softmax(scores, axis=1 if self.over == "batch" else 0)
        return jnp.einsum("lb,lbd->bd", weights, self.value(x))


class TransformerFusion(nnx.Module):
    """z = LN1(x + p + MHA(x + p)); y = W mean_l LN2(z + FFN(z)) + b, with learned layer positions p."""

    def __init__(self, dim: int, layers: int, *, heads: int = 4, hidden: int = 256, rate: float = 0.1, rngs: nnx.Rngs):
        self.position = normal(rngs, (layers, dim), 1.0)
        self.attention = MultiHeadAttention(
            dim, heads, rate=rate, kernel_init=nnx.initializers.glorot_uniform(), rngs=rngs
        )
        self.ffn = MLP(dim, hidden, rngs=rngs)
        self.norm1, self.norm2 = layer_norm(dim, rngs=rngs), layer_norm(dim, rngs=rngs)
        self.output = nnx.Linear(dim, dim, rngs=rngs)
        self.rate = rate

    def __call__(self, x: Array, *, key: Array | None = None) -> Array:
        """x [B, L, E] -> [B, E]"""
        inner, outer, last = split_key(key, 3)
        x = x + self.position[...]
        x = self.norm1(x + dropout(self.attention(x, key=inner)[0], self.rate, outer))
        x = self.norm2(x + dropout(self.ffn(x), self.rate, last))
        return self.output(x.mean(1))


def temperature(call: Array) -> Array:
    """What the soft score's slope is at the call-th call, from 1: 1.2 ^ call, at most 1000."""
    return jnp.minimum(GROWTH**call, HOTTEST)


def tcav(gradient: Array, vector: Array, slope: Array | float = 1.0) -> Array:
    """Share of examples whose loss falls along the vector, cos(g, v) < 0; [B].

    gradient [n, d] is of the loss, so a negative cosine means that the concept speaks for the class. The value is
    the hard count, the derivative that of the mean of sigmoid(-slope cos).
    """
    cos = cosine(gradient[:, None], vector[None])  # [n, B]
    soft = jax.nn.sigmoid(-cos * slope)
    hard = (cos < 0).astype(soft.dtype)
    return (jax.lax.stop_gradient(hard - soft) + soft).mean(0)


def variance(scores: Array) -> Array:
    """Unbiased variance over the layers of scores [L, B]; 0 for one layer, where the formula is 0 / 0."""
    return jnp.zeros_like(scores[0]) if len(scores) == 1 else scores.var(0, ddof=1)


def fusion_loss(
    codes: Array,  # [B, L, E], what was fused
    fused: Array,  # [B, E]
    decoders: Sequence,  # one a layer, [., E] -> [., d_l]
    gradients: Sequence[Array],  # one a layer, [n_l, d_l]
    slope: Array | float = 1.0,
    var: float = 3.0,
    sim: float = 1.0,
) -> Array:
    """var (variance of the scores over layers) + sim (1 - cos of the decoded code and the decoded fusion)."""
    vectors = [decode(fused) for decode in decoders]
    own = [decode(codes[:, l]) for l, decode in enumerate(decoders)]
    away = [1 - cosine(v, u).mean() for v, u in zip(own, vectors, strict=True)]
    scores = jnp.stack([tcav(g, u, slope) for g, u in zip(gradients, vectors, strict=True)])
    return var * variance(scores).mean() + sim * sum(away) / len(away)
