"""The transformer over a list's affinity vectors, and the two losses it is trained with."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx

from fusion_jax.nn.attention import MultiHeadAttention
from fusion_jax.nn.dropout import dropout, split_key
from fusion_jax.nn.mlp import gelu
from fusion_jax.nn.norm import layer_norm
from fusion_jax.nn.prototypes import unit
from fusion_jax.records import Array

NORMAL = nnx.initializers.normal(0.02)  # the code's truncation, at -2 and 2, is a hundred deviations away
TEMPERATURE = 2.0


def drop_path(x: Array, rate: float, key: Array | None) -> Array:
    """x [..., K, E] of which whole lists are 0 with probability `rate`, the rest divided by 1 - rate."""
    return x * dropout(jnp.ones((*x.shape[:-2], 1, 1), x.dtype), rate, key)


class Block(nnx.Module):
    """x <- x + Attn(LN x); x <- x + W2 gelu(W1 LN x + b1) + b2.

    Args:
        dim: E.
        heads: H.
        hidden: width between W1 and W2.
        rate: dropout on the attention weights, behind the gelu and behind each step.
        path_rate: how often a list skips a step.
    """

    def __init__(self, dim: int, heads: int, hidden: int, *, rate: float, path_rate: float, rngs: nnx.Rngs):
        self.norm1, self.norm2 = layer_norm(dim, rngs=rngs), layer_norm(dim, rngs=rngs)
        self.attn = MultiHeadAttention(dim, heads, rate=rate, kernel_init=NORMAL, rngs=rngs)
        self.fc1 = nnx.Linear(dim, hidden, kernel_init=NORMAL, rngs=rngs)
        self.fc2 = nnx.Linear(hidden, dim, kernel_init=NORMAL, rngs=rngs)
        self.rate, self.path_rate = rate, path_rate

    def __call__(self, x: Array, valid: Array, *, key: Array | None = None) -> tuple[Array, Array]:
        """x [..., K, E], valid bool [..., K] -> the same form, and the attention weights [..., H, K, K]."""
        keys = split_key(key, 6)
        step, weights = self.attn(self.norm1(x), mask=valid, key=keys[0])
        x = x + drop_path(dropout(step, self.rate, keys[1]), self.path_rate, keys[2])
        inner = dropout(gelu(self.fc1(self.norm2(x))), self.rate, keys[3])
        step = dropout(self.fc2(inner), self.rate, keys[4])
        return x + drop_path(step, self.path_rate, keys[5]), weights


class Reranker(nnx.Module):
    """z = blocks(W S + b), S [K, A] a list's affinities; no code of positions, no norm before or behind.

    W is bound to the places of the anchors, and has as many as it was made for. Skipping grows from 0 in the first
    block to `path_rate` in the last.
    """

    def __init__(
        self,
        anchors: int,
        dim: int,
        *,
        heads: int,
        hidden: int,
        blocks: int,
        rate: float,
        path_rate: float,
        rngs: nnx.Rngs,
    ):
        self.topk_proj = nnx.Linear(anchors, dim, kernel_init=NORMAL, rngs=rngs)
        rates = [path_rate * i / max(blocks - 1, 1) for i in range(blocks)]
        self.blocks = nnx.List([Block(dim, heads, hidden, rate=rate, path_rate=p, rngs=rngs) for p in rates])
        self.feature_align = nnx.Linear(dim, anchors, kernel_init=NORMAL, rngs=rngs)
        self.rate = rate

    def __call__(self, s: Array, valid: Array, *, key: Array | None = None) -> tuple[Array, list[Array]]:
        """S [..., K, A], valid bool [..., K] -> z [..., K, E], and the weights of every block [..., H, K, K]."""
        first, second, *keys = split_key(key, 2 + len(self.blocks))
        z = dropout(self.topk_proj(dropout(s, self.rate, first)), self.rate, second)
        shown = []
        for block, own in zip(self.blocks, keys, strict=True):
            z, weights = block(z, valid, key=own)
            shown.append(weights)
        return z, shown

    def reconstruction(self, s: Array, z: Array) -> Array:
        """[..., K]: |S / |S| - x' / |x'||, x' = W' z + b', of every entry; 0.01 at least, 100 at most."""
        square = ((unit(s) - unit(self.feature_align(z))) ** 2).sum(-1)
        return jnp.sqrt(jnp.clip(square, 1e-4, 1e4))


def similarities(z: Array) -> Array:
    """n_0 . n_j of every entry of a list, n = z / |z|: [..., K, E] -> [..., K], in [-1, 1]."""
    n = unit(z)
    return (n[..., :1, :] * n).sum(-1)


def strengths(similarity: Array) -> Array:
    """exp(n_0 . n_j / 2)"""
    return jnp.exp(similarity / TEMPERATURE)


def contrastive(similarity: Array, same: Array, counted: Array) -> Array:
    """[...]: -log(sum_j e_j y_j / sum_j e_j) over the counted entries of each list, the first among them.

    Args:
        similarity: n_0 . n_j, [..., K].
        same: y, bool [..., K], read where counted.
        counted: bool [..., K]; a list whose first entry does not count has 0.
    """
    e = jnp.where(counted, strengths(similarity), 0)
    positive, total = jnp.where(same, e, 0).sum(-1), e.sum(-1)
    there = counted[..., 0] & (positive > 0)
    return jnp.where(there, -jnp.log(jnp.where(there, positive, 1) / jnp.where(there, total, 1)), 0)
