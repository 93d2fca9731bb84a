"""No encoder: the features go into the fusion, or into the first layer, as they are."""

from flax import nnx

from fusion_jax.encoders.base import Encoder
from fusion_jax.records import EVALUATION, Info


class Identity(Encoder):
    """x, of the modality's own width d_m instead of D.

    For one modality, or several of one width. A fusion adds, compares or attends over vectors of one width; for others
    take the encoder `linear`: with the fusion `sum` it is one linear map of the concatenated features.
    """

    info = Info("Folklore: features as they are, as in Kipf and Welling, 2017", 2017, cost="O(1)")
    parted = True

    def __init__(self, in_dim: int, dim: int, *, rngs: nnx.Rngs):
        del in_dim, dim, rngs  # nothing is learned

    @staticmethod
    def width(in_dim, dim):
        del dim
        return in_dim

    def __call__(self, x, graph=None, present=None, context=EVALUATION):
        del graph, present, context
        return x
