"""Attention of every node to its own part directly, and to every other part through a summary.

Reference: Ren et al., "Combiner: Full Attention Transformer with Sparse Computation Cost", NeurIPS 2021; the causal
forms and the commit are in `nn/combiner.py`. Golden `combiner`.
"""

import math

from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.layers.base import GraphLayer
from fusion_jax.nn.combiner import Attended, bidirectional
from fusion_jax.nn.parts import Table, of_graphs
from fusion_jax.nn.presence import reached_in_graph, zero_absent
from fusion_jax.records import EVALUATION, Array, Attention, Context, Info
from fusion_jax.structures.base import declare


class Combiner(GraphLayer):
    """y_i = concat_h(sum_{j in own part} p_ij v_j + sum_s p_is nu_s) W_o, one softmax p over both.

    The logits are q_i . k_j and q_i . kappa_s, q = x W_q / sqrt(D / H); s runs over the other parts of the node's
    graph. kappa_s is the largest key of the part, channel by channel, rho_s its largest query, and
    nu_s = sum_{j in s} softmax_j(rho_s . k_j) v_j. Every node of the graph has a weight above 0, and all sum to 1.

    Ours: parts of a balanced partition of the graph in the place of pieces of a sequence; by default a node's own part
    is seen directly alone, so that nobody is counted twice. Absent nodes are in no maximum and no sum.

    Args:
        heads: H, divides `out`, the width of q, k and v.
        parts: the number of parts of each graph; or "sqrt", the square root of its number of nodes.
        size: in its place the largest size of a part.
        weighted: parts cut little edge weight in the place of few edges.
        own_summary: whether the summary of the own part is seen too, as in the authors' code.
        rate: dropout on the weights within summaries, where the authors' code has it.
    Raises:
        ValueError: heads do not divide the width, or options that the partition refuses.
    """

    info = Info(
        "Ren et al., Combiner: Full Attention Transformer with Sparse Computation Cost",
        2021,
        pinned="authors' code",
        golden="combiner",
        cost="O(N (B + P) D + N D^2), P parts of B nodes",
        needs=("graph",),
    )

    def __init__(
        self,
        dim: int,
        out: int | None = None,
        *,
        heads: int = 4,
        parts: int | str = "sqrt",
        size: int | None = None,
        weighted: bool = False,
        own_summary: bool = False,
        rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        name, out = "graph layer 'combiner'", dim if out is None else out
        if heads < 1 or out % heads:
            raise ValueError(f"{name}: heads={heads} does not divide the width D={out}")
        parts = None if size is not None and parts == "sqrt" else parts
        self.structures = (declare(name, "partition", parts=parts, size=size, weighted=weighted),)
        glorot = nnx.initializers.glorot_uniform()

        def linear(width: int) -> nnx.Linear:
            return nnx.Linear(width, out, use_bias=False, kernel_init=glorot, rngs=rngs)

        self.query, self.key, self.value, self.proj = linear(dim), linear(dim), linear(dim), linear(out)
        self.heads, self.own_summary, self.rate = heads, own_summary, rate

    def attend(self, x: Array, graph: Graph, present: Array | None, context: Context) -> tuple[Table, Attended]:
        """The nodes of the parts of every graph [G, S, B], and what they see."""
        x, table = zero_absent(x, present), of_graphs(graph.structure(self.structures[0]))
        q, k, v = (
            table.gather(linear(x).reshape(len(x), self.heads, -1)) for linear in (self.query, self.key, self.value)
        )
        there = table.there(present)
        q = q / math.sqrt(q.shape[-1])
        own = dict(own_summary=self.own_summary, rate=self.rate, key=context.key)
        return table, bidirectional(q, k, v, there, **own)

    def attention(self, x, graph, present, context):
        """Weights [N, H, B + S] of a node's own part and of the parts of its graph, and [G, S, H, B] in summaries."""
        del context
        table, found = self.attend(x, graph, present, EVALUATION)
        own, summary = table.scatter(found.weights), found.spans.weights
        valid = table.scatter(found.seen), table.there(present)[:, :, None]
        return (
            Attention("attention", own, ("node", "head", "token"), "node", "token", valid=valid[0]),
            Attention("summary", summary, ("graph", "part", "head", "token"), "part", "token", valid=valid[1]),
        )

    def reached(self, present, graph):
        return reached_in_graph(present, graph)

    def __call__(self, x, graph, present=None, context=EVALUATION):
        table, seen = self.attend(x, graph, present, context)
        return self.proj(table.scatter(seen.out).reshape(len(x), -1))
