"""The plain average of all parameters, "vanilla fusion": what alignment has to beat.

Reference: the baseline of Imfeld et al., "Transformer Fusion with Optimal Transport", ICLR 2024.
"""

from __future__ import annotations

from collections.abc import Sequence

from fusion_jax.merging.base import Merged, Parent, averaged, check_same_shape, merged
from fusion_jax.records import Info

INFO = Info("Folklore: averaging of parameters", cost="O(S parameters)")


def average(parents: Sequence[Parent], anchor: int) -> Merged:
    """theta = mean over the networks of theta_s, batch statistics too.

    Raises:
        ValueError: networks of different shape.
    """
    check_same_shape(parents)
    return merged(averaged([p.model for p in parents]), parents, anchor)
