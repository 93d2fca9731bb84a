"""A parallel block of a mixture of attention experts, to all of which a node goes, and one of feed-forward experts.

Reference: Zhang et al., "BAM! Just Like That: Simple and Efficient Parameter Upcycling for Mixture of Experts", NeurIPS
2024 (arXiv 2408.08274); no code is public. Golden `bam`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.layers.base import GraphLayer
from fusion_jax.nn.dropout import dropout, split_key
from fusion_jax.nn.head_router import load_balance, top_k_mask
from fusion_jax.nn.norm import layer_norm
from fusion_jax.nn.presence import sending, there, zero_absent
from fusion_jax.nn.segment import edge_attend
from fusion_jax.records import EVALUATION, Array, Attention, Info
from fusion_jax.zoo import nearest

ATTENTIONS = ("expert_kv", "shared_kv", "one")
EACH = nnx.initializers.lecun_normal(batch_axis=(0,))  # of kernels [experts, in, out]
EXPERTS = ("query", "key", "value", "out", "gate", "up", "down")
ROUTERS = ("router_attn", "router_ffn")


class Steps(NamedTuple):
    """What a block computes, in order; X attention experts and X' feed-forward experts."""

    start: Array  # [N, D], what the residual carries
    weights: Array  # [E', X, H], of the attention along the edges of `graph.looped`
    attn_gate: Array  # [N, X], g, 0 where a node is not sent
    attn_expert_out: Array  # [N, X, D], behind W_o and before g
    attn_out: Array  # [N, D]
    ffn_logits: Array  # [N, X']
    ffn_prob: Array  # [N, X'], p
    ffn_chosen: Array  # bool [N, X'], T
    ffn_out: Array  # [N, D]
    out: Array  # [N, D]


