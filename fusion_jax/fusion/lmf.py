"""Low-rank fusion: the tensor-fusion layer, its weight a sum of products with one factor a modality.

Reference: Liu, Shen, Lakshminarasimhan, Liang, Zadeh, Morency, "Efficient Low-rank Multimodal Fusion with
Modality-Specific Factors", ACL 2018; code of the authors, Justin1904/Low-rank-Multimodal-Fusion at ea47551
(no licence stated); golden `lmf`, three modalities, with the networks in front of the fusion taken out.
"""

import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.nn.init import zeros
from fusion_jax.records import Fused, Info


class LMF(Fusion):
    """out = sum_r w_r prod_m ([1; x_m] F_mr) + b, the product by feature.

    It equals `vec([1; x_1] x ... x [1; x_M]) W + b` with W = sum_r w_r F_1r x ... x F_Mr, without ever
    building the outer product. A missing modality enters as [1; 0]: as in the tensor, its products with the
    others vanish, and what remains is scaled by the first row of F_mr, which starts at 1.

    Args:
        rank: R, number of products summed (the paper tries 1, 4, 8, 16).
        out_dim: width of `out`, D if None.

    Parameters: `factors` [M, R, D + 1, out], `fusion_weights` [R], `fusion_bias` [out], all trained.
    """

    info = Info(
        "Liu et al., Efficient Low-rank Multimodal Fusion with Modality-Specific Factors",
        2018,
        pinned="authors' code",
        golden="lmf",
        cost="O(N M R D^2)",
    )

    def __init__(self, modalities: int, dim: int, *, rank: int = 4, out_dim: int | None = None, rngs: nnx.Rngs):
        out = dim if out_dim is None else out_dim
        # Xavier on the whole tensor, as in the code, takes the rank for a fan and the output for a receptive field, and
        # draws the row that meets the 1 as it draws a weight: a missing modality then is a factor near 0, and with
        # three of six missing nothing is left of the product. Here that row starts at 1, so that every factor is
        # 1 + x_m W and a missing modality is none; and W has variance 1 / M of Glorot's, so that the product of M
        # factors neither grows nor vanishes with M.
        weights = nnx.initializers.variance_scaling(1 / modalities, "fan_avg", "normal", batch_axis=(0, 1))
        drawn = weights(rngs.params(), (modalities, rank, dim, out), jnp.float32)
        self.factors = nnx.Param(jnp.concatenate([jnp.ones_like(drawn[:, :, :1]), drawn], axis=2))
        self.fusion_weights = nnx.Param(nnx.initializers.glorot_normal()(rngs.params(), (1, rank), jnp.float32)[0])
        self.fusion_bias = zeros((out,))

    def node(self, x, mask, context):
        del context
        x = jnp.where(mask[:, None], x, 0)
        x = jnp.concatenate([jnp.ones((x.shape[0], 1), x.dtype), x], axis=1)  # [M, D + 1]
        products = jnp.einsum("mi,mrio->mro", x, self.factors[...]).prod(axis=0)  # [R, out]
        # The paper sums over the ranks with weight 1; the code trains the weights.
        return Fused(self.fusion_weights[...] @ products + self.fusion_bias[...])
