"""One linear map a modality."""

from flax import nnx

from fusion_jax.encoders.base import Encoder
from fusion_jax.nn.alignment import change_units
from fusion_jax.nn.dropout import dropout
from fusion_jax.nn.sparse_rows import linear
from fusion_jax.records import EVALUATION, Info


class Linear(Encoder):
    """x W + b, dropout on the input in training.

    Args:
        rate: dropout on the raw features.
    """

    info = Info("Folklore: linear projection to a common width", cost="O(N d D)")
    parted = True

    def __init__(self, in_dim: int, dim: int, *, rate: float = 0.0, rngs: nnx.Rngs):
        self.linear = nnx.Linear(in_dim, dim, rngs=rngs)
        self.rate, self.reads_sparse = rate, rate == 0

    def __call__(self, x, graph=None, present=None, context=EVALUATION):
        del graph, present
        return linear(self.linear, dropout(x, self.rate, context.key))

    def align(self, anchor, walk, states):
        return walk.linear((self.linear, anchor.linear), None, states.x, states.rows)[0]

    def in_units_of(self, factor, offset):
        change_units(self.linear, factor, offset)
