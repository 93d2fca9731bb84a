"""The root of the mean squared error, in the target's own units."""

import numpy as np
from sklearn import metrics as sk

from fusion_jax.metrics.base import Metric, Scored


def error(rows: Scored) -> np.ndarray:
    """float64 [N, K], predicted less true."""
    return np.asarray(rows.prediction, np.float64) - rows.target.values


class Rmse(Metric):
    """Of several outputs the root of the mean square over all: where they have different units, the largest decides."""

    heading = "RMSE"
    tasks = ("values",)
    higher = False
    rank = 0

    def __call__(self, rows):
        return float(np.sqrt(sk.mean_squared_error(rows.target.values, rows.prediction)))

    def influence(self, rows):
        square = (error(rows) ** 2).mean(1)
        return (square - square.mean()) / (2 * np.sqrt(square.mean())) if square.any() else None
