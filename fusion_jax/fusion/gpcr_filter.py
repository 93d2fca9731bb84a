"""A graph reads a sequence: one GCN layer over the anchor modality, then a decoder over the other modalities.

Reference: "GPCR-Filter: a deep learning framework for efficient and precise GPCR modulator discovery", 2026;
code Xinheng-He/GPCR_Filter at e2208903 (`Predictor`); golden `gpcr-filter/predictor`.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion, check_heads
from fusion_jax.graphs import Graph
from fusion_jax.layers.gcn import GCN
from fusion_jax.nn.dropout import split_key
from fusion_jax.nn.init import masked_mean, normal
from fusion_jax.nn.transformer import DecoderLayer, EncoderLayer
from fusion_jax.records import Array, Attention, Fused, Info


class Predictor(nnx.Module):
    """The reference's network: targets on a graph, a memory sequence, a head on one vector."""

    def __init__(self, target_dim, memory_dim, dim, out, *, heads, layers, rate, rngs):
        self.fc_compound = nnx.Linear(target_dim, dim, rngs=rngs)
        self.gcn = GCN(dim, rngs=rngs)
        self.fc_protein = nnx.Linear(memory_dim, dim, rngs=rngs)
        size = (dim, heads, 4 * dim)
        self.encoder = nnx.List([EncoderLayer(*size, rate=rate, rngs=rngs) for _ in range(layers[0])])
        self.decoder = nnx.List([DecoderLayer(*size, rate=rate, rngs=rngs) for _ in range(layers[1])])
        self.fc_1 = nnx.Linear(dim, dim, rngs=rngs)
        self.fc_2 = nnx.Linear(dim, out, rngs=rngs)

    def targets(self, x: Array, present: Array, graph: Graph) -> Array:
        """GCN(relu(x W_c + b_c)), [N, D]; relu before it, none behind. A node not present sends 0."""
        return self.gcn(jnp.where(present[:, None], jax.nn.relu(self.fc_compound(x)), 0), graph)

    def encode(self, memory: Array, mask: Array, code: Array | None = None, *, key: Array | None = None) -> Array:
        """Memory [B, L, memory_dim] -> [B, L, D], `code` [L, D] added after relu; no order code of its own."""
        e = jax.nn.relu(self.fc_protein(memory))
        e = e if code is None else e + code
        for layer, k in zip(self.encoder, split_key(key, len(self.encoder)), strict=True):
            e = layer(e, mask, key=k)
        return e

    def decode(self, targets, targets_mask, encoded, mask, *, key=None) -> tuple[Array, Array | None]:
        """Targets [B, T, D] -> [B, T, D] and the last layer's cross-attention [B, H, T, L]; not causal."""
        weights = None
        for layer, k in zip(self.decoder, split_key(key, len(self.decoder)), strict=True):
            targets, weights = layer(targets, encoded, targets_mask, mask, key=k)
        return targets, weights

    def head(self, h: Array) -> Array:
        return self.fc_2(jax.nn.relu(self.fc_1(h)))  # the reference builds a dropout here and does not call it


def by_graph(x: Array, graph: Graph, size: int) -> tuple[Array, Array]:
    """Node values x [N, ...] as [G, size, ...], zeros behind each graph's nodes, and true where a node stands."""
    counts = graph.jraph.n_node
    position = jnp.arange(size, dtype=counts.dtype)
    ids = (jnp.cumsum(counts, dtype=counts.dtype) - counts)[:, None] + position
    there = position < counts[:, None]
    values = x[jnp.minimum(ids, x.shape[0] - 1)]
    return jnp.where(there.reshape(*there.shape, *(1,) * (x.ndim - 1)), values, jnp.zeros((), x.dtype)), there


def pooled(decoded: Array, mask: Array, readout: str) -> Array:
    """[B, T, D] -> [B, D]: the first token, or the mean over the mask."""
    return decoded[:, 0] if readout == "first_token" else masked_mean(decoded, mask)


