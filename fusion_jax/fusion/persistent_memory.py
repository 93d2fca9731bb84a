"""All-attention: modalities attend in one softmax to each other and to learned vectors, without feed-forward.

Reference: Sukhbaatar, Grave, Lample, Jegou, Joulin, "Augmenting Self-attention with Persistent Memory", 2019
(arXiv 1907.01470); authors' code facebookresearch/adaptive-span, commit 27b815fe; golden `persistent-memory`.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion, check_heads
from fusion_jax.nn.attention import masked_softmax
from fusion_jax.nn.dropout import dropout, split_key
from fusion_jax.nn.init import masked_mean, normal
from fusion_jax.nn.norm import layer_norm
from fusion_jax.records import Array, Attention, Fused, Info


class PersistentVectors(nnx.Module):
    """P learned keys and values a head that every query may attend to, beside its context.

    a = softmax over [context; memory] of [l_j; q . (sqrt(d) K_p)] / sqrt(d), out = sum_p a_p (sqrt(P) V_p).
    The stored K [H, d, P] and V [H, P, d] have standard deviations 1 / sqrt(d) and 1 / sqrt(P); the factors
    put on them in use make both N(0, 1) and scale their gradients, which is part of the method.
    """

    def __init__(self, heads: int, width: int, count: int, *, rngs: nnx.Rngs):
        # Of none no empty arrays: a checkpoint does not hold them.
        self.key = normal(rngs, (heads, width, count), 1 / math.sqrt(width)) if count else None
        self.val = normal(rngs, (heads, count, width), 1 / math.sqrt(count)) if count else None

    def __call__(
        self,
        q: Array,  # [..., T, H, d]
        logits: Array,  # [..., H, T, L], of the context, before the division by sqrt(d)
        mask: Array | None = None,  # bool, broadcast to logits: true where a context key may be seen
        ramp: Array | None = None,  # broadcast to logits, see `AllAttentionLayer`
        *,
        rate: float = 0.0,
        key: Array | None = None,
    ) -> tuple[Array, Array, Array]:
        """The joint softmax.

        Returns:
            weights [..., H, T, L + P] before dropout, those on the context [..., H, T, L] after it, and what
            the memory adds to the output [..., T, H, d].
        """
        width, context = q.shape[-1], logits.shape[-1]
        count = 0 if self.key is None else self.key.shape[-1]
        memory = jnp.zeros((*logits.shape[:-1], 0), logits.dtype)
        if count:
            memory = jnp.einsum("...thd,hdp->...htp", q, self.key[...] * math.sqrt(width))
        if mask is not None:  # the memory is always there
            mask = jnp.broadcast_to(mask, logits.shape)
            mask = jnp.concatenate([mask, jnp.ones_like(memory, bool)], axis=-1)
        weights = masked_softmax(jnp.concatenate([logits, memory], axis=-1) / math.sqrt(width), mask)
        if ramp is not None:
            weights = jnp.concatenate([weights[..., :context] * ramp, weights[..., context:]], axis=-1)
            weights = weights / (weights.sum(-1, keepdims=True) + 1e-8)
        kept = dropout(weights, rate, key)
        if not count:
            return weights, kept, jnp.zeros_like(q)
        value = self.val[...] * math.sqrt(count)
        return weights, kept[..., :context], jnp.einsum("...htp,hpd->...thd", kept[..., context:], value)


class AllAttentionLayer(nnx.Module):
    """y = LN(h + W_o [sum_j a_j v_j + sum_p a_p v_p]), one residual and one norm, no feed-forward.

    Args:
        dim, heads: D and H.
        persistent: P, learned vectors a head; 0 leaves plain attention. (The authors' code goes back to a
            layer with feed-forward there; here nothing else changes.)
        rate: dropout on the weights.
    """

    def __init__(self, dim: int, heads: int, persistent: int, *, rate: float = 0.0, rngs: nnx.Rngs):
        def linear():
            return nnx.Linear(dim, dim, use_bias=False, rngs=rngs)

        self.proj_query, self.proj_key, self.proj_val, self.proj_out = linear(), linear(), linear(), linear()
        self.persistent = PersistentVectors(heads, dim // heads, persistent, rngs=rngs)
        self.norm1 = layer_norm(dim, rngs=rngs)
        self.heads, self.rate = heads, rate

    def attend(
        self,
        h: Array,  # [..., T, D]
        context: Array,  # [..., L, D]
        mask: Array | None = None,  # bool, broadcast to [..., H, T, L]
        position: Array | None = None,  # [T, L, d], added to the keys of every head (equation 2's q . p_j)
        ramp: Array | None = None,  # broadcast to [..., H, T, L]
        *,
        key: Array | None = None,
    ) -> tuple[Array, Array]:
        """The attention before the residual: out [..., T, D], weights [..., H, T, L + P] (context first).

        `ramp` multiplies the context weights after the softmax, then both parts are divided by their sum
        (adaptive span). `position` and `ramp` are the language model's; the fusion leaves them out.
        """

        def split(x):
            return x.reshape(*x.shape[:-1], self.heads, -1)

        q, k, v = split(self.proj_query(h)), split(self.proj_key(context)), split(self.proj_val(context))
        logits = jnp.einsum("...thd,...lhd->...htl", q, k)
        if position is not None:
            logits = logits + jnp.einsum("...thd,tld->...htl", q, position)
        weights, kept, out = self.persistent(q, logits, mask, ramp, rate=self.rate, key=key)
        out = out + jnp.einsum("...htl,...lhd->...thd", kept, v)
        return self.proj_out(out.reshape(*out.shape[:-2], -1)), weights

    def __call__(self, h, context=None, mask=None, position=None, ramp=None, *, key=None):
        """Returns y [..., T, D] and the weights; arguments as in `attend`, context = h if None."""
        out, weights = self.attend(h, h if context is None else context, mask, position, ramp, key=key)
        return self.norm1(h + out), weights


class PersistentMemory(Fusion):
    """x_m + e_m through `layers` all-attention layers over the node's modalities; out = their mean.

    Attention "memory" [N, layers, H, M, M + P]: what each modality attends to, the modalities first, then the
    persistent vectors; a row sums to 1. With few modalities the memory takes about P / (M + P) at the start:
    keep P small. The mean is over present modalities; a node with none puts everything on the memory and its
    `out` is 0.

    Args:
        layers: number of layers.
        heads: H, divides D.
        persistent: P, vectors a head, shared by all nodes (the paper's language models have 1024 or 2048).
        rate: dropout on the weights, in [0, 1).
    Raises:
        ValueError: heads do not divide the width.
    """

    info = Info(
        "Sukhbaatar et al., Augmenting Self-attention with Persistent Memory",
        2019,
        pinned="authors' code",
        golden="persistent-memory",
        cost="O(N M (M + P) D + N M D^2)",
    )
    placements = ("before", "after", "interleaved")

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        layers: int = 2,
        heads: int = 4,
        persistent: int = 32,
        rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        check_heads("persistent_memory", dim, heads)
        self.embedding = normal(rngs, (modalities, dim))
        self.layers = nnx.List([AllAttentionLayer(dim, heads, persistent, rate=rate, rngs=rngs) for _ in range(layers)])

    def node(self, x, mask, context):
        h, weights = x + self.embedding[...], []
        for layer, layer_key in zip(self.layers, split_key(context.key, len(self.layers)), strict=True):
            h, layer_weights = layer(h, mask=mask, key=layer_key)
            weights.append(layer_weights)
        weights = jnp.stack(weights)
        seen = jnp.concatenate([mask, jnp.ones(weights.shape[-1] - len(mask), bool)])[None, None, None]
        memory = Attention("memory", weights, ("layer", "head", "modality", "token"), "modality", "token", valid=seen)
        return Fused(masked_mean(h, mask), h, (memory,))
