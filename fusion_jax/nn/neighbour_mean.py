"""Means over the nodes a node receives from, and the linear map of a node and that mean."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.nn.init import normal, zeros
from fusion_jax.nn.presence import zero_absent
from fusion_jax.nn.segment import degree, propagate
from fusion_jax.records import Array


def neighbour_mean(x: Array, graph: Graph, present: Array | None = None) -> Array:
    """mean_{j in N(i)} x_j over the senders of node i that are present, [N, ...] as x; 0 without any.

    An edge counts as often as it is there, a loop too; weights are not read.

    Args:
        x: [N, ...].
        present: bool [N], or [N, M] with x [N, M, ...]: who has something in x. None: everybody.
    """
    if present is None:
        count = degree(graph, x.dtype)
    else:
        count = propagate(present.astype(x.dtype), graph)
        x = zero_absent(x, present)
    return propagate(x, graph) / jnp.maximum(count, 1).reshape(*count.shape, *[1] * (x.ndim - count.ndim))


class NeighbourLinear(nnx.Module):
    """y_i = W_own x_i + W_nbr mean_{j in N(i)} x_j + b: stands where a mechanism of images has a 3 x 3 convolution.

    Args:
        dim, out: widths of what goes in and comes out.
        use_bias: whether there is b.
    """

    def __init__(self, dim: int, out: int, *, use_bias: bool = True, rngs: nnx.Rngs):
        self.own = nnx.Linear(dim, out, use_bias=use_bias, rngs=rngs)
        self.neighbour = nnx.Linear(dim, out, use_bias=False, rngs=rngs)

    def __call__(self, x: Array, graph: Graph | None, present: Array | None = None) -> Array:
        """x [N, ..., dim] -> [N, ..., out]; `present` as in `neighbour_mean`. Without a graph nobody has neighbours."""
        x = zero_absent(x, present)
        y = self.own(x)
        return y if graph is None else y + self.neighbour(neighbour_mean(x, graph, present))


class NeighbourScale(nnx.Module):
    """y_i = a * x_i + c * mean_{j in N(i)} x_j + b: stands where a mechanism of images has a depthwise convolution.

    Args:
        std: of the first a and c, N(0, std^2); b is 0.
    """

    def __init__(self, dim: int, *, std: float, rngs: nnx.Rngs):
        self.own, self.neighbour, self.bias = normal(rngs, (dim,), std), normal(rngs, (dim,), std), zeros((dim,))

    def __call__(self, x: Array, graph: Graph, present: Array | None = None) -> Array:
        """x [N, ..., dim] as it goes in; `present` as in `neighbour_mean`."""
        x = zero_absent(x, present)
        return self.own[...] * x + self.neighbour[...] * neighbour_mean(x, graph, present) + self.bias[...]
