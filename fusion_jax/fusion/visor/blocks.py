"""A transformer layer over a state and the tokens it may read, and the reading that comes before it.

Golden `visor`: `Block` and `Reading` on sequences of text and vision tokens.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.nn.attention import MultiHeadAttention
from fusion_jax.nn.mlp import gelu
from fusion_jax.nn.norm import layer_norm
from fusion_jax.nn.presence import sending
from fusion_jax.nn.segment import edge_attend, edge_dot, propagate, segment_max, segment_sum
from fusion_jax.records import Array


class Reading(nnx.Module):
    """z = t + MHA(Q = LN t; K = V = tokens): the state reads, the tokens stay as they are."""

    def __init__(self, dim: int, heads: int, *, rngs: nnx.Rngs):
        self.norm_ca = layer_norm(dim, rngs=rngs)
        self.ca = MultiHeadAttention(dim, heads, rngs=rngs)

    def __call__(self, t: Array, tokens: Array, mask: Array | None = None) -> tuple[Array, Array]:
        """t [..., T, D], tokens [..., V, D], mask bool [..., V] -> z and the weights [..., H, T, V].

        A state that sees no token stays as it is.
        """
        read, weights = self.ca(self.norm_ca(t), tokens, mask=mask)
        if mask is not None:
            read = jnp.where(mask.any(-1)[..., None, None], read, 0)
        return t + read, weights


class Block(nnx.Module):
    """x + MSA(LN x), then x + W_2 GELU(W_1 LN x + b_1) + b_2: an ordinary pre-norm layer, with whom x attends to open.

    Args:
        dim, heads: D and H.
        hidden: width between W_1 and W_2.
    """

    def __init__(self, dim: int, heads: int, hidden: int, *, rngs: nnx.Rngs):
        self.norm1, self.norm2 = layer_norm(dim, rngs=rngs), layer_norm(dim, rngs=rngs)
        self.sa = MultiHeadAttention(dim, heads, rngs=rngs)
        self.fc1, self.fc2 = nnx.Linear(dim, hidden, rngs=rngs), nnx.Linear(hidden, dim, rngs=rngs)

    def feed_forward(self, x: Array) -> Array:
        return x + self.fc2(gelu(self.fc1(self.norm2(x))))

    def sequence(self, x: Array, mask: Array | None = None) -> Array:
        """x [..., L, D], each of whose entries sees all that are there (mask bool [..., L])."""
        return self.feed_forward(x + self.sa(self.norm1(x), mask=mask)[0])

    def state(self, h: Array, graph: Graph, present: Array) -> Array:
        """h [N, D], each node seeing its senders that are present and, where it is, itself."""
        loops = graph.looped
        q, k, v = self._projected(self.norm1(h))
        out, _ = edge_attend(q, k, v, loops, sending(present, loops))
        return self.feed_forward(h + self.sa.out(out.reshape(h.shape)))

    def joint(self, x: Array, h: Array, mask: Array, graph: Graph, present: Array) -> tuple[Array, Array, Array]:
        """The layer over tokens x [N, M, D] and state h [N, D] together: both after it, and the weights of the states.

        A token sees the tokens of its node and the node's state; a state the tokens of its node, and the states of its
        senders and its own, in one softmax. Weights [N, H, M], of the states on their tokens.
        """
        n, m, dim = x.shape
        q, k, v = self._projected(self.norm1(jnp.concatenate([x, h[:, None]], axis=1)))  # [N, M + 1, H, d]
        seen = jnp.concatenate([mask, present[:, None]], axis=1)
        scale = 1 / math.sqrt(q.shape[-1])
        logits = jnp.where(seen[:, None, None], jnp.einsum("nthd,nlhd->nhtl", q, k) * scale, -jnp.inf)
        tokens = jnp.einsum("nhtl,nlhd->nthd", _softmax(logits[:, :, :m]), v)
        state, weights = self._state_among(q[:, m], k, v, logits[:, :, m, :m], graph, present, scale)
        out = self.sa.out(jnp.concatenate([tokens, state[:, None]], axis=1).reshape(n, m + 1, dim))
        out = self.feed_forward(jnp.concatenate([x, h[:, None]], axis=1) + out)
        return out[:, :m], out[:, m], weights

    def _projected(self, x: Array) -> tuple[Array, Array, Array]:
        return tuple(self.sa.split(f(x)) for f in (self.sa.query, self.sa.key, self.sa.value))

    def _state_among(self, q, k, v, own: Array, graph: Graph, present: Array, scale: float) -> tuple[Array, Array]:
        """One softmax over the node's tokens, logits `own` [N, H, M], and the states along edges; [N, H, d]."""
        loops, m = graph.looped, own.shape[-1]
        along = edge_dot(q, k[:, m], loops) * scale  # [E, H]
        along = jnp.where(sending(present, loops)[:, None], along, -jnp.inf)
        top = jax.lax.stop_gradient(jnp.maximum(segment_max(along, loops), own.max(-1, initial=-jnp.inf)))  # [N, H]
        top = jnp.where(jnp.isfinite(top), top, 0)
        weight, edge = _exp(own, top[..., None]), _exp(along, top[loops.receivers])
        total = weight.sum(-1) + segment_sum(edge, loops)
        total = jnp.where(total > 0, total, 1)[..., None]
        out = jnp.einsum("nhm,nmhd->nhd", weight, v[:, :m]) + propagate(v[:, m], loops, edge)
        return out / total, weight / total


def _exp(logits: Array, top: Array) -> Array:
    """exp(logits - top), 0 where a logit is -inf, with gradients that are finite."""
    seen = jnp.isfinite(logits)
    return jnp.where(seen, jnp.exp(jnp.where(seen, logits - top, 0)), 0)


def _softmax(logits: Array) -> Array:
    """Over the last axis; 0 where every logit is -inf."""
    top = jax.lax.stop_gradient(logits.max(-1, keepdims=True))
    weight = _exp(logits, jnp.where(jnp.isfinite(top), top, 0))
    total = weight.sum(-1, keepdims=True)
    return weight / jnp.where(total > 0, total, 1)
