"""The feature calibration of MEFN: modalities attend to each other and are weighted by how sure each one is."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx

from fusion_jax.nn.attention import MultiHeadAttention, masked_softmax
from fusion_jax.nn.init import zeros
from fusion_jax.records import Array


class Calibration(nnx.Module):
    """f_m' = f_m + Att(Q = f_m, K = V = the other present f), f = sum_m s_m f_m'.

    The share is s_m = r_m / sum r with reliability r_m = 1 - u_m, 0 where missing; `learned`: s = softmax over the
    present m of log r_m + v . f_m', with v = 0 at the start, which is the same share.

    Args:
        mutual: whether to attend; without it f_m' = f_m.
        learned: whether the share is learned.
        heads, rate: of the attention.
    """

    def __init__(
        self,
        dim: int,
        *,
        mutual: bool = True,
        learned: bool = False,
        heads: int = 1,
        rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        # No output bias: a modality that is alone stays as it is.
        self.attention = MultiHeadAttention(dim, heads, out_bias=False, rate=rate, rngs=rngs) if mutual else None
        self.score = zeros((dim,)) if learned else None

    def __call__(self, f: Array, uncertainty: Array, mask: Array, *, key: Array | None = None):
        """f [..., M, D], uncertainty and mask [..., M] -> calibrated [..., D], f' [..., M, D], share [..., M]."""
        if self.attention is not None:
            others = mask[..., None, :] & ~jnp.eye(f.shape[-2], dtype=bool)
            f = f + self.attention(f, mask=others, key=key)[0]
        f = jnp.where(mask[..., None], f, 0)
        reliability = jnp.where(mask, 1 - uncertainty, 0)
        if self.score is None:
            total = reliability.sum(-1, keepdims=True)
            share = reliability / jnp.where(total > 0, total, 1)
        else:
            floor = jnp.finfo(f.dtype).tiny
            share = masked_softmax(jnp.log(jnp.maximum(reliability, floor)) + f @ self.score[...], mask)
        return jnp.einsum("...m,...md->...d", share, f), f, share
