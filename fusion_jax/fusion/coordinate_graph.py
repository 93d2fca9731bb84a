"""Coordinate attention whose node gate looks at the neighbourhood: ours, after `coordinate_attention`.

Reference: Hou, Zhou, Feng, "Coordinate Attention for Efficient Mobile Network Design", CVPR 2021; the paper has no
graph. What both share is pinned by golden `coordinate-attention`.
"""

from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.nn.coordinate import CoordinateGates, gated
from fusion_jax.nn.init import masked_mean
from fusion_jax.nn.neighbour_mean import neighbour_mean
from fusion_jax.records import Fused, Info


class CoordinateGraph(Fusion):
    """As `coordinate_attention`, with p_h(n) the mean of the means p(j) of node n itself and of its senders.

    tokens_nm = x_nm * g_h(n) * g_w(graph of n, m). A sender without any modality is left out; an edge counts as often
    as it is there, weights are not read. Of a node without senders it is coordinate attention.

    Args:
        reduction: the bottleneck has max(8, D // reduction) features.
        norm: of the bottleneck, "batch" as in the reference; "layer" for graphs of few nodes.
    Raises:
        ValueError: a reduction below 1, or another norm.
    """

    info = Info(
        "Hou, Zhou, Feng, Coordinate Attention for Efficient Mobile Network Design",
        2021,
        pinned="authors' code",
        golden="coordinate-attention",
        cost="O(E D + N M D + (N + G M) D W)",
        needs=("graph",),
    )
    placements = ("before", "after", "interleaved")
    symmetries = ("nodes", "modalities")

    def __init__(self, modalities: int, dim: int, *, reduction: int = 32, norm: str = "batch", rngs: nnx.Rngs):
        del modalities
        self.gates = CoordinateGates("coordinate_graph", dim, reduction=reduction, norm=norm, rngs=rngs)

    def nodes(self, x, mask, graph, context) -> Fused:
        around = neighbour_mean(masked_mean(x, mask), graph.looped, mask.any(1))
        gates = self.gates(x, around, mask, graph, training=context.key is not None)
        return gated(x, mask, gates, graph)
