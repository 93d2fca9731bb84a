"""Uses one modality and ignores the rest: what a fusion has to beat.

Baseline, no parameters; one cell a modality (`index`) gives the unimodal rows of a table.
"""

import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.records import Fused, Info


class Single(Fusion):
    """out = x_index; 0 for a node that lacks this modality.

    Args:
        index: the modality, in [0, M), in the data set's order.
    Raises:
        ValueError: the index is not that of a modality.
    """

    info = Info("Folklore: one modality alone", cost="O(N D)")

    def __init__(self, modalities: int, dim: int, *, index: int = 0, rngs: nnx.Rngs):
        del dim, rngs  # nothing is learned
        if not 0 <= index < modalities:
            raise ValueError(f"fusion 'single': index={index} is not a modality, M={modalities}")
        self.index = index

    def node(self, x, mask, context):
        del context
        return Fused(jnp.where(mask[self.index], x[self.index], 0))

    def align(self, anchor, walk, maps, states):
        del anchor, walk, states  # no parameters
        return maps[self.index]
