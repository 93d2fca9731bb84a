"""The attention blocks of the Perceiver family: latents read an input, work on themselves, are read out.

Jaegle et al., "Perceiver IO", 2021 (google-deepmind/deepmind-research, folder perceiver, f5de0ede), and
Carreira et al., "HiP", 2022 (google-deepmind/hierarchical_perceiver, a1c4cd2d); golden `perceiver-io` and
`hierarchical-perceiver`.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.nn.attention import MultiHeadAttention
from fusion_jax.nn.dropout import dropout, split_key
from fusion_jax.nn.mlp import MLP
from fusion_jax.nn.norm import layer_norm
from fusion_jax.records import Array


def squared_relu(x: Array) -> Array:
    return jax.nn.relu(x) ** 2


# jax.nn.gelu is the tanh approximation, and so is the reference's
ACTIVATIONS = {"gelu": jax.nn.gelu, "squared_relu": squared_relu}


class CrossAttention(nnx.Module):
    """a = Attention(LN q, LN x), plus q with `residual`; y = a + W2 f(W1 LN a).

    A query whose keys are all masked gets the attention's output bias.

    Args:
        dim: width of the queries q and of y.
        input_dim: width of the input x.
        heads: H, divides `qk_dim`.
        qk_dim: projected width of queries, keys and values; the INPUT's width if None, as in both papers.
        widening: hidden width of the MLP in units of `dim`.
        residual: whether the query is added to what it read.
        activation: f.
    """

    def __init__(
        self,
        dim: int,
        input_dim: int,
        heads: int = 1,
        *,
        qk_dim: int | None = None,
        widening: int = 1,
        residual: bool = True,
        activation: Callable[[Array], Array] = jax.nn.gelu,
        rngs: nnx.Rngs,
    ):
        qk_dim = input_dim if qk_dim is None else qk_dim
        self.norm_query, self.norm_input = layer_norm(dim, rngs=rngs), layer_norm(input_dim, rngs=rngs)
        self.attention = MultiHeadAttention(dim, heads, key_dim=input_dim, qk_dim=qk_dim, rngs=rngs)
        self.norm_mlp = layer_norm(dim, rngs=rngs)
        self.mlp = MLP(dim, widening * dim, activation=activation, rngs=rngs)
        self.residual = residual

    def __call__(self, query: Array, inputs: Array, mask: Array | None = None) -> tuple[Array, Array]:
        """query [..., L, dim], inputs [..., K, input_dim], mask as in `attend` -> y, weights [..., H, L, K].

        The query is broadcast to the leading axes of the inputs.
        """
        query = jnp.broadcast_to(query, (*inputs.shape[:-2], *query.shape[-2:]))
        a, weights = self.attention(self.norm_query(query), self.norm_input(inputs), mask=mask)
        if self.residual:
            a = a + query
        return a + self.mlp(self.norm_mlp(a)), weights


class SelfAttention(nnx.Module):
    """s = x + Attention(LN x); y = s + W2 f(W1 LN s).

    Args:
        dim: width of x and y.
        heads: H, divides `dim`.
        widening: hidden width of the MLP in units of `dim`.
        activation: f.
        rate: dropout behind the attention and behind the MLP.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        widening: int = 1,
        activation: Callable[[Array], Array] = jax.nn.gelu,
        rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        self.norm, self.norm_mlp = layer_norm(dim, rngs=rngs), layer_norm(dim, rngs=rngs)
        self.attention = MultiHeadAttention(dim, heads, rngs=rngs)
        self.mlp = MLP(dim, widening * dim, activation=activation, rngs=rngs)
        self.rate = rate

    def __call__(self, x: Array, *, key: Array | None = None) -> Array:
        """x [..., L, dim] -> [..., L, dim]"""
        first, second = split_key(key, 2)
        a, _ = self.attention(self.norm(x))
        x = x + dropout(a, self.rate, first)
        return x + dropout(self.mlp(self.norm_mlp(x)), self.rate, second)
