"""The share of rows whose class is predicted."""

import numpy as np

from fusion_jax.metrics.base import Metric


class Accuracy(Metric):
    """mean_n [argmax_c z_nc = y_n]; of equal logits the first class is predicted."""

    heading = "accuracy"
    tasks = ("classes",)
    fraction = True
    rank = 0
    share = True

    def __call__(self, rows):
        return float((np.asarray(rows.prediction).argmax(1) == rows.target.labels).mean())

    def influence(self, rows):
        correct = (rows.prediction.argmax(1) == rows.target.labels).astype(float)
        return correct - correct.mean()
