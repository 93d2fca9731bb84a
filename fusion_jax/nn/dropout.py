"""Dropout as a function: the key comes with the call, no key means evaluation."""

import jax
import jax.numpy as jnp

from fusion_jax.types import Array


def dropout(x: Array, rate: float, key: Array | None) -> Array:
    """Zeroes each entry with probability `rate` and divides the rest by 1 - rate; x itself without a key."""
    if key is None or rate == 0.0:
        return x
    keep = jax.random.bernoulli(key, 1.0 - rate, x.shape)
    return jnp.where(keep, x / (1.0 - rate), 0)


def split_key(key: Array | None, n: int):
    """n keys from one, or n times None."""
    return (None,) * n if key is None else tuple(jax.random.split(key, n))
