"""A feed-forward block that sees periods among its features: their autocorrelation, gated by the neighbourhood.

Reference: "It Takes Two: A Duet of Periodicity and Directionality for Burst Flicker Removal", CVPR 2026
(Flickerformer); code qulishen/Flickerformer at 56f2bef; golden `flickerformer/affn_float32`.
"""

from __future__ import annotations

from flax import nnx

from fusion_jax.encoders.base import Encoder
from fusion_jax.nn.gated_autocorrelation import GROUP, GatedAutocorrelation
from fusion_jax.nn.norm import layer_norm
from fusion_jax.nn.presence import reached, zero_absent
from fusion_jax.nn.stencil import around
from fusion_jax.records import EVALUATION, Info


class FlickerformerAFFN(Encoder):
    """y = z + `GatedAutocorrelation`(layer_norm(z)), z = W x + b.

    Groups of 8 consecutive hidden features are the paper's patches of 8 x 8 positions; its depthwise 3 x 3 convolution
    is a weight on the node's own features and one on the mean of its neighbours'.

    Args:
        expansion: of the hidden width, int(expansion D) in the paper, here the multiple of 4 that is not below it, so
            that twice it are whole groups.
    Raises:
        ValueError: expansion not above 0.
    """

    info = Info(
        "It Takes Two: A Duet of Periodicity and Directionality for Burst Flicker Removal (Flickerformer)",
        2026,
        pinned="authors' code",
        golden="flickerformer",
        cost="O(E D + N D^2)",
        needs=("graph",),
    )

    def __init__(self, in_dim: int, dim: int, *, expansion: float = 2.66, rngs: nnx.Rngs):
        if not expansion > 0:
            raise ValueError(f"encoder 'flickerformer_affn': expansion={expansion}; expected a number above 0")
        half = GROUP // 2
        hidden = -(-max(1, int(expansion * dim)) // half) * half
        self.project = nnx.Linear(in_dim, dim, rngs=rngs)
        self.norm = layer_norm(dim, rngs=rngs)
        self.affn = GatedAutocorrelation(dim, hidden, groups=2 * hidden // GROUP, rngs=rngs)

    def __call__(self, x, graph=None, present=None, context=EVALUATION):
        del context
        z = self.project(zero_absent(x, present))
        return z + self.affn(self.norm(z), around(graph, present))

    def reached(self, present, graph):
        return reached(present, graph)
