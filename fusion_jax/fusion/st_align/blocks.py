"""Tokens of a vector, cross-attention without a residual, and the fusion of several modalities' tokens.

Reference: dumbgoos/ST-Align at 738da0b, `stalign.py`; golden `st-align/{tokenisers,abfn,niche_gene_transformer}`.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.nn.attention import MultiHeadAttention
from fusion_jax.nn.dropout import dropout, split_key
from fusion_jax.nn.mlp import MLP, gelu
from fusion_jax.nn.norm import layer_norm
from fusion_jax.records import Array

SQUEEZE = 8  # of the width, between the two maps behind a cross-attention


class Tokeniser(nnx.Module):
    """token_t = sum_k a_tk v[k::kernel] + b_t: a convolution along the vector with as large a stride as its kernel.

    With kernel 1 all tokens are a_t v + b_t, of which a layer norm leaves sign(a_t) LN(v): at most two that differ.
    """

    def __init__(self, tokens: int, kernel: int, *, rngs: nnx.Rngs):
        def uniform():  # what PyTorch starts a convolution of one channel from
            bound = 1 / math.sqrt(kernel)
            return jax.random.uniform(rngs.params(), (tokens, kernel), jnp.float32, -bound, bound)

        self.weight = nnx.Param(uniform())  # [T, kernel]
        self.bias = nnx.Param(uniform()[:, 0])

    def __call__(self, v: Array) -> Array:
        """v [..., kernel * C] -> [..., T, C]."""
        weight = self.weight[...]
        taps = v.reshape(*v.shape[:-1], -1, weight.shape[1])  # [..., C, kernel]
        return jnp.einsum("...ck,tk->...tc", taps, weight) + self.bias[...][:, None]


class CrossAttention(nnx.Module):
    """W_o concat_h(softmax(q_h k_h^T / sqrt(d)) v_h) + b_o, q of LN x, k and v of LN y; nothing of x beside it.

    Args:
        dim: C.
        heads, head_dim: H and d, whatever C is.
        rate: dropout on what comes out.
    """

    def __init__(self, dim: int, heads: int, head_dim: int, *, rate: float, rngs: nnx.Rngs):
        self.norm_q, self.norm_kv = layer_norm(dim, rngs=rngs), layer_norm(dim, rngs=rngs)
        self.attention = MultiHeadAttention(dim, heads, qk_dim=heads * head_dim, bias=False, rngs=rngs)
        self.rate = rate

    def __call__(self, x: Array, y: Array, mask: Array | None = None, *, key: Array | None = None):
        """x [..., T, C], y [..., L, C], mask bool [..., L] -> [..., T, C] and the weights [..., H, T, L]."""
        out, weights = self.attention(self.norm_q(x), self.norm_kv(y), mask=mask, key=None)
        return dropout(out, self.rate, key), weights


class ABFN(nnx.Module):
    """out = LN([g_1; ...; g_M]), g_m = W2_m gelu(W1_m f_m), f_m = CrossAttention_m(tokens of m, tokens of the others).

    W1 goes from C to C / 8, W2 to C / M (two modalities: the reference; where M does not divide C the first are wider
    by one). Keys are the tokens of the present modalities but m, and those of m where it is the only one there. The
    block of a modality that is missing is 0.
    """

    def __init__(self, modalities: int, dim: int, heads: int, head_dim: int, *, rate: float, rngs: nnx.Rngs):
        widths = [dim // modalities + (m < dim % modalities) for m in range(modalities)]
        inner = max(1, dim // SQUEEZE)
        self.cross_attn = nnx.List([CrossAttention(dim, heads, head_dim, rate=rate, rngs=rngs) for _ in widths])
        self.ffn = nnx.List([MLP(dim, inner, width, activation=gelu, rngs=rngs) for width in widths])
        self.ln_fuse = layer_norm(dim, rngs=rngs)

    def __call__(self, tokens: Array, mask: Array, *, key: Array | None = None) -> tuple[Array, Array, Array]:
        """tokens [N, M, T, C], mask bool [N, M].

        Returns:
            out [N, T, C], f [N, M, T, C] and the weights [N, M, H, T, M T], keys modality by modality.
        """
        count, length = tokens.shape[1:3]
        everything = tokens.reshape(tokens.shape[0], count * length, tokens.shape[-1])
        seen = jnp.repeat(keys_of(mask), length, axis=-1)  # [N, M, M T]
        found = [
            attend(tokens[:, m], everything, seen[:, m], key=k)
            for m, (attend, k) in enumerate(zip(self.cross_attn, split_key(key, count), strict=True))
        ]
        features, weights = (jnp.stack(part, axis=1) for part in zip(*found, strict=True))
        blocks = [jnp.where(mask[:, m, None, None], g(features[:, m]), 0) for m, g in enumerate(self.ffn)]
        return self.ln_fuse(jnp.concatenate(blocks, -1)), features, weights


def keys_of(mask: Array) -> Array:
    """bool [N, M, M], what each modality that is there looks at: the others that are, else itself."""
    own = jnp.eye(mask.shape[1], dtype=bool)
    others = mask[:, None] & mask[:, :, None] & ~own
    return jnp.where(others.any(-1, keepdims=True), others, mask[:, None] & own)


class Transformer(nnx.Module):
    """`depth` times x <- x + Attn(LN x), x <- x + W2 gelu(W1 LN x); no bias on q, k and v, no norm at the end.

    Args:
        dim, heads, head_dim: as in `CrossAttention`.
        hidden: width between W1 and W2.
        rate: dropout behind the attention, behind the gelu and behind W2.
    """

    def __init__(
        self, dim: int, depth: int, heads: int, head_dim: int, hidden: int, *, rate: float = 0.0, rngs: nnx.Rngs
    ):
        def attention():
            return MultiHeadAttention(dim, heads, qk_dim=heads * head_dim, bias=False, rngs=rngs)

        self.attention = nnx.List([attention() for _ in range(depth)])
        self.net = nnx.List([MLP(dim, hidden, activation=gelu, rate=rate, rngs=rngs) for _ in range(depth)])
        self.norm1 = nnx.List([layer_norm(dim, rngs=rngs) for _ in range(depth)])
        self.norm2 = nnx.List([layer_norm(dim, rngs=rngs) for _ in range(depth)])
        self.rate = rate

    def __call__(self, x: Array, *, key: Array | None = None) -> Array:
        """x [..., T, C] -> [..., T, C]."""
        parts = zip(self.attention, self.net, self.norm1, self.norm2, split_key(key, len(self.net)), strict=True)
        for attend, net, norm1, norm2, k in parts:
            first, inner, last = split_key(k, 3)
            x = x + dropout(attend(norm1(x))[0], self.rate, first)
            x = x + dropout(net(norm2(x), key=inner), self.rate, last)
        return x
