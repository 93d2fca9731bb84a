"""The mean of the last states over the nodes of each graph, the usual readout of graph tasks."""

from flax import nnx

from fusion_jax.nn.pooling import graph_mean
from fusion_jax.readouts.base import Readout
from fusion_jax.records import EVALUATION, Info, Read


class Mean(Readout):
    """h_g = mean over the nodes n of graph g of history[n, L - 1]; 0 for a graph without nodes."""

    info = Info("Folklore: mean pooling over a graph", cost="O(N D)", needs=("graph",))
    level = "graph"
    last_only = True

    def __init__(self, dim: int, layers: int, *, rngs: nnx.Rngs):
        del dim, layers, rngs

    def __call__(self, history, graph, context=EVALUATION):
        del context
        return Read(graph_mean(history[:, -1], graph))

    def align(self, anchor, walk, maps, states):
        del anchor, walk, states  # no parameters
        return maps[-1]
