"""Coordinate attention: a gate a node times a gate a modality, decoded from one bottleneck of the means along each.

Reference: Hou, Zhou, Feng, "Coordinate Attention for Efficient Mobile Network Design", CVPR 2021; code of the authors,
Andrew-Qibin/CoordAttention at dbd5e7b (MIT), `coordatt.py`. The height of its maps is the nodes of one graph here, the
width the modalities, and the channels the features. Golden `coordinate-attention`.
"""

from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.nn.coordinate import CoordinateGates, gated
from fusion_jax.nn.init import masked_mean
from fusion_jax.records import Fused, Info


class CoordinateAttention(Fusion):
    """tokens_nm = x_nm * g_h(n) * g_w(graph of n, m), gates in (0, 1) from `nn.coordinate.CoordinateGates`.

    p_h(n) is the mean over the modalities that node n has, p_w(g, m) that over the nodes of graph g that have modality
    m; both go through one bottleneck. Means count what is there, and what is empty counts in no batch statistic. There
    is no residual, as in the code: tokens are never larger than x. `out` is their masked mean. No edge is read, only
    which graph of a batch a node is in; without a graph all nodes are one. Attentions are "nodes" [D, N], g_h, and
    "modalities" [N, D, M], g_w at the nodes.

    Args:
        reduction: the bottleneck has max(8, D // reduction) features.
        norm: of the bottleneck, "batch" as in the reference; "layer" for graphs of few nodes (ours).
    Raises:
        ValueError: a reduction below 1, or another norm.
    """

    info = Info(
        "Hou, Zhou, Feng, Coordinate Attention for Efficient Mobile Network Design",
        2021,
        pinned="authors' code",
        golden="coordinate-attention",
        cost="O(N M D + (N + G M) D W)",
    )
    placements = ("before", "after", "interleaved")
    symmetries = ("nodes", "modalities")

    def __init__(self, modalities: int, dim: int, *, reduction: int = 32, norm: str = "batch", rngs: nnx.Rngs):
        del modalities
        self.gates = CoordinateGates("coordinate_attention", dim, reduction=reduction, norm=norm, rngs=rngs)

    def nodes(self, x, mask, graph, context) -> Fused:
        gates = self.gates(x, masked_mean(x, mask), mask, graph, training=context.key is not None)
        return gated(x, mask, gates, graph)
