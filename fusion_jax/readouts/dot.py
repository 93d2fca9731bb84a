"""The scalar product of a pair's last states, of which the head is a slope and an offset."""

from flax import nnx

from fusion_jax.readouts.base import Readout
from fusion_jax.records import EVALUATION, Info, Read


class Dot(Readout):
    """h_uv = h_u . h_v, [R, 1], h the last state."""

    info = Info("Kipf, Welling, Variational Graph Auto-Encoders", 2016, cost="O(R D)", needs=("graph",))
    level = "link"
    last_only = True

    def __init__(self, dim: int, layers: int, *, rngs: nnx.Rngs):
        del dim, layers, rngs

    @classmethod
    def width(cls, dim):
        del dim
        return 1

    def __call__(self, history, graph, context=EVALUATION):
        del context
        return Read(history[graph.pairs, -1].prod(1).sum(-1, keepdims=True))
