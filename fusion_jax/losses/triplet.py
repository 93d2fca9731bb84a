"""Triplets with a fixed margin: an anchor is nearer to its class than to another one.

Reference: Mac0504/MPFNet at 9288094 (`PLTN.py`, TripletLoss), of "MPFNet: A Multi-Prior Fusion Network", 2025. Golden
`mpfnet/triplet`.
"""

from __future__ import annotations

import jax

from fusion_jax.losses.adaptive_margin import distance, triplets
from fusion_jax.losses.base import epoch_of, weighted_mean
from fusion_jax.records import Array, Context, Info, Output, Target

INFO = Info(
    "Schroff et al., FaceNet: A Unified Embedding for Face Recognition and Clustering",
    2015,
    pinned="authors' code",
    golden="mpfnet",
    cost="O(N D + N log N)",
    tasks=("classes",),
)


def triplet(output: Output, target: Target, weight: Array, *, context: Context, margin: float = 1.0) -> Array:
    """`margin_loss` of the states the head reads, one triplet for every node with weight > 0.

    Which positive and negative an anchor gets turns with the epoch, see `adaptive_margin.triplets`. Every triplet
    counts alike. Nothing here trains the prediction.

    Raises:
        ValueError: a target without classes, labels that belong to graphs, or placement `decision`.
    """
    if target.words != "classes of nodes" or output.hidden is None:
        found = target.words + (" at placement 'decision'" if output.hidden is None else "")
        raise ValueError(f"loss 'triplet' forms triplets of nodes' states from their classes, got {found}")
    positive, negative, found = triplets(target.labels, weight > 0, target.num_outputs, epoch_of(context))
    z = output.hidden
    return margin_loss(z, z[positive], z[negative], found.astype(z.dtype), margin=margin)


def margin_loss(anchor: Array, positive: Array, negative: Array, weight: Array, *, margin: float = 1.0) -> Array:
    """mean_w of max(0, |a - p| - |a - n| + margin); [B, D] each, weight [B]."""
    gap = distance(anchor, positive) - distance(anchor, negative) + margin
    return weighted_mean(jax.nn.relu(gap), weight)
