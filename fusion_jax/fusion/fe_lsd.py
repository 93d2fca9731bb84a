"""Channel-attention modulation: every modality receives the others, each gated by what all are like together.

Reference: "Detecting Line Segments in Motion-blurred Images with Events", 2022; code lh9171338/FE-LSD at e5eb91e
(`network/fusion.py`), two streams. Golden `fe-lsd/ca_modulation`; `shallow_gate_masked_independent` for M streams.
`fe_lsd_ca_fusion` is an ablation of the paper's, `fe_lsd_hourglass` the fusion behind this one.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.graphs import Graph
from fusion_jax.nn.init import masked_mean
from fusion_jax.nn.pooling import at_nodes
from fusion_jax.nn.streams import HE, ChannelAttention, GroupedBottleneck, check_norm
from fusion_jax.records import Array, Attention, Fused, Info


class FeLsd(Fusion):
    """tokens_m = x_m + R_m(x_m + sum_{n != m} x_n * g_n), g_n = CA_n(s) of the graph, s = W [x_1; ...; x_M] + b.

    A gate belongs to the SOURCE n (for two streams g_2 gates what stream 1 receives), and all gates are read from the
    joint features s of the nodes that have a modality: `nn.streams.ChannelAttention` of their mean and maximum over the
    graph. R_m is `nn.streams.Bottleneck` over the edge set of modality m, and has a residual of its own, so that
    tokens_m = 2 x_m + what the others send + its branch. A missing modality enters s as zeros, sends nothing and is 0.
    More than two streams are ours, and so is `out`, the masked mean of the tokens (the paper goes on with the streams).
    Attention "gates" [N, D, M] are the g at the nodes, by source, 0 for missing modalities.

    Args:
        reduction: CA has max(1, D // reduction) hidden features.
        norm: of R, "batch" over nodes as in the reference, or "layer" (ours).
    Raises:
        ValueError: a reduction below 1, or another norm.
    """

    info = Info(
        "Detecting Line Segments in Motion-blurred Images with Events",
        2022,
        pinned="authors' code",
        golden="fe-lsd",
        cost="O(M (E D + N D^2) + N M^2 D)",
        needs=("graph",),
    )
    placements = ("before", "after", "interleaved")

    def __init__(self, modalities: int, dim: int, *, reduction: int = 16, norm: str = "batch", rngs: nnx.Rngs):
        if reduction < 1:
            raise ValueError(f"fusion 'fe_lsd': reduction={reduction!r}; expected an integer >= 1")
        check_norm("fe_lsd", norm)
        self.conv = nnx.Linear(modalities * dim, dim, kernel_init=HE, rngs=rngs)
        self.ca = nnx.List([ChannelAttention(dim, reduction=reduction, rngs=rngs) for _ in range(modalities)])
        self.res = GroupedBottleneck(modalities, dim, norm=norm, rngs=rngs)

    def joint(self, x: Array) -> Array:
        """s [N, D] of x [N, M, D] with zeros where modalities are missing."""
        return self.conv(x.reshape(x.shape[0], -1))

    def gates(self, joint: Array, mask: Array, graph: Graph | None) -> Array:
        """g [G, M, D], a gate a source; nodes without modalities have no say."""
        return jnp.stack([attention.of(joint, mask.any(1), graph) for attention in self.ca], axis=1)

    def crossed(self, x: Array, mask: Array, gates: Array, graph: Graph | None) -> Array:
        """x_m + sum_{n != m} x_n * g_n, [N, M, D]; what R_m is given."""
        sent = x * at_nodes(gates, graph, x.shape[0])
        others = 1 - jnp.eye(x.shape[1], dtype=x.dtype)
        return jnp.where(mask[..., None], x + jnp.einsum("mk,nkd->nmd", others, sent), 0)

    def nodes(self, x, mask, graph, context) -> Fused:
        gates = self.gates(self.joint(x), mask, graph)
        refined = self.res(self.crossed(x, mask, gates, graph), mask, graph, training=context.key is not None)
        tokens = jnp.where(mask[..., None], x + refined, 0)
        weights = jnp.where(mask[..., None], at_nodes(gates, graph, x.shape[0]), 0).swapaxes(1, 2)
        axes = ("node", "feature", "modality")
        shown = Attention("gates", weights, axes, "node", "modality", valid=mask[:, None], normalised=False)
        return Fused(masked_mean(tokens, mask), tokens, (shown,))
