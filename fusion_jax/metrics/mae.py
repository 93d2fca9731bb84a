"""The mean absolute error, in the target's own units."""

import numpy as np
from sklearn import metrics as sk

from fusion_jax.metrics.base import Metric
from fusion_jax.metrics.rmse import error


class Mae(Metric):
    """Of several outputs the mean over them."""

    heading = "MAE"
    tasks = ("values",)
    higher = False
    rank = 10

    def __call__(self, rows):
        return float(sk.mean_absolute_error(rows.target.values, rows.prediction))

    def influence(self, rows):
        size = np.abs(error(rows)).mean(1)
        return size - size.mean()
