"""The share of links ranked among the first fifty of the pairs without a link."""

from fusion_jax.metrics.base import Metric
from fusion_jax.metrics.hits_at_10 import hits
from fusion_jax.metrics.mean_reciprocal_rank import MeanReciprocalRank


class HitsAt50(Metric):
    """`hits` with k = 50."""

    heading = "Hits@50"
    tasks = ("links",)
    fraction = True
    rank = 61
    note = MeanReciprocalRank.note

    def __call__(self, rows):
        return hits(rows, 50)
