"""Late fusion by the product of the class probabilities, every modality classified by itself.

Reference: Kittler, Hatef, Duin, Matas, "On Combining Classifiers", IEEE TPAMI 20(3), 1998: the product rule
with equal priors; a product of experts (Hinton 2002) whose experts are trained apart.
"""

import jax
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.nn.reductions import masked_sum
from fusion_jax.records import Fused, Info


class LateProduct(Fusion):
    """out = log of prod over present m of softmax(x_m), divided by its sum over classes; x [M, C] logits.

    Sharper than `late_logits` by the number of present modalities, with the same first class. A node without
    modality gets the uniform distribution, out = -log C.
    """

    info = Info("Kittler et al., On Combining Classifiers (product rule)", 1998, cost="O(N M C)")
    placements = ("decision",)
    loss = "stream_cross_entropy"
    symmetries = ("nodes", "modalities")

    def __init__(self, modalities: int, dim: int, *, rngs: nnx.Rngs):
        del modalities, dim, rngs  # nothing is learned

    def node(self, x, mask, context):
        del context
        return Fused(jax.nn.log_softmax(masked_sum(jax.nn.log_softmax(x), mask)))
