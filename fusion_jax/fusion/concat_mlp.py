"""Concatenation and a two-layer perceptron: the baseline the whole question is about.

Reference: forum thread "Feature fusion with self-attention" (card forum-selfattention); golden
`forum-selfattention/baselines_concat`.
"""

import jax.numpy as jnp
import scipy.linalg
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.nn.alignment import concatenated
from fusion_jax.nn.mlp import MLP
from fusion_jax.records import Fused, Info


class ConcatMlp(Fusion):
    """out = W2 relu(W1 [x_1 m_1; ...; x_M m_M] + b1) + b2.

    Args:
        hidden: width between the layers, M D if None.
        out_dim: width of `out`, D if None.
        rate: dropout on the hidden layer.
    """

    info = Info("Folklore: concatenation and an MLP", cost="O(N M^2 D^2)", golden="forum-selfattention")

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        hidden: int | None = None,
        out_dim: int | None = None,
        rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        width = modalities * dim
        hidden = width if hidden is None else hidden
        self.mlp = MLP(width, hidden, dim if out_dim is None else out_dim, rate=rate, rngs=rngs)

    def node(self, x, mask, context):
        return Fused(self.mlp(jnp.where(mask[:, None], x, 0).reshape(-1), key=context.key))

    def align(self, anchor, walk, maps, states):
        t_in, rows = scipy.linalg.block_diag(*maps), states.rows.any(1)
        return walk.mlp((self.mlp, anchor.mlp), t_in, concatenated(states), rows)[0]
