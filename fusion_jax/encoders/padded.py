"""No encoder: the features as they are, with zeros behind them up to the common width."""

import jax.numpy as jnp

from fusion_jax.encoders.base import Encoder
from fusion_jax.records import EVALUATION, Info


class Padded(Encoder):
    """[x; 0] of width D, for modalities of several widths that a fusion is to see as they are.

    Raises:
        ValueError: a modality that is wider than D.
    """

    info = Info("Folklore: features as they are, zeros behind", cost="O(D)")
    parted = True

    def __init__(self, in_dim: int, dim: int, *, rngs):
        del rngs  # nothing is learned
        if in_dim > dim:
            raise ValueError(
                f"encoder 'padded': a modality of width {in_dim} and D={dim}; expected a D at least as large"
            )
        self.behind = dim - in_dim

    def __call__(self, x, graph=None, present=None, context=EVALUATION):
        del graph, present, context
        return jnp.pad(x, ((0, 0), (0, self.behind)))
