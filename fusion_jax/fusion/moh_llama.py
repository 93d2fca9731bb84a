"""Mixture-of-head attention without a router: the heads with the longest queries stay on.

Reference: Jin, Zhu, Yuan and Yan, "MoH: Multi-Head Attention as Mixture-of-Head Attention", 2024; code
SkyworkAI/MoH, commit 2cefd57, `MoH-LLaMA3/Inference_code/modeling_llama.py` (class LlamaAttention).
Golden `moh/llama`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion.base import Fusion, check_heads
from fusion_jax.nn.attention import attend
from fusion_jax.nn.head_router import check_split, top_k_mask
from fusion_jax.nn.init import masked_mean
from fusion_jax.nn.mixture_of_heads import routing
from fusion_jax.records import Array, Fused, Info


def rotate(x: Array, positions: tuple[int, ...], theta: float) -> Array:
    """Rotary embedding of x [..., M, H, d]: entries i and i + d/2 turn by positions theta^(-2i/d)."""
    d = x.shape[-1]
    angles = np.outer(positions, theta ** (-np.arange(0, d, 2) / d))[:, None]  # [M, 1, d / 2]
    cos, sin = jnp.asarray(np.cos(angles), x.dtype), jnp.asarray(np.sin(angles), x.dtype)
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


class MoHLlama(Fusion):
    """y = concat_h(G_h o_h) W_o with G_h = 1 for the shared heads and a token's best other ones, else 0.

    o_h is attention over the present modalities with rotary positions and one key and value head for every
    H / kv_heads query heads; no projection has a bias. The score of head h is |q_h| before the rotation,
    divided by the standard deviation (n - 1) over the candidates and put through a softmax: only the order
    counts, so the scores get no gradient. Not causal: a modality sees all others.
    out = mean of y over the present modalities; tokens = y [N, M, D].

    Args:
        heads: H; D / H must be even.
        kv_heads: key and value heads, divides H (LLaMA3-8B: 8 for 32).
        shared: s, heads that are always on; H / 2 in the released model, and there must be any other ones.
        routed: k, how many of the other H - s a token keeps; H / 4 in the released model.
        theta: base of the rotary wave lengths (LLaMA3: 500000).
        positions: integer position of every modality; None for 0, 1, ...
        rate: dropout on the attention weights.

    Attentions are "attention" [N, H, M, M], "gates" [N, M, H] (0 or 1) and "router" [N, M, H - s] (the softmax, its
    scores |q_h|).

    Raises:
        ValueError: widths, heads or positions that do not fit.
    """

    info = Info(
        "Jin et al., MoH: Multi-Head Attention as Mixture-of-Head Attention (LLaMA)",
        2024,
        pinned="authors' code",
        golden="moh",
        cost="O(N M D (M + D))",
    )
    placements = ("before", "after", "interleaved")

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        heads: int = 8,
        kv_heads: int = 2,
        shared: int = 4,
        routed: int = 2,
        theta: float = 500000.0,
        positions: tuple[int, ...] | None = None,
        rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        check_heads("moh_llama", dim, 2 * heads)  # the rotation pairs the entries of a head
        check_split("moh_llama", heads, shared, routed)
        if heads % kv_heads:
            raise ValueError(f"fusion 'moh_llama': kv_heads={kv_heads} does not divide heads={heads}")
        positions = tuple(range(modalities)) if positions is None else tuple(int(p) for p in positions)
        if len(positions) != modalities:
            raise ValueError(f"fusion 'moh_llama': {len(positions)} positions, expected M={modalities}")

        def linear(i, o):
            return nnx.Linear(i, o, use_bias=False, rngs=rngs)

        width = dim // heads * kv_heads
        self.q_proj, self.k_proj, self.v_proj = linear(dim, dim), linear(dim, width), linear(dim, width)
        self.o_proj = linear(dim, dim)
        self.heads, self.kv_heads, self.shared, self.routed = heads, kv_heads, shared, routed
        self.theta, self.positions, self.rate = theta, positions, rate

    def _gates(self, q: Array) -> tuple[Array, Array, Array]:
        """Queries [N, M, H, d] -> gates [N, M, H], softmax and norms [N, M, H - s]."""
        norms = jnp.linalg.norm(jax.lax.stop_gradient(q[..., self.shared :, :]), axis=-1)
        candidates = norms.shape[-1]
        spread = norms.std(-1, keepdims=True, ddof=1) if candidates > 1 else jnp.zeros_like(norms)
        p = jax.nn.softmax(norms / jnp.where(spread > 0, spread, 1))
        on = jnp.ones((*norms.shape[:-1], self.shared), q.dtype)
        return jnp.concatenate([on, top_k_mask(p, self.routed).astype(q.dtype)], axis=-1), p, norms

    def nodes(self, x, mask, graph, context):
        del graph

        def split(y, h):
            return y.reshape(*x.shape[:-1], h, -1)

        q = split(self.q_proj(x), self.heads)
        k, v = split(self.k_proj(x), self.kv_heads), split(self.v_proj(x), self.kv_heads)
        gates, p, norms = self._gates(q)
        q, k = rotate(q, self.positions, self.theta), rotate(k, self.positions, self.theta)
        k, v = (jnp.repeat(a, self.heads // self.kv_heads, axis=-2) for a in (k, v))
        heads, attention = attend(q, k, v, mask, rate=self.rate, key=context.key)  # [N, M, H, d]
        tokens = self.o_proj((gates[..., None] * heads).reshape(x.shape))
        return Fused(masked_mean(tokens, mask), tokens, routing(attention, mask, gates, p, norms))
