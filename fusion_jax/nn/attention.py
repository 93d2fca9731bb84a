"""Attention with freely routed query, key and value, safe where everything is masked.

`attend` is the arithmetic, `MultiHeadAttention` adds the four projections. Masks are true where a key may
be seen. A row whose keys are all masked has weights 0 and output 0 (before the output projection), not NaN.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.nn.dropout import dropout
from fusion_jax.nn.init import LECUN_NORMAL
from fusion_jax.records import Array


def masked_softmax(logits: Array, mask: Array | None = None, axis: int = -1) -> Array:
    """softmax over the entries where `mask` is true; 0 elsewhere, and 0 everywhere if there is none.

    Value and gradient are finite even where all entries are masked or a masked logit is NaN.
    """
    if mask is None:
        return jax.nn.softmax(logits, axis=axis)
    mask = jnp.broadcast_to(mask, logits.shape)
    logits = jnp.where(mask, logits, -jnp.inf)
    top = jax.lax.stop_gradient(jnp.max(logits, axis=axis, keepdims=True))
    top = jnp.where(jnp.isfinite(top), top, 0)
    weights = jnp.where(mask, jnp.exp(jnp.where(mask, logits - top, 0)), 0)
    total = weights.sum(axis=axis, keepdims=True)
    return weights / jnp.where(total > 0, total, 1)


def attend(
    q: Array,  # [..., T, H, d]
    k: Array,  # [..., L, H, d]
    v: Array,  # [..., L, H, e]
    mask: Array | None = None,  # bool [..., L] (keys), or [..., T, L], or [..., H, T, L]
    *,
    scale: float | None = None,
    bias: Array | None = None,  # added to the logits, broadcast to [..., H, T, L]
    rate: float = 0.0,
    key: Array | None = None,
) -> tuple[Array, Array]:
    """o_t = sum_l a_tl v_l with a = softmax_l(scale q_t . k_l + bias), head by head.

    Args:
        mask: true where a key may be seen; its rank says which of the three forms it has
            (one less than q's: keys; two forms more for query x key and head x query x key).
        scale: multiplies the logits; 1 / sqrt(d) if None.
        rate: dropout on the weights, only if `key` is given.
    Returns:
        out [..., T, H, e] and weights [..., H, T, L] (before dropout).
    """
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    lead = q.ndim - 3
    if mask is not None:
        form = mask.ndim - lead  # 1: keys, 2: query x key, 3: head x query x key
        if form not in (1, 2, 3):
            raise ValueError(f"mask has {mask.ndim} axes, expected {lead + 1} to {lead + 3}, the last over the keys")
        if form == 1:
            mask = mask[..., None, None, :]
        elif form == 2:
            mask = mask[..., None, :, :]
        seen = mask.any(axis=(-3, -2))[..., :, None, None]  # a key no query sees: its NaN must not spread
        k, v = jnp.where(seen, k, 0), jnp.where(seen, v, 0)
    logits = jnp.einsum("...thd,...lhd->...htl", q, k) * scale
    if bias is not None:
        logits = logits + bias
    weights = masked_softmax(logits, mask)
    out = jnp.einsum("...htl,...lhe->...the", dropout(weights, rate, key), v)
    return out, weights


class MultiHeadAttention(nnx.Module):
    """out = concat_h(softmax(q_h k_h^T / sqrt(d)) v_h) W_o + b_o, with q, k, v from three sources.

    The head index is the slow part of the projected width (h, d), as in Vaswani et al. 2017.

    Args:
        dim: width of the query source, and of whatever is not given.
        heads: H; divides `qk_dim` and `v_dim`.
        key_dim, value_dim: widths of the key and value sources.
        qk_dim, v_dim: projected widths over all heads.
        out_dim: width of the output.
        bias, out_bias: whether the three input projections, and the output, have a bias.
        rate: dropout on the attention weights.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        key_dim: int | None = None,
        value_dim: int | None = None,
        qk_dim: int | None = None,
        v_dim: int | None = None,
        out_dim: int | None = None,
        bias: bool = True,
        out_bias: bool = True,
        rate: float = 0.0,
        kernel_init=LECUN_NORMAL,
        rngs: nnx.Rngs,
    ):
        key_dim = dim if key_dim is None else key_dim
        value_dim = key_dim if value_dim is None else value_dim
        qk_dim = dim if qk_dim is None else qk_dim
        v_dim = qk_dim if v_dim is None else v_dim
        for name, width in (("qk_dim", qk_dim), ("v_dim", v_dim)):
            if width % heads:
                raise ValueError(f"MultiHeadAttention: {name}={width} is not divisible by heads={heads}")

        def linear(i, o, b):
            return nnx.Linear(i, o, use_bias=b, kernel_init=kernel_init, rngs=rngs)

        self.heads, self.rate = heads, rate
        self.query = linear(dim, qk_dim, bias)
        self.key = linear(key_dim, qk_dim, bias)
        self.value = linear(value_dim, v_dim, bias)
        self.out = linear(v_dim, dim if out_dim is None else out_dim, out_bias)

    def split(self, x: Array) -> Array:
        """[..., L, H * d] -> [..., L, H, d]"""
        return x.reshape(*x.shape[:-1], self.heads, -1)

    def __call__(
        self,
        query: Array,  # [..., T, dim]
        keys: Array | None = None,  # [..., L, key_dim]; the query if None
        values: Array | None = None,  # [..., L, value_dim]; the keys if None
        mask: Array | None = None,  # as in `attend`
        *,
        key: Array | None = None,
    ) -> tuple[Array, Array]:
        """Returns out [..., T, out_dim] and weights [..., H, T, L]."""
        keys = query if keys is None else keys
        values = keys if values is None else values
        q, k, v = self.split(self.query(query)), self.split(self.key(keys)), self.split(self.value(values))
        out, weights = attend(q, k, v, mask, rate=self.rate, key=key)
        return self.out(out.reshape(*out.shape[:-2], -1)), weights
