"""Keys from a key, with the bits of `jax.random`, each of them one small kernel.

On a CPU `jax.random.split` and `fold_in` become loops over the rounds of the generator, some ten kernels a call: a
fifth of the kernels of a training step. Here the rounds are written out (Threefry-2x32 of 20 rounds: Salmon et al.,
Parallel Random Numbers, 2011).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)
_NAME = "threefry2x32"


def split(key: Array, n: int) -> Array:
    """`jax.random.split(key, n)`: keys [n]."""
    return _keys(key, np.arange(n, dtype=np.uint32)) if _known(key) else jax.random.split(key, n)


def fold_in(key: Array, number: int | Array) -> Array:
    """`jax.random.fold_in(key, number)`: the key of an integer in [0, 2^32)."""
    if not _known(key):
        return jax.random.fold_in(key, number)
    return _keys(key, np.uint32(number) if isinstance(number, int) else number.astype(jnp.uint32))


def _known(key: Array) -> bool:
    """Whether a key is one of those whose rounds stand here, and others are made from it as they are by default."""
    if not jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key) or key.ndim:
        return False
    return str(jax.random.key_impl(key)) == _NAME and jax.config.jax_threefry_partitionable


def _keys(key: Array, low: Array) -> Array:
    return jax.random.wrap_key_data(_encrypted(jax.random.key_data(key), low), impl=_NAME)


@jax.jit
def _encrypted(key: Array, low: Array) -> Array:
    """uint32 [..., 2], what the counters (0, low) are encrypted to under the two words of a key."""
    words = (key[0], key[1], key[0] ^ key[1] ^ _PARITY)
    x, y = jnp.zeros_like(low) + words[0], low + words[1]
    for i in range(5):
        for rotation in _ROTATIONS[i % 2]:
            x = x + y
            y = ((y << np.uint32(rotation)) | (y >> np.uint32(32 - rotation))) ^ x
        x, y = x + words[(i + 1) % 3], y + words[(i + 2) % 3] + np.uint32(i + 1)
    # else the compiler writes the rounds into every kernel that reads a key
    return jax.lax.optimization_barrier(jnp.stack([x, y], -1))
