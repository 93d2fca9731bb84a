"""The mean of the classes' F1, each weighted by the number of rows that have it."""

import numpy as np

from fusion_jax.metrics.base import Metric
from fusion_jax.metrics.f1 import of_classes


class WeightedF1(Metric):
    """sum_c true_c F1_c / N."""

    heading = "weighted F1"
    tasks = ("classes",)
    fraction = True
    rank = 30

    def __call__(self, rows):
        each = of_classes(rows)
        return float((each.f1 * each.support).sum() / each.support.sum())

    def influence(self, rows):
        each = of_classes(rows)
        weighted = (each.f1 * each.support).sum() / len(each.true)
        return each.slope() @ each.support + each.f1[np.asarray(rows.target.labels)] - weighted
