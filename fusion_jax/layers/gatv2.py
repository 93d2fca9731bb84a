"""Graph attention whose ranking of the senders depends on the receiver: the activation stands before the scores.

Reference: Brody, Alon and Yahav, "How Attentive are Graph Attention Networks?", ICLR 2022; code
tech-srl/how_attentive_are_gats at 6f6d290, `gatv2_conv_PyG.py`. Golden `gatv2`; attention can be read with `attention`.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.layers.base import GraphLayer
from fusion_jax.nn.alignment import follow
from fusion_jax.nn.dropout import dropout
from fusion_jax.nn.presence import sending, zero_absent
from fusion_jax.nn.segment import at_receivers, at_senders, propagate, segment_softmax
from fusion_jax.records import EVALUATION, Array, Attention, Info
from fusion_jax.zoo import nearest

MERGES = ("concat", "mean")


class Gatv2(GraphLayer):
    """y_i = concat_h sum_j a_ijh l_jh + b, a = softmax_j(u_h . leaky_relu(l_jh + r_ih, 0.2)), l = W_l x + b_l, r alike.

    j runs over the present senders of i and i itself. For predictions the mean over h stands in the place of concat_h.

    Args:
        heads: H; divides `out` where heads are concatenated.
        merge: "concat", heads of width out / H side by side; or "mean", of width `out` averaged, for the last layer.
        share_weights: r = l, the same map of sender and receiver.
        rate: dropout on the attention weights.
    Raises:
        ValueError: heads do not divide the width, or another `merge`.
    """

    info = Info(
        "Brody et al., How Attentive are Graph Attention Networks?",
        2022,
        pinned="authors' code",
        golden="gatv2",
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
        heads: int = 4,
        merge: str = "concat",
        share_weights: bool = False,
        rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        out = dim if out is None else out
        if merge not in MERGES:
            raise ValueError(f"graph layer 'gatv2': merge={merge!r}{nearest(merge, MERGES)}; expected one of {MERGES}")
        if heads < 1 or (merge == "concat" and out % heads):
            raise ValueError(f"graph layer 'gatv2': heads={heads} does not divide the width D={out}")
        each = out // heads if merge == "concat" else out
        glorot = nnx.initializers.glorot_uniform()
        self.lin_l = nnx.Linear(dim, heads * each, kernel_init=glorot, rngs=rngs)
        self.lin_r = None if share_weights else nnx.Linear(dim, heads * each, kernel_init=glorot, rngs=rngs)
        self.att = nnx.Param(glorot(rngs.params(), (heads, each), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(out, jnp.float32))
        self.heads, self.merge, self.rate = heads, merge, rate

    def _values_and_attention(self, x: Array, graph: Graph, present: Array | None):
        """l [N, H, d]; weights and scores [E', H] on the edges of a graph with loops."""
        x = zero_absent(x, present)
        left = self.lin_l(x).reshape(x.shape[0], self.heads, -1)
        right = left if self.lin_r is None else self.lin_r(x).reshape(left.shape)
        joined = jax.nn.leaky_relu(at_senders(left, graph) + at_receivers(right, graph), 0.2)
        scores = (joined * self.att[...]).sum(-1)
        return left, segment_softmax(scores, graph, sending(present, graph)), scores

    def attention(self, x, graph, present, context):
        """The weights [E', H] on the edges of `graph.looped`."""
        del context
        graph = graph.looped
        _, weights, scores = self._values_and_attention(x, graph, present)
        valid = None if present is None else sending(present, graph)[:, None]
        ends = graph.senders, graph.receivers
        return (Attention("attention", weights, ("edge", "head"), "node", "node", *ends, valid=valid, scores=scores),)

    def __call__(self, x, graph, present=None, context=EVALUATION):
        graph = graph.looped
        left, weights, _ = self._values_and_attention(x, graph, present)
        y = propagate(left, graph, dropout(weights, self.rate, context.key))
        y = y.reshape(x.shape[0], -1) if self.merge == "concat" else y.mean(1)
        return y + self.bias[...]

    def align(self, anchor, walk, t_in, states):
        if self.merge != "concat":
            raise ValueError(f"{walk.name} has no rule for the graph layer 'gatv2' with averaged heads (merge='mean')")
        pairs = [(self.lin_l, anchor.lin_l)] + ([] if self.lin_r is None else [(self.lin_r, anchor.lin_r)])
        t = walk.neurons([(a.kernel, b.kernel) for a, b in pairs], t_in, states.y, states.rows, anchor.heads)
        for vector in (self.att, self.bias, *(own.bias for own, _ in pairs)):
            follow(vector, t)
        return t
