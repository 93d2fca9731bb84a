"""No message passing: the node's own vector through a linear map, for rows that must not see the graph."""

from flax import nnx

from fusion_jax.layers.base import GraphLayer
from fusion_jax.nn.alignment import follow
from fusion_jax.nn.presence import zero_absent
from fusion_jax.records import EVALUATION, Info


class None_(GraphLayer):
    """y_i = W x_i + b: the depth and the width of a graph layer without its edges."""

    info = Info("Control: the same layer without edges", cost="O(N D^2)")
    parted = True
    local = True

    def __init__(self, dim: int, out: int | None = None, *, rngs: nnx.Rngs):
        self.linear = nnx.Linear(dim, dim if out is None else out, rngs=rngs)

    def __call__(self, x, graph, present=None, context=EVALUATION):
        del graph, context
        return self.linear(zero_absent(x, present))

    def reached(self, present, graph):
        del graph
        return present

    def align(self, anchor, walk, t_in, states):
        t = walk.neurons([(self.linear.kernel, anchor.linear.kernel)], t_in, states.y, states.rows)
        follow(self.linear.bias, t)
        return t
