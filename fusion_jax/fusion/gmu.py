"""Gated multimodal unit: every feature of the output decides which modalities it listens to.

Reference: Arevalo, Solorio, Montes-y-Gomez, Gonzalez, "Gated Multimodal Units for Information Fusion", 2017
(arXiv 1702.01992), section 3: the unit for any number of modalities, and the bimodal one. No golden cases.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.nn.attention import masked_softmax
from fusion_jax.records import Array, Attention, Fused, Info


class GMU(Fusion):
    """h_m = tanh(W_m x_m); out = sum_m z_m * h_m, all products by feature, no biases.

    M = 2: z_1 = sigmoid(W_z [x_1; x_2]), z_2 = 1 - z_1, so out lies in (-1, 1). Other M: one gate a modality,
    z_m = sigmoid(W_zm [x_1; ...; x_M]), which need not sum to 1, so out lies in (-M, M). A missing modality
    enters the gates as zeros and has z_m = 0; of two modalities the one left then has z_m = 1. A node without
    modality gets out = 0.

    Attention "gates" [N, D, M] is z, which sums to 1 over the present modalities where M = 2.
    """

    info = Info("Arevalo et al., Gated Multimodal Units for Information Fusion", 2017, cost="O(N M^2 D^2)")

    def __init__(self, modalities: int, dim: int, *, rngs: nnx.Rngs):
        gates = dim if modalities == 2 else modalities * dim
        kernel = nnx.initializers.lecun_normal(batch_axis=0)
        self.kernel = nnx.Param(kernel(rngs.params(), (modalities, dim, dim), jnp.float32))
        # The paper's gate reads x; the authors' released bimodal code reads W_m x_m. This is the paper's.
        self.gate = nnx.Linear(modalities * dim, gates, use_bias=False, rngs=rngs)

    def gates(self, x: Array, mask: Array) -> Array:
        """z [M, D] of one node."""
        logits = self.gate(jnp.where(mask[:, None], x, 0).reshape(-1))
        if len(mask) == 2:  # (sigmoid(a), 1 - sigmoid(a)) is the softmax of (a, 0), which knows how to mask
            return masked_softmax(jnp.stack([logits, jnp.zeros_like(logits)]), mask[:, None], axis=0)
        return jnp.where(mask[:, None], jax.nn.sigmoid(logits.reshape(x.shape)), 0)

    def node(self, x, mask, context):
        del context
        h = jnp.tanh(jnp.einsum("md,mde->me", x, self.kernel[...]))
        z = self.gates(x, mask)
        gates = Attention(
            "gates", z.T, ("feature", "modality"), "node", "modality", valid=mask[None], normalised=len(mask) == 2
        )
        return Fused((z * h).sum(0), attention=(gates,))
