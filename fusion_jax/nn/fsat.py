"""The blocks of FSATFusion: a gate from Fourier coefficients, a gate from a node's surroundings, and tokens that mix.

Reference: "FSATFusion: Frequency-Spatial Attention Transformer for Infrared and Visible Image Fusion", 2025
(arXiv 2506.10366); code Lmmh058/FSATFusion at 979b2c9, `Networks/network.py`. Golden `fsatfusion`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.nn.mlp import MLP, gelu
from fusion_jax.nn.norm import MaskedBatchNorm, layer_norm
from fusion_jax.nn.pooling import at_nodes, pool_mean
from fusion_jax.nn.presence import sending, zero_absent
from fusion_jax.nn.rings import one_hop, ring_mean, two_hop
from fusion_jax.nn.segment import edge_attend
from fusion_jax.records import Array, Attention
from fusion_jax.zoo import nearest

WINDOWS = ("neighbours", "self")
RINGS = ("pairs", "repeated")
COEFFICIENTS = ("sum", "mean")


class Settings(NamedTuple):
    """The options that the fusion and the graph layer share, each checked by `checked`.

    Attributes:
        heads: H, divides D.
        reduction: the hidden width of the spectral gate is max(D // reduction, 1).
        frequencies: how many of the lowest eigenvectors, or which, by number.
        coefficients: "sum" over nodes, or "mean", that sum divided by sqrt(n) (ours).
        window: "neighbours" or "self".
        second_ring: "pairs" or "repeated".
    """

    heads: int
    reduction: int
    frequencies: int | Sequence[int]
    coefficients: str
    window: str
    second_ring: str

    def checked(self, who: str, dim: int) -> Settings:
        """With the frequencies as numbers. Raises ValueError, with `who` in front, where an option is not right."""
        for name, allowed in (("coefficients", COEFFICIENTS), ("window", WINDOWS), ("second_ring", RINGS)):
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(f"{who}: {name}={value!r}{nearest(value, allowed)}; expected one of {allowed}")
        if self.heads < 1 or dim % self.heads:
            raise ValueError(f"{who}: heads={self.heads} does not divide the width D={dim}")
        if self.reduction < 1:
            raise ValueError(f"{who}: reduction={self.reduction}; expected an integer >= 1")
        numbers = range(self.frequencies) if isinstance(self.frequencies, int) else self.frequencies
        chosen = tuple(int(k) for k in numbers)
        if not chosen or min(chosen) < 0:
            raise ValueError(f"{who}: frequencies={self.frequencies!r}; expected their number >= 1, or some >= 0")
        return self._replace(frequencies=chosen)

    @property
    def wanted(self) -> tuple[tuple[str, dict], ...]:
        """Names and options of the structures that `site_of` is given, in order."""
        pairs = (("two_hop", {}),) if self.second_ring == "pairs" else ()
        return ("eigenvectors", {"k": max(self.frequencies) + 1}), *pairs


def columns(dim: int, frequencies: Sequence[int]) -> tuple[int, ...]:
    """The frequency of each of D channels: runs as equal as can be; the first D frequencies where there are more."""
    held = frequencies[:dim]
    return tuple(held[c * len(held) // dim] for c in range(dim))


class Site(NamedTuple):
    """What the blocks read of a graph.

    Attributes:
        graph: whose graphs the sums and means are taken over.
        present: bool [N], who is there.
        vectors: float [N, K], the Fourier modes.
        around: d [N, 2] of all nodes to what a node sees of it around itself, [N, 2 R].
        edges: along which nodes attend; None where each sees itself alone.
    """

    graph: Graph
    present: Array
    vectors: Array
    around: Callable[[Array], Array]
    edges: Graph | None


def site_of(graph: Graph, present: Array, settings: Settings, structures: Sequence) -> Site:
    """The site of a graph for which the structures were made that the settings want."""
    spectrum, *pairs = (graph.structure(s) for s in structures)
    near = one_hop(graph)

    def around(d):
        first = ring_mean(d, near, present)
        second = ring_mean(d, two_hop(pairs[0], graph), present) if pairs else ring_mean(first, near, present)
        return jnp.concatenate([d, first, second], -1)

    return Site(graph, present, spectrum.vectors, around, graph.looped if settings.window == "neighbours" else None)


class SpectralGate(nnx.Module):
    """x_nc <- x_nc g_c, g = sigmoid(W_2 relu(W_1 z)), z_c = |sum_n v_k(c)(n) x_nc|, a gate a graph; no biases.

    Without `absolute` z_c keeps its sign, as the paper's does, whose v are the atoms of a cosine transform: of an
    eigenvector the sign is a matter of convention.

    Args:
        columns: k(c), the column of the modes for each channel.
        average: divide z by sqrt(n), so that it is the size of a mean however many nodes a graph has.
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        columns: Sequence[int],
        *,
        absolute: bool = True,
        average: bool = False,
        rngs: nnx.Rngs,
    ):
        self.fc1 = nnx.Linear(dim, hidden, use_bias=False, rngs=rngs)
        self.fc2 = nnx.Linear(hidden, dim, use_bias=False, rngs=rngs)
        self.columns, self.absolute, self.average = tuple(columns), absolute, average

    def coefficients(self, x: Array, site: Site) -> Array:
        """z [G, D] of x [N, D]."""
        modes = site.vectors[:, jnp.asarray(self.columns)].astype(x.dtype)
        terms = zero_absent(x * modes, site.present)
        z, graph = jax.ops.segment_sum(terms, site.graph.graph_ids, site.graph.num_graphs, True), site.graph
        if self.average:
            count = jax.ops.segment_sum(site.present.astype(x.dtype), graph.graph_ids, graph.num_graphs, True)
            z = z / jnp.sqrt(jnp.maximum(count, 1))[:, None]
        return jnp.abs(z) if self.absolute else z

    def gates(self, z: Array) -> Array:
        return jax.nn.sigmoid(self.fc2(jax.nn.relu(self.fc1(z))))

    def __call__(self, x: Array, site: Site) -> tuple[Array, Array]:
        """x [N, D] -> the same gated, and the gates [G, D]."""
        gates = self.gates(self.coefficients(x, site))
        return x * at_nodes(gates, site.graph, x.shape[0]), gates


