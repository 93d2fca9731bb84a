"""Attention over the events a node receives, each with a learned code of its time beside its features.

Reference: Xu et al., "Self-attention with Functional Time Representation Learning", NeurIPS 2019; code
StatsDLMathsRecomSys/Self-attention-with-Functional-Time-Representation-Learning at b5cd85c
(`self_attention/modules.py`, `self_attention/model.py`). Golden `functional-time`. Spans on edges instead of the
positions of one sequence are ours, after the same group's work on temporal graphs.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
from flax import nnx

from fusion_jax.encoders.base import Encoder
from fusion_jax.encoders.functional_time.time_codes import Bochner, FlexibleMercer, Mercer
from fusion_jax.graphs import Graph
from fusion_jax.nn.dropout import dropout, split_key
from fusion_jax.nn.mlp import MLP
from fusion_jax.nn.norm import layer_norm
from fusion_jax.nn.presence import reached, sending
from fusion_jax.nn.segment import at_receivers, at_senders, segment_softmax, segment_sum
from fusion_jax.records import EVALUATION, Array, Attention, Context, Info
from fusion_jax.zoo import nearest

CODES = ("bochner", "mercer", "mercer_flexible")
TIMES = ("edges", "nodes")
EPSILON = 1e-8  # of the layer norms, inside the root, as in the code


class EventAttention(nnx.Module):
    """out_n = q_n + sum_e a_ne V(x_e), a = softmax over the events e that n receives of Q(q_n) . K(x_e) / sqrt(W / H).

    No projection of the output; the queries are added as they came in.

    Args:
        width: W of queries and events.
        heads: H, divides W.
        rate: dropout on the weights.
    """

    def __init__(self, width: int, heads: int, *, rate: float = 0.0, rngs: nnx.Rngs):
        if width % heads:
            raise ValueError(f"encoder 'functional_time': heads={heads} does not divide D + time_dim = {width}")
        self.query, self.key, self.value = (nnx.Linear(width, width, rngs=rngs) for _ in range(3))
        self.heads, self.rate = heads, rate

    def __call__(self, queries: Array, events: Array, graph: Graph, seen: Array, *, key: Array | None = None):
        """queries [N, W], events [E, W], seen bool [E] -> out [N, W], weights [E, H] (before dropout)."""
        q, k, v = (
            y.reshape(y.shape[0], self.heads, -1) for y in (self.query(queries), self.key(events), self.value(events))
        )
        logits = (at_receivers(q, graph) * k).sum(-1) / math.sqrt(q.shape[-1])
        weights = segment_softmax(logits, graph, seen)
        out = segment_sum(dropout(weights, self.rate, key)[..., None] * v, graph)
        return queries + out.reshape(queries.shape), weights


class FunctionalTime(Encoder):
    """y_n = LN(MLP(LN(out_n))), out_n the attention of q_n = LN(x_n) over the events x_e that node n receives.

    With times "edges", `graph.edges["time"]` [E] is how long before the time of prediction the event of an edge took
    place: x_e = [W x_sender; code(time_e)], x_n = [W x_n; code(0)]. Events of the future (time < 0) are not seen.

    With times "nodes", the last column of the features is the node's own time t_n, as far from the data set's
    reference as one likes: x_n = [W x_n; code(t_n)], and node n sees the senders with t <= t_n. Scaling of the
    features changes the unit of time: `data.scale="none"` leaves the data set's.

    In both a node sees itself, and no event of a sender that lacks the modality. One block; the model's graph layers
    are what stands in for more of them. The factor sqrt(D) of the code on its embeddings is left out: it makes up for
    the small values of an embedding table, which a linear map of features does not have.

    Args:
        code: "bochner", "mercer" or "mercer_flexible", see `_time_codes`.
        time_dim: k, width of the code, D if None; even for "bochner".
        degree: m of the Mercer codes.
        scales: shortest and longest time scale of the codes at the start, in the unit of the times; see `_time_codes`.
        tied: one frequency for sine and cosine ("bochner"), which makes the kernel translation-invariant.
        times: where they are: "edges" or "nodes".
        heads: H, divides D + k.
        rate: dropout on the tokens, the attention weights and in the MLP.
    Raises:
        ValueError: unknown `code` or `times`; at the call, a graph without times.
    """

    info = Info(
        "Xu et al., Self-attention with Functional Time Representation Learning",
        2019,
        pinned="stand-in",
        golden="functional-time",
        cost="O(N d D + E (D + k)^2)",
        needs=("graph", "edge_time"),
    )

    def __init__(
        self,
        in_dim: int,
        dim: int,
        *,
        code: str = "mercer",
        time_dim: int | None = None,
        degree: int = 5,
        scales: tuple[float, float] = (1.0, 1e8),
        tied: bool = False,
        times: str = "edges",
        heads: int = 1,
        rate: float = 0.2,
        rngs: nnx.Rngs,
    ):
        for name, value, known in (("code", code, CODES), ("times", times, TIMES)):
            if value not in known:
                raise ValueError(
                    f"encoder 'functional_time': {name}={value!r}{nearest(value, known)}; expected one of {known}"
                )
        k = dim if time_dim is None else time_dim
        inner = in_dim - (times == "nodes")
        if inner < 1:
            raise ValueError("encoder 'functional_time': times='nodes' needs features beside the column of times")
        self.embed = nnx.Linear(inner, dim, use_bias=False, rngs=rngs)  # without bias: a missing sender stays 0
        if code == "bochner":
            self.code = Bochner(k, scales=scales, tied=tied, rngs=rngs)
        else:
            self.code = dict(mercer=Mercer, mercer_flexible=FlexibleMercer)[code](k, degree, scales=scales, rngs=rngs)
        self.event_attention = EventAttention(dim + k, heads, rate=rate, rngs=rngs)
        self.mlp = MLP(dim + k, dim, dim, rate=rate, rngs=rngs)  # its residual needs equal widths, which it has not
        self.norm1, self.norm2 = (layer_norm(dim + k, epsilon=EPSILON, rngs=rngs) for _ in range(2))
        self.norm3 = layer_norm(dim, epsilon=EPSILON, rngs=rngs)
        self.times, self.rate = times, rate
        self.needs = self.info.needs if times == "edges" else ("graph",)

    def tokens(self, x: Array, graph: Graph, present: Array | None) -> tuple[Array, Array, Array]:
        """What stands for the nodes [N, D + k] and for the events [E, D + k], and which of those are seen [E]."""
        if self.times == "nodes":
            t = x[:, -1]
            nodes = self.join(self.embed(x[:, :-1]), t)
            earlier = t[graph.senders] <= t[graph.receivers]
            return nodes, at_senders(nodes, graph), _both(earlier, sending(present, graph))
        t, states = graph.edges["time"].astype(x.dtype), self.embed(x)
        nodes = self.join(states, jnp.zeros(x.shape[0], x.dtype))
        return nodes, self.join(at_senders(states, graph), t), _both(t >= 0, sending(present, graph))

    def join(self, states: Array, t: Array) -> Array:
        """[..., D] and [...] -> [..., D + k]"""
        return jnp.concatenate([states, self.code(t)], axis=-1)

    def __call__(self, x, graph=None, present=None, context=EVALUATION):
        return self._encode(x, graph, present, context)[0]

    def attention(self, x, graph, present, context):
        """The weights [E', H] on the edges of `graph.looped`, before dropout."""
        _, weights, seen = self._encode(x, graph, present, context)
        ends = graph.looped.senders, graph.looped.receivers
        return (Attention("events", weights, ("edge", "head"), "node", "node", *ends, valid=seen[:, None]),)

    def _encode(self, x: Array, graph: Graph, present: Array | None, context: Context) -> tuple[Array, Array, Array]:
        """What the call returns, the weights of the attention [E', H], and the events that are seen, bool [E']."""
        keys = split_key(context.key, 5)
        nodes, events, seen = self.tokens(x, graph.looped, present)
        nodes, events = dropout(nodes, self.rate, keys[0]), dropout(events, self.rate, keys[1])
        h, weights = self.event_attention(self.norm1(nodes), events, graph.looped, seen, key=keys[2])
        h = self.mlp(self.norm2(h), key=keys[3])
        return self.norm3(dropout(h, self.rate, keys[4])), weights, seen

    def reached(self, present, graph):
        if self.times == "nodes":  # a node without the modality has no time: it hears of nothing
            return present
        return reached(present, graph, graph.edges["time"] >= 0)


def _both(seen: Array, more: Array | None) -> Array:
    return seen if more is None else seen & more
