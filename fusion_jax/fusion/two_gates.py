"""Two pointwise gates on every modality, then the mean: the attention of MPFNet's released code.

Reference: "MPFNet: A Multi-Prior Fusion Network with a Progressive Training Strategy for Micro-Expression
Recognition", 2025; code Mac0504/MPFNet at 9288094 (`CA-I3D.py`, CoordinateAttention). Golden
`mpfnet/repo_coordinate_attention`.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.nn.init import masked_mean
from fusion_jax.nn.mlp import MLP
from fusion_jax.records import Array, Attention, Fused, Info


class TwoGates(Fusion):
    """y_m = x_m * sigmoid(g_c(x_m)) * sigmoid(g_s(x_m)), g = W2 relu(W1 x + b1) + b2, shared by the modalities.

    The code calls it coordinate attention and its two gates channel and spatial, but both are of the same form and
    neither pools over anything: a modality is gated by itself alone. `tokens` are the y_m, `out` their mean over the
    present modalities.

    Attention "gates" [N, D, M] holds the product of the gates, in (0, 1), 0 for missing modalities.

    Args:
        hidden: width between W1 and W2, D if None.
    """

    info = Info(
        "MPFNet: A Multi-Prior Fusion Network with a Progressive Training Strategy for Micro-Expression Recognition",
        2025,
        pinned="authors' code",
        golden="mpfnet",
        cost="O(N M D^2)",
    )
    placements = ("before", "after", "interleaved", "decision")
    symmetries = ("nodes", "modalities")

    def __init__(self, modalities: int, dim: int, *, hidden: int | None = None, rngs: nnx.Rngs):
        del modalities  # any number: the gates are shared
        hidden = dim if hidden is None else hidden
        self.channel_attention, self.spatial_attention = (MLP(dim, hidden, rngs=rngs) for _ in range(2))

    def gates(self, x: Array) -> Array:
        """[..., D] -> [..., D]"""
        return jax.nn.sigmoid(self.channel_attention(x)) * jax.nn.sigmoid(self.spatial_attention(x))

    def node(self, x, mask, context):
        del context
        gates = self.gates(x)
        tokens = gates * x
        shown = Attention(
            "gates",
            jnp.where(mask[:, None], gates, 0).T,
            ("feature", "modality"),
            "node",
            "modality",
            valid=mask[None],
            normalised=False,
        )
        return Fused(masked_mean(tokens, mask), tokens, (shown,))