class FSAM(nnx.Module):
    """The spectral gate, then x_n <- x_n sigmoid(w . around(d)_n), d_n = [max_c x_nc; std_c x_nc], no bias.

    The standard deviation divides by D. On an image `around` is a window of 7 x 7 pixels.

    Args:
        surroundings: R, how many pairs d a node sees.
    """

    def __init__(
        self, dim: int, hidden: int, columns: Sequence[int], *, surroundings: int = 3, rngs: nnx.Rngs, **options
    ):
        self.channel_attention = SpectralGate(dim, hidden, columns, rngs=rngs, **options)
        self.conv1 = nnx.Linear(2 * surroundings, 1, use_bias=False, rngs=rngs)

    def __call__(self, x: Array, site: Site) -> tuple[Array, Array]:
        """x [N, D] -> the same gated twice, and the spectral gates [G, D]."""
        x, gates = self.channel_attention(x, site)
        # The reference has a plain root, whose gradient is infinite where all channels are equal.
        d = jnp.stack([x.max(-1), jnp.sqrt(x.var(-1) + 1e-12)], -1)
        return x * jax.nn.sigmoid(self.conv1(site.around(d))), gates


class WindowAttention(nnx.Module):
    """y_i = W_o concat_h(sum_j softmax_j(q_ih . k_jh / sqrt(d) + b_ijh) v_jh) + b_o over the edges j -> i."""

    def __init__(self, dim: int, heads: int, *, rngs: nnx.Rngs):
        self.qkv = nnx.Linear(dim, 3 * dim, rngs=rngs)
        self.proj = nnx.Linear(dim, dim, rngs=rngs)
        self.heads = heads

    def __call__(
        self, t: Array, edges: Graph | None, present: Array | None = None, bias: Array | None = None
    ) -> tuple[Array, Array | None]:
        """t [N, D] -> y [N, D] and the weights [E, H]; without edges each node sees itself, and there are no weights.

        Args:
            bias: [E, H], b.
        """
        qkv = self.qkv(t).reshape(t.shape[0], 3, self.heads, -1)
        q, k, v = qkv[:, 0], qkv[:, 1], qkv[:, 2]
        weights = None
        if edges is not None:
            v, weights = edge_attend(q, k, v, edges, sending(present, edges), bias=bias)
        return self.proj(v.reshape(t.shape)), weights


