"""The F1 of all rows' labels together."""

from fusion_jax.metrics.base import Metric
from fusion_jax.metrics.f1 import of_task


class MicroF1(Metric):
    """2 hits / (true + given) over all rows and labels, 0 where there are none. (Of one class a row it is accuracy.)"""

    heading = "micro F1"
    tasks = ("labels",)
    fraction = True
    rank = 0

    def __call__(self, rows):
        each = of_task(rows)
        both = each.true.sum() + each.given.sum()
        return float(2 * (each.true & each.given).sum() / both) if both else 0.0

    def influence(self, rows):
        each = of_task(rows)
        both = each.true.sum() + each.given.sum()
        if not both:
            return None
        hits, own = (each.true & each.given).sum(1), each.true.sum(1) + each.given.sum(1)
        return len(hits) * (2 * hits - 2 * hits.sum() / both * own) / both
