"""Graph attention: additive scores of sender and receiver, a softmax over each node's senders.

Reference: Velickovic et al., "Graph Attention Networks", ICLR 2018; attention can be read with `attention`.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.layers.base import GraphLayer
from fusion_jax.nn.alignment import follow
from fusion_jax.nn.dropout import dropout, split_key
from fusion_jax.nn.presence import sending, zero_absent
from fusion_jax.nn.segment import at_receivers, at_senders, propagate, segment_softmax
from fusion_jax.records import EVALUATION, Array, Attention, Info
from fusion_jax.zoo import nearest

MERGES = ("concat", "mean")


class GAT(GraphLayer):
    """y_i = concat_h sum_j a_ijh W_h x_j + b, a = softmax_j(leaky_relu(u_h . W_h x_j + v_h . W_h x_i, 0.2)).

    j runs over the present senders of i and i itself. For predictions the mean over h stands in the place of concat_h.

    Args:
        heads: H; divides `out` where heads are concatenated.
        merge: "concat", heads of width out / H side by side; or "mean", of width `out` averaged, for the last layer.
        rate: dropout on the attention weights (the paper's citation graphs: 0.6).
        value_rate: dropout on the W_h x_j that are summed, not on those the scores are made of. The paper has none, the
            authors' code (PetarV-/GAT @ 465ca7a, `utils/layers.py`) 0.6.
    Raises:
        ValueError: heads do not divide the width, or another `merge`.
    """

    info = Info("Velickovic et al., Graph Attention Networks", 2018, cost="O(E (D + H) + N D^2)", needs=("graph",))
    parted = True
    local = True

    def __init__(
        self,
        dim: int,
        out: int | None = None,
        *,
        heads: int = 4,
        merge: str = "concat",
        rate: float = 0.0,
        value_rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        out = dim if out is None else out
        if merge not in MERGES:
            raise ValueError(f"graph layer 'gat': merge={merge!r}{nearest(merge, MERGES)}; expected one of {MERGES}")
        if merge == "concat" and out % heads:
            raise ValueError(f"graph layer 'gat': heads={heads} does not divide the width D={out}")
        each = out // heads if merge == "concat" else out
        glorot = nnx.initializers.glorot_uniform()
        self.linear = nnx.Linear(dim, heads * each, use_bias=False, kernel_init=glorot, rngs=rngs)
        self.att_sender = nnx.Param(glorot(rngs.params(), (heads, each), jnp.float32))
        self.att_receiver = nnx.Param(glorot(rngs.params(), (heads, each), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(out, jnp.float32))
        self.heads, self.merge, self.rate, self.value_rate = heads, merge, rate, value_rate

    def _values_and_attention(self, x: Array, graph: Graph, present: Array | None):
        x = zero_absent(x, present)
        h = self.linear(x).reshape(x.shape[0], self.heads, -1)  # [N, H, d]
        kernel = self.linear.kernel[...].reshape(x.shape[1], *h.shape[1:])
        # u . (W x) = (u W) . x: one small product instead of a sum over the width of every node and head
        sent, received = (x @ (kernel * u[...]).sum(-1) for u in (self.att_sender, self.att_receiver))  # [N, H]
        logits = jax.nn.leaky_relu(at_senders(sent, graph) + at_receivers(received, graph), 0.2)
        return h, segment_softmax(logits, graph, sending(present, graph)), logits

    def attention(self, x, graph, present, context):
        """The weights [E', H] on the edges of `graph.looped`."""
        del context
        graph = graph.looped
        _, weights, logits = self._values_and_attention(x, graph, present)
        valid = None if present is None else sending(present, graph)[:, None]
        ends = graph.senders, graph.receivers
        return (Attention("attention", weights, ("edge", "head"), "node", "node", *ends, valid=valid, scores=logits),)

    def __call__(self, x, graph, present=None, context=EVALUATION):
        graph = graph.looped
        h, weights, _ = self._values_and_attention(x, graph, present)
        weight_key, value_key = split_key(context.key, 2)
        y = propagate(dropout(h, self.value_rate, value_key), graph, dropout(weights, self.rate, weight_key))
        y = y.reshape(x.shape[0], -1) if self.merge == "concat" else y.mean(1)
        return y + self.bias[...]

    def align(self, anchor, walk, t_in, states):
        if self.merge != "concat":
            raise ValueError(f"{walk.name} has no rule for the graph layer 'gat' with averaged heads (merge='mean')")
        kernels = [(self.linear.kernel, anchor.linear.kernel)]
        t = walk.neurons(kernels, t_in, states.y, states.rows, anchor.heads)
        for vector in (self.att_sender, self.att_receiver, self.bias):
            follow(vector, t)
        return t
