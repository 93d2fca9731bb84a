"""Self-attention fusion: the streams are joined, and every node attends to the clusters of its graph.

Reference: `network/cmtn.py` of lh9171338/FE-LSD at e5eb91e; golden `fe-lsd/transformer_fusion`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.nn.attention import attend
from fusion_jax.nn.init import normal
from fusion_jax.nn.mlp import gelu
from fusion_jax.nn.neighbour_mean import NeighbourScale
from fusion_jax.nn.norm import layer_norm
from fusion_jax.nn.presence import zero_absent
from fusion_jax.nn.streams import HE, make_norm, normed
from fusion_jax.nn.within_graph import blocks
from fusion_jax.records import Array
from fusion_jax.structures.partition import Parts

SCALE = math.sqrt(2 / 9)  # of the nine weights of a channel in the reference


class Seen(NamedTuple):
    """What the nodes attend to.

    Attributes:
        weights: [N, H, K], K the clusters of the node's graph, or those of the whole batch.
        valid: bool [N, K], the clusters of its graph that have a node with a modality.
    """

    weights: Array
    valid: Array


@jax.custom_vjp
def _sums(x: Array, members: Array, part: Array) -> Array:
    del part
    return jnp.pad(x, [(0, 1), (0, 0)])[members].sum(1)


_sums.defvjp(  # gathers both ways: a node is in one cluster
    lambda x, members, part: (_sums(x, members, part), part),
    lambda part, g: (jnp.pad(g, [(0, 1), (0, 0)])[part], None, None),
)


def cluster_sum(x: Array, parts: Parts) -> Array:
    """Sums of x [N, F] over the members of every cluster, [P, F]."""
    return _sums(x, parts.members, parts.part)


class ClusterMean(nnx.Module):
    """r_c = W mean_{i in c} z_i + b over the nodes present: stands where the reference has a strided convolution."""

    def __init__(self, dim: int, *, rngs: nnx.Rngs):
        self.linear = nnx.Linear(dim, dim, kernel_init=HE, rngs=rngs)

    def __call__(self, z: Array, present: Array, parts: Parts) -> Array:
        """z [N, D], present bool [N] -> [P, D]."""
        count = cluster_sum(present.astype(z.dtype)[:, None], parts)
        return self.linear(cluster_sum(zero_absent(z, present), parts) / jnp.maximum(count, 1))


class ClusterAttention(nnx.Module):
    """Queries of all nodes, keys and values of the clusters of their graph: softmax_c(q . (k_c + p_c) / sqrt(d)) v_c.

    k and v are projections of LN(r_c), r the reduced nodes; q, k, v have no bias, the output has. p_c is a learned
    vector of the cluster's number within its graph, N(0, 1) as in the reference, for the first `positions` of them.
    """

    def __init__(self, dim: int, heads: int, *, positions: int, rngs: nnx.Rngs):
        def linear(use_bias: bool) -> nnx.Linear:
            return nnx.Linear(dim, dim, use_bias=use_bias, kernel_init=HE, rngs=rngs)

        self.query, self.key, self.value, self.proj = linear(False), linear(False), linear(False), linear(True)
        self.sr = ClusterMean(dim, rngs=rngs)
        self.norm = layer_norm(dim, rngs=rngs)
        self.position = normal(rngs, (positions, heads, dim // heads), 1.0) if positions else None
        self.heads = heads

    def split(self, x: Array) -> Array:
        return x.reshape(*x.shape[:-1], self.heads, -1)

    def __call__(self, z: Array, present: Array, graph: Graph, parts: Parts, largest: int) -> tuple[Array, Seen]:
        """z [N, D] -> [N, D]; `largest`: of the clusters, the size that none exceeds when they are made."""
        r = self.norm(self.sr(z, present, parts))
        q, k, v = self.split(self.query(z)), self.split(self.key(r)), self.split(self.value(r))
        if self.position is not None:
            place = jnp.minimum(parts.slot, len(self.position[...]) - 1)
            has = (parts.slot <= place)[:, None, None]
            k = k + jnp.where(has, self.position[...][place], 0).astype(k.dtype)
        held = cluster_sum(present.astype(z.dtype)[:, None], parts)[:, 0] > 0
        out, seen = attend_clusters(q, k, v, held, graph, parts, largest)
        return self.proj(out.reshape(*out.shape[:-2], -1)), seen


def attend_clusters(
    q: Array, k: Array, v: Array, held: Array, graph: Graph, parts: Parts, largest: int
) -> tuple[Array, Seen]:
    """Attention of the nodes q [N, H, d] to the clusters k, v [P, H, d] of their graph that are held, bool [P].

    Works on one matrix [N, P] with a mask, or on blocks [G, B, K] of a graph each (B nodes, K = ceil(B / largest)
    clusters), whichever is smaller.
    """
    (n, *_), count, (graphs, block) = q.shape, len(held), (graph.num_graphs, graph.largest)
    most = -(-block // largest)
    if not block or graphs == 1 or graphs * block * most >= n * count:
        of = graph.graph_ids
        same = (of[:, None] == parts.graph.astype(of.dtype)) & held
        out, weights = attend(q, k, v, same)
        return out, Seen(weights.swapaxes(0, 1), same)
    rows, ids = blocks(graph, n), jnp.arange(graphs, dtype=parts.graph.dtype)
    first, end = (jnp.searchsorted(parts.graph, ids, side=side) for side in ("left", "right"))
    table = first[:, None] + jnp.arange(most, dtype=first.dtype)
    seen = (table < end[:, None]) & held[jnp.minimum(table, count - 1)]
    table = jnp.minimum(table, count - 1)
    out, weights = attend(q[rows.rows], k[table], v[table], seen)
    return rows.scatter(out), Seen(rows.scatter(weights.swapaxes(1, 2)), seen[rows.graph])


class InvertedResidual(nnx.Module):
    """n_3(W_3 (a + n_2(gelu(C a)))) with a = n_1(gelu(W_1 z)), four times as wide inside."""

    def __init__(self, dim: int, *, norm: str, rngs: nnx.Rngs):
        self.conv1, self.bn1 = nnx.Linear(dim, 4 * dim, kernel_init=HE, rngs=rngs), make_norm(norm, 4 * dim, rngs)
        self.conv2, self.bn2 = NeighbourScale(4 * dim, std=SCALE, rngs=rngs), make_norm(norm, 4 * dim, rngs)
        self.conv3, self.bn3 = nnx.Linear(4 * dim, dim, kernel_init=HE, rngs=rngs), make_norm(norm, dim, rngs)

    def __call__(self, z: Array, present: Array, graph: Graph, *, training: bool) -> Array:
        a = normed(self.bn1, gelu(self.conv1(z)), present, training)
        a = a + normed(self.bn2, gelu(self.conv2(a, graph, present)), present, training)
        return normed(self.bn3, self.conv3(a), present, training)


class Layer(nnx.Module):
    """z <- z + attn(LN z), z <- z + ffn(LN z)."""

    def __init__(self, dim: int, heads: int, *, positions: int, norm: str, rngs: nnx.Rngs):
        self.norm1, self.norm2 = layer_norm(dim, rngs=rngs), layer_norm(dim, rngs=rngs)
        self.attn = ClusterAttention(dim, heads, positions=positions, rngs=rngs)
        self.ffn = InvertedResidual(dim, norm=norm, rngs=rngs)

    def __call__(self, z, present, graph, parts, largest, *, training) -> tuple[Array, Seen]:
        attended, seen = self.attn(self.norm1(z), present, graph, parts, largest)
        z = z + attended
        return z + self.ffn(self.norm2(z), present, graph, training=training), seen


class TransformerFusion(nnx.Module):
    """T(x) = LN_b(layer(LN_a(W [x_1; ...; x_M] + b))), the streams as one."""

    def __init__(self, modalities: int, dim: int, heads: int, *, positions: int, norm: str, rngs: nnx.Rngs):
        self.conv = nnx.Linear(modalities * dim, dim, kernel_init=HE, rngs=rngs)
        self.norm1, self.norm2 = layer_norm(dim, rngs=rngs), layer_norm(dim, rngs=rngs)
        self.layer = Layer(dim, heads, positions=positions, norm=norm, rngs=rngs)

    def __call__(
        self, x: Array, mask: Array, graph: Graph, parts: Parts, largest: int, *, training: bool
    ) -> tuple[Array, Seen]:
        """x [N, M, D], 0 where masked -> [N, D], 0 at nodes without modalities."""
        present = mask.any(1)
        z = self.norm1(self.conv(x.reshape(x.shape[0], -1)))
        z, seen = self.layer(z, present, graph, parts, largest, training=training)
        return zero_absent(self.norm2(z), present), seen
