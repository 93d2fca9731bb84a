"""Self-attention of every node over its k nearest neighbours and itself.

Reference: Hassani, Hwu and Shi, "Faster Neighborhood Attention", 2024 (and Hassani et al., "Neighborhood
Attention Transformer", CVPR 2023); code SHI-Labs/NATTEN, commit 8c8729f, `src/natten/backends/flex.py` and
`modules.py`. Golden `neighborhood-attention`. `nn.windows` makes the edges of the paper's windows on grids;
on a graph the distance is the edge weight and there is no border.
"""

from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.layers.base import GraphLayer
from fusion_jax.nn.neighborhood import nearest, neighbor_edge_attend, table_attend
from fusion_jax.nn.presence import zero_absent
from fusion_jax.nn.segment import edge_attend
from fusion_jax.records import EVALUATION, Array, Attention, Info

FORMS = {"table": table_attend, "edges": neighbor_edge_attend}


class NeighborhoodAttention(GraphLayer):
    """y_i = concat_h(sum_j a_ijh v_jh) W_o + b_o, a_ih = softmax_j(scale q_ih . k_jh), [q, k, v] = x W + b.

    j runs over i itself and every `dilation`-th of its nearest senders, `kernel_size` nodes in all; fewer
    where i receives fewer. Nearest is the largest ``edges["weight"]``, or the lowest id where the graph has no
    weights and where weights are equal.

    Args:
        heads: H, divides `out`, the width of q, k and v.
        kernel_size: k >= 1, nodes seen, the node itself included. 1 leaves the value projection alone.
        dilation: >= 1, step through the sorted neighbours.
        form: "table" (gathered keys, [N, k, H, d]: two batched products) or "edges" (segment softmax); the
            same numbers. The table costs O(N k D) whatever the degrees, the edges O(E D).
        scale: multiplies the logits; 1 / sqrt(D / H) if None.
        rate: dropout on the attention weights.
    Raises:
        ValueError: heads do not divide the width, k or dilation below 1, unknown form.
    """

    info = Info(
        "Hassani, Hwu and Shi, Faster Neighborhood Attention",
        2024,
        pinned="authors' code",
        golden="neighborhood-attention",
        cost="O(N k D + N D^2 + E log E)",
        needs=("graph",),
    )

    def __init__(
        self,
        dim: int,
        out: int | None = None,
        *,
        heads: int = 4,
        kernel_size: int = 7,
        dilation: int = 1,
        form: str = "table",
        scale: float | None = None,
        rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        name = "graph layer 'neighborhood_attention'"
        out = dim if out is None else out
        if out % heads:
            raise ValueError(f"{name}: heads={heads} does not divide the width D={out}")
        if kernel_size < 1 or dilation < 1:
            raise ValueError(f"{name}: kernel_size={kernel_size} and dilation={dilation} must be at least 1")
        if form not in FORMS:
            raise ValueError(f"{name}: form={form!r}, expected one of {', '.join(FORMS)}")
        self.qkv = nnx.Linear(dim, 3 * out, rngs=rngs)
        self.proj = nnx.Linear(out, out, rngs=rngs)
        self.heads, self.kernel_size, self.dilation = heads, kernel_size, dilation
        self.form, self.scale, self.rate = form, scale, rate

    def attend(
        self,
        q: Array,  # [N, H, d]
        k: Array,  # [N, H, d]
        v: Array,  # [N, H, e]
        graph: Graph,
        present: Array | None = None,
        *,
        key: Array | None = None,
    ) -> tuple[Array, Array]:
        """The attention without the projections, over the edges given (no self-loops are added).

        Args:
            present: bool [N], nodes that may be seen, the nearest of which are; all if None.
        Returns:
            out [N, H, e] and log-sum-exp [N, H]; `nn.neighborhood.merge` joins those of disjoint edge sets.
        """
        neighbors = nearest(graph, self.kernel_size, self.dilation, present)
        return FORMS[self.form](q, k, v, graph, neighbors, present, scale=self.scale, rate=self.rate, key=key)

    def attention(self, x, graph, present, context):
        """The weights [E', H] on the edges of `graph.looped`, whichever the form; 0 on those of nodes further away."""
        del context
        graph = graph.looped
        q, k, v = self._projected(x, present)
        seen = nearest(graph, self.kernel_size, self.dilation, present).kept
        seen = seen if present is None else seen & present[graph.senders]
        _, weights = edge_attend(q, k, v, graph, seen, scale=self.scale)
        ends = graph.senders, graph.receivers
        return (Attention("attention", weights, ("edge", "head"), "node", "node", *ends, valid=seen[:, None]),)

    def _projected(self, x: Array, present: Array | None) -> tuple[Array, Array, Array]:
        """Queries, keys and values [N, H, d]."""
        qkv = self.qkv(zero_absent(x, present)).reshape(x.shape[0], 3, self.heads, -1)
        return qkv[:, 0], qkv[:, 1], qkv[:, 2]

    def __call__(self, x, graph, present=None, context=EVALUATION):
        out, _ = self.attend(*self._projected(x, present), graph.looped, present, key=context.key)
        return self.proj(out.reshape(x.shape[0], -1))
