"""Dual attention: what is fused attends to itself over nodes and over channels, by a rule that is fixed.

Reference: Fu et al., "Dual Attention Network for Scene Segmentation", CVPR 2019; code of the authors, junfu1115/DANet
at b0a0fa0 (`encoding/nn/da_att.py`, MIT). Golden `gl-dmnet/standin_danet`: the baseline that GL-DMNet starts from.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.graphs import Graph
from fusion_jax.nn.attention import masked_softmax
from fusion_jax.nn.init import masked_mean
from fusion_jax.nn.presence import zero_absent
from fusion_jax.nn.within_graph import blocks
from fusion_jax.records import Array, Fused, Info


class PositionAttention(nnx.Module):
    """gamma sum_j softmax_j(q_i . k_j) v_j + x_i over the present nodes j of i's graph; q and k of width D / 8."""

    def __init__(self, dim: int, *, rngs: nnx.Rngs):
        narrow = max(1, dim // 8)
        self.query_conv, self.key_conv = (nnx.Linear(dim, narrow, rngs=rngs) for _ in range(2))
        self.value_conv = nnx.Linear(dim, dim, rngs=rngs)
        self.gamma = nnx.Param(jnp.zeros(1, jnp.float32))

    def __call__(self, x: Array, graph: Graph, present: Array) -> Array:
        """x [N, D] -> [N, D]"""
        held = blocks(graph, len(x))
        q, k, v = (held.gather(f(x)) for f in (self.query_conv, self.key_conv, self.value_conv))
        seen = held.gather(present[:, None])[:, None, :, 0]
        read = jnp.einsum("gij,gjd->gid", masked_softmax(jnp.einsum("gic,gjc->gij", q, k), seen), v)
        return self.gamma[...] * held.scatter(read) + x


class ChannelAttention(nnx.Module):
    """gamma A x + x with A = softmax(max E - E), E_cd = sum over the graph's nodes of x_c x_d: unlike channels."""

    def __init__(self):
        self.gamma = nnx.Param(jnp.zeros(1, jnp.float32))

    def __call__(self, x: Array, graph: Graph) -> Array:
        """x [N, D], 0 at nodes that are not present -> [N, D]"""
        held = blocks(graph, len(x))
        apart = held.gather(x)
        energy = jnp.einsum("gnc,gnd->gcd", apart, apart)
        weights = masked_softmax(energy.max(-1, keepdims=True) - energy)
        return self.gamma[...] * held.scatter(jnp.einsum("gcd,gnd->gnc", weights, apart)) + x


class DANet(Fusion):
    """out = PAM(f) + CAM(f), f the mean of the present modalities; both start as f (gamma 0).

    The network around the two modules (convolutions before and behind each) is left out. A node without any modality is
    0 and is seen by nobody.
    """

    info = Info(
        "Fu et al., Dual Attention Network for Scene Segmentation",
        2019,
        pinned="authors' code",
        golden="gl-dmnet",
        cost="O(N (B + D) D), B nodes in the largest graph",
        needs=("graph",),
    )
    placements = ("before", "after")
    symmetries = ("nodes", "modalities")

    def __init__(self, modalities: int, dim: int, *, rngs: nnx.Rngs):
        del modalities
        self.pam, self.cam = PositionAttention(dim, rngs=rngs), ChannelAttention()

    def nodes(self, x, mask, graph, context):
        del context
        f, present = masked_mean(x, mask), mask.any(1)
        return Fused(zero_absent(self.pam(f, graph, present) + self.cam(f, graph), present))
