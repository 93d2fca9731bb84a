"""The share of links ranked among the first ten of the pairs without a link."""

from __future__ import annotations

from fusion_jax.metrics.base import Metric, Scored
from fusion_jax.metrics.mean_reciprocal_rank import MeanReciprocalRank, ranks


def hits(rows: Scored, k: int) -> float:
    """mean over links of [rank <= k]; NaN without a link."""
    found = ranks(rows)
    return float((found <= k).mean()) if found.size else float("nan")


class HitsAt10(Metric):
    """`hits` with k = 10."""

    heading = "Hits@10"
    tasks = ("links",)
    fraction = True
    rank = 60
    note = MeanReciprocalRank.note

    def __call__(self, rows):
        return hits(rows, 10)
