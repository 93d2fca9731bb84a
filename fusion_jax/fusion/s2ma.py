"""Selective self-mutual attention: each of two modalities attends by its own affinities and by the other's.

Reference: Liu, Zhang, Han, "Learning Selective Self-Mutual Attention for RGB-D Saliency Detection", CVPR 2020; code of
the authors, nnizhang/S2MA at f94fcee (NonLocalBlock of `ImageDepthNet/ImageDepthNet.py`, no licence). Golden
`gl-dmnet/standin_s2ma`, related work of GL-DMNet.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.graphs import Graph
from fusion_jax.nn.attention import masked_softmax
from fusion_jax.nn.init import masked_mean
from fusion_jax.nn.norm import MaskedBatchNorm
from fusion_jax.nn.presence import zero_absent
from fusion_jax.nn.within_graph import blocks
from fusion_jax.records import Array, Fused, Info


class Stream(nnx.Module):
    """relu(BN x), then theta, phi and g of width D / 2, and W back to D."""

    def __init__(self, dim: int, *, rngs: nnx.Rngs):
        narrow = max(1, dim // 2)
        self.norm = MaskedBatchNorm(dim, rngs=rngs)
        self.theta, self.phi, self.g = (nnx.Linear(dim, narrow, rngs=rngs) for _ in range(3))
        self.W = nnx.Linear(narrow, dim, rngs=rngs)

    def __call__(self, x: Array, present: Array, training: bool) -> Array:
        return zero_absent(jax.nn.relu(self.norm(x, present, training=training)), present)


class S2MA(Fusion):
    """y_s = W_s(A_s g_s) + x_s, A_s = softmax(alpha_s f_other + f_s), f_m(i, j) = theta_m(i) . phi_m(j), unscaled.

    theta, phi and g are linear maps of relu(BN x_m); i and j are nodes of one graph. out = mean of the present y_s,
    tokens = y. The weight alpha of the other's affinities is a learned number a modality, 1 at the start; in the paper
    a network says it for each image. A node that lacks a modality is no key in its stream, and the other's affinities
    to it are 0.
    """

    info = Info(
        "Liu et al., Learning Selective Self-Mutual Attention for RGB-D Saliency Detection",
        2020,
        pinned="authors' code",
        golden="gl-dmnet",
        cost="O(N B D), B nodes in the largest graph",
        needs=("graph",),
        modalities=(2,),
    )
    placements = ("before", "after", "interleaved")

    def __init__(self, modalities: int, dim: int, *, rngs: nnx.Rngs):
        self.streams = nnx.List([Stream(dim, rngs=rngs) for _ in range(modalities)])
        self.alpha = nnx.Param(jnp.ones(modalities, jnp.float32))

    def nodes(self, x, mask, graph, context):
        training = context.key is not None
        h = [one(x[:, m], mask[:, m], training) for m, one in enumerate(self.streams)]
        alpha = [jnp.broadcast_to(a, (1, 1, 1)).astype(x.dtype) for a in self.alpha[...]]
        read = jnp.stack(self.attend(h, mask, graph, alpha), axis=1)
        tokens = jnp.where(mask[..., None], x + read, 0)
        return Fused(masked_mean(tokens, mask), tokens=tokens)

    def attend(self, h: list[Array], mask: Array, graph: Graph, alpha: list[Array]) -> list[Array]:
        """W_s(A_s g_s) of both streams h [N, D]; `alpha` [G, 1, 1] or [1, 1, 1] each."""
        held = blocks(graph, len(mask))
        there = held.gather(mask)  # [G, B, 2]
        affinity = []
        for m, (one, x) in enumerate(zip(self.streams, h, strict=True)):
            f = jnp.einsum("gic,gjc->gij", held.gather(one.theta(x)), held.gather(one.phi(x)))
            affinity.append(jnp.where(there[:, :, None, m] & there[:, None, :, m], f, 0))
        out = []
        for m, (one, x) in enumerate(zip(self.streams, h, strict=True)):
            weights = masked_softmax(alpha[m] * affinity[1 - m] + affinity[m], there[:, None, :, m])
            out.append(one.W(held.scatter(jnp.einsum("gij,gjc->gic", weights, held.gather(one.g(x))))))
        return out
