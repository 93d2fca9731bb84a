"""A query made from the node's own state attends to the node's modalities.

Reference: forum thread "Feature fusion with self-attention" (card forum-selfattention; no paper, no code);
golden `forum-selfattention/pooling_options`, computed independently from the equations.
"""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.nn.init import masked_mean
from fusion_jax.nn.scaled_query import factor, read
from fusion_jax.records import Array, Fused, Info


class NodeQuery(Fusion):
    """a = softmax over present m of (W_q s) . (W_k x_m) / c; out = sum_m a_m W_v x_m.

    x [M, D], s [D] the node's state, W_q, W_k, W_v [D, p] without bias. As a fusion, s is the mean of the
    present modalities, which after graph layers has seen the neighbours; `attend` takes another s. Without
    any modality: a = 0 and out = 0.

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
        self.query = nnx.Linear(dim, width, use_bias=False, rngs=rngs)
        self.key = nnx.Linear(dim, width, use_bias=False, rngs=rngs)
        self.value = nnx.Linear(dim, width, use_bias=False, rngs=rngs)
        self.scale = factor("node_query", scale, dim, width)

    def attend(self, state: Array, x: Array, mask: Array) -> Fused:
        """One node: state [D], x [M, D] (0 where missing), mask [M]."""
        out, attention = read(self.query(state), self.key(x), self.value(x), mask, self.scale)
        return Fused(out, attention=(attention,))

    def node(self, x, mask, context):
        del context
        return self.attend(masked_mean(x, mask), x, mask)

    def align(self, anchor, walk, maps, states):
        queries = tuple(masked_mean(x, jnp.asarray(states.mask)) for x in states.x)
        parts, rows = (self, anchor), states.rows
        return walk.attention(parts, np.mean(maps, axis=0), states.x, rows, queries, rows.any(1))
