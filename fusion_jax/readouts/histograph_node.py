"""HistoGraph for node tasks: every node is read from all its layers, weighted with signs, and its graph's nodes.

Reference: Galron, Sinai, Maron, Eliasof, "Learning from Historical Activations in Graph Neural Networks", ICLR 2026
(arXiv 2601.01123); golden `histograph` (see `readouts.histograph`).
"""

from flax import nnx

from fusion_jax.nn.histograph import HistoryAttention
from fusion_jax.readouts.base import Readout
from fusion_jax.records import EVALUATION, Info, Read


class HistoGraphNode(Readout):
    """out_v = LN(Z_v + H_v) with H and Z of `readouts.histograph`, before its mean and without its gate.

    The weights of the layers are shared by all nodes of a graph of the batch, so by all nodes where there is one.

    Args:
        form: "gated" (the same steps 1-8 as the graph readout of that name), or "core": out_v = Z_v.
        heads, rate, guard, over, out_dim: as in `readouts.histograph`. Beyond a few thousand nodes in one graph
            take over="edges" (our own form), or N^2 numbers a head are stored.
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
    level = "node"

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
            "histograph_node", dim, out_dim, heads=heads, rate=rate, form=form, guard=guard, over=over, rngs=rngs
        )

    def __call__(self, history, graph, context=EVALUATION):
        steps = self.attention(history, graph, key=context.key)
        return Read(steps.out, attention=self.attention.shown(steps, graph))
