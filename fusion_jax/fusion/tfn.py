"""Tensor fusion: the outer product of all modalities, each with a 1 put in front, read by a small network.

Reference: Zadeh, Chen, Poria, Cambria, Morency, "Tensor Fusion Network for Multimodal Sentiment Analysis",
EMNLP 2017. Numbers: the PyTorch re-implementation Justin1904/TensorFusionNetworks at ef0e78b (no licence
stated), whose product is that of the first author's Keras code (A2Zadeh/TensorFusionNetwork at ca57f4f);
golden `tfn`, three modalities, with the networks in front of the product taken out.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.nn.dropout import dropout
from fusion_jax.nn.init import stack
from fusion_jax.records import Array, Fused, Info


class TFN(Fusion):
    """Z = [1; h_1] x ... x [1; h_M] (outer product); out = W3 relu(W2 relu(W1 vec(Z) + b1) + b2) + b3.

    h_m = x_m where the width is D, else relu(V_m x_m + c_m). Z [(width + 1)^M], the last modality running
    fastest, holds the products of every subset of the modalities. A missing modality has h_m = 0: all
    products with it vanish and those of the present ones remain.

    Args:
        width: of h_m, at most D; if None the largest up to D that keeps Z within `limit`
            (M=2: 63, M=3: 15, M=4: 7, M=6: 3).
        limit: the largest number of entries Z may have, since W1 has that many rows and every node that many
            numbers. The paper has 33 * 33 * 129 = 140 481.
        hidden: width of the two hidden layers (128 in the paper).
        out_dim: width of `out`, D if None.
        rate: dropout on Z.
    Raises:
        ValueError: Z would have more than `limit` entries, or the width is not in [1, D].
    """

    info = Info(
        "Zadeh et al., Tensor Fusion Network for Multimodal Sentiment Analysis",
        2017,
        pinned="stand-in",
        golden="tfn",
        cost="O(N w^M hidden), w the width",
    )

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        width: int | None = None,
        limit: int = 4096,
        hidden: int = 64,
        out_dim: int | None = None,
        rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        width = _width(modalities, dim, limit) if width is None else width
        size = (width + 1) ** modalities
        if not 1 <= width <= dim:
            raise ValueError(f"fusion 'tfn': width={width} is not in [1, {dim}]")
        if size > limit:
            raise ValueError(
                f"fusion 'tfn': the outer product of M={modalities} modalities of width {width} has "
                f"{width + 1}^{modalities} = {size} entries, over limit={limit}; choose a smaller width"
            )
        self.width, self.rate = width, rate

        # The paper's h_m comes out of three such layers; here the encoder before the fusion does that work.
        def narrow(r):
            return nnx.Linear(dim, width, rngs=r)

        self.subnet = None if width == dim else stack(narrow, modalities, rngs)
        self.post_fusion_layer_1 = nnx.Linear(size, hidden, rngs=rngs)
        self.post_fusion_layer_2 = nnx.Linear(hidden, hidden, rngs=rngs)
        self.post_fusion_layer_3 = nnx.Linear(hidden, dim if out_dim is None else out_dim, rngs=rngs)

    def tensor(self, x: Array, mask: Array) -> Array:
        """vec(Z) [(width + 1)^M] of one node."""
        h = x if self.subnet is None else jax.nn.relu(jax.vmap(lambda f, a: f(a))(self.subnet, x))
        h = jnp.where(mask[:, None], h, 0)
        ones = jnp.ones((h.shape[0], 1), h.dtype)
        product, *rest = jnp.concatenate([ones, h], axis=1)  # M of [width + 1]
        for factor in rest:
            product = (product[:, None] * factor).reshape(-1)
        return product

    def node(self, x, mask, context):
        z = dropout(self.tensor(x, mask), self.rate, context.key)
        y = jax.nn.relu(self.post_fusion_layer_1(z))
        y = jax.nn.relu(self.post_fusion_layer_2(y))
        # The code squeezes its one output into (-3, 3), the range of its labels: that is the task's head.
        return Fused(self.post_fusion_layer_3(y))


def _width(modalities: int, dim: int, limit: int) -> int:
    """The largest width up to D with (width + 1)^M <= limit; 1 where even that is too much."""
    fits = [w for w in range(1, dim + 1) if (w + 1) ** modalities <= limit]
    return max(fits, default=1)
