"""Focal frequency distance of two spectra: what differs most counts most (the consistency loss of HFF-Net)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fusion_jax.graphs import Graph
from fusion_jax.nn.pooling import at_nodes, pool_max
from fusion_jax.records import Array


def focal_frequency(difference: Array, mask: Array, graph: Graph | None) -> Array:
    """mean of w |F|^2, w = |F| / max |F| without gradient, F the difference of two spectra.

    The maximum is over the rows and bands of a graph, for each output.

    Args:
        difference: F [N, B, C], real or complex, N rows of B bands.
        mask: bool [N], the rows that count.
        graph: whose graphs; None for one.
    """
    square = jnp.where(mask[:, None, None], jnp.real(difference * jnp.conj(difference)), 0)
    size = jnp.sqrt(jax.lax.stop_gradient(square))
    top = at_nodes(pool_max(size.max(1), mask, graph), graph, len(size))[:, None]
    weight = size / jnp.where(top > 0, top, 1)
    count = jnp.maximum(mask.sum(), 1).astype(square.dtype)
    return (weight * square).mean((1, 2)).sum() / count
