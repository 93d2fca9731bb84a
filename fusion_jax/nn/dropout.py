"""Dropout as a function: the key comes with the call, no key means evaluation.

The mask comes from an integer hash of (key, position), not from a counter-based generator for each entry:
full-batch training draws millions of these bits an epoch, and on a CPU threefry took more time than the rest of
the step (`experiments/bench_dropout.py`). Integer arithmetic, so the same bits on every backend and under vmap.
"""

import jax
import jax.numpy as jnp
import numpy as np

from fusion_jax import keys
from fusion_jax.nn.numbered import positions
from fusion_jax.records import Array
from fusion_jax.traced import Rate, threshold_of


def dropout(x: Array, rate: float | Rate, key: Array | None) -> Array:
    """Zeroes each entry with probability `rate` and divides the rest by 1 - rate; x itself without a key.

    Args:
        rate: a number, which is compiled in; or a `Rate`, which may be an argument of a program.
    """
    if key is None or rate == 0.0:
        return x
    kept = x * rate.scale.astype(x.dtype) if isinstance(rate, Rate) else x / (1.0 - rate)
    return jnp.where(keep_mask(key, rate, x.shape), kept, 0)


def keep_mask(key: Array, rate: float | Rate, shape: tuple[int, ...]) -> Array:
    """bool of `shape`, true with probability 1 - rate (rounded to 2^-32), independent over keys and positions.

    Raises:
        ValueError: rate outside [0, 1).
    """
    threshold = rate.threshold if isinstance(rate, Rate) else threshold_of(rate)
    word0, word1 = jax.random.key_data(key)[:2]
    bits = _mix(_mix(positions(shape) * np.uint32(0x9E3779B9) + word0) ^ word1)
    return bits >= threshold


def _mix(x: Array) -> Array:
    """A bijection of 32-bit words in which every input bit flips every output bit about half the time.

    The multipliers and shifts are those of Wellons' search for low-bias 32-bit hash functions (2018).
    """
    x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
    return x ^ (x >> 16)


def split_key(key: Array | None, n: int):
    """n keys from one, or n times None."""
    return (None,) * n if key is None else tuple(keys.split(key, n))
