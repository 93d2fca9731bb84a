"""The area under the ROC curve of link prediction: how often a link is ranked before a pair without one."""

import numpy as np

from fusion_jax.metrics.auc import area_under_roc, influence_of_rows
from fusion_jax.metrics.base import Metric


class AucLinks(Metric):
    """The share of (link, no link) pairs of rows in the right order, ties counting half; NaN where one is absent."""

    name = "auc"
    heading = "AUC"
    tasks = ("links",)
    fraction = True
    pairs = True
    rank = 40

    def __call__(self, rows):
        positive = np.asarray(rows.target.labels)[:, None]
        if positive.all() or not positive.any():
            return float("nan")
        return area_under_roc(rows.prediction, positive)

    def influence(self, rows):
        positive = np.asarray(rows.target.labels)
        if positive.all() or not positive.any():
            return None
        return influence_of_rows(np.asarray(rows.prediction[:, 0], np.float64), positive)
