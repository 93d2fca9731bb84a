"""HistoGraph: a graph is read from all layers of all its nodes, the layers weighted with signs.

Reference: Galron, Sinai, Maron, Eliasof, "Learning from Historical Activations in Graph Neural Networks", ICLR 2026
(arXiv 2601.01123). Neither the authors' code nor the paper's body could be obtained; golden `histograph` is
independent NumPy made from the published formulas, the gate from a third party's adapter.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.nn.histograph import HistoryAttention, Steps
from fusion_jax.nn.init import zeros
from fusion_jax.nn.pooling import graph_mean
from fusion_jax.readouts.base import Readout
from fusion_jax.records import EVALUATION, Array, Info, Read


class HistoGraph(Readout):
    """The layers of a graph's nodes under one set of weights, then its nodes under self-attention, then the mean.

        X~_vl = W x_vl + b + P_l                          P_l: sine code of the layer
        c_l   = mean_v (W_Q X~_v,L-1) . (W_K X~_vl) / sqrt(D),   alpha_l = c_l / sum c    (no softmax: any sign)
        H_v   = sum_l alpha_l X~_vl,   Z = MHSA(H),   G = mean_v LN(Z_v + H_v)
        out   = g G + (1 - g) mean_v X~_v,L-1,   g = sigmoid(a), a = 0 at first

    v runs over the nodes of one graph, l over the L stored states, the last included.

    Args:
        form: "gated" as above; "core" ends with out = mean_v Z_v (no residual, norm or gate).
        heads: H, divides D.
        rate: dropout on the weights of the self-attention, in [0, 1).
        guard: |sum c| below it is replaced by it, with the sum's sign; 0 leaves the ratio as published, which
            explodes where the sum nearly vanishes. The adapter's value is 1e-6.
        over: "graph" (published; H min(G B^2, N^2) numbers for G graphs of at most B nodes), or "edges": nodes
            attend to their neighbours and themselves, our own form for graphs of more than a few thousand nodes.
        out_dim: D, the width of the history if None (models leave it alone).
    Raises:
        ValueError: heads do not divide D, or an option is out of range.
    """

    info = Info(
        "Galron et al., Learning from Historical Activations in Graph Neural Networks",
        2026,
        pinned="independent",
        golden="histograph",
        cost="O(N (L + B) D), B nodes in the largest graph",
        needs=("graph",),
    )
    level = "graph"

    def __init__(
        self,
        dim: int,
        layers: int,
        *,
        form: str = "gated",
        heads: int = 4,
        rate: float = 0.2,
        guard: float = 0.0,
        over: str = "graph",
        out_dim: int | None = None,
        rngs: nnx.Rngs,
    ):
        del layers
        self.attention = HistoryAttention(
            "histograph", dim, out_dim, heads=heads, rate=rate, form=form, guard=guard, over=over, rngs=rngs
        )
        self.gate_logit = zeros(()) if form == "gated" else None

    def parts(self, steps: Steps, graph: Graph) -> tuple[Array, Array, Array]:
        """G [G, D], the plain mean of X~_v,L-1 [G, D], and g."""
        # The plain mean is of X~ (projected, with the code of the last layer), not of the history itself.
        last = graph_mean(steps.states[:, -1], graph)
        return graph_mean(steps.out, graph), last, jax.nn.sigmoid(self.gate_logit[...])

    def __call__(self, history, graph, context=EVALUATION):
        steps = self.attention(history, graph, key=context.key)
        shown = self.attention.shown(steps, graph)
        if self.gate_logit is None:
            return Read(graph_mean(steps.out, graph), attention=shown)
        read, last, gate = self.parts(steps, graph)
        gate = jnp.asarray(gate, read.dtype)
        return Read(gate * read + (1 - gate) * last, attention=shown)
