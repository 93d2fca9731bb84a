"""A two-layer perceptron a modality."""

import jax
from flax import nnx

from fusion_jax.encoders.base import Encoder
from fusion_jax.nn import mlp
from fusion_jax.nn.alignment import change_units
from fusion_jax.nn.dropout import dropout, split_key
from fusion_jax.records import EVALUATION, Info


class Mlp(Encoder):
    """relu(W2 relu(W1 x + b1) + b2).

    Args:
        hidden: width between the layers, D if None.
        rate: dropout on the raw features and on the hidden layer.
    """

    info = Info("Folklore: MLP projection to a common width", cost="O(N (d + D) D)")
    parted = True

    def __init__(self, in_dim: int, dim: int, *, hidden: int | None = None, rate: float = 0.0, rngs: nnx.Rngs):
        self.mlp = mlp.MLP(in_dim, dim if hidden is None else hidden, dim, rate=rate, rngs=rngs)
        self.rate, self.reads_sparse = rate, rate == 0

    def __call__(self, x, graph=None, present=None, context=EVALUATION):
        del graph, present
        first, second = split_key(context.key, 2)
        return jax.nn.relu(self.mlp(dropout(x, self.rate, first), key=second))

    def align(self, anchor, walk, states):
        return walk.mlp((self.mlp, anchor.mlp), None, states.x, states.rows)[0]

    def in_units_of(self, factor, offset):
        change_units(self.mlp.fc1, factor, offset)
