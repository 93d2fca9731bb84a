"""GraphSAGE with mean aggregation.

Reference: Hamilton, Ying and Leskovec, "Inductive Representation Learning on Large Graphs", NeurIPS 2017.
"""

from flax import nnx

from fusion_jax.layers.base import GraphLayer
from fusion_jax.nn.alignment import follow
from fusion_jax.nn.neighbour_mean import neighbour_mean
from fusion_jax.nn.presence import zero_absent
from fusion_jax.records import EVALUATION, Info


class Sage(GraphLayer):
    """y_i = W_self x_i + W_nbr mean_{j in N(i)} x_j + b, j the present senders; without any the mean is 0."""

    info = Info(
        "Hamilton et al., Inductive Representation Learning on Large Graphs",
        2017,
        cost="O(E D + N D^2)",
        needs=("graph",),
    )
    parted = True
    local = True

    def __init__(self, dim: int, out: int | None = None, *, rngs: nnx.Rngs):
        out = dim if out is None else out
        self.own = nnx.Linear(dim, out, rngs=rngs)
        self.neighbour = nnx.Linear(dim, out, use_bias=False, rngs=rngs)

    def __call__(self, x, graph, present=None, context=EVALUATION):
        del context
        x = zero_absent(x, present)
        return self.own(x) + self.neighbour(neighbour_mean(x, graph, present))

    def align(self, anchor, walk, t_in, states):
        kernels = [(self.own.kernel, anchor.own.kernel), (self.neighbour.kernel, anchor.neighbour.kernel)]
        t = walk.neurons(kernels, t_in, states.y, states.rows)
        follow(self.own.bias, t)
        return t
