"""One layer of UFC: features and cost of two modalities refined together. Axes: P parts of the source, Q of the target.

A cost is [G, P, Q, H], 0 where a part is empty of its modality.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.ufc.plane import Plane
from fusion_jax.nn.attention import masked_softmax
from fusion_jax.nn.init import LECUN_NORMAL, ones, zeros
from fusion_jax.nn.mlp import gelu
from fusion_jax.nn.norm import layer_norm
from fusion_jax.records import Array


def both(source: Plane, target: Plane) -> Array:
    """bool [G, P, Q, 1], the entries of a cost between parts that are there."""
    return (source.there[:, :, None] & target.there[:, None])[..., None]


def transpose(cost: Array) -> Array:
    return cost.swapaxes(1, 2)


class Convolution(nnx.Module):
    """y_p = sum_k W_k (sum_s T_kps x_s) + b over the first plane of a cost, for every place of the second."""

    def __init__(self, dim: int, out: int, taps: int, *, rngs: nnx.Rngs):
        self.kernel = nnx.Param(LECUN_NORMAL(rngs.params(), (taps, dim, out), jnp.float32))
        self.bias = zeros((out,))

    def __call__(self, x: Array, taps: Array) -> Array:
        """x [G, S, T, C], taps [G, K, P, S] -> [G, P, T, out]."""
        read = jnp.einsum("gkps,gstc->gptkc", taps, x)
        return jnp.einsum("gptkc,kco->gpto", read, self.kernel[...]) + self.bias[...]


class Conv4d(nnx.Module):
    """A convolution over the source's plane plus one over the target's."""

    def __init__(self, dim: int, out: int, taps: int, *, rngs: nnx.Rngs):
        self.query_conv = Convolution(dim, out, taps, rngs=rngs)
        self.supp_conv = Convolution(dim, out, taps, rngs=rngs)

    def __call__(self, cost: Array, source: Plane, target: Plane) -> Array:
        """[G, P, Q, dim] -> [G, P, Q, out]."""
        over_target = transpose(self.supp_conv(transpose(cost), target.taps(cost.dtype)))
        return self.query_conv(cost, source.taps(cost.dtype)) + over_target


class Encoder4D(nnx.Module):
    """relu(scale * (y - mean) / sqrt(var + 1e-5) + bias), y a `Conv4d`; statistics over a graph's cost.

    Entries between parts of which one is empty are in no statistic, and 0.
    """

    def __init__(self, dim: int, out: int, taps: int, *, rngs: nnx.Rngs):
        self.conv = Conv4d(dim, out, taps, rngs=rngs)
        self.scale, self.bias = ones((out,)), zeros((out,))

    def finish(self, y: Array, source: Plane, target: Plane) -> Array:
        there = both(source, target)
        count = jnp.maximum(there.sum((1, 2, 3), keepdims=True) * y.shape[-1], 1).astype(y.dtype)
        centred = jnp.where(there, y - jnp.where(there, y, 0).sum((1, 2, 3), keepdims=True) / count, 0)
        normed = centred / jnp.sqrt((centred**2).sum((1, 2, 3), keepdims=True) / count + 1e-5)
        return jnp.where(there, jax.nn.relu(normed * self.scale[...] + self.bias[...]), 0)

    def __call__(self, cost: Array, source: Plane, target: Plane) -> Array:
        return self.finish(self.conv(cost, source, target), source, target)

    def embed(self, a: Array, b: Array, source: Plane, target: Plane) -> Array:
        """The similarity of features a [N, D] of the source and b of the target as a cost."""
        return self.finish(source.similarity(target, self.conv, a, b), source, target)


class CostMLP(nnx.Module):
    """Two `Encoder4D`, H -> expand H -> H."""

    def __init__(self, heads: int, expand: int, taps: int, *, rngs: nnx.Rngs):
        self.first = Encoder4D(heads, expand * heads, taps, rngs=rngs)
        self.second = Encoder4D(expand * heads, heads, taps, rngs=rngs)

    def __call__(self, cost: Array, source: Plane, target: Plane) -> Array:
        return self.second(self.first(cost, source, target), source, target)


class FeatureMLP(nnx.Module):
    """W_2 gelu(sum_k w_k * neighbours_k(W_1 x + b_1) + b) + b_2, w_k a weight a channel."""

    def __init__(self, dim: int, hidden: int, taps: int, *, rngs: nnx.Rngs):
        self.fc1 = nnx.Linear(dim, hidden, rngs=rngs)
        self.kernel = nnx.Param(LECUN_NORMAL(rngs.params(), (taps, 1, hidden), jnp.float32)[:, 0])
        self.bias = zeros((hidden,))
        self.fc2 = nnx.Linear(hidden, dim, rngs=rngs)

    def __call__(self, x: Array, plane: Plane) -> Array:
        read = plane.neighbours(self.fc1(x))
        return self.fc2(gelu(jnp.einsum("knd,kd->nd", read, self.kernel[...]) + self.bias[...]))


def positive(u: Array) -> Array:
    """elu(u) + 1, whose products are the kernel of the linear attention."""
    return jax.nn.elu(u) + 1


def normalised(q: Array, k: Array) -> Array:
    """q_l / (q_l . sum_n k_n + 1e-6), of q [G, L, H, d] and k [G, N, H, d], both >= 0."""
    return q / (jnp.einsum("glhd,ghd->glh", q, k.sum(1)) + 1e-6)[..., None]


def read(q: Array, k: Array, v: Array) -> Array:
    """sum_n (q_l . k_n) v_n in linear time; v [G, N, H, e] -> [G, L, H, e]."""
    return jnp.einsum("glhd,ghde->glhe", q, jnp.einsum("gnhd,gnhe->ghde", k, v))


class UFCLayer(nnx.Module):
    """Steps A to D of the mechanism, whose docstring has them.

    Args:
        dim, heads: D and H.
        parts: P = Q, which the width of the joint query has in it.
        places: the number of learned positions.
        taps: the number of matrices of a convolution.
        expand, cost_expand: hidden widths of the MLPs over D and over H.
        refine: whether there is step D.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        parts: int,
        places: int,
        taps: int,
        *,
        expand: float,
        cost_expand: int,
        refine: bool,
        rngs: nnx.Rngs,
    ):
        cost, hidden = (heads, cost_expand, taps), int(expand * dim)
        self.heads = heads
        truncated = nnx.initializers.truncated_normal(0.02)
        self.pos_embed = nnx.Param(truncated(rngs.params(), (places, dim // heads), jnp.float32))
        self.q_proj = nnx.Linear(heads * parts + dim, dim, rngs=rngs)
        self.k_proj = nnx.Linear(heads * parts + dim, dim, rngs=rngs)
        self.v_proj = nnx.Linear(dim, dim, rngs=rngs)
        self.v_proj_corr = Encoder4D(heads, heads, taps, rngs=rngs)
        self.mlp = FeatureMLP(dim, hidden, taps, rngs=rngs)
        self.mlp_corr = CostMLP(*cost, rngs=rngs)
        self.feat_to_corr1 = Encoder4D(1, heads, taps, rngs=rngs)
        self.mlp_refine_corr = CostMLP(*cost, rngs=rngs)
        self.v_cross = nnx.Linear(dim, dim, rngs=rngs)
        self.mlp_cross = FeatureMLP(dim, hidden, taps, rngs=rngs)
        self.norm1, self.norm2, self.norm_cross1, self.norm_cross2 = (layer_norm(dim, rngs=rngs) for _ in range(4))
        self.feat_to_corr2 = Encoder4D(1, heads, taps, rngs=rngs) if refine else None
        self.mlp_refine_corr2 = CostMLP(*cost, rngs=rngs) if refine else None

    def split(self, x: Array) -> Array:
        return x.reshape(*x.shape[:-1], self.heads, -1)

    def joint(self, linear: nnx.Linear, cost: Array, x: Array, plane: Plane) -> Array:
        """W [c; x] + b + p in heads, c what the node's part costs; W is applied before c is resized to the nodes."""
        flat = cost.swapaxes(2, 3).reshape(*cost.shape[:2], -1)  # [G, P, H Q]
        kernel, width = linear.kernel[...], flat.shape[-1]
        y = plane.up(flat @ kernel[:width]) + x @ kernel[width:] + linear.bias[...]
        return self.split(y) + plane.position(self.pos_embed[...])[:, None]

    def self_attention(self, cost: Array, x: Array, source: Plane, target: Plane) -> tuple[Array, Array]:
        """Step A on a cost and the features of its source, both refined under one attention."""
        normed = self.norm1(x)
        q, k = (positive(self.joint(linear, cost, normed, source)) for linear in (self.q_proj, self.k_proj))
        keys = source.gather(k)
        queries = normalised(source.gather(q), keys)
        values = source.gather(self.split(self.v_proj(normed)))
        x = x + source.scatter(read(queries, keys, values)).reshape(x.shape)
        # The parts' values resized to the nodes, attended to and resized back: both resizings are linear.
        values = self.v_proj_corr(cost, source, target).swapaxes(2, 3)  # [G, P, H, Q]
        seen = read(source.down(source.scatter(queries)), source.summed(k), values).swapaxes(2, 3)
        cost = cost + jnp.where(both(source, target), seen, 0)
        return cost + self.mlp_corr(cost, source, target), x + self.mlp(self.norm2(x), source)

    def cross_attention(
        self, cost: Array, a: Array, b: Array, source: Plane, target: Plane
    ) -> tuple[Array, Array, Array, Array]:
        """Step C: new features of both, and what they attend to, [G, H, P, Q] and [G, H, Q, P]."""
        scores = jnp.moveaxis(cost, -1, 1)
        forth = masked_softmax(scores, target.there[:, None, None])
        back = masked_softmax(scores.swapaxes(2, 3), source.there[:, None, None])
        g_a, g_b = (
            self.split(self.v_cross(self.norm_cross1(p.pool(x)))) for x, p in ((a, source), (b, target))
        )  # [G, P, H, d]
        return self._crossed(a, forth, g_b, source), self._crossed(b, back, g_a, target), forth, back

    def _crossed(self, x: Array, weights: Array, values: Array, plane: Plane) -> Array:
        update = jnp.einsum("ghpq,gqhd->gphd", weights, values)
        x = x + plane.repeat(update.reshape(*update.shape[:2], -1))
        return x + self.mlp_cross(self.norm_cross2(x), plane)

    def __call__(self, cost: Array, a: Array, b: Array, source: Plane, target: Plane):
        """Cost [G, P, Q, H], features a, b [N, D] -> the same refined, and the two attentions of step C."""
        forth, a = self.self_attention(cost, a, source, target)
        back, b = self.self_attention(transpose(cost), b, target, source)
        cost = forth + transpose(back)
        cost = cost + self.feat_to_corr1.embed(a, b, source, target)
        cost = cost + self.mlp_refine_corr(cost, source, target)
        a, b, *weights = self.cross_attention(cost, a, b, source, target)
        if self.feat_to_corr2 is not None:
            cost = cost + self.feat_to_corr2.embed(a, b, source, target)
            cost = cost + self.mlp_refine_corr2(cost, source, target)
        return cost, a, b, tuple(weights)
