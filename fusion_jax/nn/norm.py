"""Normalisation layers as the papers have them, and a batch norm that counts present rows only."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.records import Array


class LayerNorm(nnx.Module):
    """y = (x - mean) / sqrt(var + eps) * scale + bias over the last axis, var = mean of (x - mean)^2.

    `nnx.LayerNorm` cannot be called on float64 under strict promotion, which the golden tests need.
    """

    def __init__(self, dim: int, *, epsilon: float = 1e-5, rngs: nnx.Rngs):
        del rngs
        self.scale = nnx.Param(jnp.ones(dim, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(dim, jnp.float32))
        self.epsilon = epsilon

    def __call__(self, x: Array) -> Array:
        wide = x.astype(jnp.float64 if x.dtype == jnp.float64 else jnp.float32)  # no statistics in halves
        centred = wide - wide.mean(-1, keepdims=True)
        var = (centred**2).mean(-1, keepdims=True)
        normed = centred * jax.lax.rsqrt(var + self.epsilon)
        return normed.astype(x.dtype) * self.scale[...] + self.bias[...]


def layer_norm(dim: int, *, rngs: nnx.Rngs, epsilon: float = 1e-5) -> LayerNorm:
    """Layer norm with the usual epsilon 1e-5, and the variance as a mean of squares of differences.

    Flax's defaults (1e-6, and E[x^2] - E[x]^2) give other numbers than the authors' code.
    """
    return LayerNorm(dim, epsilon=epsilon, rngs=rngs)


class RMSNorm(nnx.Module):
    """y = x / sqrt(mean of x^2 + eps) * scale over the last axis (Zhang and Sennrich, 2019)."""

    def __init__(self, dim: int, *, epsilon: float = 1e-6):
        self.scale = nnx.Param(jnp.ones(dim, jnp.float32))
        self.epsilon = epsilon

    def __call__(self, x: Array) -> Array:
        wide = x.astype(jnp.float64 if x.dtype == jnp.float64 else jnp.float32)  # no statistics in halves
        normed = wide * jax.lax.rsqrt((wide**2).mean(-1, keepdims=True) + self.epsilon)
        return normed.astype(x.dtype) * self.scale[...]


class MaskedBatchNorm(nnx.Module):
    """y = (x - mean) / sqrt(var + eps) * scale + bias, statistics over the rows where `mask` is true.

    In training (`training=True`) the statistics are those of the present rows and the running ones are
    updated, r <- (1 - momentum) r + momentum * batch, the running variance with n / (n - 1) as in PyTorch (and
    left as they are by a step without a present row); in evaluation the running ones are used. Without `affine`, scale
    is 1 and bias 0.
    """

    def __init__(self, dim: int, *, epsilon: float = 1e-5, momentum: float = 0.1, affine: bool = True, rngs: nnx.Rngs):
        del rngs
        self.scale = nnx.Param(jnp.ones(dim, jnp.float32)) if affine else None
        self.bias = nnx.Param(jnp.zeros(dim, jnp.float32)) if affine else None
        self.mean = nnx.BatchStat(jnp.zeros(dim, jnp.float32))
        self.var = nnx.BatchStat(jnp.ones(dim, jnp.float32))
        self.epsilon, self.momentum = epsilon, momentum

    def __call__(self, x: Array, mask: Array | None = None, *, training: bool = False) -> Array:
        """x [..., D], mask bool [...]; leading axes are all averaged over."""
        if training:
            keep = jnp.ones(x.shape[:-1], bool) if mask is None else mask
            keep = keep[..., None]
            axes = tuple(range(x.ndim - 1))
            count = jnp.maximum(keep.sum(), 1).astype(x.dtype)
            mean = jnp.where(keep, x, 0).sum(axes) / count
            var = jnp.where(keep, (x - mean) ** 2, 0).sum(axes) / count
            unbiased = var * count / jnp.maximum(count - 1, 1)
            for running, now in ((self.mean, mean), (self.var, unbiased)):
                new = (1 - self.momentum) * running[...] + self.momentum * now
                running[...] = jnp.where(keep.any(), new, running[...])
        else:
            mean, var = self.mean[...], self.var[...]
        y = (x - mean) / jnp.sqrt(var + self.epsilon)
        return y if self.scale is None else y * self.scale[...] + self.bias[...]
