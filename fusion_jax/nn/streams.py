"""Streams kept apart: pre-activation bottlenecks and channel attention of one stream, as FE-LSD's fusions have them.

Reference: "Detecting Line Segments in Motion-blurred Images with Events", 2022; code lh9171338/FE-LSD at e5eb91e
(`network/fusion.py`, `network/cmtn.py`); golden `fe-lsd`. A position of its maps is a node, a channel a feature, and
its 3 x 3 convolutions are linear maps of a node and of the mean of its senders.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.nn.mlp import MLP
from fusion_jax.nn.neighbour_mean import NeighbourLinear
from fusion_jax.nn.norm import LayerNorm, MaskedBatchNorm, layer_norm
from fusion_jax.nn.pooling import pool_max, pool_mean
from fusion_jax.nn.presence import zero_absent
from fusion_jax.records import Array

NORMS = ("batch", "layer")
HE = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")  # of every convolution of the reference


def check_norm(owner: str, norm: str) -> None:
    """Raises ValueError, naming the fusion, where `norm` is not one of `NORMS`."""
    if norm not in NORMS:
        raise ValueError(f"fusion {owner!r}: norm={norm!r}; expected one of {NORMS}")


def make_norm(norm: str, dim: int, rngs: nnx.Rngs) -> MaskedBatchNorm | LayerNorm:
    return (MaskedBatchNorm if norm == "batch" else layer_norm)(dim, rngs=rngs)


def normed(norm: MaskedBatchNorm | LayerNorm, x: Array, present: Array | None, training: bool) -> Array:
    """x [N, D] normalised; batch statistics are those of the nodes that are present."""
    return norm(x, present, training=training) if isinstance(norm, MaskedBatchNorm) else norm(x)


class ChannelAttention(nnx.Module):
    """CA(z) = sigmoid(s(mean z) + s(max z)) with s(t) = W_2 relu(W_1 t), no biases; mean and max over a graph's nodes.

    Args:
        reduction: W_1 has max(1, D // reduction) outputs.
    """

    def __init__(self, dim: int, *, reduction: int, rngs: nnx.Rngs):
        self.fc = MLP(dim, max(1, dim // reduction), bias=False, kernel_init=HE, rngs=rngs)

    def __call__(self, mean: Array, top: Array) -> Array:
        """Both [..., D], gates [..., D] in (0, 1)."""
        return jax.nn.sigmoid(self.fc(mean) + self.fc(top))

    def of(self, z: Array, present: Array, graph: Graph | None) -> Array:
        """z [N, D] of the nodes present, bool [N]: gates [G, D]."""
        return self(pool_mean(z, present, graph), pool_max(z, present, graph))


class Bottleneck(nnx.Module):
    """R(z) = z + W_3 relu(n_3(C(relu(n_2(W_1 relu(n_1 z) + b_1))))) + b_3, width max(1, D // 2) inside.

    C is a linear map of a node and of the mean of its senders that are present; n are norms over nodes.
    """

    def __init__(self, dim: int, *, norm: str, rngs: nnx.Rngs):
        inner = max(1, dim // 2)
        self.bn1 = make_norm(norm, dim, rngs)
        self.conv1 = nnx.Linear(dim, inner, kernel_init=HE, rngs=rngs)
        self.bn2 = make_norm(norm, inner, rngs)
        self.conv2 = NeighbourLinear(inner, inner, rngs=rngs)
        self.bn3 = make_norm(norm, inner, rngs)
        self.conv3 = nnx.Linear(inner, dim, kernel_init=HE, rngs=rngs)

    def __call__(self, z: Array, present: Array, graph: Graph | None, *, training: bool) -> Array:
        """z [N, D] -> [N, D], 0 where not present, bool [N]."""
        h = self.conv1(jax.nn.relu(normed(self.bn1, z, present, training)))
        h = self.conv2(jax.nn.relu(normed(self.bn2, h, present, training)), graph, present)
        h = self.conv3(jax.nn.relu(normed(self.bn3, h, present, training)))
        return zero_absent(z + h, present)


class GroupedBottleneck(nnx.Module):
    """A bottleneck a modality on its own edge set; streams never mix (convolutions with as many groups)."""

    def __init__(self, modalities: int, dim: int, *, norm: str, rngs: nnx.Rngs):
        self.groups = nnx.List([Bottleneck(dim, norm=norm, rngs=rngs) for _ in range(modalities)])

    def __call__(self, x: Array, mask: Array, graph: Graph | None, *, training: bool) -> Array:
        """x [N, M, D] -> [N, M, D], 0 where masked, bool [N, M]."""
        streams = [
            group(x[:, m], mask[:, m], None if graph is None else graph.view(m), training=training)
            for m, group in enumerate(self.groups)
        ]
        return jnp.stack(streams, axis=1)
