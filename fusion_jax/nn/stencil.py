"""Linear maps of a node and its surroundings, written for whatever the surroundings are.

A stencil is a function that gives K views of x, [N, ..., D] -> [N, ..., K, D]. That of a graph (`around`) is the node
itself and the mean of its neighbours; that of a plane would be the nine shifts of a 3 x 3 convolution, which is how
modules written for images are compared with their graph form.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.nn.init import LECUN_NORMAL
from fusion_jax.nn.neighbour_mean import neighbour_mean
from fusion_jax.nn.presence import zero_absent
from fusion_jax.records import Array

Stencil = Callable[[Array], Array]


def itself(x: Array) -> Array:
    """The stencil of one view, x."""
    return x[..., None, :]


def around(graph: Graph | None, present: Array | None = None) -> Stencil:
    """The stencil of two views: x, and the mean of what a node's present neighbours have (0 without any)."""

    def views(x: Array) -> Array:
        x = zero_absent(x, present)
        near = jnp.zeros_like(x) if graph is None else neighbour_mean(x, graph, present)
        return jnp.stack([x, near], -2)

    return views


class StencilLinear(nnx.Module):
    """y = b + sum_k view_k(x) W_k.

    Args:
        dim, out: widths of what goes in and comes out.
        views: K of the stencil it is called with.
        use_bias: whether there is b.
    """

    def __init__(self, dim: int, out: int, *, views: int = 2, use_bias: bool = False, rngs: nnx.Rngs):
        self.kernel = nnx.Param(LECUN_NORMAL(rngs.params(), (views * dim, out), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(out, jnp.float32)) if use_bias else None

    def __call__(self, x: Array, stencil: Stencil) -> Array:
        """x [N, ..., dim] -> [N, ..., out]"""
        seen = stencil(x)
        y = seen.reshape(*seen.shape[:-2], -1) @ self.kernel[...]
        return y if self.bias is None else y + self.bias[...]


class StencilScale(nnx.Module):
    """y_d = sum_k w_kd view_k(x)_d: every feature for itself, a depthwise convolution."""

    def __init__(self, dim: int, *, views: int = 2, rngs: nnx.Rngs):
        self.kernel = nnx.Param(LECUN_NORMAL(rngs.params(), (views, dim), jnp.float32))

    def __call__(self, x: Array, stencil: Stencil) -> Array:
        """x [N, ..., D] -> [N, ..., D]"""
        return (stencil(x) * self.kernel[...]).sum(-2)
