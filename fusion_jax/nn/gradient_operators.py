"""Channels gated by what a graph holds, edge operators on graphs, their blend with the input: how DFYP begins.

Reference: "DFYP: A Dynamic Fusion Framework with Spectral Channel Attention and Adaptive Operator Learning for Crop
Yield Prediction", 2025 (arXiv 2507.05849); code onef1shy/DFYP at 21588aa, `models/dfyp.py` and
`config/operator_config.py`. Golden `dfyp`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.nn.pooling import at_nodes, pool_max, pool_mean
from fusion_jax.nn.rings import Pairs, Ring, one_hop, two_hop
from fusion_jax.nn.segment import at_receivers, at_senders, propagate, segment_sum
from fusion_jax.records import Array, Attention
from fusion_jax.zoo import nearest

KERNELS = {"sobel": (2.0, 1.0), "scharr": (10.0, 3.0)}  # of a neighbour on an axis and one on a diagonal
OPERATORS = ("sobel", "scharr", "learnable")
RESOLUTIONS = {"coarse": (pool_max, 16), "fine": (pool_mean, 8)}  # how to pool, and the reduction
SELECTIONS = ("table", "gate")


class ChannelAttention(nnx.Module):
    """x <- x g, g = sigmoid(W_2 relu(W_1 s)), s the pooled channels of a graph, hidden width max(C // r, 1); no biases.

    Args:
        channels: C.
        resolution: "coarse", s is the maximum over nodes and r = 16; or "fine", the mean and 8.
        reduction: another r.
    """

    def __init__(self, channels: int, resolution: str, reduction: int | None = None, *, rngs: nnx.Rngs):
        self.pool, usual = RESOLUTIONS[resolution]
        hidden = max(channels // (usual if reduction is None else reduction), 1)
        self.fc1 = nnx.Linear(channels, hidden, use_bias=False, rngs=rngs)
        self.fc2 = nnx.Linear(hidden, channels, use_bias=False, rngs=rngs)

    def __call__(self, x: Array, mask: Array, graph: Graph | None) -> tuple[Array, Array, Array]:
        """x [N, M, D], mask bool [N, M], C = M D -> the same gated, the gates [G, M, D] and s [G, C]."""
        pooled = self.pool(x, mask, graph)
        s = pooled.reshape(pooled.shape[0], -1)
        gates = jax.nn.sigmoid(self.fc2(jax.nn.relu(self.fc1(s)))).reshape(pooled.shape)
        return x * at_nodes(gates, graph, x.shape[0]), gates, s


def squared_differences(x: Array, mask: Array, ring: Ring) -> Array:
    """mean_j (x_j - x_i)^2 over the nodes j of the ring of i that are there, where i is; 0 elsewhere.

    Args:
        x: [N, M, D].
        mask: bool [N, M].
    Returns:
        [N, M, D].
    """
    graph, counts = ring
    x = jnp.where(mask[..., None], x, 0)
    both = mask[graph.senders] & mask[graph.receivers] & counts[:, None]
    # Differences along edges, not moments of x: what a channel's mean is would cancel in few digits only.
    squares = (at_senders(x, graph) - at_receivers(x, graph)) ** 2
    total = segment_sum(jnp.where(both[..., None], squares, 0), graph)
    count = propagate(mask.astype(x.dtype), graph, counts)
    return total / jnp.maximum(count, 1)[..., None]


class Operator(nnx.Module):
    """response = f sqrt(squares + eps), squares = a mean_(1 edge) (x_j - x_i)^2 + b mean_(2 edges) (x_j - x_i)^2.

    (a, b) are the kernel's numbers beside the centre and at its corners: (2, 1) of Sobel's, (10, 3) of Scharr's, f = 1
    and eps = 1e-8. "learnable" mixes them, s (2, 1) + (1 - s) (10, 3) with s = sigmoid(alpha), divides by the larger,
    and has f = sigmoid(scale) and eps = 1e-6; alpha starts at 0.5, scale at 0.1.
    """

    def __init__(self, name: str):
        learnt = name == "learnable"
        self.alpha = nnx.Param(jnp.float32(0.5)) if learnt else None
        self.scale = nnx.Param(jnp.float32(0.1)) if learnt else None
        self.name = name

    def kernel(self, dtype=jnp.float32) -> Array:
        """[a, b]."""
        if self.alpha is None:
            return jnp.asarray(KERNELS[self.name], dtype)
        share = jax.nn.sigmoid(self.alpha[...])
        mixed = share * jnp.asarray(KERNELS["sobel"], dtype) + (1 - share) * jnp.asarray(KERNELS["scharr"], dtype)
        return mixed / mixed.max()

    def response(self, squares: Array) -> Array:
        if self.scale is None:
            return jnp.sqrt(squares + 1e-8)
        return jax.nn.sigmoid(self.scale[...]) * jnp.sqrt(squares + 1e-6)

    def __call__(self, near: Array, far: Array) -> Array:
        """The mean squared differences over each ring -> the response, all of one shape."""
        a, b = self.kernel(near.dtype)
        return self.response(a * near + b * far)


def blend(response: Array, x: Array, weight: Array) -> Array:
    """w response + (1 - w) x."""
    return weight * response + (1 - weight) * x


class Selection(NamedTuple):
    """Which operator a graph has.

    Attributes:
        select: "table" or "gate".
        operator: the operator of graphs that are not in the table.
        table: operators of the first graphs of a batch, in order.
    """

    select: str
    operator: str
    table: Sequence[str]

    def checked(self, who: str) -> Selection:
        """Raises ValueError, with `who` in front, where an option is not right or binds nothing."""
        named = [("select", self.select, SELECTIONS), ("operator", self.operator, OPERATORS)]
        named += [("table", name, OPERATORS) for name in self.table]
        for option, value, allowed in named:
            if value not in allowed:
                raise ValueError(f"{who}: {option}={value!r}{nearest(value, allowed)}; expected one of {allowed}")
        if self.select == "gate" and (self.table or self.operator != "learnable"):
            raise ValueError(f"{who}: select='gate' weighs all operators; leave operator and table as they are")
        return self._replace(table=tuple(self.table))

    @property
    def names(self) -> tuple[str, ...]:
        """The operators that some graph may have."""
        return OPERATORS if self.select == "gate" else tuple(dict.fromkeys((*self.table, self.operator)))


def check_resolution(who: str, resolution: str, reduction: int | None):
    """Raises ValueError, with `who` in front, for another resolution or reduction."""
    if resolution not in RESOLUTIONS:
        raise ValueError(f"{who}: resolution={resolution!r}{nearest(resolution, RESOLUTIONS)}; expected coarse or fine")
    if reduction is not None and reduction < 1:
        raise ValueError(f"{who}: reduction={reduction}; expected an integer >= 1, or None")


class Operators(nnx.Module):
    """The response of each graph's operator: sum_k p_k response_k, with p of one operator, or softmax(W s + b) of all.

    Args:
        channels: C, the width of s.
    """

    def __init__(self, channels: int, selection: Selection, *, rngs: nnx.Rngs):
        self.operators = nnx.List([Operator(name) for name in selection.names])
        gated = selection.select == "gate"
        self.gate = nnx.Linear(channels, len(selection.names), rngs=rngs) if gated else None
        self.selection = selection

    def shares(self, s: Array) -> Array:
        """p [G, K] of the operators `selection.names`; s [G, C] are the pooled channels."""
        if self.gate is not None:
            return jax.nn.softmax(self.gate(s))
        _, default, table = self.selection
        if len(table) > len(s):
            raise ValueError(f"dfyp: table has {len(table)} operators, the batch has {len(s)} graphs")
        chosen = [self.selection.names.index(name) for name in (*table, *[default] * (len(s) - len(table)))]
        return jax.nn.one_hot(jnp.asarray(chosen), len(self.selection.names), dtype=s.dtype)

    def routed(self, responses: Sequence[Array], shares: Array, graph: Graph | None) -> Array:
        """K responses [N, ...] and p [G, K] -> [N, ...]."""
        if len(responses) == 1:
            return responses[0]
        own = at_nodes(shares, graph, responses[0].shape[0])
        own = own.reshape(*own.shape, *[1] * (responses[0].ndim - 1))
        return sum(own[:, k] * response for k, response in enumerate(responses))


class Filtered(nnx.Module):
    """Channel attention, then the graph's operator, then the blend w response + (1 - w) x, w = 0.5 at first and free.

    A channel of a node that lacks the modality is 0 throughout.
    """

    def __init__(self, channels: int, selection: Selection, resolution: str, reduction: int | None, *, rngs: nnx.Rngs):
        self.attention = ChannelAttention(channels, resolution, reduction, rngs=rngs)
        self.operators = Operators(channels, selection, rngs=rngs)
        self.weight = nnx.Param(jnp.float32(0.5))

    def __call__(self, x: Array, mask: Array, graph: Graph, pairs: Pairs) -> tuple[Array, Array, tuple[Attention, ...]]:
        """x [N, M, D], mask bool [N, M] -> x gated, the blend of it, and what to look at.

        Args:
            pairs: the structure `two_hop` of the graph.
        """
        x, gates, s = self.attention(x, mask, graph)
        rings = one_hop(graph), two_hop(pairs, graph)
        near, far = (squared_differences(x, mask, ring) for ring in rings)
        shares = self.operators.shares(s)
        response = self.operators.routed([operator(near, far) for operator in self.operators.operators], shares, graph)
        blended = jnp.where(mask[..., None], blend(response, x, self.weight[...]), 0)
        axes = ("graph", "modality", "feature")
        shown = (
            Attention("gates", gates, axes, "graph", "feature", normalised=False),
            Attention("operators", shares, ("graph", "operator"), "graph", "operator"),
        )
        return x, blended, shown
