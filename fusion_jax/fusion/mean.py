"""Averages the present modalities.

Baseline, no parameters. Reference: forum thread "Feature fusion with self-attention" (card
forum-selfattention), whose reductions these are, without the attention in front.
"""

import numpy as np
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.nn.init import masked_mean
from fusion_jax.records import Fused, Info


class Mean(Fusion):
    """out = sum_m mask_m x_m / sum_m mask_m.

    A node without modality gets 0. x [M, D], mask [M] -> out [D]; no tokens.
    """

    info = Info("Folklore: averaging", cost="O(N M D)")
    symmetries = ("nodes", "modalities")

    def __init__(self, modalities: int, dim: int, *, rngs: nnx.Rngs):
        del modalities, dim, rngs  # nothing is learned

    def node(self, x, mask, context):
        del context
        return Fused(masked_mean(x, mask))

    def align(self, anchor, walk, maps, states):
        del anchor, walk, states  # no parameters
        return np.mean(maps, axis=0)
