"""The mean probability of the present streams, which two rules of late fusion read."""

import jax
import jax.numpy as jnp

from fusion_jax.records import Array


def log_mean_probability(x: Array, mask: Array) -> Array:
    """log of the mean of softmax(x_m) over the present modalities, [M, C] -> [C]; normalised, never -inf.

    A node without modality is uniform: its logits are all 0, so all of them are let in.
    """
    mask = mask | ~mask.any()
    log_p = jax.nn.log_softmax(x)
    total = jax.nn.logsumexp(log_p, axis=0, where=mask[:, None])
    return total - jnp.log(mask.sum().astype(x.dtype))
