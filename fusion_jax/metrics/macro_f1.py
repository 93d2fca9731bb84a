"""The mean of the classes' F1, of those that occur among labels or predictions."""

from fusion_jax.metrics.base import Metric
from fusion_jax.metrics.f1 import of_task


class MacroF1(Metric):
    """mean_c F1_c: a class (or label) that no row has and none is given has no F1, and does not count.

    For classes this is scikit-learn's `f1_score(average="macro")`; of labels scikit-learn takes such a one for 0.
    """

    heading = "macro F1"
    tasks = ("classes", "labels")
    fraction = True
    rank = 20
    note = "Macro F1: over the classes that occur among labels or predictions."

    def __call__(self, rows):
        each = of_task(rows)
        return float(each.f1[each.occurs].mean())

    def influence(self, rows):
        each = of_task(rows)
        return len(each.true) * each.slope()[:, each.occurs].mean(1)
