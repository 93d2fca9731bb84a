"""Attention of every node to all nodes of its graph, exactly, in memory linear in their number; or by a linear kernel.

Reference: He and Kabic, "A Unified View of Long-Sequence Models towards Million-Scale Dependencies", 2023 (arXiv
2302.06218). No code is public and only abstract and notation were to be read. Golden `long-sequence-unified`, computed
independently; pieces in `nn.long_sequence`.
"""

import jax.numpy as jnp
from flax import nnx

from fusion_jax.layers.base import GraphLayer
from fusion_jax.nn.long_sequence import Linear, Softmax, graphs_of
from fusion_jax.nn.presence import reached_in_graph, zero_absent
from fusion_jax.records import EVALUATION, Info
from fusion_jax.zoo import nearest

MIXERS = ("softmax", "linear")


class LongSequenceUnified(GraphLayer):
    """y = P(x) V(x) W_o [+ x] over the present nodes of a graph, whatever its edges (ours: the nodes are the sequence).

    "softmax": P = softmax_j(q_i . k_j / sqrt(d)) per head; "linear": P = f(q_i) . f(k_j) / sum_j f(q_i) . f(k_j), f =
    elu + 1. Mixers that need an order are in the fusion of this name. No edge is read; the weights, N^2 numbers a head,
    are never held and not shown. Everybody in the graph of a present node hears of it.

    Args:
        mixer: P.
        heads: divides `out`.
        residual: whether x is added; the template's equation does not have it, the models it unifies do.
        shards: of softmax, over how many devices the nodes are laid, consecutive ones on each; keys and values go
            around (`nn.ring_attention`). The numbers are those of one device.
        block: of softmax, how many queries and keys are at work at a time: memory grows with its square.
    Raises:
        ValueError: an unknown mixer, heads that do not divide the width, a number below 1, more shards than devices,
            shards of another mixer than softmax, a residual from one width to another.
    """

    info = Info(
        "He and Kabic, A Unified View of Long-Sequence Models towards Million-Scale Dependencies",
        2023,
        pinned="independent",
        golden="long-sequence-unified",
        cost="O(N^2 D + N D^2), linear O(N D^2)",
        needs=("graph",),
    )

    def __init__(
        self,
        dim: int,
        out: int | None = None,
        *,
        mixer: str = "softmax",
        heads: int = 4,
        residual: bool = False,
        shards: int = 1,
        block: int = 256,
        rngs: nnx.Rngs,
    ):
        who = "graph layer 'long_sequence_unified'"
        out = dim if out is None else out
        if mixer not in MIXERS:
            raise ValueError(f"{who}: mixer={mixer!r}{nearest(mixer, MIXERS)}; expected one of {', '.join(MIXERS)}")
        for option, value in dict(heads=heads, shards=shards, block=block).items():
            if value < 1:
                raise ValueError(f"{who}: {option}={value}, expected at least 1")
        if out % heads:
            raise ValueError(f"{who}: heads={heads} does not divide the width D={out}")
        if shards > 1 and mixer != "softmax":
            raise ValueError(f"{who}: shards={shards} needs mixer='softmax', got mixer={mixer!r}")
        if residual and out != dim:
            raise ValueError(f"{who}: residual=True needs one width, got {dim} to {out}")
        if mixer == "softmax":
            self.mixer = Softmax(dim, out, heads, shards=shards, block=block, who=who, rngs=rngs)
        else:
            self.mixer = Linear(dim, out, heads, rngs=rngs)
        self.out = nnx.Linear(out, out, use_bias=False, rngs=rngs)
        self.residual = residual

    def reached(self, present, graph):
        return reached_in_graph(present, graph)

    def __call__(self, x, graph, present=None, context=EVALUATION):
        del context
        there = jnp.ones(x.shape[0], bool) if present is None else present
        there = there if graph.present is None else there & graph.present
        x = zero_absent(x, there)
        y = self.out(self.mixer.mix(x, there, graphs_of(graph)))
        return x + y if self.residual else y
