"""The product of a pair's last states, entry by entry: the usual readout of link prediction."""

from flax import nnx

from fusion_jax.readouts.base import Readout
from fusion_jax.records import EVALUATION, Info, Read


class Hadamard(Readout):
    """h_uv = h_u * h_v, h the last state; the linear head makes of it the weighted product of DistMult."""

    info = Info(
        "Yang et al., Embedding Entities and Relations for Learning and Inference in Knowledge Bases",
        2015,
        cost="O(R D)",
        needs=("graph",),
    )
    level = "link"
    last_only = True

    def __init__(self, dim: int, layers: int, *, rngs: nnx.Rngs):
        del dim, layers, rngs

    def __call__(self, history, graph, context=EVALUATION):
        del context
        return Read(history[graph.pairs, -1].prod(1))
