"""Concatenation and one linear layer, the floor every fusion is compared with.

Reference: forum thread "Feature fusion with self-attention" (card forum-selfattention); golden
`forum-selfattention/baselines_concat`.
"""

import jax.numpy as jnp
import scipy.linalg
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.nn.alignment import concatenated
from fusion_jax.records import Fused, Info


class ConcatLinear(Fusion):
    """out = W [x_1 m_1; ...; x_M m_M] + b, W [M D, D]; a missing modality contributes zeros.

    Args:
        out_dim: width of `out`, D if None.
    """

    info = Info("Folklore: concatenation and a linear layer", cost="O(N M D^2)", golden="forum-selfattention")

    def __init__(self, modalities: int, dim: int, *, out_dim: int | None = None, rngs: nnx.Rngs):
        self.linear = nnx.Linear(modalities * dim, dim if out_dim is None else out_dim, rngs=rngs)

    def node(self, x, mask, context):
        del context
        return Fused(self.linear(jnp.where(mask[:, None], x, 0).reshape(-1)))

    def align(self, anchor, walk, maps, states):
        t_in, rows = scipy.linalg.block_diag(*maps), states.rows.any(1)
        return walk.linear((self.linear, anchor.linear), t_in, concatenated(states), rows)[0]
