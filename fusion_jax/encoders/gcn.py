"""A stack of graph convolutions over the modality's own edge set, the omics-specific network of MOGONET.

Reference: Wang et al., "MOGONET integrates multi-omics data using graph convolutional networks allowing patient
classification and biomarker identification", Nature Communications 2021; code txWang/MOGONET @ 32d9066b,
`models.py`, class GCN_E. Golden `mogonet-rosmap` (`tests/test_mogonet.py`).
"""

from __future__ import annotations

import jax
from flax import nnx

from fusion_jax.encoders.base import Encoder
from fusion_jax.nn.adjacency import check_norm, convolve
from fusion_jax.nn.dropout import dropout, split_key
from fusion_jax.nn.presence import reached_by_weight
from fusion_jax.records import EVALUATION, Info


class GCN(Encoder):
    """h <- leaky(A (h W) + b) for every layer, A [N, N] the normalised adjacency of `data.views` with loops.

    A node that lacks the modality sends nothing until it has received something of it.

    Args:
        hidden: widths of the layers before the last, whose width is D.
        slope: of the leaky relu below 0.
        rate: dropout after every layer but the last.
        norm: "row" or "symmetric", how A is normalised.
    Raises:
        ValueError: another `norm`.
    """

    info = Info(
        "Wang et al., MOGONET integrates multi-omics data using graph convolutional networks",
        2021,
        pinned="authors' code",
        golden="mogonet-rosmap",
        cost="O(E D + N d D)",
        needs=("graph",),
    )

    reads_sparse = True

    def __init__(
        self,
        in_dim: int,
        dim: int,
        *,
        hidden: tuple[int, ...] = (200, 200),
        slope: float = 0.25,
        rate: float = 0.5,
        norm: str = "row",
        rngs: nnx.Rngs,
    ):
        check_norm("encoder 'gcn'", norm)
        widths = (in_dim, *hidden, dim)
        init = nnx.initializers.glorot_normal()
        self.gc = nnx.List(
            [nnx.Linear(a, b, kernel_init=init, rngs=rngs) for a, b in zip(widths, widths[1:], strict=False)]
        )
        self.slope, self.rate, self.norm = slope, rate, norm

    def __call__(self, x, graph=None, present=None, context=EVALUATION):
        for i, (layer, k) in enumerate(zip(self.gc, split_key(context.key, len(self.gc)), strict=True)):
            x = convolve(x @ layer.kernel[...], graph, self.norm, present) + layer.bias[...]
            present = None if present is None else reached_by_weight(present, graph)
            x = jax.nn.leaky_relu(x, self.slope)
            if i + 1 < len(self.gc):
                x = dropout(x, self.rate, k)
        return x

    def reached(self, present, graph):
        for _ in self.gc:
            present = reached_by_weight(present, graph)
        return present
