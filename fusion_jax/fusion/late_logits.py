"""Late fusion by the mean of the logits, every modality classified by itself.

Folklore; the same as the geometric mean of the experts' probabilities, renormalised.
"""

from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.nn.init import masked_mean
from fusion_jax.records import Fused, Info


class LateLogits(Fusion):
    """out = sum_m mask_m x_m / sum_m mask_m over logits x [M, C]; 0, the uniform answer, without modality."""

    info = Info("Folklore: mean of the logits", cost="O(N M C)")
    placements = ("decision",)
    loss = "stream_cross_entropy"
    symmetries = ("nodes", "modalities")

    def __init__(self, modalities: int, dim: int, *, rngs: nnx.Rngs):
        del modalities, dim, rngs  # nothing is learned

    def node(self, x, mask, context):
        del context
        return Fused(masked_mean(x, mask))
