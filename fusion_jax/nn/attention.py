"""Attention with freely routed query, key and value, safe where everything is masked.

`attend` is the arithmetic, `MultiHeadAttention` adds the four projections. Masks are true where a key may
be seen. A row whose keys are all masked has weights 0 and output 0 (before the output projection), not NaN.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.nn import mixing
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


@dataclasses.dataclass(frozen=True)
class Tokens:
    """Keys side by side, `nn.mixing.Keys`: weights [..., H, T, L].

    Attributes:
        mask: bool, broadcast to the weights, true where a key may be seen; None where all may.
        seen: bool [..., L, 1, 1], keys that some query sees; None where all are.
    """

    mask: Array | None = None
    seen: Array | None = None

    def pair(self, q: Array, k: Array) -> Array:
        return _products("...td,...ld->...tl", _heads_first(q), _heads_first(k))

    def of_key(self, values: Array) -> Array:
        of_key = jnp.swapaxes(values, -1, -2)[..., None, :]  # [..., H, 1, L]
        return jnp.broadcast_to(of_key, (*of_key.shape[:-2], of_key.shape[-1], of_key.shape[-1]))

    def own(self, q: Array, k: Array) -> Array | None:
        if q.shape != k.shape:
            return None
        return q if self.seen is None else jnp.where(self.seen, q, 0)

    def softmax(self, logits: Array) -> Array:
        return masked_softmax(logits, self.mask)

    def share(self, values: Array) -> Array:
        values = values if self.mask is None else jnp.where(self.mask, values, 0)
        total = values.sum(-1, keepdims=True)
        return values / jnp.where(total == 0, 1, total)


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

    Within `nn.mixing.Mixing.inside` a mixer may weigh instead.

    Args:
        mask: true where a key may be seen; its rank says which of the three forms it has
            (one less than q's: keys; two forms more for query x key and head x query x key).
        scale: multiplies the logits; 1 / sqrt(d) if None.
        rate: dropout on the weights, only if `key` is given.
    Returns:
        out [..., T, H, e] and weights [..., H, T, L] (before dropout).
    """
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    lead, seen = q.ndim - 3, None
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
    weights = mixing.weigh(Tokens(mask, seen), q, k, scale, bias)
    out = _products("...tl,...le->...te", dropout(weights, rate, key), _heads_first(v))
    return jnp.swapaxes(out, -2, -3), weights


def _heads_first(x: Array) -> Array:
    """[..., L, H, d] -> [..., H, L, d]."""
    return jnp.swapaxes(x, -2, -3)


def _products(of: str, a: Array, b: Array) -> Array:
    """An einsum of a, b [..., H, *, *] head by head.

    With the heads before the tokens, and without an axis for a single one, it is two to five times as fast on a CPU,
    for few tokens, as one that takes heads from between tokens and width.
    """
    if a.shape[-3] == b.shape[-3] == 1:
        return jnp.einsum(of, a[..., 0, :, :], b[..., 0, :, :])[..., None, :, :]
    return jnp.einsum(of, a, b)


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

    Built within `nn.mixing.Building.inside`, one that is chosen has no projections: of about as many parameters it is
    out = W_down(silu(W_gate x) * W_up x) + b, and lets no token see another.
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
        out_dim = dim if out_dim is None else out_dim
        making = mixing.building()
        self.number = None if making is None else making.next()
        if self.number is not None:
            width = equal_width(dim, key_dim, value_dim, qk_dim, v_dim, out_dim, bias)
            self.query = self.key = self.value = self.out = None
            self.gate, self.up = linear(dim, width, False), linear(dim, width, False)
            self.down = linear(width, out_dim, out_bias)
            return
        self.query = linear(dim, qk_dim, bias)
        self.key = linear(key_dim, qk_dim, bias)
        self.value = linear(value_dim, v_dim, bias)
        self.out = linear(v_dim, out_dim, out_bias)

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
        if self.number is not None:
            return self._alone(query, keys, mask)
        now = mixing.current()
        asking, asked = (query, keys) if now is None else now.sources(query, keys)
        q, k, v = self.split(self.query(asking)), self.split(self.key(asked)), self.split(self.value(values))
        out, weights = attend(q, k, v, mask, rate=self.rate, key=key)
        out = self.out(out.reshape(*out.shape[:-2], -1))
        return (jnp.zeros_like(out) if now is not None and now.left_out else out), weights

    def _alone(self, x: Array, keys: Array, mask: Array | None) -> tuple[Array, Array]:
        """Every token by itself; its weights are 1 on itself, where it may be seen."""
        now = mixing.current()
        skipped = now is not None and now.passes(self.number)
        if keys is not x:
            raise ValueError("a gated MLP in the place of cross attention would see nothing of the keys")
        out = self.down(jax.nn.silu(self.gate(x)) * self.up(x))
        length = x.shape[-2]
        itself = jnp.broadcast_to(jnp.eye(length, dtype=x.dtype), (*x.shape[:-2], self.heads, length, length))
        if mask is not None:
            form = mask.ndim - (x.ndim - 2)
            mask = mask[..., None, None, :] if form == 1 else mask[..., None, :, :] if form == 2 else mask
            itself = jnp.where(mask, itself, 0)
        return (jnp.zeros_like(out), jnp.zeros_like(itself)) if skipped else (out, itself)


def equal_width(dim: int, key_dim: int, value_dim: int, qk_dim: int, v_dim: int, out_dim: int, bias: bool) -> int:
    """The hidden width with which a gated MLP from `dim` to `out_dim` has the parameters of an attention, the nearest.

    Without biases and at one width D it is 4 D / 3, exact where 3 divides D.
    """
    projections = dim * qk_dim + key_dim * qk_dim + value_dim * v_dim + v_dim * out_dim
    biases = (2 * qk_dim + v_dim) * bias
    return max(1, round((projections + biases) / (2 * dim + out_dim)))
