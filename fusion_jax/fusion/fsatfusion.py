"""FSATFusion: modalities are joined early, then gated by frequency and surroundings between blocks of attention.

Reference: "FSATFusion: Frequency-Spatial Attention Transformer for Infrared and Visible Image Fusion", 2025
(arXiv 2506.10366); code Lmmh058/FSATFusion at 979b2c9, `Networks/network.py`. Golden `fsatfusion`.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.nn.fsat import FSATStack, Settings, shown_of, site_of
from fusion_jax.nn.neighbour_mean import NeighbourLinear
from fusion_jax.nn.norm import MaskedBatchNorm
from fusion_jax.nn.presence import reached_in_graph
from fusion_jax.records import Fused, Info
from fusion_jax.structures.base import Structure


class FSATFusion(Fusion):
    """h = relu(BN(S_2 relu(S_1 [x_1; ...; x_M; mask]))); then for k = 1 ... N: h <- ITM_k(h),
    h <- relu(BN(h + FSAM(h))); out = h. S_1, S_2 are `NeighbourLinear`, in the place of 3 x 3 convolutions.

    A token is a node. ITM: t = h + Attn(LN h) over a node's senders and itself, h <- t + f / 2 + mean f / 2 with the
    MLP f(LN t) and its mean over the graph. FSAM: gates of the channels from Fourier coefficients,
    g = sigmoid(W_2 relu(W_1 z)) with z_c = |sum_n v_k(c)(n) h_nc|, then a gate of each node from
    d = [max_c h; std_c h]: its own, the mean over its senders and the mean over nodes two edges away. All steps share
    one FSAM and one batch norm (which thus moves its running statistics N times a training step).

    v_k is eigenvector k of the graph's Laplacian, of which the atoms of the paper's cosine transform are those of a
    grid. Its sign is arbitrary, so z has none (the paper's has). Eigenvectors of a repeated eigenvalue rotate freely;
    the structure fixes them by a rule, in which nodes with equal claims are told apart by their ids: on graphs with
    symmetries the order of nodes then has a say. The coefficient of a mode that a small graph lacks is 0.

    A node without any modality is no key, no neighbour and no part of sums, means and batch statistics.
    Attention "gates" [G, N, D] are the spectral gates, "attention" [E', N, H] lies on the edges of `graph.looped`.

    Args:
        blocks: N.
        heads: H, divides D.
        reduction: the hidden width of the spectral gate is max(D // reduction, 1).
        frequencies: how many of the lowest modes, or which, by number; channels are split evenly over them.
        coefficients: "sum", or "mean" for z / sqrt(n), n the nodes of the graph (ours): the lowest mode's z grows with
            sqrt(n), which saturates the gates of large graphs.
        window: "neighbours", or "self" for the window of one token that the authors released: attention is its value
            path, and nodes meet in the mean of f alone (and in S and the spatial gate).
        second_ring: "pairs", the nodes exactly two edges away; or "repeated", the mean over senders taken twice, for
            graphs in which there are too many such pairs.
    Raises:
        ValueError: an option that is not one of these.
    """

    info = Info(
        "FSATFusion: Frequency-Spatial Attention Transformer for Infrared and Visible Image Fusion",
        2025,
        pinned="authors' code",
        golden="fsatfusion",
        cost="O(N M D^2 + E D + E2)",
        needs=("graph",),
    )
    placements = ("before", "after")

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        blocks: int = 2,
        heads: int = 8,
        reduction: int = 16,
        frequencies: int | tuple[int, ...] = 16,
        coefficients: str = "sum",
        window: str = "neighbours",
        second_ring: str = "pairs",
        rngs: nnx.Rngs,
    ):
        if blocks < 1:
            raise ValueError(f"fusion 'fsatfusion': blocks={blocks}; expected an integer >= 1")
        given = Settings(heads, reduction, frequencies, coefficients, window, second_ring)
        self.settings = given.checked("fusion 'fsatfusion'", dim)
        self.structures = tuple(Structure(*wanted) for wanted in self.settings.wanted)
        self.first = NeighbourLinear(modalities * (dim + 1), dim, rngs=rngs)
        self.second = NeighbourLinear(dim, dim, use_bias=False, rngs=rngs)  # the batch norm takes any away
        self.norm = MaskedBatchNorm(dim, rngs=rngs)
        self.stack = FSATStack.of(dim, blocks, self.settings, rngs=rngs)

    def nodes(self, x, mask, graph, context):
        present, training = mask.any(1), context.key is not None
        joined = jnp.concatenate([x.reshape(x.shape[0], -1), mask.astype(x.dtype)], -1)
        h = self.second(jax.nn.relu(self.first(joined, graph, present)), graph, present)
        h = jax.nn.relu(self.norm(h, present, training=training))
        site = site_of(graph, present, self.settings, self.structures)
        h, gates, weights = self.stack(h, site, training=training)
        return Fused(h, attention=shown_of(site, gates, weights))

    def reached(self, mask, graph):
        """All nodes of a graph in which someone has a modality: they hear of the mean over its nodes."""
        return reached_in_graph(mask.any(1), graph)
