"""Groups of nodes that are masked together, and what an encoder that masks and a loss that asks agree on.

Reference: Xue et al., "Probing Inter-modality", NeurIPS 2021 (see `encoders.probing_inter_modality`).
"""

from __future__ import annotations

import jax.numpy as jnp

from fusion_jax.graphs import Graph
from fusion_jax.records import Array

PAPER = "Xue et al., Probing Inter-modality: Visual Parsing with Self-Attention for Vision-and-Language Pre-training"
AXIS = "masked feature"  # of the states that hold what masked nodes would be


def groups(seeds: Array, guide: Array, graph: Graph, count: Array) -> Array:
    """bool [N]: the seeds, and of each the senders of its `count` largest weights.

    Args:
        seeds: bool [N].
        guide: [E], how much the receiver attends to the sender; -inf where the sender is no candidate. Of equal ones
            the first counts.
        count: int [N].
    """
    order = jnp.lexsort((-guide, graph.receivers))  # receivers stand in order already
    place = jnp.argsort(order).astype(jnp.int32) - graph.row_ptr[graph.receivers]
    chosen = seeds[graph.receivers] & (place < count[graph.receivers]) & jnp.isfinite(guide)
    return seeds | (_counted(chosen[graph.by_sender], graph.sender_ptr) > 0)


def received(marked: Array, graph: Graph) -> Array:
    """int [N], how many of the marked edges bool [E] a node receives."""
    return _counted(marked, graph.row_ptr)


def _counted(marked: Array, ptr: Array) -> Array:
    """Of marks in the order of row pointers, the number in every row."""
    sums = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(marked.astype(jnp.int32), dtype=jnp.int32)])
    return sums[ptr[1:]] - sums[ptr[:-1]]
