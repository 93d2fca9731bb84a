"""Channel-attention fusion: every modality is gated by its own channel attention, then all are added.

Reference: "Detecting Line Segments in Motion-blurred Images with Events", 2022; code lh9171338/FE-LSD at e5eb91e
(`network/fusion.py`), an ablation of the shallow fusion (`fe_lsd`). Golden `fe-lsd/ca_fusion_ablation`.
"""

import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.graphs import Graph
from fusion_jax.nn.pooling import at_nodes
from fusion_jax.nn.streams import ChannelAttention
from fusion_jax.records import Array, Attention, Fused, Info


class FeLsdCaFusion(Fusion):
    """out = sum_m x_m * CA_m(x_m of the graph); `tokens` are its terms.

    `nn.streams.ChannelAttention` of the mean and maximum over the graph's nodes that have modality m. Only which graph
    of a batch a node is in is read; without a graph all nodes are one. Attention "gates" [N, D, M] holds the gates at
    the nodes, 0 for missing modalities.

    Args:
        reduction: CA has max(1, D // reduction) hidden features.
    Raises:
        ValueError: a reduction below 1.
    """

    info = Info(
        "Detecting Line Segments in Motion-blurred Images with Events",
        2022,
        pinned="authors' code",
        golden="fe-lsd",
        cost="O(N M D + G M D^2)",
    )
    placements = ("before", "after", "interleaved")

    def __init__(self, modalities: int, dim: int, *, reduction: int = 16, rngs: nnx.Rngs):
        if reduction < 1:
            raise ValueError(f"fusion 'fe_lsd_ca_fusion': reduction={reduction!r}; expected an integer >= 1")
        self.ca = nnx.List([ChannelAttention(dim, reduction=reduction, rngs=rngs) for _ in range(modalities)])

    def gates(self, x: Array, mask: Array, graph: Graph | None) -> Array:
        """[G, M, D], of each modality its own."""
        return jnp.stack([attention.of(x[:, m], mask[:, m], graph) for m, attention in enumerate(self.ca)], axis=1)

    def nodes(self, x, mask, graph, context) -> Fused:
        del context
        gates = at_nodes(self.gates(x, mask, graph), graph, x.shape[0])
        gates = jnp.where(mask[..., None], gates, 0)
        tokens = x * gates
        axes = ("node", "feature", "modality")
        shown = Attention(
            "gates", gates.swapaxes(1, 2), axes, "node", "modality", valid=mask[:, None], normalised=False
        )
        return Fused(tokens.sum(1), tokens, (shown,))
