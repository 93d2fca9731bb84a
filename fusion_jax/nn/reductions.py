"""Sum, mean and maximum over the present modalities of a node; 0 where it has none."""

import jax.numpy as jnp

from fusion_jax.nn.init import masked_mean
from fusion_jax.records import Array


def masked_sum(x: Array, mask: Array) -> Array:
    """Sum of x [M, D] over the rows with mask [M] -> [D]."""
    return jnp.where(mask[:, None], x, 0).sum(0)


def masked_max(x: Array, mask: Array) -> Array:
    """Maximum of x [M, D] over the rows with mask [M] -> [D]; 0, not -inf, without such a row."""
    top = jnp.where(mask[:, None], x, -jnp.inf).max(0)
    return jnp.where(mask.any(), top, 0)


REDUCTIONS = {"sum": masked_sum, "mean": masked_mean, "max": masked_max}