class BAM(GraphLayer):
    """y = x + sum_i g_i MHA_i(h) + sum_(i in T) p_i FFN_i(h), h = LN(x).

    g = softmax(h R_attn) at the node that asks, over all experts; p = softmax(h R_ffn), T its k largest, whose p are
    not made to sum to 1. MHA_i is attention of a node to its present senders and itself, scaled by 1 / sqrt(D / H),
    FFN_i(h) = W_down(silu(W_gate h) * W_up h), none with a bias. One expert is the dense block: without routers, g and
    p are 1. Losses of the mixture are "balance", balance X sum_i f_i P_i with the share f_i of nodes that are sent to
    FFN expert i and the mean P_i of p_i, and "router_z", z times the mean of logsumexp(h R_ffn)^2; nodes that are
    absent do not count. The scheme `bam` fills experts with the parts of specialised models; trained from the start,
    they are an ordinary mixture. Behind a stream that another width comes to, x is W x + b first (ours). The edges
    stand for the causal mask of the paper, and there is no rotary code (ours).

    Args:
        heads: H of every expert; divides `out`.
        experts: X (the paper: the seed, code, law, mathematics).
        attention: "expert_kv"; "shared_kv", one W_k and W_v for all experts; or "one", a single attention beside
            feed-forward experts, the baseline that the paper improves on.
        attention_k: sends a node to so many attention experts only, the largest g; None for all. The paper's ablation.
        k: how many feed-forward experts a node goes to.
        hidden: width inside FFN_i, 2 D if None.
        balance, z: weights of the losses, which the paper does not give; 0 leaves one out.
        rate: dropout of what the experts add to x.
        attention_rate: dropout on the attention weights.
    Raises:
        ValueError: heads do not divide the width, another attention, a number of experts that there are not, a weight
            below 0.
    """

    info = Info(
        "Zhang et al., BAM! Just Like That: Simple and Efficient Parameter Upcycling for Mixture of Experts",
        2024,
        golden="bam",
        cost="O(X (E D + N D^2))",
        needs=("graph",),
    )
    whole_block = True

    def __init__(
        self,
        dim: int,
        out: int | None = None,
        *,
        heads: int = 4,
        experts: int = 4,
        attention: str = "expert_kv",
        attention_k: int | None = None,
        k: int = 1,
        hidden: int | None = None,
        balance: float = 0.01,
        z: float = 0.001,
        rate: float = 0.0,
        attention_rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        name, out = "graph layer 'bam'", dim if out is None else out
        hidden = 2 * out if hidden is None else hidden
        if heads < 1 or out % heads:
            raise ValueError(f"{name}: heads={heads} does not divide the width D={out}")
        if attention not in ATTENTIONS:
            raise ValueError(
                f"{name}: attention={attention!r}{nearest(attention, ATTENTIONS)}; expected one of {ATTENTIONS}"
            )
        if experts < 1 or hidden < 1:
            raise ValueError(f"{name}: experts={experts}, hidden={hidden}; expected at least 1")
        attentions = 1 if attention == "one" else experts
        for option, value, most in (("k", k, experts), ("attention_k", attention_k, attentions)):
            if value is not None and not 1 <= value <= most:
                raise ValueError(f"{name}: {option}={value}; expected 1 to {most} with experts={experts}")
        if min(balance, z) < 0:
            raise ValueError(f"{name}: balance={balance}, z={z}; expected at least 0")
        keys = 1 if attention == "shared_kv" else attentions

        def kernels(n: int, width: int, to: int) -> nnx.Param:
            return nnx.Param(EACH(rngs.params(), (n, width, to), jnp.float32))

        def router(n: int) -> nnx.Linear | None:
            return nnx.Linear(out, n, use_bias=False, rngs=rngs) if n > 1 else None

        self.project = nnx.Linear(dim, out, rngs=rngs) if out != dim else None
        self.norm = layer_norm(out, rngs=rngs)
        self.query, self.out = kernels(attentions, out, out), kernels(attentions, out, out)
        self.key, self.value = kernels(keys, out, out), kernels(keys, out, out)
        self.gate, self.up = kernels(experts, out, hidden), kernels(experts, out, hidden)
        self.down = kernels(experts, hidden, out)
        self.router_attn, self.router_ffn = router(attentions), router(experts)
        self.heads, self.k, self.attention_k = heads, k, attention_k
        self.balance, self.z, self.rate, self.attention_rate = balance, z, rate, attention_rate

    @property
    def experts(self) -> int:
        """How many feed-forward experts there are."""
        return self.gate[...].shape[-3]

    def dense(self) -> BAM:
        """Becomes the block of one expert, its first: with the same norm and the same projection. Returns itself."""
        for name in EXPERTS:
            kernel = getattr(self, name)
            kernel.set_value(kernel[...][..., :1, :, :])
        self.router_attn = self.router_ffn = self.attention_k = None
        self.k = 1
        return self

    def upcycle(self, dense: Sequence[BAM]) -> None:
        """Takes the i-th expert of the i-th of the dense blocks, and of what it has once their mean.

        Kernels are copied bit by bit; shared keys and values, the attention of `attention="one"`, norm and projection
        are uniform means, routers stay as they are.

        Raises:
            ValueError: as many blocks as experts are expected, or one expert, the mean of all.
        """
        if self.experts not in (1, len(dense)):
            raise ValueError(f"graph layer 'bam': experts={self.experts} cannot be made of {len(dense)} dense blocks")
        for name in EXPERTS:
            kernel, parts = getattr(self, name), [getattr(block, name)[...] for block in dense]
            own = mean(parts) if kernel[...].shape == parts[0].shape else jnp.concatenate(parts, axis=-3)
            kernel.set_value(own)
        for name in ("norm", "project"):
            if getattr(self, name) is not None:
                states = [nnx.state(getattr(block, name)) for block in dense]
                nnx.update(getattr(self, name), jax.tree.map(lambda *arrays: mean(arrays), *states))

    def _attend(self, h: Array, graph: Graph, mask: Array | None, key: Array | None) -> tuple[Array, Array]:
        """MHA_i(h) of every expert [N, X, D], and the weights [E', X, H] along the edges given."""
        n, x = len(h), self.query.shape[0]

        def heads(kernel):
            own = jnp.einsum("nd,xde->nxe", h, kernel[...])
            return jnp.broadcast_to(own, (n, x, own.shape[-1])).reshape(n, x * self.heads, -1)

        scale = 1 / math.sqrt(self.query.shape[-1] // self.heads)
        given = heads(self.query), heads(self.key), heads(self.value)
        y, weights = edge_attend(*given, graph, mask, scale=scale, rate=self.attention_rate, key=key)
        y = jnp.einsum("nxd,xde->nxe", y.reshape(n, x, -1), self.out[...])
        return y, weights.reshape(len(weights), x, self.heads)

    def _feed_forward(self, h: Array) -> Array:
        """FFN_i(h) of every expert, [N, X', D]."""
        gate, up = (jnp.einsum("nd,xdf->nxf", h, kernel[...]) for kernel in (self.gate, self.up))
        return jnp.einsum("nxf,xfd->nxd", jax.nn.silu(gate) * up, self.down[...])

    def steps(self, x: Array, graph: Graph, present: Array | None = None, *, key: Array | None = None) -> Steps:
        """All intermediates of the block; x and `present` as in the call."""
        weights_key, added_key = split_key(key, 2)
        counted, graph = there(present, graph), graph.looped
        x = zero_absent(x, counted)
        x = x if self.project is None else self.project(x)
        h = self.norm(x)
        outs, weights = self._attend(h, graph, sending(counted, graph), weights_key)
        _, g, chosen = routed(self.router_attn, h, self.attention_k)
        gates = jnp.where(chosen, g, 0)
        attn_out = jnp.einsum("nx,nxd->nd", gates, outs)
        logits, p, sent = routed(self.router_ffn, h, self.k)
        ffn_out = jnp.einsum("nx,nxd->nd", jnp.where(sent, p, 0), self._feed_forward(h))
        out = x + dropout(attn_out + ffn_out, self.rate, added_key)
        return Steps(x, weights, gates, outs, attn_out, logits, p, sent, ffn_out, out)

    def balances(self, steps: Steps, counted: Array | None = None) -> tuple[Array, Array]:
        """The two losses of the feed-forward router, unweighted: X sum_i f_i P_i, and the mean of logsumexp^2."""
        counted = jnp.ones(len(steps.out), bool) if counted is None else counted
        z = jax.nn.logsumexp(steps.ffn_logits, axis=-1) ** 2
        count = jnp.maximum(counted.sum(), 1).astype(z.dtype)
        return load_balance(steps.ffn_prob, steps.ffn_chosen, counted), jnp.where(counted, z, 0).sum() / count

    def losses(self, x, graph, present, context):
        if self.router_ffn is None or not (self.balance or self.z):
            return {}
        balance, z = self.balances(self.steps(x, graph, present, key=context.key), there(present, graph))
        named = {"balance": (self.balance, balance), "router_z": (self.z, z)}
        return {name: weight * value for name, (weight, value) in named.items() if weight}

    def attention(self, x, graph, present, context):
        """The weights [E', X, H] on the edges of `graph.looped`, and the gates [N, X] of both mixtures."""
        del context
        steps, counted, graph = self.steps(x, graph, present), there(present, graph), graph.looped
        valid = None if counted is None else sending(counted, graph)[:, None, None]
        ends = graph.senders, graph.receivers
        soft, every = self.attention_k is None, self.k == self.experts
        axes, sent, p = ("node", "expert"), steps.ffn_chosen, jnp.where(steps.ffn_chosen, steps.ffn_prob, 0)
        return (
            Attention("attention", steps.weights, ("edge", "expert", "head"), "node", "node", *ends, valid=valid),
            Attention("attention experts", steps.attn_gate, axes, "node", "expert", normalised=soft),
            Attention("feed-forward experts", p, axes, "node", "expert", valid=sent, normalised=every),
        )

    def __call__(self, x, graph, present=None, context=EVALUATION):
        return self.steps(x, graph, present, key=context.key).out


def routed(router: nnx.Linear | None, h: Array, k: int | None) -> tuple[Array, Array, Array]:
    """Logits and their softmax [N, X], and where it is among the k largest; 0, 1 and true of a block of one expert."""
    if router is None:
        one = jnp.ones((len(h), 1), h.dtype)
        return jnp.zeros_like(one), one, one > 0
    logits = router(h)
    p = jax.nn.softmax(logits)
    return logits, p, jnp.ones(p.shape, bool) if k is None else top_k_mask(p, k)


def mean(arrays: Sequence[Array]) -> Array:
    """The uniform mean of arrays of one form; the first of those that are no floats."""
    first = arrays[0]
    return jnp.stack(arrays).mean(0) if jnp.issubdtype(first.dtype, jnp.floating) else first