class ITMBlock(nnx.Module):
    """t <- t + Attn(LN t); t <- t + f / 2 + mean_n f / 2, f = W_2 gelu(W_1 LN t + b_1) + b_2, hidden width 4 D."""

    def __init__(self, dim: int, heads: int, *, rngs: nnx.Rngs):
        self.norm1, self.norm2 = layer_norm(dim, rngs=rngs), layer_norm(dim, rngs=rngs)
        self.attn = WindowAttention(dim, heads, rngs=rngs)
        self.mlp = MLP(dim, 4 * dim, activation=gelu, rngs=rngs)

    def mix(self, t: Array, site: Site) -> Array:
        """f / 2 + mean_n f / 2, the mean over the nodes of a graph."""
        f = self.mlp(t)
        return 0.5 * f + 0.5 * at_nodes(pool_mean(f, site.present, site.graph), site.graph, f.shape[0])

    def __call__(self, t: Array, site: Site) -> tuple[Array, Array | None]:
        """t [N, D] -> the same, and the weights of the attention."""
        seen, weights = self.attn(self.norm1(t), site.edges, site.present)
        t = t + seen
        return t + self.mix(self.norm2(t), site), weights


class FSATStack(nnx.Module):
    """x <- ITM_k(x); x <- relu(BN(x + FSAM(x))) for k = 1 ... N: the steps share one FSAM and one batch norm."""

    def __init__(self, dim: int, blocks: int, heads: int, fsam: FSAM, *, rngs: nnx.Rngs):
        self.blocks = nnx.List([ITMBlock(dim, heads, rngs=rngs) for _ in range(blocks)])
        self.FAM_Attention = fsam
        self.bn = MaskedBatchNorm(dim, rngs=rngs)

    @classmethod
    def of(cls, dim: int, blocks: int, settings: Settings, *, rngs: nnx.Rngs) -> FSATStack:
        hidden, average = max(dim // settings.reduction, 1), settings.coefficients == "mean"
        fsam = FSAM(dim, hidden, columns(dim, settings.frequencies), average=average, rngs=rngs)
        return cls(dim, blocks, settings.heads, fsam, rngs=rngs)

    def join(self, x: Array, site: Site, *, training: bool = False) -> tuple[Array, Array]:
        """What follows a block: x [N, D] -> the next x, and the spectral gates [G, D]."""
        gated, gates = self.FAM_Attention(x, site)
        return jax.nn.relu(self.bn(x + gated, site.present, training=training)), gates

    def __call__(self, x: Array, site: Site, *, training: bool = False) -> tuple[Array, list, list]:
        """x [N, D] -> the same, and of every step the spectral gates [G, D] and attention weights (or None)."""
        gates, weights = [], []
        for block in self.blocks:
            x, w = block(x, site)
            x, g = self.join(x, site, training=training)
            gates.append(g)
            weights.append(w)
        return x, gates, weights


def shown_of(site: Site, gates: list, weights: list) -> tuple[Attention, ...]:
    """The gates and weights of a stack as records."""
    shown = [
        Attention("gates", jnp.stack(gates, 1), ("graph", "layer", "feature"), "graph", "feature", normalised=False)
    ]
    if site.edges is not None:
        ends = site.edges.senders, site.edges.receivers
        valid = sending(site.present, site.edges)[:, None, None]
        axes = ("edge", "layer", "head")
        shown.append(Attention("attention", jnp.stack(weights, 1), axes, "node", "node", *ends, valid=valid))
    return tuple(shown)
