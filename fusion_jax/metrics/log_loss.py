"""Minus the logarithm of the probability that the true class is given, on average."""

import numpy as np

from fusion_jax.metrics.base import Metric


class LogLoss(Metric):
    """mean_n -log softmax(z_n)_y, of the logits: a probability that rounds to 0 has the loss it should."""

    heading = "log-loss"
    tasks = ("classes",)
    higher = False
    table = "calibration"
    rank = 20

    def __call__(self, rows):
        labels = np.asarray(rows.target.labels)
        return float(0.0 - rows.log_p[np.arange(len(labels)), labels].mean())  # and not -0, which prints as -0.000

    def influence(self, rows):
        labels = np.asarray(rows.target.labels)
        loss = -rows.log_p[np.arange(len(labels)), labels]
        return loss - loss.mean()
