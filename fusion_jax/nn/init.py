"""Initial values that the papers name and Flax lacks a short word for."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.records import Array

LECUN_NORMAL = nnx.initializers.lecun_normal()  # what Flax's linear layers start from


class Constant(nnx.Variable):
    """A fixed table; no optimizer touches it."""


def normal(rngs: nnx.Rngs, shape: tuple[int, ...], std: float = 0.02) -> nnx.Param:
    """A float32 parameter drawn from N(0, std^2): learned tokens, queries, embeddings."""
    return nnx.Param(std * jax.random.normal(rngs.params(), shape, jnp.float32))


def zeros(shape: tuple[int, ...]) -> nnx.Param:
    return nnx.Param(jnp.zeros(shape, jnp.float32))


def ones(shape: tuple[int, ...]) -> nnx.Param:
    return nnx.Param(jnp.ones(shape, jnp.float32))


def stack(make, n: int, rngs: nnx.Rngs):
    """n independent modules as one module with a leading axis [n, ...] on every parameter.

    `make(rngs)` builds one. Run the result with `jax.vmap(call)(stacked, x)` (one module a slice) or
    `jax.lax.scan` (one after another).
    """
    keys = jax.random.split(rngs.params(), n)
    return jax.vmap(lambda key: make(nnx.Rngs(key)))(keys)


def masked_mean(x: Array, mask: Array, axis: int = -2) -> Array:
    """Mean of x [..., M, D] over the entries of `axis` where mask [..., M] is true; 0 where there are none."""
    keep = mask[..., None]
    total = jnp.where(keep, x, 0).sum(axis)
    return total / jnp.maximum(keep.sum(axis), 1).astype(x.dtype)
