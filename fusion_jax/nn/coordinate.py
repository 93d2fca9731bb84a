"""Gates along two axes at once, from means along each: what the fusions by coordinate attention share.

Reference: Hou, Zhou, Feng, "Coordinate Attention for Efficient Mobile Network Design", CVPR 2021; code of the authors,
Andrew-Qibin/CoordAttention at dbd5e7b (MIT), `coordatt.py`; golden `coordinate-attention`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.nn.init import masked_mean
from fusion_jax.nn.norm import MaskedBatchNorm, layer_norm
from fusion_jax.nn.pooling import at_nodes, pool_mean
from fusion_jax.records import Array, Attention, Fused

NORMS = ("batch", "layer")
SMALLEST = 8  # floor of the bottleneck's width in the authors' code


class Gates(NamedTuple):
    """Both gates, in (0, 1), and the bottleneck they are decoded from.

    Attributes:
        node: [N, D], g_h.
        modality: [G, M, D], g_w; G is 1 without a graph.
        mid_node: [N, W], y_h.
        mid_modality: [G, M, W], y_w.
    """

    node: Array
    modality: Array
    mid_node: Array
    mid_modality: Array


def hard_swish(x: Array) -> Array:
    """x relu6(x + 3) / 6."""
    return x * jax.nn.relu6(x + 3) / 6


class CoordinateGates(nnx.Module):
    """[y_h; y_w] = h_swish(norm(W [p_h; p_w] + b)), g_h = sigmoid(W_h y_h + b_h), g_w = sigmoid(W_w y_w + b_w).

    One bottleneck and one norm serve both descriptors: p_h a row a node, p_w a row a graph and modality, the mean over
    the graph's nodes that have it. Batch statistics count the rows of both together that stand for something: nodes
    with a modality, and modalities that a node of the graph has.

    Args:
        owner: name of the fusion, for what it refuses.
        reduction: the bottleneck has max(8, D // reduction) features.
        norm: "batch", the reference's, or "layer".
    Raises:
        ValueError: a reduction below 1, or another norm.
    """

    def __init__(self, owner: str, dim: int, *, reduction: int, norm: str, rngs: nnx.Rngs):
        if reduction < 1:
            raise ValueError(f"fusion {owner!r}: reduction={reduction!r}; expected an integer >= 1")
        if norm not in NORMS:
            raise ValueError(f"fusion {owner!r}: norm={norm!r}; expected one of {NORMS}")
        width = max(SMALLEST, dim // reduction)
        self.conv1 = _linear(dim, width, rngs)
        self.bn1 = (MaskedBatchNorm if norm == "batch" else layer_norm)(width, rngs=rngs)
        self.conv_h = _linear(width, dim, rngs)
        self.conv_w = _linear(width, dim, rngs)

    def bottleneck(self, rows: Array, valid: Array, *, training: bool) -> Array:
        """Rows [R, D] -> [R, W]; the batch statistics are those of rows that are valid, bool [R]."""
        y = self.conv1(rows)
        y = self.bn1(y, valid, training=training) if isinstance(self.bn1, MaskedBatchNorm) else self.bn1(y)
        return hard_swish(y)

    def __call__(self, x: Array, p_h: Array, mask: Array, graph: Graph | None, *, training: bool) -> Gates:
        """x [N, M, D], the nodes' descriptors [N, D], mask bool [N, M]; one graph of all nodes without one."""
        n, m, d = x.shape
        p_w = pool_mean(x, mask, graph)
        held = pool_mean(jnp.ones((n, m, 1), x.dtype), mask, graph)[..., 0] > 0  # [G, M]
        rows = jnp.concatenate([p_h, p_w.reshape(-1, d)])
        valid = jnp.concatenate([mask.any(1), held.reshape(-1)])
        y = self.bottleneck(rows, valid, training=training)
        y_h, y_w = y[:n], y[n:].reshape(*held.shape, -1)
        return Gates(jax.nn.sigmoid(self.conv_h(y_h)), jax.nn.sigmoid(self.conv_w(y_w)), y_h, y_w)


def gated(x: Array, mask: Array, gates: Gates, graph: Graph | None) -> Fused:
    """tokens_nm = x_nm g_h(n) g_w(graph of n, m), 0 where missing; `out` is their masked mean.

    Attentions are "nodes" [D, N], g_h, and "modalities" [N, D, M], g_w at every node; both 0 at what is missing.
    """
    modality = at_nodes(gates.modality, graph, x.shape[0])
    tokens = jnp.where(mask[..., None], x * modality * gates.node[:, None], 0)
    there = mask.any(1)
    node = jnp.where(there[:, None], gates.node, 0).T
    shown = jnp.where(mask[..., None], modality, 0).swapaxes(1, 2)
    attention = (
        Attention("nodes", node, ("feature", "node"), "feature", "node", valid=there[None], normalised=False),
        Attention(
            "modalities",
            shown,
            ("node", "feature", "modality"),
            "node",
            "modality",
            valid=mask[:, None],
            normalised=False,
        ),
    )
    return Fused(masked_mean(tokens, mask), tokens, attention)


def _linear(dim: int, out: int, rngs: nnx.Rngs) -> nnx.Linear:
    """What PyTorch's 1 x 1 convolutions start from: weights and biases uniform in +- 1 / sqrt(dim)."""
    bound = 1 / math.sqrt(dim)

    def uniform(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return nnx.Linear(dim, out, kernel_init=uniform, bias_init=uniform, rngs=rngs)
