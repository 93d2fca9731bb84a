"""Graph convolution with normalised adjacency and self-loops.

Reference: Kipf and Welling, "Semi-Supervised Classification with Graph Convolutional Networks", ICLR 2017.
"""

from flax import nnx

from fusion_jax.layers.base import GraphLayer
from fusion_jax.nn.adjacency import check_norm, convolve
from fusion_jax.nn.alignment import follow
from fusion_jax.nn.presence import reached_by_weight, zero_absent
from fusion_jax.records import EVALUATION, Info


class GCN(GraphLayer):
    """y = D^-1/2 (A + I) D^-1/2 x W + b, D the degrees of A + I; edge weights count where there are any.

    Args:
        norm: "symmetric", as written; or "row", D^-1 (A + I), as in MOGONET.
    Raises:
        ValueError: another `norm`.
    """

    info = Info(
        "Kipf and Welling, Semi-Supervised Classification with Graph Convolutional Networks",
        2017,
        cost="O(E D + N D^2)",
        needs=("graph",),
    )
    parted = True
    local = True

    def __init__(self, dim: int, out: int | None = None, *, norm: str = "symmetric", rngs: nnx.Rngs):
        check_norm("graph 'gcn'", norm)
        out = dim if out is None else out
        self.linear = nnx.Linear(dim, out, kernel_init=nnx.initializers.glorot_uniform(), rngs=rngs)
        self.norm = norm
        self.reads_strength = norm == "symmetric"

    def __call__(self, x, graph, present=None, context=EVALUATION):
        del context
        return (
            convolve(zero_absent(x, present) @ self.linear.kernel[...], graph, self.norm, present)
            + self.linear.bias[...]
        )

    def reached(self, present, graph):
        return reached_by_weight(present, graph)

    def align(self, anchor, walk, t_in, states):
        t = walk.neurons([(self.linear.kernel, anchor.linear.kernel)], t_in, states.y, states.rows)
        follow(self.linear.bias, t)
        return t
