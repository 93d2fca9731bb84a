"""Cascade transformer readout: every stored state through attention among nodes, rebuilt from the last to the first.

Reference: "Dual Mutual Learning Network with Global-local Awareness for RGB-D Salient Object Detection", GL-DMNet, 2025
(arXiv 2501.01648), section III-C, equations 24 to 33; reimplemented from them, no code is public. Its levels, fine to
coarse, are the states behind 0, 1, ... rounds of message passing, which all have the graph's own nodes: nothing is
resized.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.nn.attention import MultiHeadAttention
from fusion_jax.nn.mlp import MLP
from fusion_jax.nn.norm import layer_norm
from fusion_jax.nn.pooling import at_nodes, pool_mean
from fusion_jax.nn.presence import sending, zero_absent
from fusion_jax.nn.segment import edge_attend
from fusion_jax.nn.stencil import Stencil, StencilLinear, around, itself
from fusion_jax.nn.streams import NORMS, make_norm, normed
from fusion_jax.nn.within_graph import attend_within
from fusion_jax.readouts.base import Readout
from fusion_jax.records import EVALUATION, Array, Head, Info, Read
from fusion_jax.zoo import nearest

OVER = ("graph", "edges")


class Trans(nnx.Module):
    """t + MHA(LN t) among the present nodes of a graph, then t + W_2 gelu(W_1 LN t)."""

    def __init__(self, dim: int, heads: int, over: str, *, rngs: nnx.Rngs):
        self.norm1, self.norm2 = layer_norm(dim, rngs=rngs), layer_norm(dim, rngs=rngs)
        self.attn, self.over = MultiHeadAttention(dim, heads, rngs=rngs), over
        self.mlp = MLP(dim, 4 * dim, dim, activation=jax.nn.gelu, rngs=rngs)

    def __call__(self, t: Array, graph: Graph) -> Array:
        a, seen = self.attn, self.norm1(t)
        q, k, v = a.split(a.query(seen)), a.split(a.key(seen)), a.split(a.value(seen))
        if self.over == "edges":
            read, _ = edge_attend(q, k, v, graph.looped, sending(graph.present, graph.looped))
        else:
            read = attend_within(q, k, v, graph, rate=0.0, key=None)
        t = t + a.out(read.reshape(t.shape))
        return t + self.mlp(self.norm2(t))


class Conv(nnx.Module):
    """relu(norm(W stencil(x) + b))."""

    def __init__(self, dim: int, out: int, views: int, norm: str, *, rngs: nnx.Rngs):
        self.linear = StencilLinear(dim, out, views=views, use_bias=True, rngs=rngs)
        self.norm = make_norm(norm, out, rngs)

    def __call__(self, x: Array, stencil: Stencil, present: Array, training: bool) -> Array:
        return zero_absent(jax.nn.relu(normed(self.norm, self.linear(x, stencil), present, training)), present)


class Both(nnx.Module):
    """Conv3(Conv1(x))."""

    def __init__(self, dim: int, out: int, norm: str, *, rngs: nnx.Rngs):
        self.conv1, self.conv3 = Conv(dim, out, 1, norm, rngs=rngs), Conv(out, out, 2, norm, rngs=rngs)

    def __call__(self, x: Array, stencil: Stencil, present: Array, training: bool) -> Array:
        return self.conv3(self.conv1(x, itself, present, training), stencil, present, training)


class GLDMNet(Readout):
    """out = Conv3(o_1) of the states x_1 ... x_L, with

        t_i = Conv3(Conv1([Trans_i(x_i); x_i]))                                          (24, 25)
        a_i = Conv3(Conv1(CA([t_i+1; ...; t_L]))),  r_i = a_i t_i + t_i,  r_L = t_L       (26, 27)
        o_L = Conv3(Conv1(r_L)),  o_i = Conv3(Conv1([r_i; o_i+1]))                        (28, 29)

    CA(z) = z sigmoid(W_2 relu(W_1 z')), z' the mean of z over the graph's nodes. Each level i > 1 predicts too, from
    Conv3(o_i), and is trained with weight lambda_i / lambda_1, lambda_i = .8, .6, .4, .2 and .2 from there on (33).

    Args:
        heads: of the attention, divide D.
        over: whom it sees: "graph", all nodes of the graph; "edges" (ours), the senders and the node itself.
        norm: of the blocks, "batch" or (ours) "layer".
        reduction: of CA, whose hidden layer has at least one unit.
        outputs: C, told by the model.
    Raises:
        ValueError: heads that do not divide D, or an option that is none of these.
    """

    info = Info(
        "Dual Mutual Learning Network with Global-local Awareness for RGB-D Salient Object Detection",
        2025,
        cost="O(N L (B + L D) D), B nodes in the largest graph",
        needs=("graph", "outputs"),
    )

    def __init__(
        self,
        dim: int,
        layers: int,
        *,
        heads: int = 4,
        over: str = "graph",
        norm: str = "batch",
        reduction: int = 16,
        outputs: int,
        rngs: nnx.Rngs,
    ):
        for name, value, known in (("over", over, OVER), ("norm", norm, NORMS)):
            if value not in known:
                raise ValueError(
                    f"readout 'gl_dmnet': {name}={value!r}{nearest(value, known)}; expected one of {known}"
                )
        if dim % heads or reduction < 1:
            raise ValueError(
                f"readout 'gl_dmnet': heads={heads}, reduction={reduction}; expected heads that divide D={dim}, and a "
                "reduction of at least 1"
            )
        above = [layers - 1 - i for i in range(layers)]
        self.trans = nnx.List([Trans(dim, heads, over, rngs=rngs) for _ in above])
        self.join = nnx.List([Both(2 * dim, dim, norm, rngs=rngs) for _ in above])
        self.ca = nnx.List([MLP(n * dim, max(1, n * dim // reduction), rngs=rngs) for n in above if n])
        self.gate = nnx.List([Both(n * dim, dim, norm, rngs=rngs) for n in above if n])
        self.build = nnx.List([Both((1 + bool(n)) * dim, dim, norm, rngs=rngs) for n in above])
        self.last = nnx.List([Conv(dim, dim, 2, norm, rngs=rngs) for _ in above])
        self.heads = nnx.List([nnx.Linear(dim, outputs, rngs=rngs) for _ in above[1:]])

    def __call__(self, history, graph, context=EVALUATION):
        n, count, _ = history.shape
        present = jnp.ones(n, bool) if graph.present is None else graph.present
        given = around(graph, graph.present), present, context.key is not None
        history = zero_absent(history, graph.present)
        x = [history[:, i] for i in range(count)]
        t = [
            self.join[i](jnp.concatenate([self.trans[i](each, graph), each], axis=1), *given)
            for i, each in enumerate(x)
        ]
        o, found = None, [None] * count
        for i in reversed(range(count)):
            r = t[i]
            if i + 1 < count:
                z = jnp.concatenate(t[i + 1 :], axis=1)
                gates = jax.nn.sigmoid(self.ca[i](pool_mean(z, present, graph)))
                r = self.gate[i](z * at_nodes(gates, graph, n), *given) * r + r
            o = self.build[i](r if o is None else jnp.concatenate([r, o], axis=1), *given)
            found[i] = self.last[i](o, *given)
        heads = [Head(f"level {i + 1}", head(found[i]), share(i)) for i, head in enumerate(self.heads, start=1)]
        return Read(found[0], heads=tuple(heads))


def share(i: int) -> float:
    """lambda of level i + 1 as a share of that of the first."""
    return max(0.2, 0.8 - 0.2 * i) / 0.8
