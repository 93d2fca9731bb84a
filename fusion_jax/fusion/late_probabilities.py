"""Late fusion by the mean of the class probabilities, every modality classified by itself.

Reference: Kittler, Hatef, Duin, Matas, "On Combining Classifiers", IEEE TPAMI 20(3), 1998: the sum rule
with equal priors (a mixture of experts with equal weights).
"""

from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.nn.late import log_mean_probability
from fusion_jax.records import Fused, Info


class LateProbabilities(Fusion):
    """out = log(mean over present m of softmax(x_m)), x [M, C] logits; softmax(out) is that mean.

    A node without modality gets the uniform distribution, out = -log C.
    """

    info = Info("Kittler et al., On Combining Classifiers (sum rule)", 1998, cost="O(N M C)")
    placements = ("decision",)
    loss = "stream_cross_entropy"
    symmetries = ("nodes", "modalities")

    def __init__(self, modalities: int, dim: int, *, rngs: nnx.Rngs):
        del modalities, dim, rngs  # nothing is learned

    def node(self, x, mask, context):
        del context
        return Fused(log_mean_probability(x, mask))
