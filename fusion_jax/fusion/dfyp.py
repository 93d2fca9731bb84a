"""DFYP: channels are gated, blended with their edges, and read by a local and a global branch whose outputs are added.

Reference: "DFYP: A Dynamic Fusion Framework with Spectral Channel Attention and Adaptive Operator Learning for Crop
Yield Prediction", 2025 (arXiv 2507.05849); code onef1shy/DFYP at 21588aa, `models/dfyp.py`, `models/base.py` and
`config/operator_config.py`. Golden `dfyp`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.graphs import Graph
from fusion_jax.nn.attention import MultiHeadAttention
from fusion_jax.nn.dropout import dropout, split_key
from fusion_jax.nn.gradient_operators import Filtered, Selection, check_resolution
from fusion_jax.nn.init import normal
from fusion_jax.nn.mlp import gelu
from fusion_jax.nn.neighbour_mean import NeighbourLinear
from fusion_jax.nn.norm import MaskedBatchNorm, layer_norm
from fusion_jax.nn.presence import reached, reached_in_graph, zero_absent
from fusion_jax.nn.within_graph import blocks
from fusion_jax.records import Array, Attention, Fused, Info
from fusion_jax.structures.base import Structure
from fusion_jax.zoo import nearest

TOKENS = ("nodes", "modalities")


class TransformerLayer(nnx.Module):
    """x <- x + W_o Attn(LN x) + b_o; x <- x + W_2 gelu(W_1 LN x + b_1) + b_2; q, k and v have no biases."""

    def __init__(self, dim: int, heads: int, head_dim: int, hidden: int, *, rate: float, rngs: nnx.Rngs):
        self.norm1, self.norm2 = layer_norm(dim, rngs=rngs), layer_norm(dim, rngs=rngs)
        self.attn = MultiHeadAttention(dim, heads, qk_dim=heads * head_dim, bias=False, rate=rate, rngs=rngs)
        self.linear1 = nnx.Linear(dim, hidden, rngs=rngs)
        self.linear2 = nnx.Linear(hidden, dim, rngs=rngs)
        self.rate = rate

    def __call__(self, x: Array, mask: Array | None, *, key: Array | None = None) -> tuple[Array, Array]:
        """x [B, L, D], mask bool [B, L] -> the same, and the weights [B, H, L, L]."""
        keys = split_key(key, 4)
        out, weights = self.attn(self.norm1(x), mask=mask, key=keys[0])
        x = x + dropout(out, self.rate, keys[1])
        h = dropout(gelu(self.linear1(self.norm2(x))), self.rate, keys[2])
        return x + dropout(self.linear2(h), self.rate, keys[3]), weights


class Transformer(nnx.Module):
    """Layers that normalise first, and a layer norm behind the last."""

    def __init__(
        self, dim: int, depth: int, heads: int, head_dim: int, hidden: int, *, rate: float = 0.0, rngs: nnx.Rngs
    ):
        options = dict(rate=rate, rngs=rngs)
        self.layers = nnx.List([TransformerLayer(dim, heads, head_dim, hidden, **options) for _ in range(depth)])
        self.norm = layer_norm(dim, rngs=rngs)

    def __call__(self, x: Array, mask: Array | None = None, *, key: Array | None = None) -> tuple[Array, Array | None]:
        """As a layer; the weights are those of the last one."""
        weights = None
        for layer, k in zip(self.layers, split_key(key, len(self.layers)), strict=True):
            x, weights = layer(x, mask, key=k)
        return self.norm(x), weights


class LocalBranch(nnx.Module):
    """h <- drop(relu(BN(S h))) twice, y = W h + b, S a `NeighbourLinear` in the place of a 3 x 3 convolution.

    The reference's two linear maps at the end have nothing between them: they are one.
    """

    def __init__(self, channels: int, dim: int, *, rate: float, rngs: nnx.Rngs):
        # No bias, which the batch norm would take away.
        self.maps = nnx.List([NeighbourLinear(c, dim, use_bias=False, rngs=rngs) for c in (channels, dim)])
        self.norms = nnx.List([MaskedBatchNorm(dim, rngs=rngs) for _ in self.maps])
        self.head = nnx.Linear(dim, dim, rngs=rngs)
        self.rate = rate

    def __call__(self, x: Array, present: Array, graph: Graph, *, key: Array | None = None) -> Array:
        """x [N, C], present bool [N] -> [N, D]."""
        for convolve, norm, k in zip(self.maps, self.norms, split_key(key, len(self.maps)), strict=True):
            x = jax.nn.relu(norm(convolve(x, graph, present), present, training=key is not None))
            x, present = dropout(x, self.rate, k), reached(present, graph)
        return self.head(x)


class GlobalBranch(nnx.Module):
    """y = W t + b, t of a transformer over the tokens LN(W_e LN(u) + b_e).

    Of "nodes" a token is a node, u = [x_1; ...; x_M], all nodes of its graph are seen, and t is its own; the token of a
    node without modalities is 0, and not seen. Of "modalities" the tokens are a node's own, u = x_m, with a learned
    vector a modality added (the reference's code of positions) and a learned token in front, which is t.
    """

    def __init__(self, modalities: int, dim: int, tokens: str, *, depth, heads, head_dim, rate, rngs: nnx.Rngs):
        width = modalities * dim if tokens == "nodes" else dim
        self.norm1, self.norm2 = layer_norm(width, rngs=rngs), layer_norm(dim, rngs=rngs)
        self.embed = nnx.Linear(width, dim, rngs=rngs)
        alone = tokens == "modalities"
        self.positions = normal(rngs, (modalities + 1, dim)) if alone else None
        self.cls_token = normal(rngs, (dim,)) if alone else None
        self.transformer = Transformer(dim, depth, heads, head_dim, 2 * dim, rate=rate, rngs=rngs)
        self.head = nnx.Linear(dim, dim, rngs=rngs)
        self.rate = rate

    def tokens(self, u: Array) -> Array:
        return self.norm2(self.embed(self.norm1(u)))

    def of_nodes(self, x: Array, present: Array, graph: Graph, *, key: Array | None) -> Array:
        """x [N, C], present bool [N] -> [N, D]."""
        first, key = split_key(key, 2)
        held = blocks(graph, x.shape[0])
        # A layer norm of zeros is so steep that one node without a modality would drown all other gradients.
        tokens = zero_absent(dropout(self.tokens(x), self.rate, first), present)
        tokens, seen = held.gather(tokens), held.gather(present)
        return self.head(held.scatter(self.transformer(tokens, seen, key=key)[0]))

    def of_modalities(self, x: Array, mask: Array, *, key: Array | None) -> tuple[Array, Array | None]:
        """x [N, M, D], mask bool [N, M] -> [N, D] and the weights of the first token [N, H, 1 + M]."""
        first, key = split_key(key, 2)
        cls = jnp.broadcast_to(self.cls_token[...].astype(x.dtype), (x.shape[0], 1, x.shape[-1]))
        tokens = jnp.concatenate([cls, self.tokens(x)], 1) + self.positions[...].astype(x.dtype)
        y, weights = self.transformer(dropout(tokens, self.rate, first), with_first(mask), key=key)
        return self.head(y[:, 0]), None if weights is None else weights[:, :, 0]


def with_first(mask: Array) -> Array:
    """bool [N, 1 + M]: the token in front is always there."""
    return jnp.concatenate([jnp.ones_like(mask[:, :1]), mask], 1)


class DFYP(Fusion):
    """out = a_1 local(w response(x g) + (1 - w) x g) + a_2 global(x g), with a_1 = a_2 = w = 0.5 at first, all free.

    Channels are the M D stacked features. g = sigmoid(W_2 relu(W_1 s)), s the maximum ("coarse") or mean ("fine") over
    the nodes of a graph that have the modality. The response of a channel is the size of its gradient at the node,
    sqrt(a mean_1 (x_j - x_i)^2 + b mean_2 (x_j - x_i)^2 + eps), means over the nodes one edge and exactly two edges
    away that have the modality, where the paper's filters images: (a, b) = (2, 1) of "sobel", (10, 3) of "scharr",
    and a mixture of "learnable" (`nn.gradient_operators.Operator`). Weights of edges are not read. Responses have the
    scale of the kernel, Scharr's about twice Sobel's here, and of the features, which are best given standardised.

    `select="table"` is the reference's: each graph has an operator that was chosen beforehand, by its validation
    error. Nothing of that choice is learnt here, and its cost is not in a cell's: training once with each operator,
    three cells (or 3^G where graphs choose together), of which the best on validation rows is kept; the sweep that
    does it belongs in the table of costs. `select="gate"` (ours) is the choice the abstract speaks of, softmax(W s + b)
    over the three operators.

    The local branch is two rounds of messages (6 convolutions in the reference), the global one a transformer
    (`LocalBranch`, `GlobalBranch`). A missing modality is 0 in x, in the response and in the blend, and no neighbour;
    a node with none is no sender and no token. Attention: "gates" [G, M, D], "operators" [G, K] of the operators in
    use in their order, and of `tokens="modalities"` "tokens" [N, H, 1 + M], what the first token of the last layer
    sees, itself in front.

    Args:
        resolution: "coarse" or "fine", chosen for the data set, not learned.
        reduction: r, the hidden width of the gates is max(M D // r, 1); 16 of "coarse" and 8 of "fine" if None.
        select: "table" or "gate".
        operator: "sobel", "scharr" or "learnable", of every graph that is not in the table.
        table: operators of the first graphs of the batch, in order.
        tokens: of the global branch, "nodes" (sees the whole graph; O(H n^2) numbers a layer, n the nodes of the
            largest graph) or "modalities", the cheap choice where n is above some thousands.
        depth: transformer layers.
        heads: H of the transformer.
        head_dim: width of a head; 2 D / H if None, at least 1 (64 of 256 in the reference).
        rate: dropout of the local branch.
        global_rate: dropout of the transformer and on its tokens.
    Raises:
        ValueError: an option that is not one of these, or one that binds nothing; at the call, a table that is longer
            than the batch.
    """

    info = Info(
        "DFYP: A Dynamic Fusion Framework with Spectral Channel Attention and Adaptive Operator Learning",
        2025,
        pinned="authors' code",
        golden="dfyp",
        cost="O((E + E2) M D + N M D^2 + L (N^2 D + N D^2))",
        needs=("graph",),
    )

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        resolution: str = "coarse",
        reduction: int | None = None,
        select: str = "table",
        operator: str = "learnable",
        table: tuple[str, ...] = (),
        tokens: str = "nodes",
        depth: int = 4,
        heads: int = 8,
        head_dim: int | None = None,
        rate: float = 0.5,
        global_rate: float = 0.1,
        rngs: nnx.Rngs,
    ):
        check_resolution("fusion 'dfyp'", resolution, reduction)
        selection = Selection(select, operator, table).checked("fusion 'dfyp'")
        if tokens not in TOKENS:
            raise ValueError(f"fusion 'dfyp': tokens={tokens!r}{nearest(tokens, TOKENS)}; expected one of {TOKENS}")
        if min(depth, heads, 1 if head_dim is None else head_dim) < 1:
            raise ValueError(f"fusion 'dfyp': depth={depth}, heads={heads}, head_dim={head_dim}; expected >= 1")
        head_dim = max(2 * dim // heads, 1) if head_dim is None else head_dim
        self.structures = (Structure("two_hop"),)
        self.filtered = Filtered(modalities * dim, selection, resolution, reduction, rngs=rngs)
        self.local_branch = LocalBranch(modalities * dim, dim, rate=rate, rngs=rngs)
        size = dict(depth=depth, heads=heads, head_dim=head_dim, rate=global_rate)
        self.global_branch = GlobalBranch(modalities, dim, tokens, **size, rngs=rngs)
        self.a1, self.a2 = nnx.Param(jnp.float32(0.5)), nnx.Param(jnp.float32(0.5))
        self.over = tokens

    def joined(self, near: Array, far: Array) -> Array:
        """a_1 y_local + a_2 y_global."""
        return self.a1[...] * near + self.a2[...] * far

    def nodes(self, x, mask, graph, context):
        local_key, global_key = split_key(context.key, 2)
        x, blended, shown = self.filtered(x, mask, graph, graph.structure(self.structures[0]))
        present, flat = mask.any(1), x.reshape(x.shape[0], -1)
        near = self.local_branch(blended.reshape(flat.shape), present, graph, key=local_key)
        if self.over == "nodes":
            far = self.global_branch.of_nodes(flat, present, graph, key=global_key)
            return Fused(self.joined(near, far), attention=shown)
        far, weights = self.global_branch.of_modalities(x, mask, key=global_key)
        valid = with_first(mask)[:, None]
        seen = Attention("tokens", weights, ("node", "head", "token"), "node", "token", valid=valid)
        return Fused(self.joined(near, far), attention=(*shown, seen))

    def reached(self, mask, graph):
        """Who hears of someone within two edges; with nodes as tokens, all nodes of a graph in which someone is."""
        if self.over == "nodes":
            return reached_in_graph(mask.any(1), graph)
        return reached(reached(mask.any(1), graph), graph)
