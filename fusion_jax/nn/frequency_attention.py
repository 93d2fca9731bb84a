"""Attention over the bands of a spectrum along features, nodes and modalities (FDCA of HFF-Net)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.nn.mlp import MLP
from fusion_jax.nn.pooling import at_nodes, pool_max, pool_mean
from fusion_jax.nn.stencil import Stencil, StencilLinear
from fusion_jax.records import Array

GATES = ("product", "sigmoid")


def largest(r: Array, seen: Array, axes: tuple[int, ...]) -> Array:
    """max over some axes where `seen`, 0 where nothing is."""
    top = jnp.where(seen, r, -jnp.inf).max(axes)
    return jnp.where(jnp.isfinite(top), top, 0)


def average(r: Array, seen: Array, axes: tuple[int, ...]) -> Array:
    """Mean over some axes where `seen`, 0 where nothing is."""
    seen = jnp.broadcast_to(seen, r.shape)
    return jnp.where(seen, r, 0).sum(axes) / jnp.maximum(seen.sum(axes), 1).astype(r.dtype)


class SliceAttention(nnx.Module):
    """a = MLP(max) + MLP(mean) over the modalities [M]; with `uncertainty` a sample around it.

        t = relu(a),  a' ~ N(A t, B B' + diag(softplus(exp(C t)) + 1)),  B = `factor`(t) [M, rank]

    No gradient passes through the sample, so that A, B, C and the MLP stay as they are made. Without a key a' is A t.
    """

    def __init__(self, modalities: int, *, expansion: int = 4, uncertainty: bool, rank: int = 5, rngs: nnx.Rngs):
        self.mlp = MLP(modalities, expansion * modalities, rngs=rngs)
        self.uncertainty, self.rank = uncertainty, rank
        if uncertainty:
            self.mean = nnx.Linear(modalities, modalities, rngs=rngs)
            self.log_diag = nnx.Linear(modalities, modalities, rngs=rngs)
            self.factor = nnx.Linear(modalities, modalities * rank, rngs=rngs)

    def distribution(self, a: Array) -> tuple[Array, Array, Array]:
        """Mean [..., M], factor [..., M, rank] and diagonal [..., M] of the covariance."""
        t = jax.nn.relu(a)
        factor = self.factor(t).reshape(*t.shape, self.rank)
        return self.mean(t), factor, jax.nn.softplus(jnp.exp(self.log_diag(t))) + 1

    def __call__(self, top: Array, mean: Array, key: Array | None, draw: Array | None = None) -> Array:
        """Pooled [G, M] twice -> [G, M]; `draw` [G, M] stands for the sample where it is given."""
        a = self.mlp(top) + self.mlp(mean)
        if not self.uncertainty:
            return a
        loc, factor, diag = self.distribution(a)
        if draw is None and key is not None:
            low, own = jax.random.split(key)
            draw = loc + (factor * jax.random.normal(low, (*loc.shape[:-1], 1, self.rank), loc.dtype)).sum(-1)
            draw = draw + jnp.sqrt(diag) * jax.random.normal(own, loc.shape, loc.dtype)
        return jax.lax.stop_gradient(loc if draw is None else draw)


class FrequencyAttention(nnx.Module):
    """R <- R * G three times, G = R * sigmoid(att(R)) over features, then nodes, then modalities.

    The gate contains R: behind three of them R carries its eighth power, and a gate may be negative and large.

        features    att = MLP(max R) + MLP(mean R), pooled over nodes, modalities and bands of a graph
        nodes       att = StencilLinear([max R; mean R]), pooled over modalities, bands and features
        modalities  att = `SliceAttention`, pooled over nodes, bands and features of a graph

    Args:
        modalities, dim: M and D.
        reduction: of the hidden width D / reduction over the features (at least 1).
        gate: "product" as above; "sigmoid": G = sigmoid(att(R)).
        clip: bound of |R| in the product gate; None for none, as published.
        uncertainty, rank: see `SliceAttention`.
        views: of the stencil over nodes.
    """

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        reduction: int = 16,
        gate: str = "product",
        clip: float | None = None,
        uncertainty: bool = True,
        rank: int = 5,
        views: int = 2,
        rngs: nnx.Rngs,
    ):
        self.semantic = MLP(dim, max(1, dim // reduction), rngs=rngs)
        self.positional = StencilLinear(2, 1, views=views, use_bias=True, rngs=rngs)
        self.slice = SliceAttention(modalities, uncertainty=uncertainty, rank=rank, rngs=rngs)
        self.gate, self.clip = gate, clip

    def gated(self, r: Array, attention: Array) -> Array:
        """G of R [N, M, B, D]."""
        open_ = jax.nn.sigmoid(attention)
        if self.gate == "sigmoid":
            return jnp.broadcast_to(open_, r.shape)
        return open_ * (r if self.clip is None else jnp.clip(r, -self.clip, self.clip))

    def over_features(self, r: Array, mask: Array, graph: Graph | None) -> Array:
        """att [N, 1, 1, D]"""
        seen, any_ = mask[:, :, None, None], mask.any(1)
        top = pool_max(largest(r, seen, (1, 2)), any_, graph)
        count = (mask.sum(1, keepdims=True) * r.shape[2]).astype(r.dtype)
        total, count = (pool_mean(v, any_, graph) for v in (jnp.where(seen, r, 0).sum((1, 2)), count))
        pooled = self.semantic(top) + self.semantic(total / jnp.maximum(count, 1))
        return at_nodes(pooled, graph, len(r))[:, None, None]

    def over_nodes(self, r: Array, mask: Array, stencil: Stencil) -> Array:
        """att [N, 1, 1, 1]"""
        seen = mask[:, :, None, None]
        maps = jnp.stack([largest(r, seen, (1, 2, 3)), average(r, seen, (1, 2, 3))], -1)
        return self.positional(maps, stencil)[:, :, None, None]

    def over_modalities(self, r, mask, graph, key: Array | None, draw: Array | None = None) -> Array:
        """att [N, M, 1, 1]"""
        top = pool_max(r.max((2, 3))[..., None], mask, graph)[..., 0]
        mean = pool_mean(r.mean((2, 3))[..., None], mask, graph)[..., 0]
        return at_nodes(self.slice(top, mean, key, draw), graph, len(r))[:, :, None, None]

    def __call__(
        self,
        r: Array,
        mask: Array,
        graph: Graph | None,
        stencil: Stencil,
        *,
        key: Array | None = None,
        draw: Array | None = None,
    ) -> Array:
        """The product of the three gates [N, M, B, D], by which the spectrum is to be multiplied.

        Args:
            r: [N, M, B, D], B bands; 0 where masked.
            mask: bool [N, M].
            graph: whose graphs are pooled over.
            stencil: over nodes that have a modality.
            key, draw: of `SliceAttention`.
        """
        total = jnp.ones_like(r)
        for attend in (
            lambda r: self.over_features(r, mask, graph),
            lambda r: self.over_nodes(r, mask, stencil),
            lambda r: self.over_modalities(r, mask, graph, key, draw),
        ):
            gate = self.gated(r, attend(r))
            r, total = r * gate, total * gate
        return total
