"""Self-attention over the patches a modality consists of, not scaled, summed over the patches.

Reference: Mondal et al., "BioFusionNet", 2024; code raktim-mondol/BioFusionNet at 59bc596 (`multimodal_model.py`).
Golden `biofusionnet/patch_self_attention`.
"""

from flax import nnx

from fusion_jax.encoders.base import Encoder
from fusion_jax.nn.attention import attend
from fusion_jax.records import EVALUATION, Array, Attention, Info


class PatchSelfAttention(Encoder):
    """y = sum_p sum_l softmax_l(q_p . k_l) v_l, with q, k, v = W x + b of the P patches x_p of a node.

    The d_m features of a node are its patches one after another, d_m / P each. With P = 1 the softmax is 1 and
    y = W_v x + b_v.

    Args:
        patches: P, divides d_m.
    Raises:
        ValueError: the features are no whole number of patches.
    """

    info = Info(
        "Mondal et al., BioFusionNet: Survival Risk Stratification in ER+ Breast Cancer Through Multifeature and "
        "Multimodal Data Fusion",
        2024,
        pinned="authors' code",
        golden="biofusionnet",
        cost="O(N (d D + P^2 D))",
    )

    def __init__(self, in_dim: int, dim: int, *, patches: int = 1, rngs: nnx.Rngs):
        if patches < 1 or in_dim % patches:
            raise ValueError(
                f"encoder 'patch_self_attention': {in_dim} features are no whole number of patches={patches}"
            )

        def linear():
            return nnx.Linear(in_dim // patches, dim, rngs=rngs)

        self.query, self.key, self.value = linear(), linear(), linear()
        self.patches = patches

    def attend(self, x: Array) -> tuple[Array, Array]:
        """x [N, d_m] -> the patches after attention [N, P, D] and the weights [N, P, P], query x key."""
        x = x.reshape(x.shape[0], self.patches, -1)
        q, k, v = (f(x)[:, :, None] for f in (self.query, self.key, self.value))  # [N, P, 1, D]
        out, weights = attend(q, k, v, scale=1.0)
        return out[:, :, 0], weights[:, 0]

    def attention(self, x, graph, present, context):
        """The weights [N, P, P] among the patches of a node."""
        del graph, present, context
        return (Attention("patches", self.attend(x)[1], ("node", "patch", "patch"), "patch", "patch"),)

    def __call__(self, x, graph=None, present=None, context=EVALUATION):
        del graph, present, context
        return self.attend(x)[0].sum(1)  # a sum, not a mean: it grows with the number of patches
