"""One learned query, the same for all nodes, attends to a node's modalities.

Reference: forum thread "Feature fusion with self-attention" (card forum-selfattention; no paper, no code);
golden `forum-selfattention/pooling_options`, computed independently from the equations.
"""

import numpy as np
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.nn.alignment import follow
from fusion_jax.nn.init import normal
from fusion_jax.nn.scaled_query import factor, read
from fusion_jax.records import Fused, Info


class FreeQuery(Fusion):
    """a = softmax over present m of u . (W_k x_m) / c; out = sum_m a_m W_v x_m, with u [p] learned.

    x [M, D], W_k, W_v [D, p] without bias. Without any modality: a = 0 and out = 0.

    Args:
        scale: c, "sqrt_p" (Vaswani et al.), "sqrt_D" (as the thread writes) or "none" (c = 1).
        width: p, the width of out, D if None.
    Raises:
        ValueError: unknown scale.

    Attention "query" [N, M] is a.
    """

    info = Info('Forum thread "Feature fusion with self-attention"', golden="forum-selfattention", cost="O(N M D^2)")
    symmetries = ("nodes", "modalities")

    def __init__(self, modalities: int, dim: int, *, scale: str = "sqrt_p", width: int | None = None, rngs: nnx.Rngs):
        del modalities  # the weights are shared: any number will do
        width = dim if width is None else width
        self.query = normal(rngs, (width,))
        self.key = nnx.Linear(dim, width, use_bias=False, rngs=rngs)
        self.value = nnx.Linear(dim, width, use_bias=False, rngs=rngs)
        self.scale = factor("free_query", scale, dim, width)

    def node(self, x, mask, context):
        del context
        out, attention = read(self.query[...], self.key(x), self.value(x), mask, self.scale)
        return Fused(out, attention=(attention,))

    def align(self, anchor, walk, maps, states):
        t_in = np.mean(maps, axis=0)
        t_key, _ = walk.linear((self.key, anchor.key), t_in, states.x, states.rows)
        t_out, _ = walk.linear((self.value, anchor.value), t_in, states.x, states.rows)
        follow(self.query, t_key)  # the learned query lives where the keys do
        return t_out
