"""The encoder and decoder layers of a Transformer, normalised after each step (as published) or before.

Vaswani et al., "Attention Is All You Need", 2017; the numbers are those of PyTorch's
`nn.TransformerEncoderLayer` and `nn.TransformerDecoderLayer`, whose attribute names these layers carry
(golden `transformer-decoder`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
from flax import nnx

from fusion_jax.nn.attention import MultiHeadAttention
from fusion_jax.nn.dropout import dropout, split_key
from fusion_jax.nn.norm import layer_norm
from fusion_jax.records import Array

GLOROT = nnx.initializers.glorot_uniform()


class EncoderLayer(nnx.Module):
    """s = LN1(x + SelfAttn(x)); y = LN2(s + W2 f(W1 s + b1) + b2).

    With `norm_first`: s = x + SelfAttn(LN1 x); y = s + W2 f(W1 LN2 s + b1) + b2.

    Args:
        dim: D, width of x.
        heads: H, divides D.
        hidden: width between W1 and W2.
        norm_first: normalise before each step instead of after it.
        activation: f.
        rate: dropout on the attention weights, behind f, and behind each of the two steps.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        *,
        norm_first: bool = False,
        activation: Callable[[Array], Array] = jax.nn.relu,
        rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        self.self_attn = MultiHeadAttention(dim, heads, rate=rate, kernel_init=GLOROT, rngs=rngs)
        self.linear1 = nnx.Linear(dim, hidden, kernel_init=GLOROT, rngs=rngs)
        self.linear2 = nnx.Linear(hidden, dim, kernel_init=GLOROT, rngs=rngs)
        self.norm1, self.norm2 = layer_norm(dim, rngs=rngs), layer_norm(dim, rngs=rngs)
        self.norm_first, self.activation, self.rate = norm_first, activation, rate

    def _feed_forward(self, x, key):
        inner, outer = split_key(key, 2)
        x = dropout(self.activation(self.linear1(x)), self.rate, inner)
        return dropout(self.linear2(x), self.rate, outer)

    def _attend(self, x, mask, key):
        inner, outer = split_key(key, 2)
        out, weights = self.self_attn(x, mask=mask, key=inner)
        return dropout(out, self.rate, outer), weights

    def shown(self, x: Array, mask: Array | None = None, *, key: Array | None = None) -> tuple[Array, Array]:
        """As the call, and the attention weights [..., H, L, L] beside what it returns."""
        first, second = split_key(key, 2)
        if self.norm_first:
            out, weights = self._attend(self.norm1(x), mask, first)
            x = x + out
            return x + self._feed_forward(self.norm2(x), second), weights
        out, weights = self._attend(x, mask, first)
        x = self.norm1(x + out)
        return self.norm2(x + self._feed_forward(x, second)), weights

    def __call__(self, x: Array, mask: Array | None = None, *, key: Array | None = None) -> Array:
        """x [..., L, D]; mask as in `nn.attention.attend`: true where a key may be seen. -> [..., L, D]"""
        return self.shown(x, mask, key=key)[0]


class DecoderSteps(NamedTuple):
    """What a decoder layer computes, in order."""

    after_self: Array  # [..., T, D], the output of LN1; the target itself without self-attention
    cross_out: Array  # [..., T, D], before dropout and residual
    cross_weights: Array  # [..., H, T, L]
    after_cross: Array  # [..., T, D], the output of LN2
    out: Array  # [..., T, D]


class DecoderLayer(nnx.Module):
    """s = LN1(t + SelfAttn(t)); c = LN2(s + CrossAttn(s, memory)); y = LN3(c + W2 f(W1 c + b1) + b2).

    The memory is not normalised here. A target that sees no key keeps s and the attention's output bias.

    Args:
        dim, heads, hidden, activation, rate: as in `EncoderLayer`.
        self_attention: False leaves the first step out (s = t).
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        *,
        self_attention: bool = True,
        activation: Callable[[Array], Array] = jax.nn.relu,
        rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        def attention():
            return MultiHeadAttention(dim, heads, rate=rate, kernel_init=GLOROT, rngs=rngs)

        self.self_attn = attention() if self_attention else None
        self.norm1 = layer_norm(dim, rngs=rngs) if self_attention else None
        self.multihead_attn = attention()
        self.linear1 = nnx.Linear(dim, hidden, kernel_init=GLOROT, rngs=rngs)
        self.linear2 = nnx.Linear(hidden, dim, kernel_init=GLOROT, rngs=rngs)
        self.norm2, self.norm3 = layer_norm(dim, rngs=rngs), layer_norm(dim, rngs=rngs)
        self.activation, self.rate = activation, rate

    def after_self(self, target: Array, mask: Array | None = None, *, key: Array | None = None) -> Array:
        """The first step: [..., T, D] -> [..., T, D]."""
        if self.self_attn is None:
            return target
        inner, outer = split_key(key, 2)
        out, _ = self.self_attn(target, mask=mask, key=inner)
        return self.norm1(target + dropout(out, self.rate, outer))

    def after_cross(self, state: Array, cross_out: Array, *, key: Array | None = None) -> Array:
        """The second residual and its norm, LN2(s + cross_out)."""
        return self.norm2(state + dropout(cross_out, self.rate, key))

    def feed_forward(self, state: Array, *, key: Array | None = None) -> Array:
        """The last step: [..., T, D] -> [..., T, D]."""
        inner, outer = split_key(key, 2)
        y = self.linear2(dropout(self.activation(self.linear1(state)), self.rate, inner))
        return self.norm3(state + dropout(y, self.rate, outer))

    def steps(
        self,
        target: Array,  # [..., T, D]
        memory: Array,  # [..., L, D]
        target_mask: Array | None = None,  # as in `attend`: [..., T] or [..., T, T]
        memory_mask: Array | None = None,  # [..., L] or [..., T, L]
        *,
        key: Array | None = None,
    ) -> DecoderSteps:
        """All intermediates; masks are true where a key may be seen."""
        first, weights_key, cross_key, last = split_key(key, 4)
        state = self.after_self(target, target_mask, key=first)
        cross_out, weights = self.multihead_attn(state, memory, mask=memory_mask, key=weights_key)
        crossed = self.after_cross(state, cross_out, key=cross_key)
        return DecoderSteps(state, cross_out, weights, crossed, self.feed_forward(crossed, key=last))

    def __call__(
        self,
        target: Array,
        memory: Array,
        target_mask: Array | None = None,
        memory_mask: Array | None = None,
        *,
        key: Array | None = None,
    ) -> tuple[Array, Array]:
        """Returns y [..., T, D] and the cross weights [..., H, T, L]; arguments as in `steps`."""
        steps = self.steps(target, memory, target_mask, memory_mask, key=key)
        return steps.out, steps.cross_weights