class GpcrFilter(Fusion):
    """out = W_2 relu(W_1 t + b_1) + b_2, t a decoded target; targets are the anchor's GCN vectors.

    u = relu(x_a W_c + b_c), targets = GCN(u) on the anchor's edge set; memory e = relu(x_m W_p + b_p) + z_m
    of the other modalities through post-norm encoder layers; post-norm decoder layers let targets see
    targets, then the memory. z_m is a learned vector a modality (ours; the memory has no order code
    otherwise).

    Scope "node" (ours): the target of node n is its own GCN vector, its memory the node's M - 1 other
    modalities. Scope "graph" (the paper's): the targets are all nodes of a graph that have the anchor, the
    memory all other modality tokens of the graph, t is the readout of the graph, and every node of a graph
    gets the same `out`. A target whose memory is missing altogether reads only the attention's output bias
    (NaN in the reference).

    Attention "cross" is that of the last decoder layer to its memory: [N, H, M - 1], in scope "graph"
    [G, H, max_nodes, max_nodes (M - 1)], nodes slow; on one masked slot where M = 1.

    Args:
        anchor: index of the modality on the graph (the paper's ligand).
        heads: H, divides D; 8 at D = 256 in the paper.
        layers: of the encoder and of the decoder.
        scope: "node" or "graph".
        readout: t of a graph: "mean" over its targets, or "first_token" (the paper's: the first atom of the
            file, which makes the result depend on the order of nodes). Only scope "graph" reads it.
        max_nodes: most nodes in a graph, scope "graph"; N if None. The cost grows with its square; the output
            of a graph whose nodes do not fit is NaN.
        rate: dropout in the layers (0.1, and 0 with D = 128 for the unseen-receptor split).
    Raises:
        ValueError: heads do not divide D; no such anchor, scope or readout.
    """

    info = Info(
        "GPCR-Filter: a deep learning framework for efficient and precise GPCR modulator discovery",
        2026,
        pinned="authors' code",
        golden="gpcr-filter",
        cost="O(E D + N M D^2)",
        needs=("graph",),
    )
    placements = ("before", "after")

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        anchor: int = 0,
        heads: int = 4,
        layers: tuple[int, int] = (2, 2),
        scope: str = "node",
        readout: str = "mean",
        max_nodes: int | None = None,
        rate: float = 0.1,
        out_dim: int | None = None,
        rngs: nnx.Rngs,
    ):
        check_heads("gpcr_filter", dim, heads)
        if not 0 <= anchor < modalities:
            raise ValueError(f"fusion 'gpcr_filter': anchor={anchor} is no modality, M={modalities}")
        if scope not in ("node", "graph") or readout not in ("mean", "first_token"):
            raise ValueError(
                f"fusion 'gpcr_filter': scope={scope!r} must be 'node' or 'graph', "
                f"readout={readout!r} 'mean' or 'first_token'"
            )
        self.anchor, self.scope, self.readout, self.max_nodes = anchor, scope, readout, max_nodes
        self.others = tuple(m for m in range(modalities) if m != anchor)
        self.modality = normal(rngs, (max(len(self.others), 1), dim))
        out = dim if out_dim is None else out_dim
        self.net = Predictor(dim, dim, dim, out, heads=heads, layers=layers, rate=rate, rngs=rngs)

    def _inputs(self, x, mask, graph):
        """Targets [N, D], whether the anchor is there [N], memory [N, K, D] and its mask [N, K]."""
        present = mask[:, self.anchor]
        targets = self.net.targets(x[:, self.anchor], present, graph.view(self.anchor))
        if not self.others:  # M = 1: a memory of one missing token
            return targets, present, jnp.zeros_like(x), jnp.zeros_like(mask)
        others = jnp.asarray(self.others)
        return targets, present, x[:, others], mask[:, others]

    def _decoded(self, targets, targets_mask, memory, mask, key):
        encoder, decoder = split_key(key, 2)
        code = jnp.tile(self.modality[...], (memory.shape[1] // self.modality.shape[0], 1)).astype(memory.dtype)
        encoded = self.net.encode(memory, mask, code, key=encoder)
        return self.net.decode(targets, targets_mask, encoded, mask, key=decoder)

    def nodes(self, x, mask, graph, context):
        targets, present, memory, memory_mask = self._inputs(x, mask, graph)
        if self.scope == "node":
            decoded, weights = self._decoded(targets[:, None], None, memory, memory_mask, context.key)
            return Fused(self.net.head(decoded[:, 0]), attention=_cross(weights, memory_mask, self.scope))
        size = x.shape[0] if self.max_nodes is None else self.max_nodes
        targets, _ = by_graph(targets, graph, size)
        present, _ = by_graph(present, graph, size)
        memory, memory_mask = by_graph(memory, graph, size)[0], by_graph(memory_mask, graph, size)[0]
        memory = memory.reshape(memory.shape[0], -1, memory.shape[-1])  # [G, L K, D]
        memory_mask = memory_mask.reshape(memory.shape[:2])
        decoded, weights = self._decoded(targets, present, memory, memory_mask, context.key)
        t = self._unless_too_large(pooled(decoded, present, self.readout), mask.any(-1), graph, size)
        return Fused(self.net.head(t)[graph.graph_ids], attention=_cross(weights, memory_mask, self.scope))

    @staticmethod
    def _unless_too_large(t, real, graph, size):
        """NaN for a graph some of whose nodes with modalities did not fit: cutting them off would go unseen."""
        fitted = by_graph(real, graph, size)[0].sum(1)
        total = jax.ops.segment_sum(real.astype(fitted.dtype), graph.graph_ids, graph.num_graphs)
        return jnp.where((fitted == total)[:, None], t, jnp.nan)


def _cross(weights: Array | None, mask: Array, scope: str) -> tuple[Attention, ...]:
    """What targets attend to in their memory, weights [B, H, T, L] and mask [B, L]; () without decoder layers."""
    if weights is None:
        return ()
    if scope == "node":
        return (Attention("cross", weights[:, :, 0], ("node", "head", "other"), "node", "other", valid=mask[:, None]),)
    axes = ("graph", "head", "place", "token")
    return (Attention("cross", weights, axes, "place", "token", valid=mask[:, None, None]),)
