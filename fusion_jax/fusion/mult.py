"""Crossmodal transformers: every modality's sequence attends to that of every other, then to itself.

Reference: Tsai, Bai, Liang, Kolter, Morency, Salakhutdinov, "Multimodal Transformer for Unaligned Multimodal
Language Sequences", ACL 2019; code of the authors, yaohungt/Multimodal-Transformer at a670936 (MIT); golden
`mult`, three modalities. Two casts to float32 in that code (position table, softmax) were lifted to float64
for the numbers.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion.base import Fusion, check_heads
from fusion_jax.nn.dropout import dropout, split_key
from fusion_jax.nn.init import stack
from fusion_jax.nn.norm import layer_norm
from fusion_jax.nn.transformer import EncoderLayer
from fusion_jax.records import Array, Fused, Info


class MulT(Fusion):
    """out = W (u + P2 relu(P1 u)), u = [u_1; ...; u_M], u_t = last token of S_t([C_ts(x_t, x_s) for s != t]).

    C_ts (crossmodal) and S_t (memory) are pre-norm transformers: the queries of C_ts are the tokens of t,
    keys and values always the input tokens of s. P1, P2, W have biases.

    A node has one vector a modality, and attention over a sequence of one token is its value whatever the
    query. So a vector is cut into T tokens of width D / T, which a linear map without bias brings to the
    width of the transformers (none where they agree, as in the code); the tokens have positions. T = 1 is the
    degenerate case.

    A missing source is not attended to: C_ts then has only its residual path. A missing target has u_t = 0.
    One modality alone is its own source.

    Args:
        tokens: T, divides D.
        width: d of the crossmodal transformers, >= 4 (the code: 30); the memory has (M - 1) d.
        heads: H, divides d (the code: 5).
        layers: of each crossmodal transformer (the code: 5).
        memory_layers: of each memory (the code: 3, or `layers` where that is more).
        causal: whether token i sees only tokens up to i. The code does so unless told otherwise, its tokens
            being ordered in time; those of a vector are not.
        rate: dropout on attention, in the feed-forward layers and on the residual steps.
        embed_rate: dropout on scaled tokens with positions.
        out_dim: width of `out`, D if None.
    Raises:
        ValueError: T does not divide D, the heads do not divide d, or d < 4.
    """

    info = Info(
        "Tsai et al., Multimodal Transformer for Unaligned Multimodal Language Sequences",
        2019,
        pinned="authors' code",
        golden="mult",
        cost="O(N M^2 T d (T + d) + N T M^3 d^2), d the width",
    )
    placements = ("before", "after")  # not "decision": T does not divide the number of classes

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        tokens: int = 4,
        width: int = 16,
        heads: int = 4,
        layers: int = 2,
        memory_layers: int = 3,
        causal: bool = False,
        rate: float = 0.1,
        embed_rate: float = 0.25,
        out_dim: int | None = None,
        rngs: nnx.Rngs,
    ):
        if dim % tokens:
            raise ValueError(f"fusion 'mult': tokens={tokens} does not divide the width D={dim}")
        if width < 4:
            raise ValueError(f"fusion 'mult': width={width}, but its sinusoidal positions need at least 4")
        check_heads("mult", width, heads)
        part, pairs = dim // tokens, _pairs(modalities)
        memory = len(pairs) // modalities * width

        def encoder(width, layers):
            own = dict(rate=rate, embed_rate=embed_rate, causal=causal)
            return lambda r: _Encoder(width, heads, layers, **own, rngs=r)

        def project(r):
            return nnx.Linear(part, width, use_bias=False, rngs=r)

        self.project = None if part == width else stack(project, modalities, rngs)
        self.cross = stack(encoder(width, layers), len(pairs), rngs)
        self.memory = stack(encoder(memory, memory_layers), modalities, rngs)
        self.proj1 = nnx.Linear(modalities * memory, modalities * memory, rngs=rngs)
        self.proj2 = nnx.Linear(modalities * memory, modalities * memory, rngs=rngs)
        self.out_layer = nnx.Linear(modalities * memory, dim if out_dim is None else out_dim, rngs=rngs)
        self.tokens = tokens

    def crossmodal(self, x: Array, mask: Array, *, key: Array | None = None) -> Array:
        """All C_ts(x_t, x_s) [M, M - 1, T, d] of one node, s in order."""
        parts = jnp.where(mask[:, None], x, 0).reshape(x.shape[0], self.tokens, -1)
        if self.project is not None:
            parts = jax.vmap(lambda f, a: f(a))(self.project, parts)
        target, source = np.array(_pairs(x.shape[0])).T
        keys = None if key is None else jax.random.split(key, len(target))
        h = jax.vmap(lambda f, t, s, seen, k: f(t, s, seen, key=k))(
            self.cross, parts[target], parts[source], mask[source], keys
        )
        return h.reshape(x.shape[0], -1, *h.shape[1:])

    def remember(self, h: Array, mask: Array, *, key: Array | None = None) -> Array:
        """All S_t [M, T, (M - 1) d] from the `crossmodal` sequences."""
        h = jnp.moveaxis(h, 1, 2).reshape(h.shape[0], self.tokens, -1)
        keys = None if key is None else jax.random.split(key, h.shape[0])
        return jax.vmap(lambda f, t, seen, k: f(t, None, seen, key=k))(self.memory, h, mask, keys)

    def summary(self, x: Array, mask: Array, *, key: Array | None = None) -> Array:
        """u [M (M - 1) d] of one node."""
        first, second = split_key(key, 2)
        h = self.remember(self.crossmodal(x, mask, key=first), mask, key=second)
        return jnp.where(mask[:, None], h[:, -1], 0).reshape(-1)

    def node(self, x, mask, context):
        u = self.summary(x, mask, key=context.key)
        return Fused(self.out_layer(u + self.proj2(jax.nn.relu(self.proj1(u)))))


class _Encoder(nnx.Module):
    """Pre-norm transformer over tokens [T, d]; keys and values from a source no layer changes, or itself."""

    def __init__(self, dim: int, heads: int, layers: int, *, rate, embed_rate, causal, rngs: nnx.Rngs):
        def make(r):
            return EncoderLayer(dim, heads, 4 * dim, norm_first=True, rate=rate, rngs=r)

        self.layers = stack(make, layers, rngs)
        self.norm = layer_norm(dim, rngs=rngs)
        self.num_layers, self.rate, self.embed_rate, self.causal = layers, rate, embed_rate, causal

    def _embed(self, x, key):
        length, dim = x.shape
        x = math.sqrt(dim) * x + jnp.asarray(positions(length, dim), x.dtype)
        return dropout(x, self.embed_rate, key)

    def __call__(self, x: Array, source: Array | None, seen: Array, *, key: Array | None = None) -> Array:
        """x [T, d], source [T, d] or None for x itself, seen: whether the source is there. -> [T, d]"""
        own, other, key = split_key(key, 3)
        x = self._embed(x, own)
        source = None if source is None else self._embed(source, other)
        mask = jnp.ones((x.shape[0], x.shape[0]), bool)
        mask = (jnp.tril(mask) if self.causal else mask) & seen
        keys = None if key is None else jax.random.split(key, self.num_layers)

        def step(x, xs):
            return (_layer(xs[0], x, source, mask, self.rate, xs[1]), None)

        return self.norm(jax.lax.scan(step, x, (self.layers, keys))[0])


def _layer(layer: EncoderLayer, x, source, mask, rate, key):
    """One layer whose attention reads the source; queries and source go through the same first norm."""
    if source is None:
        return layer(x, mask, key=key)
    attention, residual, inner, outer = split_key(key, 4)
    y, _ = layer.self_attn(layer.norm1(x), layer.norm1(source), mask=mask, key=attention)
    x = x + dropout(y, rate, residual)
    y = dropout(jax.nn.relu(layer.linear1(layer.norm2(x))), rate, inner)
    return x + dropout(layer.linear2(y), rate, outer)


def positions(length: int, dim: int) -> np.ndarray:
    """Sinusoids [T, d] of positions 1..T: all sines, then all cosines, then a 0 where d is odd."""
    half = dim // 2
    # From 1 to 1/10000, both included, as in the code; the usual formula stops short of the second.
    rate = np.exp(-math.log(10000) / (half - 1) * np.arange(half))
    angle = np.arange(1, length + 1)[:, None] * rate
    return np.concatenate([np.sin(angle), np.cos(angle), np.zeros((length, dim % 2))], axis=1)


def _pairs(modalities: int) -> list[tuple[int, int]]:
    """(target, source) for every ordered pair; a modality alone is its own source."""
    pairs = [(t, s) for t in range(modalities) for s in range(modalities) if s != t]
    return pairs or [(0, 0)]
