"""Self-attention over the modalities of a node, then a sum, mean or maximum over them.

Reference: forum thread "Feature fusion with self-attention" (card forum-selfattention; no paper, no code);
golden `forum-selfattention/pooling_options` and `forum-selfattention/hand`, computed independently from the
equations.
"""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.nn import mixing
from fusion_jax.nn.attention import attend, masked_softmax
from fusion_jax.nn.reductions import REDUCTIONS, masked_max
from fusion_jax.nn.scaled_query import check_choice, factor
from fusion_jax.records import Array, Attention, Fused, Info


class SelfAttention(Fusion):
    """A = softmax over keys of (x W_q)(x W_k)^T / c, Z = A (x W_v); out = reduction of the present rows of Z.

    x [M, D], W_q, W_k, W_v [D, p] without bias, A [M, M] (row = query), Z [M, p]. Absent modalities are keys
    of weight exactly 0, and their rows of Z are not reduced. Without any modality: A = 0 and out = 0.

    Args:
        reduction: "sum" (grows with the number of present modalities, so it tells it), "mean" or "max".
        scale: c, "sqrt_p" (Vaswani et al.), "sqrt_D" (as the thread writes) or "none" (c = 1).
        width: p, the width of out and tokens, D if None.
    Raises:
        ValueError: unknown reduction or scale.

    `tokens` are Z; attention "attention" [N, M, M] is A.
    """

    info = Info(
        'Forum thread "Feature fusion with self-attention"', golden="forum-selfattention", cost="O(N M D^2 + N M^2 D)"
    )
    placements = ("before", "after", "interleaved", "decision")
    symmetries = ("nodes", "modalities")

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        reduction: str = "mean",
        scale: str = "sqrt_p",
        width: int | None = None,
        rngs: nnx.Rngs,
    ):
        del modalities  # the weights are shared: any number will do
        check_choice("self_attention", "reduction", reduction, REDUCTIONS)
        width = dim if width is None else width
        self.query = nnx.Linear(dim, width, use_bias=False, rngs=rngs)
        self.key = nnx.Linear(dim, width, use_bias=False, rngs=rngs)
        self.value = nnx.Linear(dim, width, use_bias=False, rngs=rngs)
        self.reduction, self.scale = reduction, factor("self_attention", scale, dim, width)

    def node(self, x, mask, context):
        del context
        weights = self._weights(x, mask)
        x = jnp.where(mask[:, None], x, 0)
        # A (x W_v) = (A x) W_v: where rows are summed or averaged, one row a node is left for W_v instead of M
        z = self.value(weights @ x)
        linear = self.reduction in ("sum", "mean")
        out = self.value(REDUCTIONS[self.reduction](weights, mask) @ x) if linear else masked_max(z, mask)
        attention = Attention("attention", weights, ("modality", "modality"), "modality", "modality", valid=mask[None])
        return Fused(out, z, (attention,))

    def _weights(self, x: Array, mask: Array) -> Array:
        """A [M, M]."""
        # The thread takes the softmax over "axis 1" of one node's M x M matrix: the keys, here the last axis.
        if mixing.current() is not None:  # a mixer looks at queries and keys
            q, k, v = (f(x)[:, None] for f in (self.query, self.key, self.value))  # [M, 1, p]
            return attend(q, k, v, mask, scale=self.scale)[1][0]
        both = self.scale * self.query.kernel[...] @ self.key.kernel[...].T
        return masked_softmax(x @ both @ jnp.where(mask[:, None], x, 0).T, mask[None])

    def align(self, anchor, walk, maps, states):
        return walk.attention((self, anchor), np.mean(maps, axis=0), states.x, states.rows)
