"""Simple graph convolution: several rounds of normalised averaging, then one linear map.

Reference: Wu et al., "Simplifying Graph Convolutional Networks", ICML 2019.
"""

from flax import nnx

from fusion_jax.layers.base import GraphLayer
from fusion_jax.nn.adjacency import convolve
from fusion_jax.nn.presence import reached_by_weight
from fusion_jax.records import EVALUATION, Info


class Sgc(GraphLayer):
    """y = (D^-1/2 (A + I) D^-1/2)^K x W + b.

    Args:
        hops: K, at least 1.
    Raises:
        ValueError: hops below 1.
    """

    info = Info("Wu et al., Simplifying Graph Convolutional Networks", 2019, cost="O(K E D + N D^2)", needs=("graph",))
    parted = True

    def __init__(self, dim: int, out: int | None = None, *, hops: int = 2, rngs: nnx.Rngs):
        if hops < 1:
            raise ValueError(f"graph layer 'sgc': hops={hops}, expected at least 1")
        out = dim if out is None else out
        self.linear = nnx.Linear(dim, out, kernel_init=nnx.initializers.glorot_uniform(), rngs=rngs)
        self.hops = hops

    def __call__(self, x, graph, present=None, context=EVALUATION):
        del context
        for _ in range(self.hops):  # who has received something passes it on in the next hop
            x = convolve(x, graph, "symmetric", present)
            present = None if present is None else reached_by_weight(present, graph)
        return self.linear(x)

    def reached(self, present, graph):
        for _ in range(self.hops):
            present = reached_by_weight(present, graph)
        return present
