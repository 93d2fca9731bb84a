"""Graph isomorphism network: a sum over the senders, which tells multisets apart, then an MLP.

Reference: Xu, Hu, Leskovec and Jegelka, "How Powerful are Graph Neural Networks?", ICLR 2019; code
weihua916/powerful-gnns at 9a2ce8a, `models/graphcnn.py` and `models/mlp.py`. Golden `gin`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.layers.base import GraphLayer
from fusion_jax.nn.alignment import Map, follow
from fusion_jax.nn.norm import MaskedBatchNorm
from fusion_jax.nn.presence import there, zero_absent
from fusion_jax.nn.segment import propagate
from fusion_jax.records import EVALUATION, Array, Info


class Gin(GraphLayer):
    """y = BN_2(W_2 relu(BN_1(W_1 s + b_1)) + b_2), s_i = (1 + eps) x_i + sum_{j in N(i)} x_j, j the present senders.

    The relu behind BN_2 is the model's. Edges count one each, whatever their weight. In training the batch norms take
    the statistics of the nodes that are present.

    Args:
        hidden: width between W_1 and W_2; `out` if None, as in the paper.
        learn_eps: eps is learned, from 0 (GIN-eps), and not 0 (GIN-0, the default of the authors' code).
    Raises:
        ValueError: hidden below 1.
    """

    info = Info(
        "Xu et al., How Powerful are Graph Neural Networks?",
        2019,
        pinned="authors' code",
        golden="gin",
        cost="O(E D + N D^2)",
        needs=("graph",),
    )
    parted = True
    local = True

    def __init__(
        self,
        dim: int,
        out: int | None = None,
        *,
        hidden: int | None = None,
        learn_eps: bool = False,
        rngs: nnx.Rngs,
    ):
        out = dim if out is None else out
        hidden = out if hidden is None else hidden
        if hidden < 1:
            raise ValueError(f"graph layer 'gin': hidden={hidden}, expected at least 1, or None for the width D={out}")
        self.fc1, self.fc2 = nnx.Linear(dim, hidden, rngs=rngs), nnx.Linear(hidden, out, rngs=rngs)
        self.norm1, self.norm2 = MaskedBatchNorm(hidden, rngs=rngs), MaskedBatchNorm(out, rngs=rngs)
        self.eps = nnx.Param(jnp.zeros((), jnp.float32)) if learn_eps else None

    def _pooled(self, x: Array, graph: Graph, present: Array | None) -> Array:
        """s [N, D]."""
        x = zero_absent(x, present)
        own = x if self.eps is None else (1 + self.eps[...]) * x
        return own + propagate(x, graph)

    def __call__(self, x, graph, present=None, context=EVALUATION):
        training, counted = context.key is not None, there(present, graph)
        h = self.fc1(self._pooled(x, graph, present))
        h = jax.nn.relu(self.norm1(h, counted, training=training))
        return self.norm2(self.fc2(h), counted, training=training)

    def align(self, anchor, walk, t_in, states):
        hidden = tuple(
            net.fc1(net._pooled(jnp.asarray(x), states.graph, states.mask))
            for net, x in zip((self, anchor), states.x, strict=True)
        )
        t = walk.neurons([(self.fc1.kernel, anchor.fc1.kernel)], t_in, hidden, states.rows)
        _follow(self.fc1, self.norm1, t)
        t = walk.neurons([(self.fc2.kernel, anchor.fc2.kernel)], t, states.y, states.rows)
        _follow(self.fc2, self.norm2, t)
        return t


def _follow(linear: nnx.Linear, norm: MaskedBatchNorm, t: Map) -> None:
    for vector in (linear.bias, norm.scale, norm.bias, norm.mean, norm.var):
        follow(vector, t)
