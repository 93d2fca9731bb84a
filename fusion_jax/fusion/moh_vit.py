"""Mixture-of-head attention as in the paper's ViT: cosine scores, learned temperature, position bias.

Reference: Jin, Zhu, Yuan and Yan, "MoH: Multi-Head Attention as Mixture-of-Head Attention", 2024; code
SkyworkAI/MoH, commit 2cefd57, `MoH-ViT/attention.py` (class Attention, on the TransNeXt backbone).
Golden `moh/vit`.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion.base import Fusion, check_heads
from fusion_jax.nn.attention import attend
from fusion_jax.nn.head_router import HeadRouter, check_split
from fusion_jax.nn.init import zeros
from fusion_jax.nn.mixture_of_heads import mix, split_qkv
from fusion_jax.nn.mlp import MLP
from fusion_jax.records import Array, Info

INVERSE_TEMPERATURE = 1 / 0.24  # what softplus(temperature) is at the start


def unit(x: Array) -> Array:
    """x / |x| along the last axis, 0 (and gradient 0) at x = 0."""
    square = (x * x).sum(-1, keepdims=True)
    zero = square == 0
    return jnp.where(zero, 0, x / jnp.maximum(jnp.sqrt(jnp.where(zero, 1, square)), 1e-12))


def path_coordinates(m: int) -> tuple:
    """[M, M, 2] as nested tuples: TransNeXt's log-spaced offsets of M tokens in a row, (0, offset)."""
    offset = np.subtract.outer(np.arange(m), np.arange(m)) / max(m - 1, 1) * 8
    spaced = np.sign(offset) * np.log2(np.abs(offset) + 1) / np.log2(8)
    return tuple(tuple((0.0, float(c)) for c in row) for row in spaced)


class MoHViT(Fusion):
    """y = concat_h(G_h o_h) W_o + b_o with o_h = softmax(l_h) v_h over the present modalities,

    l_h = (unit(q_h) + e_h) softplus(t_h) log(n) unit(k_h)^T + (W_2 relu(W_1 c + b_1) + b_2)_h.

    n is the number of the node's present modalities (the reference's number of keys), e [H, 1, d] a learned
    query embedding, t [H, 1, 1] a learned temperature, c [M, M, 2] the relative coordinates of query and key.
    Gates G, out, tokens, losses and attentions as in `moh`.

    Args:
        heads, shared, routed, rate, balance: as in `moh`.
        coordinates: c as nested sequences; None puts the modalities in a row (they have no place of their
            own: the bias then depends on how far apart two of them stand in the data set's order).
        hidden: width of the bias' MLP (512 in the reference, whose tokens are thousands).
    Raises:
        ValueError: heads do not divide D; shared and routed do not split them; coordinates not [M, M, 2].
    """

    info = Info(
        "Jin et al., MoH: Multi-Head Attention as Mixture-of-Head Attention (ViT)",
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
        shared: int = 2,
        routed: int = 4,
        rate: float = 0.0,
        balance: float = 0.01,
        coordinates=None,
        hidden: int = 512,
        rngs: nnx.Rngs,
    ):
        check_heads("moh_vit", dim, heads)
        check_split("moh_vit", heads, shared, routed)
        coordinates = path_coordinates(modalities) if coordinates is None else coordinates
        if np.shape(coordinates) != (modalities, modalities, 2):
            raise ValueError(
                f"fusion 'moh_vit': coordinates have shape {np.shape(coordinates)}, expected "
                f"{(modalities, modalities, 2)}"
            )
        init = nnx.initializers.truncated_normal(0.02)
        self.qkv = nnx.Linear(dim, 3 * dim, kernel_init=init, rngs=rngs)
        self.proj = nnx.Linear(dim, dim, kernel_init=init, rngs=rngs)
        self.cpb = MLP(2, hidden, heads, kernel_init=init, rngs=rngs)
        self.query_embedding = nnx.Param(init(rngs.params(), (heads, 1, dim // heads), jnp.float32))
        self.temperature = zeros((heads, 1, 1))
        self.temperature[...] += math.log(math.expm1(INVERSE_TEMPERATURE))
        self.router = HeadRouter(dim, heads, shared, routed, kernel_init=init, rngs=rngs)
        self.coordinates = tuple(tuple(tuple(map(float, c)) for c in row) for row in coordinates)
        self.heads, self.rate, self.balance = heads, rate, balance

    def _queries(self, q: Array, mask: Array) -> Array:
        """Unit queries [N, M, H, d], moved by the embedding, times temperature and log of the key count."""
        keys = jnp.maximum(mask.sum(-1), 1).astype(q.dtype)[:, None, None, None]
        scale = jax.nn.softplus(self.temperature[...])[:, 0]  # [H, 1]
        return (unit(q) + self.query_embedding[...][:, 0]) * scale * jnp.log(keys)

    def nodes(self, x, mask, graph, context):
        del graph
        q, k, v = split_qkv(self.qkv, x, self.heads)
        bias = jnp.moveaxis(self.cpb(jnp.asarray(self.coordinates, x.dtype)), -1, 0)  # [H, M, M]
        heads, attention = attend(
            self._queries(q, mask), unit(k), v, mask, scale=1.0, bias=bias, rate=self.rate, key=context.key
        )
        return mix(x, mask, heads, attention, self.router, self.proj, self.balance, context.key is not None)
