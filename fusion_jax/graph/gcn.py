"""Graph convolution with symmetric normalisation and self-loops.

Reference: Kipf and Welling, "Semi-Supervised Classification with Graph Convolutional Networks", ICLR 2017.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.graph.base import GraphLayer
from fusion_jax.nn.segment import propagate, segment_sum
from fusion_jax.types import Info


class GCN(GraphLayer):
    """y = D^-1/2 (A + I) D^-1/2 x W + b, D the degrees of A + I; edge weights count where there are any."""

    info = Info("Kipf and Welling, Semi-Supervised Classification with Graph Convolutional Networks", 2017,
                cost="O(E D + N D^2)")  # fmt: skip

    def __init__(self, dim: int, *, rngs: nnx.Rngs):
        self.linear = nnx.Linear(dim, dim, kernel_init=nnx.initializers.glorot_uniform(), rngs=rngs)

    def __call__(self, x, graph, *, key=None):
        del key
        graph = graph.looped
        weight = graph.edges.get("weight", jnp.ones(graph.num_edges)).astype(x.dtype)
        degree = segment_sum(weight, graph)
        scale = jax.lax.rsqrt(jnp.where(degree > 0, degree, 1))  # 0 only at weights that cancel
        norm = scale[graph.senders] * weight * scale[graph.receivers]
        return propagate(x @ self.linear.kernel[...], graph, norm) + self.linear.bias[...]
