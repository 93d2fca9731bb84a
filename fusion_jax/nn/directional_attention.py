"""Attention on a smooth band whose values the detail bands modulate (WDAM of Flickerformer)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.nn.init import ones
from fusion_jax.nn.segment import edge_attend
from fusion_jax.nn.stencil import Stencil, StencilLinear, StencilScale
from fusion_jax.records import Array

EPS = 1e-12  # below which a query or key is not stretched to length 1


def unit(x: Array) -> Array:
    """x [..., d] / max(|x|, EPS); 0 at 0, with gradient 0 there."""
    square = (x**2).sum(-1, keepdims=True)
    there = square > EPS**2
    # x / EPS at 0 would have a slope of 1e12: one node in a neighbourhood of zeros would drown all gradients.
    return jnp.where(there, x * jax.lax.rsqrt(jnp.where(there, square, 1)), jnp.where(square > 0, x / EPS, 0))


class DirectionalAttention(nnx.Module):
    """o = W_o sum_j a_ij v_j, a = softmax_j(t_h (q_i . q_j + bias_ij)), and relu(high_b) of each detail band b.

        q = the smooth band, unprojected, its heads of length 1
        f = relu(W_f relu([S_1 detail_1; S_2 detail_2]))
        v = depthwise(V smooth), then v f + v

    S are stencils of a band by itself. The temperatures t_h are 1 at the start. The code computes queries and keys from
    V as well and does not use them; they are left out.

    Args:
        dim, heads: D and H.
        views: of the stencils.
    """

    def __init__(self, dim: int, heads: int, *, views: int = 2, rngs: nnx.Rngs):
        self.value = nnx.Linear(dim, dim, use_bias=False, rngs=rngs)
        self.value_dwconv = StencilScale(dim, views=views, rngs=rngs)
        self.high_conv = nnx.List([StencilLinear(dim, dim, views=views, rngs=rngs) for _ in range(2)])
        self.high_mix = nnx.Linear(2 * dim, dim, use_bias=False, rngs=rngs)
        self.high_out = nnx.List([StencilLinear(dim, dim, views=views, rngs=rngs) for _ in range(3)])
        self.temperature = ones((heads,))
        self.project_out = nnx.Linear(dim, dim, use_bias=False, rngs=rngs)

    def values(self, smooth: Array, details: list[Array], stencil: Stencil) -> Array:
        """v [N, D]"""
        seen = [conv(detail, stencil) for conv, detail in zip(self.high_conv, details, strict=False)]
        f = jax.nn.relu(self.high_mix(jax.nn.relu(jnp.concatenate(seen, -1))))
        v = self.value_dwconv(self.value(smooth), stencil)
        return v * f + v

    def attend(
        self, smooth: Array, v: Array, graph: Graph, mask: Array | None = None, bias: Array | None = None
    ) -> tuple[Array, Array]:
        """o [N, D] and the weights [E, H] along the edges of `graph`; mask bool [E], bias [E, H]."""
        heads = self.temperature.shape[0]
        q = unit(smooth.reshape(len(smooth), heads, -1))
        t = self.temperature[...].astype(q.dtype)
        bias = None if bias is None else bias * t
        out, weights = edge_attend(q * t[:, None], q, v.reshape(len(v), heads, -1), graph, mask, scale=1.0, bias=bias)
        return self.project_out(out.reshape(smooth.shape)), weights

    def detailed(self, details: list[Array], stencil: Stencil) -> list[Array]:
        """The three detail bands behind the block."""
        return [jax.nn.relu(conv(detail, stencil)) for conv, detail in zip(self.high_out, details, strict=True)]
